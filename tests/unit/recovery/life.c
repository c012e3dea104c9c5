/* A rig between recovery and the disk. What the daemon's node and threads do in between is here in
 * a few lines: plan the logs, do the jobs, end the logs, say so in MANIFEST. */
#include "tests/unit/recovery/life.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/storage/data_dir.h"
#include "server/storage/snapshot_files.h"

enum {
    SEGMENT_BYTES = 104 * 1024, /* small, so that each log has several */
    BUFFER_BYTES = 64 * 1024,
    SEGMENTS_MAX = 16,
    SHARD_BYTES_MAX = 64 * 1024 * 1024
};

static struct pd_life *alive; /* whose jobs are done */

/* ---- recovery ---- */

static void *take(void *context, size_t bytes)
{
    (void)context;
    size_t rounded = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded);
    ck_assert_ptr_nonnull(memory);
    return memset(memory, 0, rounded);
}

static void give(void *context, void *memory, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(memory);
}

static const struct pd_memory memory = {.take = take, .give = give};

static uint64_t next_bits(void *context)
{
    static uint64_t bits;
    (void)context;
    return bits += UINT64_C(0x9e3779b97f4a7c15);
}

static void each(void *context, uint32_t count, void (*work)(void *argument, uint32_t index),
                 void *argument)
{
    (void)context;
    for (uint32_t i = 0; i < count; i++) {
        work(argument, i);
    }
}

static void tell(void *context, const char *text)
{
    struct pd_found *found = context;
    ck_assert_uint_lt(found->told_count, PD_TOLD_MAX);
    (void)snprintf(found->told[found->told_count++], PD_RECOVERY_TEXT_BYTES, "%s", text);
}

static void progress(void *context, uint64_t bytes)
{
    (void)context;
    (void)bytes;
}

void pd_found_init(struct pd_found *found, const struct pd_disk *disk, uint32_t shards)
{
    const struct pd_recovery_options options = {
        .disk = disk,
        .shards = shards,
        .control_segment_bytes = SEGMENT_BYTES,
        .shard_segment_bytes = SEGMENT_BYTES,
        .control = {.shards = shards,
                    .models_max = 100,
                    .sessions_max = 1000,
                    .lease_us = 30000000,
                    .retention_us = UINT64_C(86400000000),
                    .start_us = 1000000,
                    .records = true,
                    .version = "paramd/test"},
        .shard = {.copies_max = SHARD_BYTES_MAX,
                  .push_ids_max = SHARD_BYTES_MAX,
                  .lease_us = 30000000,
                  .retention_us = UINT64_C(86400000000),
                  .memory = memory,
                  .version = "paramd/test",
                  .records = true},
        .random = next_bits,
        .each = each,
        .tell = tell,
        .progress = progress,
        .context = found,
    };
    found->told_count = 0;
    found->status = pd_recover(&options, &found->recovery, found->error);
}

void pd_found_deinit(struct pd_found *found)
{
    for (uint32_t i = 0; found->recovery != NULL && i < PD_SHARDS_MAX; i++) {
        pd_shard_destroy(found->recovery->shards[i]);
    }
    if (found->recovery != NULL) {
        pd_control_destroy(found->recovery->control);
    }
    free(found->recovery);
}

/* ---- a life ---- */

static enum paramd_status do_job(uint32_t shard, const struct pd_wal_job *job)
{
    if (alive->writes != NULL && shard != PD_RIG_CONTROL && job->kind == PD_WAL_WRITE) {
        alive->writes(shard);
    }
    return pd_wal_files_run(&alive->files[shard], job).status;
}

static struct pd_manifest_epoch *own_epoch(struct pd_life *life)
{
    return &life->manifest->epochs[life->manifest->epoch_count - 1];
}

static void plan_log(struct pd_life *life, uint32_t at, const struct pd_manifest_log *log)
{
    life->logs[at] = (struct pd_wal_config){.log_id = log->id,
                                            .begun = log->begun,
                                            .segment_bytes = SEGMENT_BYTES,
                                            .buffer_bytes = BUFFER_BYTES,
                                            .segments_max = SEGMENTS_MAX};
    pd_wal_files_init(&life->files[at], pd_sim_disk_of(life->sim), life->names[at]);
}

