/* A snapshot is under way from begin until MANIFEST names it: then segments of logs that no kept
 * snapshot needs are used again, and old files go. In between the kept ones are read through. */
#include "server/snapshots.h"

#include "server/base/log.h"
#include "server/storage/data_dir.h"

/* What is needed and failed is tried again, as the last one's progress is told, so often. */
enum { RETRY_US = 5 * 1000 * 1000, PROGRESS_MS = 1000 };

/* Epochs of which logs are kept: more take space and time at a start. */
enum { EPOCHS_MANY = 16 };

/* A kept snapshot is read once, within half a minute or so. */
enum { SCRUB_MS = 1000, SCRUB_STEPS = 32, SCRUB_BYTES_MIN = 8 * 1024 * 1024 };

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

/* What the log and those who asked for it are told. */
static enum paramd_status explain(enum paramd_status status, const char **ret_text)
{
    switch (status) {
    case PARAMD_TIMEOUT:
        *ret_text = "pushes had been held for 60 s: there is no snapshot; ask again when less is "
                    "pushed, or without a pause";
        return PARAMD_TIMEOUT;
    case PARAMD_CANCELLED:
        *ret_text = "the snapshot was given up: ask again";
        return PARAMD_BUSY;
    case PARAMD_NO_MEMORY:
        *ret_text = "there is no memory for a snapshot: ask again later";
        return PARAMD_RESOURCE_EXHAUSTED;
    case PARAMD_RESOURCE_EXHAUSTED:
        *ret_text = "the disk has no room for a snapshot: make some, then ask again; those before "
                    "it stand";
        return PARAMD_RESOURCE_EXHAUSTED;
    default:
        *ret_text = "the disk failed what a snapshot asked of it: see the daemon's log";
        return PARAMD_DISK;
    }
}

static void log_end(const struct pd_snapshots *snapshots, const struct pd_snapshot_result *result)
{
    struct pd_log_line line;
    bool good = result->status == PARAMD_OK;
    pd_log_begin(&line, good ? PD_LOG_INFO : PD_LOG_WARN,
                 good ? "snapshot" : "a snapshot was given up: the logs stay");
    pd_log_number(&line, "number", result->number);
    if (good) {
        pd_log_number(&line, "bytes", result->bytes);
    } else {
        pd_log_text(&line, "reason", "%s", result->text);
    }
    pd_log_text(&line, "seconds", "%.2f", (double)result->us / 1e6);
    if (snapshots->_pause) {
        pd_log_text(&line, "held_seconds", "%.2f", (double)result->held_us / 1e6);
    }
    pd_log_end(&line);
}

static bool too_many_epochs(const struct pd_snapshots *snapshots)
{
    return snapshots->_options.store->recovery->manifest.epoch_count > EPOCHS_MANY;
}

static void begin(struct pd_snapshots *snapshots, bool pause);

/* Nothing of it is left but its files, if it is kept. */
static void end(struct pd_snapshots *snapshots)
{
    uint64_t now = now_us();
    struct pd_snapshot_result result = {
        .status = snapshots->_status,
        .number = snapshots->_taking.number,
        .us = now - snapshots->_begun_us,
        .held_us = snapshots->_held_us,
    };
    for (uint32_t i = 0; i < snapshots->_options.shards; i++) {
        result.bytes += snapshots->_taking.files[i].bytes;
    }
    if (result.status == PARAMD_OK) {
        snapshots->_needed = too_many_epochs(snapshots);
    } else {
        snapshots->_retry_us = now + RETRY_US;
        result.status = explain(result.status, &result.text);
    }
    log_end(snapshots, &result);
    snapshots->_taking.number = 0;
    pd_control_host_snapshot_done(snapshots->_options.control, &result, now);
    snapshots->_options.ended(snapshots->_options.context, snapshots->_status,
                              snapshots->_taking.clean);
    if (snapshots->_taking.clean) {
        (void)uv_timer_stop(&snapshots->_progress);
    } else if (snapshots->_last) {
        begin(snapshots, false);
    }
}

/* ---- publishing ---- */

static void log_error(enum pd_log_level level, const char *message,
                      const struct pd_storage_error *error)
{
    struct pd_log_line line;
    pd_log_begin(&line, level, message);
    pd_log_text(&line, "file", "%s", error->file);
    pd_log_text(&line, "reason", "%s", error->text);
    pd_log_end(&line);
}

