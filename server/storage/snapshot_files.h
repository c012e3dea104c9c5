/* Does the jobs of a snapshot file on a disk. On any thread, one at a time. */
#ifndef PARAMD_SERVER_STORAGE_SNAPSHOT_FILES_H
#define PARAMD_SERVER_STORAGE_SNAPSHOT_FILES_H

#include <stdbool.h>

#include "server/storage/disk.h"
#include "server/storage/snapshot.h"

struct pd_snapshot_files {
    char name[PD_DISK_NAME_BYTES]; /* of the file; all else is its own */
    const struct pd_disk *_disk;
    char _new_name[PD_DISK_NAME_BYTES];
    int _file; /* if _open */
    bool _open;
};

/* disk stays until deinit. */
void pd_snapshot_files_init(struct pd_snapshot_files *files, const struct pd_disk *disk,
                            uint32_t number, uint32_t shard);
void pd_snapshot_files_deinit(struct pd_snapshot_files *files);

/* Blocks until the job is done. The status is for pd_snapshot_job_done. */
struct pd_disk_result pd_snapshot_files_run(struct pd_snapshot_files *files,
                                            const struct pd_snapshot_job *job)
    __attribute__((warn_unused_result));

#endif
