/* Reads IDX files: big-endian magic and dimensions, then one byte per pixel or label. */
#include "client/examples/fashion/images.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

static uint32_t read_u32(gzFile file)
{
    uint8_t b[4] = {0};
    if (gzread(file, b, sizeof b) != (int)sizeof b) {
        return 0;
    }
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The bytes of one IDX file whose items have item_bytes bytes each; their number in ret_count. */
static uint8_t *read_idx(const char *path, unsigned rank, size_t item_bytes, size_t *ret_count)
{
    gzFile file = gzopen(path, "rb");
    if (file == NULL) {
        err(1, "%s: install the package dataset-fashion-mnist, or name its folder with --data",
            path);
    }
    gzbuffer(file, 1 << 17);
    uint32_t magic = read_u32(file);
    size_t count = read_u32(file);
    size_t bytes = 1;
    for (unsigned i = 1; i < rank; i++) {
        bytes *= read_u32(file);
    }
    if (magic != (0x08U << 8 | rank) || bytes != item_bytes || count == 0 || count > 1000000) {
        errx(1, "%s: not the IDX file that was expected here", path);
    }
    uint8_t *data = malloc(count * bytes);
    if (data == NULL) {
        errx(1, "no memory for %s", path);
    }
    if (gzread(file, data, (unsigned)(count * bytes)) != (int)(count * bytes)) {
        errx(1, "%s: ends early", path);
    }
    gzclose(file);
    *ret_count = count;
    return data;
}

void images_load(struct images *images, const char *dir, const char *set)
{
    char path[4096];
    size_t labels;
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte.gz", dir, set);
    images->pixels = read_idx(path, 3, IMAGE_PIXELS, &images->count);
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte.gz", dir, set);
    images->labels = read_idx(path, 1, 1, &labels);
    if (labels != images->count) {
        errx(1, "%s: %zu labels for %zu images", path, labels, images->count);
    }
    for (size_t i = 0; i < labels; i++) {
        if (images->labels[i] >= IMAGE_CLASSES) {
            errx(1, "%s: label %u", path, images->labels[i]);
        }
    }
}

void images_free(struct images *images)
{
    free(images->pixels);
    free(images->labels);
}

/* SplitMix64: short, and good enough to shuffle images and draw first weights. */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

double random_unit(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

void walk_init(struct walk *walk, size_t count, unsigned rank, unsigned workers, uint64_t seed)
{
    walk->count = (count - rank + workers - 1) / workers;
    walk->order = malloc(walk->count * sizeof *walk->order);
    if (walk->order == NULL) {
        errx(1, "no memory for %zu images", walk->count);
    }
    for (size_t i = 0; i < walk->count; i++) {
        walk->order[i] = (uint32_t)(i * workers + rank);
    }
    walk->next = walk->count;
    walk->random = seed;
}

void walk_deinit(struct walk *walk)
{
    free(walk->order);
}

static void shuffle(struct walk *walk)
{
    for (size_t i = walk->count - 1; i > 0; i--) {
        size_t j = (size_t)(random_unit(&walk->random) * (double)(i + 1));
        uint32_t image = walk->order[i];
        walk->order[i] = walk->order[j];
        walk->order[j] = image;
    }
    walk->next = 0;
}

void walk_take(struct walk *walk, uint32_t *batch, size_t batch_count)
{
    for (size_t i = 0; i < batch_count; i++) {
        if (walk->next == walk->count) {
            shuffle(walk);
        }
        batch[i] = walk->order[walk->next++];
    }
}