/* Files of one that was given up go, too: they may have the space that the next one needs. */
static void publish(struct pd_snapshots *snapshots)
{
    struct pd_manifest *manifest = &snapshots->_options.store->recovery->manifest;
    const struct pd_disk *disk = snapshots->_options.store->disk;
    struct pd_storage_error error;
    if (snapshots->_status == PARAMD_OK) {
        snapshots->_status = pd_manifest_publish(disk, manifest, &snapshots->_taking,
                                                 snapshots->_control_lsn, &error);
        if (snapshots->_status != PARAMD_OK) {
            log_error(PD_LOG_ERROR, "a snapshot could not be published", &error);
        }
    }
    if (snapshots->_status != PARAMD_DISK &&
        pd_data_dir_sweep(disk, manifest, &error) != PARAMD_OK) {
        log_error(PD_LOG_WARN, "what is not needed any more stays", &error);
    }
}

/* Records that both kept snapshots have. All shards hear of it: those whose logs fill say so again
 * if they still do. */
static void release_logs(struct pd_snapshots *snapshots)
{
    const struct pd_manifest *manifest = &snapshots->_options.store->recovery->manifest;
    const struct pd_manifest_snapshot *oldest = &manifest->snapshots[0];
    bool both =
        manifest->snapshot_count == PD_SNAPSHOTS_KEPT && oldest->epoch == snapshots->_taking.epoch;
    for (uint32_t i = 0; i < snapshots->_options.shards; i++) {
        pd_shard_thread_release_log(snapshots->_options.threads[i],
                                    both ? oldest->files[i].start_lsn : 0);
    }
}

static void published(struct pd_snapshots *snapshots)
{
    if (snapshots->_status == PARAMD_OK) {
        release_logs(snapshots);
    }
    end(snapshots);
}

/* ---- scrubbing ---- */

static void scrub(struct pd_snapshots *snapshots)
{
    uint64_t share = pd_verify_total_bytes(snapshots->_scrub) / SCRUB_STEPS;
    uint64_t budget = share > SCRUB_BYTES_MIN ? share : SCRUB_BYTES_MIN;
    snapshots->_step = pd_verify_step(snapshots->_scrub, budget, &snapshots->_verified);
}

static void end_scrub(struct pd_snapshots *snapshots)
{
    pd_verify_destroy(snapshots->_scrub);
    snapshots->_scrub = NULL;
}

/* Damage is answered with another snapshot, before which this one goes: the state in memory is
 * good. */
static void scrubbed(struct pd_snapshots *snapshots)
{
    const struct pd_verified *verified = &snapshots->_verified;
    bool unknown = snapshots->_step == PARAMD_OK &&
                   (verified->status == PARAMD_NO_MEMORY || verified->status == PARAMD_UNSUPPORTED);
    if (snapshots->_step == PARAMD_NOT_FOUND || unknown) {
        end_scrub(snapshots);
        snapshots->_scrubbed = true; /* until the next snapshot */
    } else if (snapshots->_step == PARAMD_OK && verified->status != PARAMD_OK) {
        struct pd_log_line line;
        pd_log_begin(&line, PD_LOG_ERROR, "a snapshot is damaged: see to the disk; taking another");
        pd_log_text(&line, "file", "%s", verified->error.file);
        pd_log_number(&line, "offset", verified->error.offset);
        pd_log_text(&line, "reason", "%s", verified->error.text);
        pd_log_end(&line);
        end_scrub(snapshots);
        pd_manifest_note_damage(&snapshots->_options.store->recovery->manifest, verified->snapshot);
        snapshots->_scrubbed = true;
        snapshots->_needed = true;
    }
}

static void on_scrub_due(uv_timer_t *due)
{
    struct pd_snapshots *snapshots = due->data;
    struct pd_storage_error error;
    if (snapshots->_task != PD_SNAPSHOTS_IDLE || snapshots->_scrubbed) {
        return;
    }
    if (snapshots->_scrub == NULL &&
        pd_verify_create(snapshots->_options.store->disk,
                         &snapshots->_options.store->recovery->manifest, false, &snapshots->_scrub,
                         &error) != PARAMD_OK) {
        snapshots->_scrubbed = true; /* until the next snapshot */
        return;
    }
    snapshots->_task = PD_SNAPSHOTS_SCRUBS;
    pd_background_go(&snapshots->_background);
}

