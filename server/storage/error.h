/* Where something on the disk is not as it should be, and what it is: for a person, and for the log
 * line of a daemon that refuses to start. */
#ifndef PARAMD_SERVER_STORAGE_ERROR_H
#define PARAMD_SERVER_STORAGE_ERROR_H

#include <stdint.h>
#include <stdio.h>

#include "proto/paramd_status.h"
#include "server/storage/disk.h"

struct pd_storage_error {
    char file[PD_DISK_NAME_BYTES];
    uint64_t offset;
    const char *text; /* static */
};

/* Fills it in and returns the status. */
static inline enum paramd_status pd_storage_fail(struct pd_storage_error *ret_error,
                                                 enum paramd_status status, const char *file,
                                                 uint64_t offset, const char *text)
{
    *ret_error = (struct pd_storage_error){.offset = offset, .text = text};
    (void)snprintf(ret_error->file, sizeof ret_error->file, "%s", file);
    return status;
}

#endif
