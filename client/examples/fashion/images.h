/* Fashion-MNIST in memory: 28 x 28 grey images and their labels, read from the gzipped IDX files of
 * the Debian package dataset-fashion-mnist. */
#ifndef FASHION_IMAGES_H
#define FASHION_IMAGES_H

#include <stddef.h>
#include <stdint.h>

enum { IMAGE_PIXELS = 28 * 28, IMAGE_CLASSES = 10 };

struct images {
    size_t count;
    uint8_t *pixels; /* count rows of IMAGE_PIXELS, 0 to 255 */
    uint8_t *labels; /* count, below IMAGE_CLASSES */
};

/* Reads DIR/<set>-images-idx3-ubyte.gz and -labels-idx1-ubyte.gz; set is "train" or "t10k". Ends
 * the program with a sentence that says what to do when they cannot be read. */
void images_load(struct images *images, const char *dir, const char *set);
void images_free(struct images *images);

/* A worker's own walk over its share of the images: every image once per pass, in an order that is
 * drawn anew for each pass. */
struct walk {
    uint32_t *order;
    size_t count;
    size_t next;
    uint64_t random;
};

/* Worker rank of workers gets images rank, rank + workers, ... of the first count. */
void walk_init(struct walk *walk, size_t count, unsigned rank, unsigned workers, uint64_t seed);
void walk_deinit(struct walk *walk);

/* The next batch of images, by their place. */
void walk_take(struct walk *walk, uint32_t *batch, size_t batch_count);

/* The next number of a random sequence in [0, 1): the same one on every machine. */
double random_unit(uint64_t *state);

#endif
