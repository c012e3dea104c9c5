/* Joins a host's snapshot with a thread that writes it, and with the clock: while requests come in,
 * nineteen times as long as a copy took goes by before the next. */
#include "server/shard_saver.h"

#include "server/base/log.h"

enum { REST_SHARE = 19 };

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

static void run(void *context)
{
    struct pd_shard_saver *saver = context;
    saver->_result = pd_snapshot_files_run(&saver->_files, &saver->_job);
}

static void log_failure(const struct pd_shard_saver *saver)
{
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_WARN, "a part of a snapshot could not be written");
    pd_log_text(&line, "file", "%s", saver->_files.name);
    pd_log_text(&line, "reason", "%s", saver->_result.text);
    pd_log_end(&line);
}

static void done(void *context)
{
    struct pd_shard_saver *saver = context;
    saver->_writing = false;
    if (saver->_result.status != PARAMD_OK) {
        log_failure(saver);
    }
    pd_host_snapshot_job_done(saver->_host, saver->_result.status);
}

static void on_pace(uv_timer_t *pace)
{
    (void)pace; /* that the loop turns is all it takes */
}

enum paramd_status pd_shard_saver_open(struct pd_shard_saver *saver, uv_loop_t *loop,
                                       const struct pd_disk *disk, struct pd_host *host,
                                       void (*ended)(void *context, enum paramd_status status,
                                                     const struct pd_manifest_file *file),
                                       void *context)
{
    *saver =
        (struct pd_shard_saver){._disk = disk, ._host = host, ._ended = ended, ._context = context};
    enum paramd_status status =
        pd_background_start(&saver->_background, loop, "paramd-snapshot", run, done, saver);
    if (status == PARAMD_OK) {
        (void)uv_timer_init(loop, &saver->_pace);
        saver->_open = true;
    }
    return status;
}

void pd_shard_saver_begin(struct pd_shard_saver *saver, const struct pd_snapshot_head *head)
{
    enum paramd_status status = pd_host_begin_snapshot(saver->_host, head);
    if (status != PARAMD_OK) {
        saver->_ended(saver->_context, status, NULL);
        return;
    }
    pd_snapshot_files_init(&saver->_files, saver->_disk, head->number, head->shard);
    saver->_active = true;
    saver->_next_copy_us = 0;
}

void pd_shard_saver_give_up(struct pd_shard_saver *saver)
{
    if (saver->_active) {
        pd_host_give_up_snapshot(saver->_host);
    }
}

/* Copies slots as far as there are room and time. */
static void copy(struct pd_shard_saver *saver, bool busy)
{
    uint64_t begun_us = now_us();
    if (busy && begun_us < saver->_next_copy_us) {
        (void)uv_timer_start(&saver->_pace, on_pace, (saver->_next_copy_us - begun_us + 999) / 1000,
                             0);
        return;
    }
    if (pd_host_copy_slot(saver->_host)) {
        uint64_t ended_us = now_us();
        saver->_next_copy_us = ended_us + (ended_us - begun_us) * REST_SHARE;
        (void)uv_timer_start(&saver->_pace, on_pace, 0, 0);
    }
}

void pd_shard_saver_turn(struct pd_shard_saver *saver, bool busy)
{
    if (!saver->_active) {
        return;
    }
    struct pd_manifest_file file;
    copy(saver, busy);
    if (pd_host_take_snapshot_job(saver->_host, &saver->_job)) {
        saver->_writing = true;
        pd_background_go(&saver->_background);
    }
    enum paramd_status status = pd_host_end_snapshot(saver->_host, &file);
    if (status != PARAMD_PENDING) {
        saver->_active = false;
        pd_snapshot_files_deinit(&saver->_files);
        saver->_ended(saver->_context, status, status == PARAMD_OK ? &file : NULL);
    }
}

void pd_shard_saver_close(struct pd_shard_saver *saver)
{
    if (!saver->_open) {
        return;
    }
    pd_background_stop(&saver->_background);
    if (saver->_writing) {
        done(saver);
    }
    uv_close((uv_handle_t *)&saver->_pace, NULL);
    if (saver->_active) {
        pd_snapshot_files_deinit(&saver->_files);
    }
    saver->_open = false;
}
