/* Snapshots of the daemon's shards while it works, and its last: begun now and then or on command,
 * copied slot by slot between other events, published when all parts are there; then logs and files
 * that nobody needs go. */
#include <stdlib.h>

#include "server/storage/data_dir.h"
#include "tests/sim/sim.h"

enum { EVERY_US = 2000000, SLOTS_MAX = 64, COPY_US = 1500, WRITE_US = 3000 };

void sim_snapshots_schedule(struct sim *sim)
{
    uint64_t after_us = sim_random_between(&sim->storage.random, EVERY_US / 10, EVERY_US);
    if (sim->durable) {
        sim_schedule(sim, after_us, SIM_EVENT_SNAPSHOT, 0, 0, sim->daemon.serial);
    }
}

/* ---- its end ---- */

/* Records that both kept snapshots have are not needed any more. */
static void release_logs(struct sim *sim)
{
    const struct pd_manifest *manifest = &sim->storage.recovery->manifest;
    const struct pd_manifest_snapshot *oldest = &manifest->snapshots[0];
    bool both =
        manifest->snapshot_count == PD_SNAPSHOTS_KEPT && oldest->epoch == sim->storage.taking.epoch;
    for (uint32_t i = 0; both && i < sim->daemon.shards; i++) {
        pd_host_release_log(sim->daemon.hosts[i], oldest->files[i].start_lsn);
        sim_watch_host(sim, i);
    }
}

/* Files of one that was given up go, too. */
static enum paramd_status publish(struct sim *sim)
{
    struct sim_storage *storage = &sim->storage;
    struct pd_manifest *manifest = &storage->recovery->manifest;
    const struct pd_disk *disk = pd_sim_disk_of(storage->disk);
    struct pd_storage_error error;
    enum paramd_status status = storage->status;
    if (status == PARAMD_OK) {
        status = pd_manifest_publish(disk, manifest, &storage->taking,
                                     pd_control_host_durable_lsn(sim->daemon.control_host), &error);
        sim_trace(sim, "snapshot is published (number, -status)", storage->taking.number,
                  (uint64_t)-status, 0);
    }
    if (status != PARAMD_DISK) {
        enum paramd_status swept = pd_data_dir_sweep(disk, manifest, &error);
        sim_trace(sim, "what is not needed goes (-status)", (uint64_t)-swept, 0, 0);
    }
    if (status == PARAMD_OK) {
        sim->counts.snapshots++;
        release_logs(sim);
    }
    sim_storage_look(sim, SIM_NOBODY);
    return status;
}

static void end(struct sim *sim)
{
    struct sim_storage *storage = &sim->storage;
    struct sim_daemon *daemon = &sim->daemon;
    enum paramd_status status = publish(sim);
    const struct pd_snapshot_result result = {
        .status = status == PARAMD_OK || status == PARAMD_DISK ? status : PARAMD_RESOURCE_EXHAUSTED,
        .text = "there is none",
        .number = storage->taking.number,
        .us = sim->now_us - storage->begun_us};
    sim_enter(sim, SIM_DAEMON);
    pd_control_host_snapshot_done(daemon->control_host, &result, sim->now_us);
    sim_leave(sim);
    if (status == PARAMD_DISK) {
        sim_daemon_stop(sim);
        return;
    }
    if (storage->taking.clean) {
        daemon->saved = status == PARAMD_OK;
        daemon->stop = SIM_STOP_ENDS;
    }
    sim_daemon_serve_control(sim);
}

/* Pushes that were held go on. */
static void resume(struct sim *sim, uint32_t shard)
{
    struct sim_saver *saver = &sim->storage.savers[shard];
    if (saver->holds) {
        saver->holds = false;
        sim_enter(sim, SIM_DAEMON);
        pd_host_resume(sim->daemon.hosts[shard], sim->now_us);
        sim_leave(sim);
        sim_watch_host(sim, shard);
        sim_daemon_serve(sim, shard);
    }
}

static void give_up(struct sim *sim, enum paramd_status status)
{
    struct sim_storage *storage = &sim->storage;
    if (storage->status == PARAMD_OK) {
        storage->status = status;
        for (uint32_t i = 0; i < sim->daemon.shards; i++) {
            pd_host_give_up_snapshot(sim->daemon.hosts[i]);
            resume(sim, i);
        }
    }
}

static void end_part(struct sim *sim, uint32_t shard, enum paramd_status status)
{
    struct sim_storage *storage = &sim->storage;
    if (storage->savers[shard].active) {
        storage->savers[shard].active = false;
        pd_snapshot_files_deinit(&storage->savers[shard].files);
    }
    if (status != PARAMD_OK) {
        give_up(sim, status);
    }
    if (--storage->parts_left == 0) {
        end(sim);
    }
}

/* ---- its beginning ---- */

static void begin_part(struct sim *sim, uint32_t shard, const struct pd_snapshot_head *head)
{
    struct sim_storage *storage = &sim->storage;
    struct sim_saver *saver = &storage->savers[shard];
    enum paramd_status status = storage->status;
    if (status == PARAMD_OK) {
        sim_enter(sim, SIM_DAEMON);
        status = pd_host_begin_snapshot(sim->daemon.hosts[shard], head);
        sim_leave(sim);
    }
    if (status == PARAMD_OK) {
        pd_snapshot_files_init(&saver->files, pd_sim_disk_of(storage->disk), head->number, shard);
        saver->active = true;
        sim_schedule(sim, 1, SIM_EVENT_COPY, shard, 0, sim->daemon.serial);
    } else {
        end_part(sim, shard, status);
    }
}

