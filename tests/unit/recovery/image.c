/* A list of files. A damaged directory is a copy of the list in which a file has other bytes. */
#include "tests/unit/recovery/image.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(void *context, const char *name)
{
    struct pd_image *image = context;
    ck_assert_uint_lt(image->count, PD_IMAGE_FILES_MAX);
    struct pd_image_file *file = &image->files[image->count++];
    ck_assert_uint_lt(strlen(name), sizeof file->name);
    (void)snprintf(file->name, sizeof file->name, "%s", name);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct pd_image_file *)left)->name,
                  ((const struct pd_image_file *)right)->name);
}

/* Names alone. */
static void list(struct pd_image *image, struct pd_sim_disk *sim)
{
    const struct pd_disk *disk = pd_sim_disk_of(sim);
    image->count = 0;
    ck_assert_int_eq(disk->list(disk->context, add, image).status, PARAMD_OK);
    qsort(image->files, image->count, sizeof image->files[0], by_name);
}

void pd_image_take(struct pd_image *image, struct pd_sim_disk *sim)
{
    list(image, sim);
    for (unsigned i = 0; i < image->count; i++) {
        struct pd_image_file *file = &image->files[i];
        const uint8_t *bytes = pd_sim_disk_bytes(sim, file->name, &file->count);
        uint8_t *copy = malloc(file->count + 1);
        ck_assert_ptr_nonnull(copy);
        if (file->count > 0) {
            memcpy(copy, bytes, file->count);
        }
        file->bytes = copy;
    }
}

void pd_image_free(struct pd_image *image)
{
    for (unsigned i = 0; i < image->count; i++) {
        free((void *)(uintptr_t)image->files[i].bytes);
    }
}

struct pd_image_file *pd_image_find(struct pd_image *image, const char *name)
{
    for (unsigned i = 0; i < image->count; i++) {
        if (strcmp(image->files[i].name, name) == 0) {
            return &image->files[i];
        }
    }
    return NULL;
}

void pd_image_remove(struct pd_image *image, struct pd_image_file *file)
{
    image->count--;
    memmove(file, file + 1, (size_t)(&image->files[image->count] - file) * sizeof *file);
}

void pd_image_put(struct pd_image *image, const struct pd_image_file *file)
{
    struct pd_image_file *found = pd_image_find(image, file->name);
    if (found != NULL) {
        *found = *file;
        return;
    }
    ck_assert_uint_lt(image->count, PD_IMAGE_FILES_MAX);
    image->files[image->count++] = *file;
    qsort(image->files, image->count, sizeof image->files[0], by_name);
}

struct pd_sim_disk *pd_image_disk(const struct pd_image *image)
{
    struct pd_sim_disk *sim = pd_sim_disk_create(1);
    const struct pd_disk *disk = pd_sim_disk_of(sim);
    for (unsigned i = 0; i < image->count; i++) {
        const struct pd_image_file *from = &image->files[i];
        int file;
        ck_assert_int_eq(disk->open(disk->context, from->name, PD_DISK_CREATE, &file).status,
                         PARAMD_OK);
        ck_assert_int_eq(disk->write(disk->context, file, 0, from->bytes, from->count).status,
                         PARAMD_OK);
        ck_assert_int_eq(disk->sync(disk->context, file).status, PARAMD_OK);
        disk->close(disk->context, file);
    }
    ck_assert_int_eq(disk->sync_names(disk->context).status, PARAMD_OK);
    return sim;
}

bool pd_image_equals(const struct pd_image *image, struct pd_sim_disk *sim)
{
    struct pd_image now;
    list(&now, sim);
    bool equal = now.count == image->count;
    for (unsigned i = 0; equal && i < now.count; i++) {
        const struct pd_image_file *file = &image->files[i];
        uint64_t count;
        const uint8_t *bytes = pd_sim_disk_bytes(sim, now.files[i].name, &count);
        equal = strcmp(file->name, now.files[i].name) == 0 && count == file->count &&
                (count == 0 || memcmp(bytes, file->bytes, count) == 0);
    }
    return equal;
}