/* ---- the thread ---- */

static void run(void *context)
{
    struct pd_snapshots *snapshots = context;
    if (snapshots->_task == PD_SNAPSHOTS_PUBLISHES) {
        publish(snapshots);
    } else {
        scrub(snapshots);
    }
}

/* MANIFEST changes: what is being scrubbed may go. */
static void begin_to_publish(struct pd_snapshots *snapshots)
{
    if (snapshots->_over && snapshots->_task == PD_SNAPSHOTS_IDLE) {
        snapshots->_over = false;
        snapshots->_scrubbed = false;
        end_scrub(snapshots);
        snapshots->_control_lsn = pd_control_host_durable_lsn(snapshots->_options.control);
        snapshots->_task = PD_SNAPSHOTS_PUBLISHES;
        pd_background_go(&snapshots->_background);
    }
}

static void done(void *context)
{
    struct pd_snapshots *snapshots = context;
    bool was_published = snapshots->_task == PD_SNAPSHOTS_PUBLISHES;
    snapshots->_task = PD_SNAPSHOTS_IDLE;
    if (was_published) {
        published(snapshots);
    } else {
        scrubbed(snapshots);
    }
    begin_to_publish(snapshots);
}

/* ---- taking ---- */

static bool active(const struct pd_snapshots *snapshots)
{
    return snapshots->_taking.number != 0;
}

static void begin_parts(struct pd_snapshots *snapshots)
{
    const struct pd_manifest *manifest = &snapshots->_options.store->recovery->manifest;
    const struct pd_snapshot_head head = {
        .directory_id = manifest->directory_id,
        .number = snapshots->_taking.number,
        .epoch = snapshots->_taking.epoch,
    };
    for (uint32_t i = 0; i < snapshots->_options.shards; i++) {
        struct pd_snapshot_head part = head;
        part.shard = i;
        pd_shard_thread_save(snapshots->_options.threads[i], &part);
    }
}

static uint64_t applied_count(const struct pd_snapshots *snapshots)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < snapshots->_options.shards; i++) {
        count += pd_shard_thread_applied_count(snapshots->_options.threads[i]);
    }
    return count;
}

static void begin(struct pd_snapshots *snapshots, bool pause)
{
    const struct pd_manifest *manifest = &snapshots->_options.store->recovery->manifest;
    snapshots->_taking = (struct pd_manifest_snapshot){
        .number = manifest->last_snapshot + 1,
        .epoch = manifest->epochs[manifest->epoch_count - 1].number,
        .shards = snapshots->_options.shards,
        .clean = snapshots->_last,
    };
    snapshots->_parts = 0;
    snapshots->_status = PARAMD_OK;
    snapshots->_pause = pause;
    snapshots->_pausing = pause ? snapshots->_options.shards : 0;
    snapshots->_held_us = 0;
    snapshots->_begun_us = now_us();
    snapshots->_begun_applied = applied_count(snapshots);
    pd_control_host_snapshot_begun(snapshots->_options.control, pause);
    if (!pause) {
        begin_parts(snapshots);
        return;
    }
    for (uint32_t i = 0; i < snapshots->_options.shards; i++) {
        pd_shard_thread_pause(snapshots->_options.threads[i]);
    }
}

void pd_snapshots_need(struct pd_snapshots *snapshots)
{
    snapshots->_needed = true;
}

void pd_snapshots_look(struct pd_snapshots *snapshots)
{
    bool pause = false;
    uint64_t every = snapshots->_options.every_updates;
    if (active(snapshots) || snapshots->_last) {
        return;
    }
    if (pd_control_host_wants_snapshot(snapshots->_options.control, &pause) ||
        (snapshots->_needed && now_us() >= snapshots->_retry_us) ||
        (every > 0 && applied_count(snapshots) - snapshots->_begun_applied >= every)) {
        begin(snapshots, pause);
    }
}

static void give_up_parts(struct pd_snapshots *snapshots)
{
    for (uint32_t i = 0; i < snapshots->_options.shards; i++) {
        pd_shard_thread_give_up_save(snapshots->_options.threads[i]);
    }
}

static void give_up(struct pd_snapshots *snapshots, enum paramd_status status)
{
    if (snapshots->_status == PARAMD_OK) {
        snapshots->_status = status;
        give_up_parts(snapshots);
    }
}