void pd_life_begin(struct pd_life *life, struct pd_sim_disk *sim, uint32_t shards)
{
    struct pd_found found;
    pd_found_init(&found, pd_sim_disk_of(sim), shards);
    ck_assert_msg(found.status == PARAMD_OK, "%s", found.error);
    ck_assert_uint_eq(found.told_count, 0);
    *life = (struct pd_life){.sim = sim, .manifest = malloc(sizeof *life->manifest)};
    ck_assert_ptr_nonnull(life->manifest);
    *life->manifest = found.recovery->manifest;
    const struct pd_manifest_epoch *epoch = own_epoch(life);
    for (uint32_t i = 0; i < shards; i++) {
        pd_shard_log_name(i, epoch->number, life->names[i]);
        plan_log(life, i, &epoch->logs[i]);
    }
    pd_control_log_name(epoch->number, life->names[PD_RIG_CONTROL]);
    plan_log(life, PD_RIG_CONTROL, &epoch->control);
    const struct pd_rig_recovered recovered = {
        .control = found.recovery->control,
        .shards = found.recovery->shards,
        .memory = memory,
        .control_log = &life->logs[PD_RIG_CONTROL],
        .shard_logs = life->logs,
        .clean = found.recovery->clean,
    };
    struct pd_storage_error error;
    ck_assert_int_eq(pd_data_dir_sweep(pd_sim_disk_of(sim), life->manifest, &error), PARAMD_OK);
    life->rig = pd_rig_create(&(struct pd_rig_options){.shards = shards, .recovered = &recovered});
    ck_assert_ptr_nonnull(life->rig);
    free(found.recovery);
    alive = life;
    life->rig->do_job = do_job;
    pd_rig_settle(life->rig);
}

void pd_life_kill(struct pd_life *life)
{
    pd_rig_destroy(life->rig);
    pd_sim_disk_kill(life->sim);
    free(life->manifest);
}

/* One shard's part, all of it at once. */
static struct pd_manifest_file save(struct pd_life *life, const struct pd_snapshot_head *head)
{
    struct pd_host *host = life->rig->hosts[head->shard];
    struct pd_snapshot_files files;
    struct pd_snapshot_job job;
    struct pd_manifest_file file;
    enum paramd_status status;
    pd_snapshot_files_init(&files, pd_sim_disk_of(life->sim), head->number, head->shard);
    ck_assert_int_eq(pd_host_begin_snapshot(host, head), PARAMD_OK);
    while ((status = pd_host_end_snapshot(host, &file)) == PARAMD_PENDING) {
        while (pd_host_copy_slot(host)) {
        }
        if (pd_host_take_snapshot_job(host, &job)) {
            pd_host_snapshot_job_done(host, pd_snapshot_files_run(&files, &job).status);
        }
        pd_rig_settle(life->rig);
    }
    ck_assert_int_eq(status, PARAMD_OK);
    pd_snapshot_files_deinit(&files);
    return file;
}

static void save_all(struct pd_life *life, bool clean)
{
    struct pd_manifest *manifest = life->manifest;
    const struct pd_disk *disk = pd_sim_disk_of(life->sim);
    struct pd_storage_error error;
    struct pd_manifest_snapshot snapshot = {.number = manifest->last_snapshot + 1,
                                            .epoch = own_epoch(life)->number,
                                            .shards = life->rig->options.shards,
                                            .clean = clean};
    for (uint32_t i = 0; i < snapshot.shards; i++) {
        const struct pd_snapshot_head head = {.directory_id = manifest->directory_id,
                                              .number = snapshot.number,
                                              .epoch = snapshot.epoch,
                                              .shard = i};
        snapshot.files[i] = save(life, &head);
    }
    uint64_t control_lsn = pd_control_host_durable_lsn(life->rig->control);
    ck_assert_int_eq(pd_manifest_publish(disk, manifest, &snapshot, control_lsn, &error),
                     PARAMD_OK);
    ck_assert_int_eq(pd_data_dir_sweep(disk, manifest, &error), PARAMD_OK);
    const struct pd_manifest_snapshot *oldest = &manifest->snapshots[0];
    for (uint32_t i = 0; i < snapshot.shards && oldest->epoch == snapshot.epoch; i++) {
        pd_host_release_log(life->rig->hosts[i], oldest->files[i].start_lsn);
    }
}

void pd_life_save(struct pd_life *life)
{
    save_all(life, false);
}

void pd_life_stop(struct pd_life *life)
{
    struct pd_rig *rig = life->rig;
    struct pd_storage_error error;
    for (uint32_t i = 0; i < rig->options.shards; i++) {
        ck_assert(pd_host_drain(rig->hosts[i]));
    }
    save_all(life, true);
    for (uint32_t i = 0; i < rig->options.shards; i++) {
        ck_assert_int_eq(pd_host_end_log(rig->hosts[i]), PARAMD_OK);
    }
    ck_assert_int_eq(pd_control_host_end_log(rig->control), PARAMD_OK);
    pd_rig_settle(rig);
    own_epoch(life)->clean = true;
    ck_assert_int_eq(pd_manifest_write(pd_sim_disk_of(life->sim), life->manifest, &error),
                     PARAMD_OK);
    pd_life_kill(life);
}
