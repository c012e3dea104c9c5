/* All files of a data directory at one time, to be put on a disk again as they were or changed. */
#ifndef PARAMD_TESTS_UNIT_RECOVERY_IMAGE_H
#define PARAMD_TESTS_UNIT_RECOVERY_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/sim_disk.h"

enum { PD_IMAGE_FILES_MAX = 64 };

struct pd_image_file {
    char name[PD_DISK_NAME_BYTES];
    const uint8_t *bytes; /* borrowed by copies of the image */
    uint64_t count;
};

/* May be copied; only one of the copies is freed. */
struct pd_image {
    struct pd_image_file files[PD_IMAGE_FILES_MAX]; /* by name */
    unsigned count;
};

void pd_image_take(struct pd_image *image, struct pd_sim_disk *sim);
void pd_image_free(struct pd_image *image);

/* NULL: there is none of this name. */
struct pd_image_file *pd_image_find(struct pd_image *image, const char *name);
void pd_image_remove(struct pd_image *image, struct pd_image_file *file);
/* In the place of the file of this name, or beside the others. */
void pd_image_put(struct pd_image *image, const struct pd_image_file *file);

/* A disk with these files on its platter. */
struct pd_sim_disk *pd_image_disk(const struct pd_image *image);
/* Whether the disk has these files and no others, and each as it is here. */
bool pd_image_equals(const struct pd_image *image, struct pd_sim_disk *sim);

#endif
