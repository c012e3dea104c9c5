/* Does the jobs of a write-ahead log on a disk. On any thread, one at a time. */
#ifndef PARAMD_SERVER_STORAGE_WAL_FILES_H
#define PARAMD_SERVER_STORAGE_WAL_FILES_H

#include <stdbool.h>

#include "server/storage/disk.h"
#include "server/storage/wal.h"

/* All fields are its own. */
struct pd_wal_files {
    const struct pd_disk *_disk;
    const char *_log;
    int _file; /* of the segment written last, if _open */
    uint32_t _number;
    bool _open;
    uint64_t _zeros_end; /* that file has been written up to here, if only with zeros */
};

/* disk and the log's name (below PD_WAL_LOG_NAME_BYTES) stay until deinit. */
void pd_wal_files_init(struct pd_wal_files *files, const struct pd_disk *disk, const char *log);
void pd_wal_files_deinit(struct pd_wal_files *files);

/* Blocks until the job is done. The status is for pd_wal_job_done. */
struct pd_disk_result pd_wal_files_run(struct pd_wal_files *files, const struct pd_wal_job *job)
    __attribute__((warn_unused_result));

/* Makes the first file of a log that nobody writes yet, header and all, and makes it durable. After
 * RESOURCE_EXHAUSTED nothing of it is there. */
struct pd_disk_result pd_wal_begin(const struct pd_disk *disk, const char *log, uint64_t log_id,
                                   size_t segment_bytes) __attribute__((warn_unused_result));

#endif
