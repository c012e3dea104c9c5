/* The disk on POSIX files: one directory. */
#ifndef PARAMD_SERVER_STORAGE_POSIX_DISK_H
#define PARAMD_SERVER_STORAGE_POSIX_DISK_H

#include "server/storage/disk.h"

/* Makes the directory if it is not there, and its name durable. */
struct pd_disk_result pd_posix_disk_make(const char *directory) __attribute__((warn_unused_result));
/* The directory must be there. ret_disk is valid after OK, until close. */
struct pd_disk_result pd_posix_disk_open(const char *directory, struct pd_disk *ret_disk)
    __attribute__((warn_unused_result));
/* All its files are closed. */
void pd_posix_disk_close(struct pd_disk *disk);

#endif