static void begin(struct sim *sim, bool pause)
{
    struct sim_storage *storage = &sim->storage;
    const struct pd_manifest *manifest = &storage->recovery->manifest;
    uint32_t shards = sim->daemon.shards;
    storage->status = PARAMD_OK;
    storage->parts_left = shards;
    storage->begun_us = sim->now_us;
    storage->taking = (struct pd_manifest_snapshot){
        .number = manifest->last_snapshot + 1,
        .epoch = manifest->epochs[manifest->epoch_count - 1].number,
        .shards = shards,
        .clean = sim->daemon.stop == SIM_STOP_SAVES,
    };
    sim_trace(sim, "snapshot begins (number, pause)", storage->taking.number, pause, 0);
    pd_control_host_snapshot_begun(sim->daemon.control_host, pause);
    for (uint32_t i = 0; pause && i < shards; i++) {
        storage->savers[i].holds = true;
        pd_host_pause(sim->daemon.hosts[i]);
    }
    for (uint32_t i = 0; i < shards; i++) {
        const struct pd_snapshot_head head = {.directory_id = manifest->directory_id,
                                              .number = storage->taking.number,
                                              .epoch = storage->taking.epoch,
                                              .shard = i};
        begin_part(sim, i, &head);
    }
}

/* None is under way, and it is not too late for one. */
static bool may_begin(const struct sim *sim)
{
    return sim->durable && sim->daemon.up && sim->storage.parts_left == 0 &&
           sim->daemon.stop < SIM_STOP_SAVES;
}

void sim_snapshots_begin(struct sim *sim)
{
    sim_snapshots_schedule(sim);
    if (may_begin(sim) && !sim->daemon.paused) {
        begin(sim, false);
    }
}

void sim_snapshots_look(struct sim *sim)
{
    bool pause = false;
    if (may_begin(sim) && pd_control_host_wants_snapshot(sim->daemon.control_host, &pause)) {
        sim->counts.commanded++;
        begin(sim, pause);
    }
}

void sim_snapshots_save_last(struct sim *sim)
{
    if (sim->storage.parts_left == 0) {
        begin(sim, false);
    }
}

void sim_snapshots_drain(struct sim *sim)
{
    bool holds = false;
    for (uint32_t i = 0; i < sim->daemon.shards; i++) {
        holds = holds || sim->storage.savers[i].holds;
    }
    if (holds) {
        give_up(sim, PARAMD_CANCELLED);
    }
}

/* ---- its parts ---- */

static void copy(struct sim *sim, uint32_t shard)
{
    uint64_t slots = sim_random_between(&sim->storage.random, 1, SLOTS_MAX);
    struct pd_host *host = sim->daemon.hosts[shard];
    sim_enter(sim, SIM_DAEMON);
    while (slots-- > 0 && pd_host_copy_slot(host)) {
    }
    sim_leave(sim);
    if (!pd_host_copies(host)) {
        resume(sim, shard);
    }
}

void sim_snapshots_copy(struct sim *sim, uint32_t shard)
{
    struct sim_storage *storage = &sim->storage;
    struct sim_saver *saver = &storage->savers[shard];
    struct pd_host *host = sim->daemon.hosts[shard];
    uint64_t again_us = sim_random_between(&storage->random, 20, COPY_US);
    enum paramd_status status = PARAMD_PENDING;
    if (!sim->daemon.paused) {
        copy(sim, shard);
        if (!saver->busy && pd_host_take_snapshot_job(host, &saver->job)) {
            saver->busy = true;
            uint64_t after_us = sim_random_between(&storage->random, 20, WRITE_US);
            sim_schedule(sim, after_us, SIM_EVENT_SAVE, shard, 0, sim->daemon.serial);
        }
        status = pd_host_end_snapshot(host, &storage->taking.files[shard]);
    }
    if (status != PARAMD_PENDING) {
        end_part(sim, shard, status);
    } else {
        sim_schedule(sim, again_us, SIM_EVENT_COPY, shard, 0, sim->daemon.serial);
    }
}

void sim_snapshots_save(struct sim *sim, uint32_t shard)
{
    struct sim_saver *saver = &sim->storage.savers[shard];
    struct pd_disk_result result = pd_snapshot_files_run(&saver->files, &saver->job);
    saver->busy = false;
    sim_trace(sim, "saved (shard, kind, bytes)", shard, saver->job.kind, saver->job.count);
    sim_storage_look(sim, SIM_NOBODY);
    pd_host_snapshot_job_done(sim->daemon.hosts[shard], result.status);
}

void sim_snapshots_stop(struct sim *sim)
{
    struct sim_storage *storage = &sim->storage;
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
        struct sim_saver *saver = &storage->savers[i];
        if (saver->busy) { /* it dies in the middle of it */
            uint64_t calls = sim_random_between(&storage->random, 1, 6);
            pd_sim_disk_plan(storage->disk, PD_SIM_FAIL, pd_sim_disk_calls(storage->disk) + calls);
            struct pd_disk_result result = pd_snapshot_files_run(&saver->files, &saver->job);
            pd_host_snapshot_job_done(sim->daemon.hosts[i], result.status);
        }
        if (saver->active) {
            pd_snapshot_files_deinit(&saver->files);
        }
        *saver = (struct sim_saver){.active = false};
    }
    storage->parts_left = 0;
    free(storage->recovery);
    storage->recovery = NULL;
}