void pd_snapshots_drain(struct pd_snapshots *snapshots)
{
    pd_control_host_end_snapshots(snapshots->_options.control);
    if (active(snapshots) && snapshots->_pause && snapshots->_parts < snapshots->_options.shards) {
        give_up(snapshots, PARAMD_CANCELLED);
    }
}

void pd_snapshots_paused(struct pd_snapshots *snapshots)
{
    if (--snapshots->_pausing > 0) {
        return;
    }
    if (snapshots->_status == PARAMD_OK) {
        begin_parts(snapshots);
    } else {
        end(snapshots);
    }
}

void pd_snapshots_saved(struct pd_snapshots *snapshots, const struct pd_shard_report *report)
{
    snapshots->_parts++;
    snapshots->_taking.files[report->shard] = report->file;
    if (snapshots->_pause && report->held_us > snapshots->_held_us) {
        snapshots->_held_us = report->held_us;
    }
    if (report->status != PARAMD_OK) {
        give_up(snapshots, report->status);
    }
    if (snapshots->_parts == snapshots->_options.shards) {
        snapshots->_over = true;
        begin_to_publish(snapshots);
    }
}

/* ---- the last one ---- */

static void on_progress(uv_timer_t *timer)
{
    const struct pd_snapshots *snapshots = timer->data;
    uint64_t bytes = 0;
    uint64_t of = 0;
    for (uint32_t i = 0; i < snapshots->_options.shards; i++) {
        bytes += pd_shard_thread_saved_bytes(snapshots->_options.threads[i]);
        of += pd_shard_thread_memory_bytes(snapshots->_options.threads[i]);
    }
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_INFO, "stopping: taking a last snapshot");
    pd_log_text(&line, "percent", "%.0f", bytes < of ? 100.0 * (double)bytes / (double)of : 100.0);
    pd_log_number(&line, "bytes", bytes);
    pd_log_text(&line, "seconds", "%.1f", (double)(now_us() - snapshots->_begun_us) / 1e6);
    pd_log_end(&line);
}

void pd_snapshots_take_last(struct pd_snapshots *snapshots)
{
    snapshots->_last = true;
    (void)uv_timer_start(&snapshots->_progress, on_progress, PROGRESS_MS, PROGRESS_MS);
    if (!active(snapshots)) {
        begin(snapshots, false);
    }
}

/* ---- from beginning to end ---- */

static void on_due(uv_timer_t *due)
{
    pd_snapshots_need(due->data);
}

enum paramd_status pd_snapshots_open(struct pd_snapshots *snapshots, uv_loop_t *loop,
                                     const struct pd_snapshots_options *options)
{
    *snapshots = (struct pd_snapshots){._options = *options};
    enum paramd_status status =
        pd_background_start(&snapshots->_background, loop, "paramd-manifest", run, done, snapshots);
    if (status != PARAMD_OK) {
        return status;
    }
    snapshots->_open = true;
    /* After a crash at once: what was replayed need not be again, however often it comes. */
    snapshots->_needed =
        too_many_epochs(snapshots) || (options->every_ms > 0 && !options->store->recovery->clean);
    (void)uv_timer_init(loop, &snapshots->_due);
    (void)uv_timer_init(loop, &snapshots->_scrub_due);
    (void)uv_timer_init(loop, &snapshots->_progress);
    snapshots->_due.data = snapshots;
    snapshots->_scrub_due.data = snapshots;
    snapshots->_progress.data = snapshots;
    (void)uv_timer_start(&snapshots->_scrub_due, on_scrub_due, SCRUB_MS, SCRUB_MS);
    if (options->every_ms > 0) {
        (void)uv_timer_start(&snapshots->_due, on_due, options->every_ms, options->every_ms);
    }
    return PARAMD_OK;
}

void pd_snapshots_close(struct pd_snapshots *snapshots)
{
    if (snapshots->_open) {
        snapshots->_open = false;
        pd_background_stop(&snapshots->_background);
        end_scrub(snapshots);
        uv_close((uv_handle_t *)&snapshots->_due, NULL);
        uv_close((uv_handle_t *)&snapshots->_scrub_due, NULL);
        uv_close((uv_handle_t *)&snapshots->_progress, NULL);
    }
}
