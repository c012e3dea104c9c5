/* A snapshot is under way from begin until MANIFEST names it: then segments of logs that no kept
 * snapshot needs are used again, and old files go. */
#include "server/snapshots.h"

#include "server/base/log.h"
#include "server/storage/data_dir.h"

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

static void end(struct pd_snapshots *snapshots, enum paramd_status status)
{
    struct pd_log_line line;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < snapshots->_shards; i++) {
        bytes += snapshots->_taking.files[i].bytes;
    }
    pd_log_begin(&line, status == PARAMD_OK ? PD_LOG_INFO : PD_LOG_WARN,
                 status == PARAMD_OK ? "snapshot" : "a snapshot was given up: the logs stay");
    pd_log_number(&line, "number", snapshots->_taking.number);
    if (status == PARAMD_OK) {
        pd_log_number(&line, "bytes", bytes);
    } else {
        pd_log_text(&line, "reason", "%s", paramd_status_text(status));
    }
    pd_log_text(&line, "seconds", "%.2f", (double)(now_us() - snapshots->_begun_us) / 1e6);
    pd_log_end(&line);
    snapshots->_taking.number = 0;
    snapshots->_ended(snapshots->_context, status, snapshots->_taking.clean);
}

/* ---- publishing ---- */

static void publish(void *context)
{
    struct pd_snapshots *snapshots = context;
    struct pd_manifest *manifest = &snapshots->_store->recovery->manifest;
    struct pd_manifest_epoch *epoch = &manifest->epochs[manifest->epoch_count - 1];
    pd_manifest_add_snapshot(manifest, &snapshots->_taking);
    for (uint32_t i = 0; i < snapshots->_shards; i++) {
        epoch->logs[i].durable_lsn = snapshots->_taking.files[i].start_lsn;
    }
    snapshots->_published =
        pd_manifest_write(snapshots->_store->disk, manifest, &snapshots->_error);
    snapshots->_swept = PARAMD_OK;
    if (snapshots->_published == PARAMD_OK) {
        snapshots->_swept =
            pd_data_dir_sweep(snapshots->_store->disk, manifest, &snapshots->_error);
    }
}

/* Records that both kept snapshots have. */
static void release_logs(struct pd_snapshots *snapshots)
{
    const struct pd_manifest *manifest = &snapshots->_store->recovery->manifest;
    const struct pd_manifest_snapshot *oldest = &manifest->snapshots[0];
    if (manifest->snapshot_count < PD_SNAPSHOTS_KEPT || oldest->epoch != snapshots->_taking.epoch) {
        return;
    }
    for (uint32_t i = 0; i < snapshots->_shards; i++) {
        pd_shard_thread_release_log(snapshots->_threads[i], oldest->files[i].start_lsn);
    }
}

static void published(void *context)
{
    struct pd_snapshots *snapshots = context;
    if (snapshots->_published == PARAMD_OK) {
        release_logs(snapshots);
    } else {
        pd_log_message(PD_LOG_ERROR, "%s: %s", snapshots->_error.file, snapshots->_error.text);
    }
    if (snapshots->_swept != PARAMD_OK) {
        pd_log_message(PD_LOG_WARN, "%s: what is not needed any more stays: %s",
                       snapshots->_error.file, snapshots->_error.text);
    }
    end(snapshots, snapshots->_published);
}

/* ---- taking ---- */

static void on_due(uv_timer_t *due)
{
    pd_snapshots_begin(due->data, false);
}

enum paramd_status
pd_snapshots_open(struct pd_snapshots *snapshots, uv_loop_t *loop, struct pd_store *store,
                  struct pd_shard_thread *const *threads, uint32_t shards, uint64_t every_ms,
                  void (*ended)(void *context, enum paramd_status status, bool clean),
                  void *context)
{
    *snapshots = (struct pd_snapshots){._store = store,
                                       ._threads = threads,
                                       ._shards = shards,
                                       ._ended = ended,
                                       ._context = context};
    enum paramd_status status = pd_background_start(
        &snapshots->_background, loop, "paramd-manifest", publish, published, snapshots);
    if (status != PARAMD_OK) {
        return status;
    }
    snapshots->_open = true;
    (void)uv_timer_init(loop, &snapshots->_due);
    snapshots->_due.data = snapshots;
    if (every_ms > 0) {
        (void)uv_timer_start(&snapshots->_due, on_due, every_ms, every_ms);
    }
    return PARAMD_OK;
}

bool pd_snapshots_active(const struct pd_snapshots *snapshots)
{
    return snapshots->_taking.number != 0;
}

void pd_snapshots_begin(struct pd_snapshots *snapshots, bool clean)
{
    const struct pd_manifest *manifest = &snapshots->_store->recovery->manifest;
    if (pd_snapshots_active(snapshots)) {
        return;
    }
    snapshots->_taking = (struct pd_manifest_snapshot){
        .number = manifest->last_snapshot + 1,
        .epoch = manifest->epochs[manifest->epoch_count - 1].number,
        .shards = snapshots->_shards,
        .clean = clean,
    };
    snapshots->_parts = 0;
    snapshots->_status = PARAMD_OK;
    snapshots->_begun_us = now_us();
    const struct pd_snapshot_head head = {
        .directory_id = manifest->directory_id,
        .number = snapshots->_taking.number,
        .epoch = snapshots->_taking.epoch,
    };
    for (uint32_t i = 0; i < snapshots->_shards; i++) {
        struct pd_snapshot_head part = head;
        part.shard = i;
        pd_shard_thread_save(snapshots->_threads[i], &part);
    }
}

static void give_up_parts(struct pd_snapshots *snapshots)
{
    for (uint32_t i = 0; i < snapshots->_shards; i++) {
        pd_shard_thread_give_up_save(snapshots->_threads[i]);
    }
}

void pd_snapshots_give_up(struct pd_snapshots *snapshots)
{
    if (pd_snapshots_active(snapshots) && snapshots->_parts < snapshots->_shards &&
        snapshots->_status == PARAMD_OK) {
        snapshots->_status = PARAMD_CANCELLED;
        give_up_parts(snapshots);
    }
}

void pd_snapshots_saved(struct pd_snapshots *snapshots, const struct pd_shard_report *report)
{
    snapshots->_parts++;
    snapshots->_taking.files[report->shard] = report->file;
    if (report->status != PARAMD_OK && snapshots->_status == PARAMD_OK) {
        snapshots->_status = report->status;
        give_up_parts(snapshots);
    }
    if (snapshots->_parts < snapshots->_shards) {
        return;
    }
    if (snapshots->_status == PARAMD_OK) {
        pd_background_go(&snapshots->_background);
    } else {
        end(snapshots, snapshots->_status);
    }
}

void pd_snapshots_close(struct pd_snapshots *snapshots)
{
    if (snapshots->_open) {
        snapshots->_open = false;
        pd_background_stop(&snapshots->_background);
        uv_close((uv_handle_t *)&snapshots->_due, NULL);
    }
}
