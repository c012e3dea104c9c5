/* The disk as storage sees it: files of one data directory by name, behind a few functions that
 * POSIX and the simulator each implement. Nothing above it knows errno or a path. */
#ifndef PARAMD_SERVER_STORAGE_DISK_H
#define PARAMD_SERVER_STORAGE_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "proto/paramd_status.h"

enum { PD_DISK_NAME_BYTES = 64 }; /* of a file's name, its end included */

/* How an operation ended. OK; NOT_FOUND: no file has that name; RESOURCE_EXHAUSTED: no space;
 * BUSY: somebody else holds the lock; DISK: all else. */
struct pd_disk_result {
    enum paramd_status status;
    const char *text; /* for a person; static, never NULL */
};

enum pd_disk_mode {
    PD_DISK_READ,
    PD_DISK_WRITE, /* to read and write; the file must be there, as for READ */
    PD_DISK_CREATE /* the same, but made if it is not there */
};

/* Names have no slash. What is written is on the disk for sure after sync(); names that were made,
 * renamed or unlinked after sync_names(). After a sync that failed nothing is known about what was
 * written before, and calling it again proves nothing: whoever cares must stop. All of them block.
 * Any threads, each file by one at a time. */
struct pd_disk {
    void *context; /* the first argument of each function */

    struct pd_disk_result (*open)(void *context, const char *name, enum pd_disk_mode mode,
                                  int *ret_file) __attribute__((warn_unused_result));
    void (*close)(void *context, int file);

    /* Fills bytes from offset on; ret_count is less than count only where the file ends. */
    struct pd_disk_result (*read)(void *context, int file, uint64_t offset, void *bytes,
                                  size_t count, size_t *ret_count)
        __attribute__((warn_unused_result));
    /* All or an error, after which any part may have been written. */
    struct pd_disk_result (*write)(void *context, int file, uint64_t offset, const void *bytes,
                                   size_t count) __attribute__((warn_unused_result));
    /* Takes the space for so many bytes from the start, so that writing them needs no more; the
     * file is at least as long then, what was never written zeros. */
    struct pd_disk_result (*allocate)(void *context, int file, uint64_t bytes)
        __attribute__((warn_unused_result));
    struct pd_disk_result (*sync)(void *context, int file) __attribute__((warn_unused_result));
    struct pd_disk_result (*size)(void *context, int file, uint64_t *ret_bytes)
        __attribute__((warn_unused_result));

    /* Takes the place of a file that has the name `to`. */
    struct pd_disk_result (*rename)(void *context, const char *from, const char *to)
        __attribute__((warn_unused_result));
    struct pd_disk_result (*unlink)(void *context, const char *name)
        __attribute__((warn_unused_result));
    struct pd_disk_result (*sync_names)(void *context) __attribute__((warn_unused_result));
    /* Calls each for every file, in any order; it must not use the disk. */
    struct pd_disk_result (*list)(void *context, void (*each)(void *argument, const char *name),
                                  void *argument) __attribute__((warn_unused_result));

    /* Makes the file if need be and keeps every other opener out (BUSY) until close, or until this
     * process ends, however it ends. */
    struct pd_disk_result (*lock)(void *context, const char *name, int *ret_file)
        __attribute__((warn_unused_result));
};

#endif
