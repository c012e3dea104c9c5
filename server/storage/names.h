/* Names of files in a data directory, gathered first so that the disk can be used while they are
 * gone through. */
#ifndef PARAMD_SERVER_STORAGE_NAMES_H
#define PARAMD_SERVER_STORAGE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "server/storage/disk.h"

/* All fields are read-only outside. */
struct pd_names {
    char (*list)[PD_DISK_NAME_BYTES];
    size_t count;
};

/* Those that are wanted, in any order; names of PD_DISK_NAME_BYTES and more are not ours and left
 * out. To be freed with pd_names_deinit whatever it returned. Blocks. */
struct pd_disk_result pd_names_init(struct pd_names *names, const struct pd_disk *disk,
                                    bool (*wanted)(const void *argument, const char *name),
                                    const void *argument) __attribute__((warn_unused_result));
void pd_names_deinit(struct pd_names *names);

/* Unlinks them all, for sure. Blocks. */
struct pd_disk_result pd_names_unlink(const struct pd_names *names, const struct pd_disk *disk)
    __attribute__((warn_unused_result));

#endif
