/* Joins a thread for what blocks with the files of a log. */
#include "server/log_writer.h"

#include <stdio.h>

#include "server/base/log.h"

static void run(void *context)
{
    struct pd_log_writer *writer = context;
    writer->_result = pd_wal_files_run(&writer->_files, &writer->_job);
}

static void log_result(const struct pd_log_writer *writer, enum pd_log_level level,
                       const char *message)
{
    struct pd_log_line line;
    pd_log_begin(&line, level, message);
    pd_log_text(&line, "log", "%s", writer->_log);
    pd_log_text(&line, "reason", "%s", writer->_result.text);
    pd_log_end(&line);
}

static void note_space(struct pd_log_writer *writer)
{
    bool no_space = writer->_result.status == PARAMD_RESOURCE_EXHAUSTED;
    if (no_space != writer->_no_space) {
        writer->_no_space = no_space;
        log_result(writer, no_space ? PD_LOG_WARN : PD_LOG_INFO,
                   no_space ? "no space for a log: what it must have is refused or waits until "
                              "there is"
                            : "there is space for the log again");
    }
}

static void done(void *context)
{
    struct pd_log_writer *writer = context;
    if (pd_log_writer_failed(writer)) {
        log_result(writer, PD_LOG_ERROR, "a log could not be written");
    } else if (writer->_job.kind == PD_WAL_PREPARE) {
        note_space(writer);
    }
    writer->_done(writer->_context, writer->_result.status);
}

enum paramd_status pd_log_writer_start(struct pd_log_writer *writer, uv_loop_t *loop,
                                       const struct pd_disk *disk, const char *log,
                                       void (*job_done)(void *context, enum paramd_status status),
                                       void *context)
{
    *writer = (struct pd_log_writer){._done = job_done, ._context = context};
    (void)snprintf(writer->_log, sizeof writer->_log, "%s", log);
    pd_wal_files_init(&writer->_files, disk, writer->_log);
    enum paramd_status status =
        pd_background_start(&writer->_background, loop, writer->_log, run, done, writer);
    if (status == PARAMD_OK) {
        writer->_running = true;
    } else {
        pd_wal_files_deinit(&writer->_files);
    }
    return status;
}

void pd_log_writer_do(struct pd_log_writer *writer, const struct pd_wal_job *job)
{
    writer->_job = *job;
    pd_background_go(&writer->_background);
}

void pd_log_writer_look(struct pd_log_writer *writer)
{
    pd_background_look(&writer->_background);
}

bool pd_log_writer_failed(const struct pd_log_writer *writer)
{
    enum paramd_status status = writer->_result.status;
    return status != PARAMD_OK &&
           (status != PARAMD_RESOURCE_EXHAUSTED || writer->_job.kind != PD_WAL_PREPARE);
}

void pd_log_writer_stop(struct pd_log_writer *writer)
{
    if (writer->_running) {
        writer->_running = false;
        pd_background_stop(&writer->_background);
        pd_wal_files_deinit(&writer->_files);
    }
}
