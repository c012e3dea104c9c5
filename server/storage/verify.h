/* Goes through what a MANIFEST names and checks every sum, in steps as small as one likes: all of a
 * directory that no daemon uses, or, for a daemon, the snapshots that it keeps. It only reads. */
#ifndef PARAMD_SERVER_STORAGE_VERIFY_H
#define PARAMD_SERVER_STORAGE_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "server/storage/disk.h"
#include "server/storage/error.h"
#include "server/storage/manifest.h"

/* What became of a file, or of a log with all its files. */
struct pd_verified {
    char name[PD_DISK_NAME_BYTES];
    uint32_t snapshot;             /* of which it is a file; 0: a log */
    enum paramd_status status;     /* OK; CORRUPT, VERSION; DISK, NO_MEMORY: could not be read */
    uint64_t bytes;                /* checked, if OK */
    struct pd_storage_error error; /* if not */

    /* Of a log that is OK: what a crash left of a batch that nobody had been told of. */
    char cut_file[PD_DISK_NAME_BYTES];
    uint64_t cut_offset;
    uint64_t cut_bytes; /* 0: nothing */
};

struct pd_verify;

/* disk and manifest stay as they are until destroy. With `logs` the logs, too, which no daemon uses
 * then. OK; DISK, NO_MEMORY. Blocks. */
enum paramd_status pd_verify_create(const struct pd_disk *disk, const struct pd_manifest *manifest,
                                    bool logs, struct pd_verify **ret_verify,
                                    struct pd_storage_error *ret_error)
    __attribute__((warn_unused_result));
/* NULL is fine. */
void pd_verify_destroy(struct pd_verify *verify);

/* Reads on, by about so many bytes. OK: one file or log is through, and this is what it is like.
 * PENDING: not yet. NOT_FOUND: there are no more. Blocks. */
enum paramd_status pd_verify_step(struct pd_verify *verify, uint64_t budget_bytes,
                                  struct pd_verified *ret_verified)
    __attribute__((warn_unused_result));

/* Of all files together. */
uint64_t pd_verify_done_bytes(const struct pd_verify *verify);
uint64_t pd_verify_total_bytes(const struct pd_verify *verify);

#endif
