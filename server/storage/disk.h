/* The disk as storage sees it: files of one data directory by name, behind a few functions that
 * POSIX and the simulator each implement. Nothing above it knows errno or a path. */
#ifndef PARAMD_SERVER_STORAGE_DISK_H
#define PARAMD_SERVER_STORAGE_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "proto/paramd_status.h"

enum { PD_DISK_NAME_BYTES = 64 }; /* of a file's name, its end included */

/* How an operation ended. OK; NOT_FOUND: no file has that name; RESOURCE_EXHAUSTED: no space;
 * BUSY: somebody else holds the lock; NO_MEMORY; UNSUPPORTED: not for this process, or not as this
 * file is (permissions, descriptors, a link): nothing is wrong with the disk; DISK: all else. */
struct pd_disk_result {
    enum paramd_status status;
    const char *text; /* for a person; static, never NULL */
};

/* Written in front, where cppcheck can read it. */
#define PD_DISK_CHECKED __attribute__((warn_unused_result)) struct pd_disk_result

enum pd_disk_mode {
    PD_DISK_READ,
    PD_DISK_WRITE,  /* to read and write; the file must be there, as for READ */
    PD_DISK_CREATE, /* as WRITE, but made if it is not there */
    /* The same, but that whole pages of memory are read from, or written to, whole pages of the
     * file: they pass by the page cache where the file system can do that. */
    PD_DISK_READ_PAGES,
    PD_DISK_WRITE_PAGES,
    PD_DISK_CREATE_PAGES
};

/* Names have no slash. What is written is on the disk for sure after sync(); names that were made,
 * renamed or unlinked after sync_names(). After a sync that failed nothing is known about what was
 * written before, and calling it again proves nothing: whoever cares must stop. All of them block.
 * Any threads, each file by one at a time. */
struct pd_disk {
    void *context; /* the first argument of each function */

    PD_DISK_CHECKED (*open)(void *context, const char *name, enum pd_disk_mode mode, int *ret_file);
    void (*close)(void *context, int file);

    /* Fills bytes from offset on; ret_count is less than count only where the file ends. */
    PD_DISK_CHECKED(*read)
    (void *context, int file, uint64_t offset, void *bytes, size_t count, size_t *ret_count);
    /* All or an error, after which any part may have been written. */
    PD_DISK_CHECKED(*write)
    (void *context, int file, uint64_t offset, const void *bytes, size_t count);
    /* Takes the space for so many bytes from the start, so that writing them needs no more; the
     * file is at least as long then, what was never written zeros. */
    PD_DISK_CHECKED (*allocate)(void *context, int file, uint64_t bytes);
    PD_DISK_CHECKED (*sync)(void *context, int file);
    PD_DISK_CHECKED (*size)(void *context, int file, uint64_t *ret_bytes);

    /* Takes the place of a file that has the name `to`. */
    PD_DISK_CHECKED (*rename)(void *context, const char *from, const char *to);
    PD_DISK_CHECKED (*unlink)(void *context, const char *name);
    PD_DISK_CHECKED (*sync_names)(void *context);
    /* Calls each for every file, in any order; it must not use the disk. */
    PD_DISK_CHECKED(*list)
    (void *context, void (*each)(void *argument, const char *name), void *argument);

    /* Makes the file if need be and keeps every other opener out (BUSY) until close, or until this
     * process ends, however it ends. */
    PD_DISK_CHECKED (*lock)(void *context, const char *name, int *ret_file);
};

#endif
