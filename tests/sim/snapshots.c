/* Snapshots of the daemon's shards while it works: begun now and then, copied slot by slot between
 * other events, published when all parts are there; then logs and files that nobody needs go. */
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

void sim_snapshots_begin(struct sim *sim)
{
    struct sim_storage *storage = &sim->storage;
    const struct pd_manifest *manifest = &storage->recovery->manifest;
    sim_snapshots_schedule(sim);
    if (storage->parts_left > 0 || sim->daemon.paused) {
        return;
    }
    storage->failed = false;
    storage->taking = (struct pd_manifest_snapshot){
        .number = manifest->last_snapshot + 1,
        .epoch = manifest->epochs[manifest->epoch_count - 1].number,
        .shards = sim->daemon.shards,
    };
    sim_trace(sim, "snapshot begins (number)", storage->taking.number, 0, 0);
    for (uint32_t i = 0; i < sim->daemon.shards; i++) {
        const struct pd_snapshot_head head = {.directory_id = manifest->directory_id,
                                              .number = storage->taking.number,
                                              .epoch = storage->taking.epoch,
                                              .shard = i};
        if (pd_host_begin_snapshot(sim->daemon.hosts[i], &head) == PARAMD_OK) {
            struct sim_saver *saver = &storage->savers[i];
            pd_snapshot_files_init(&saver->files, pd_sim_disk_of(storage->disk), head.number, i);
            saver->active = true;
            storage->parts_left++;
            sim_schedule(sim, 1, SIM_EVENT_COPY, i, 0, sim->daemon.serial);
        } else {
            storage->failed = true;
        }
    }
}

/* Records that both kept snapshots have are not needed any more. */
static void release_logs(struct sim *sim)
{
    const struct pd_manifest *manifest = &sim->storage.recovery->manifest;
    const struct pd_manifest_snapshot *oldest = &manifest->snapshots[0];
    bool both =
        manifest->snapshot_count == PD_SNAPSHOTS_KEPT && oldest->epoch == sim->storage.taking.epoch;
    for (uint32_t i = 0; both && i < sim->daemon.shards; i++) {
        pd_host_release_log(sim->daemon.hosts[i], oldest->files[i].start_lsn);
    }
}

static void publish(struct sim *sim)
{
    struct sim_storage *storage = &sim->storage;
    struct pd_manifest *manifest = &storage->recovery->manifest;
    const struct pd_disk *disk = pd_sim_disk_of(storage->disk);
    struct pd_storage_error error;
    pd_manifest_add_snapshot(manifest, &storage->taking);
    struct pd_manifest_epoch *epoch = &manifest->epochs[manifest->epoch_count - 1];
    for (uint32_t i = 0; i < sim->daemon.shards; i++) {
        epoch->logs[i].durable_lsn = storage->taking.files[i].start_lsn;
    }
    enum paramd_status status = pd_manifest_write(disk, manifest, &error);
    sim_trace(sim, "snapshot is published (number, -status)", storage->taking.number,
              (uint64_t)-status, 0);
    if (status == PARAMD_OK) {
        sim->counts.snapshots++;
        status = pd_data_dir_sweep(disk, manifest, &error);
        sim_storage_look(sim, SIM_NOBODY);
        release_logs(sim);
    } else {
        sim_storage_look(sim, SIM_NOBODY);
        sim_daemon_stop(sim);
    }
}

/* A part is over. */
static void end_part(struct sim *sim, uint32_t shard, enum paramd_status status)
{
    struct sim_storage *storage = &sim->storage;
    storage->savers[shard].active = false;
    pd_snapshot_files_deinit(&storage->savers[shard].files);
    if (status != PARAMD_OK && !storage->failed) {
        storage->failed = true;
        for (uint32_t i = 0; i < sim->daemon.shards; i++) {
            if (storage->savers[i].active) {
                pd_host_give_up_snapshot(sim->daemon.hosts[i]);
            }
        }
    }
    if (--storage->parts_left == 0 && !storage->failed) {
        publish(sim);
    }
}

void sim_snapshots_copy(struct sim *sim, uint32_t shard)
{
    struct sim_storage *storage = &sim->storage;
    struct sim_saver *saver = &storage->savers[shard];
    struct pd_host *host = sim->daemon.hosts[shard];
    if (!saver->active) {
        return;
    }
    uint64_t slots = sim_random_between(&storage->random, 1, SLOTS_MAX);
    while (slots-- > 0 && pd_host_copy_slot(host)) {
    }
    if (!saver->busy && pd_host_take_snapshot_job(host, &saver->job)) {
        saver->busy = true;
        uint64_t after_us = sim_random_between(&storage->random, 20, WRITE_US);
        sim_schedule(sim, after_us, SIM_EVENT_SAVE, shard, 0, sim->daemon.serial);
    }
    enum paramd_status status = pd_host_end_snapshot(host, &storage->taking.files[shard]);
    if (status != PARAMD_PENDING) {
        end_part(sim, shard, status);
    } else {
        uint64_t after_us = sim_random_between(&storage->random, 20, COPY_US);
        sim_schedule(sim, after_us, SIM_EVENT_COPY, shard, 0, sim->daemon.serial);
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
