/* The thread that writes one log: it does the jobs that the log's owner takes from it, one at a
 * time, and tells the owner's loop how each ended. */
#ifndef PARAMD_SERVER_LOG_WRITER_H
#define PARAMD_SERVER_LOG_WRITER_H

#include <stdbool.h>

#include "server/net/background.h"
#include "server/storage/wal_files.h"

/* The memory is the owner's and must not move. */
struct pd_log_writer {
    struct pd_background _background;
    struct pd_wal_files _files;
    struct pd_wal_job _job;
    struct pd_disk_result _result;
    bool _running;
    bool _no_space; /* the last file could not be prepared */
    char _log[PD_WAL_LOG_NAME_BYTES];
    void (*_done)(void *context, enum paramd_status status);
    void *_context;
};

/* done is called on the loop's thread after each job, for pd_wal_job_done; a job that failed
 * has been logged then, a disk that stays full once. disk outlives the writer. */
enum paramd_status pd_log_writer_start(struct pd_log_writer *writer, uv_loop_t *loop,
                                       const struct pd_disk *disk, const char *log,
                                       void (*done)(void *context, enum paramd_status status),
                                       void *context) __attribute__((warn_unused_result));
/* Not again before done. */
void pd_log_writer_do(struct pd_log_writer *writer, const struct pd_wal_job *job);
/* As pd_background_look. */
void pd_log_writer_look(struct pd_log_writer *writer);
/* Whether the log has failed with this job: nothing more will be durable. */
bool pd_log_writer_failed(const struct pd_log_writer *writer);
/* Waits for the job in hand. The memory is free when the loop has run once more. */
void pd_log_writer_stop(struct pd_log_writer *writer);

#endif
