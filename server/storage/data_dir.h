/* A data directory as a whole: how its files are called, which of them its MANIFEST accounts for,
 * and which nobody needs. */
#ifndef PARAMD_SERVER_STORAGE_DATA_DIR_H
#define PARAMD_SERVER_STORAGE_DATA_DIR_H

#include "server/storage/disk.h"
#include "server/storage/error.h"
#include "server/storage/manifest.h"
#include "server/storage/wal_format.h"

#define PD_LOCK_NAME "paramd.lock"

void pd_control_log_name(uint32_t epoch, char ret_name[PD_WAL_LOG_NAME_BYTES]);
void pd_shard_log_name(uint32_t shard, uint32_t epoch, char ret_name[PD_WAL_LOG_NAME_BYTES]);
void pd_snapshot_name(uint32_t number, uint32_t shard, char ret_name[PD_DISK_NAME_BYTES]);

/* What a file is, going by its name. */
enum pd_file_use {
    PD_FILE_FOREIGN,   /* not ours: left alone */
    PD_FILE_NEEDED,    /* also what may be under way: of the newest epoch */
    PD_FILE_LEFT_OVER, /* of an epoch or snapshot that is not needed any more, or never was there */
    PD_FILE_NEWER      /* of an epoch or snapshot that was begun after this MANIFEST was replaced */
};

/* manifest: NULL if there is none, which has no epochs and no snapshots. */
enum pd_file_use pd_file_use(const struct pd_manifest *manifest, const char *name);

/* Whether MANIFEST can be the directory's newest. NULL: there is none. OK; CORRUPT: there are logs
 * or snapshots that it does not know yet, so it is an old copy, or it was lost; DISK, NO_MEMORY.
 * Blocks. */
enum paramd_status pd_data_dir_check(const struct pd_disk *disk, const struct pd_manifest *manifest,
                                     struct pd_storage_error *ret_error)
    __attribute__((warn_unused_result));

/* Removes what a daemon that is gone was making: it may have all of a full disk's space. The
 * directory was checked. DISK: what is gone is unknown, and does not matter. Blocks. */
enum paramd_status pd_data_dir_clear(const struct pd_disk *disk, struct pd_storage_error *ret_error)
    __attribute__((warn_unused_result));

/* Removes what is left over, those of a snapshot given up among it: not while one is being written.
 * The manifest is durable, and the directory was checked. DISK: what is gone is unknown, and does
 * not matter. Blocks. */
enum paramd_status pd_data_dir_sweep(const struct pd_disk *disk, const struct pd_manifest *manifest,
                                     struct pd_storage_error *ret_error)
    __attribute__((warn_unused_result));

#endif
