/* The daemon's start, with what its data directory has kept, and its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/recovery.h"
#include "server/storage/data_dir.h"
#include "tests/sim/reached.h"
#include "tests/sim/sim.h"

enum {
    STREAM_DAEMON = 10,
    BLOCKS_MAX = 64 * 1024 * 1024,
    PUSH_IDS_MAX = 4 * 1024 * 1024,
    SESSIONS_MAX = 100,
    SEGMENT_BYTES = 192 * 1024,
    BUFFER_BYTES = 184 * 1024, /* above the largest frame that these clients make */
    SEGMENTS_MAX = 64,
    START_CALLS = 150, /* a crash during a start comes at one of so many first calls of the disk */
    AGAIN_US = 300000
};

/* Starts of the daemon lie further apart than it makes numbers. */
#define EPOCH_US UINT64_C(1700000000000000)

static void *take(void *context, size_t bytes)
{
    struct sim *sim = context;
    size_t rounded = (bytes + 63) / 64 * 64;
    void *memory =
        sim->daemon.block_bytes + bytes <= BLOCKS_MAX ? aligned_alloc(64, rounded) : NULL;
    if (memory != NULL) {
        memset(memory, 0, rounded);
        sim->daemon.block_bytes += bytes;
    }
    return memory;
}

static void give(void *context, void *memory, size_t bytes)
{
    struct sim *sim = context;
    sim->daemon.block_bytes -= bytes;
    free(memory);
}

static struct pd_host_options host_options(struct sim *sim)
{
    return (struct pd_host_options){
        .shards = sim->daemon.shards,
        .connections_max = SIM_CONNS_MAX,
        .in_flight_max = sim->in_flight_max,
        .copies_max = sim->copies_max,
        .push_ids_max = PUSH_IDS_MAX,
        .lease_us = SIM_LEASE_US,
        .retention_us = SIM_RETENTION_US,
        .memory = {take, give, sim},
        .version = "paramd/sim",
    };
}

static struct pd_control_options control_options(const struct sim *sim)
{
    return (struct pd_control_options){
        .shards = sim->daemon.shards,
        .models_max = SIM_MODELS,
        .sessions_max = SESSIONS_MAX,
        .lease_us = SIM_LEASE_US,
        .retention_us = SIM_RETENTION_US,
        .start_us = EPOCH_US + sim->now_us,
        .records = sim->durable,
        .version = "paramd/sim",
    };
}

/* ---- Recovery ---- */

static uint64_t draw(void *context)
{
    struct sim *sim = context;
    return sim_random_next(&sim->daemon.random) | 1;
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
    struct sim *sim = context;
    sim->counts.cuts++;
    sim->storage.cut = sim->storage.cut || sim->storage.damaged;
    sim_trace(sim, "recovery leaves something out", 0, 0, 0);
    if (sim->options.verbose) {
        (void)printf("    %s\n", text);
    }
}

static void progress(void *context, uint64_t bytes)
{
    struct sim *sim = context;
    sim->counts.recovered_bytes += bytes;
}

static struct pd_recovery *recover(struct sim *sim)
{
    struct sim_storage *storage = &sim->storage;
    const struct pd_host_options host = host_options(sim);
    struct pd_recovery_options options = {.disk = pd_sim_disk_of(storage->disk),
                                          .shards = sim->daemon.shards,
                                          .control_segment_bytes = SEGMENT_BYTES,
                                          .shard_segment_bytes = SEGMENT_BYTES,
                                          .control = control_options(sim),
                                          .random = draw,
                                          .each = each,
                                          .tell = tell,
                                          .progress = progress,
                                          .context = sim};
    struct pd_recovery *recovery = NULL;
    char error[PD_RECOVERY_TEXT_BYTES] = "";
    pd_host_shard_options(&host, &options.shard);
    options.shard.records = true;
    if (sim->daemon.start_crashes > 0) {
        sim->daemon.start_crashes--;
        sim_storage_fault(sim, PD_SIM_FAIL,
                          sim_random_between(&sim->daemon.random, 1, START_CALLS));
    }
    bool may_fail = storage->planned;
    enum paramd_status status = pd_recover(&options, &recovery, error);
    sim_storage_look(sim, SIM_NOBODY);
    sim_reached_status(status);
    sim_trace(sim, "recovery (-status)", (uint64_t)-status, 0, 0);
    if (status != PARAMD_OK && sim->options.verbose) {
        (void)printf("    %s\n", error);
    }
    if (status == PARAMD_CORRUPT && storage->damaged) {
        sim->over = true; /* as it must be: a person has to look at it */
        sim->counts.refused_starts++;
    } else if (status == PARAMD_OK && storage->damaged) {
        /* At the end of a log it looks as a torn batch does, or as one that was never written. */
        sim->over = storage->cut || storage->later == 0;
    } else if (status != PARAMD_OK && status != PARAMD_RESOURCE_EXHAUSTED &&
               !(status == PARAMD_DISK && may_fail)) {
        sim_violate(sim, "the daemon does not start: %s", error);
    }
    return recovery;
}

/* Crashes, and tries again. */
static void start_failed(struct sim *sim)
{
    uint64_t after_us = sim_random_between(&sim->daemon.random, 1000, AGAIN_US);
    sim_storage_stop(sim, sim_random_chance(&sim->daemon.random, 50));
    sim->counts.failed_starts++;
    sim->daemon.clean = false; /* the next start follows a crash */
    sim_schedule(sim, after_us, SIM_EVENT_START, SIM_DAEMON, 0, 0);
}

/* ---- Start ---- */

static void require_ok(enum paramd_status status)
{
    if (status != PARAMD_OK) {
        abort();
    }
}

static struct pd_wal_config log_config(const struct pd_manifest_log *log)
{
    return (struct pd_wal_config){.log_id = log->id,
                                  .begun = log->begun,
                                  .segment_bytes = SEGMENT_BYTES,
                                  .buffer_bytes = BUFFER_BYTES,
                                  .segments_max = SEGMENTS_MAX};
}

/* Hosts and control, with logs and what was recovered, or, without a recovery, empty. */
static void make_hosts(struct sim *sim, const struct pd_recovery *recovery)
{
    struct sim_daemon *daemon = &sim->daemon;
    const struct pd_manifest *manifest = recovery != NULL ? &recovery->manifest : NULL;
    const struct pd_manifest_epoch *epoch =
        manifest != NULL ? &manifest->epochs[manifest->epoch_count - 1] : NULL;
    struct pd_wal_config config = {0};
    char name[PD_WAL_LOG_NAME_BYTES];
    for (uint32_t i = 0; i < daemon->shards; i++) {
        struct pd_host_options options = host_options(sim);
        options.shard = i;
        if (recovery != NULL) {
            config = log_config(&epoch->logs[i]);
            options.log = &config;
            options.recovered = recovery->shards[i];
            pd_shard_log_name(i, epoch->number, name);
            sim_storage_open_log(sim, i, name);
        }
        require_ok(pd_host_create(&options, &daemon->hosts[i]));
    }
    struct pd_control_host_options options = {0};
    const struct pd_control_options of_control = control_options(sim);
    if (recovery != NULL) {
        config = log_config(&epoch->control);
        options.log = &config;
        options.control = recovery->control;
        pd_control_log_name(epoch->number, name);
        sim_storage_open_log(sim, SIM_CONTROL, name);
    } else {
        require_ok(pd_control_create(&of_control, &options.control));
    }
    daemon->control = options.control;
    require_ok(pd_control_host_create(&options, &daemon->control_host));
}

/* What came back is held against what was; then the new epoch begins. */
static void start_storage(struct sim *sim, const struct pd_recovery *recovery)
{
    struct pd_storage_error error;
    if (sim->over) {
        return;
    }
    sim_recovery_check(sim, recovery->clean);
    enum paramd_status status =
        pd_data_dir_sweep(pd_sim_disk_of(sim->storage.disk), &recovery->manifest, &error);
    sim_trace(sim, "left-overs are removed (-status)", (uint64_t)-status, 0, 0);
    sim_storage_look(sim, SIM_NOBODY);
    sim_snapshots_schedule(sim);
    sim_daemon_recovered(sim, recovery->clean);
}

void sim_daemon_start(struct sim *sim)
{
    struct sim_daemon *daemon = &sim->daemon;
    struct pd_recovery *recovery = NULL;
    daemon->serial = ++sim->next_serial;
    daemon->random =
        sim_random_stream(sim->options.seed, ((uint64_t)STREAM_DAEMON << 32) + daemon->serial);
    uint32_t shards = daemon->shards;
    if (sim->counts.daemon_starts > 0) {
        daemon->shards = (uint32_t)sim_random_between(&daemon->random, 1, SIM_SHARDS_MAX);
    }
    if (sim->durable) {
        recovery = recover(sim);
        if (recovery == NULL && (sim->over || sim->violated)) {
            return;
        }
        if (recovery == NULL) {
            daemon->shards = shards;
            start_failed(sim);
            return;
        }
    }
    make_hosts(sim, recovery);
    for (uint32_t i = 0; i <= SIM_CONTROL; i++) {
        pd_link_init(&daemon->mail[i]);
        daemon->mail_due[i] = false;
    }
    daemon->up = true;
    sim->counts.reshardings += daemon->shards != shards;
    sim->counts.daemon_starts++;
    sim->counts.recoveries += recovery != NULL && sim->counts.daemon_starts > 1;
    sim_trace(sim, "daemon starts (shards)", daemon->shards, 0, 0);
    sim_daemon_schedule(sim);
    if (recovery != NULL) {
        sim->storage.recovery = recovery;
        start_storage(sim, recovery);
    }
}

/* ---- End ---- */

void sim_daemon_kill(struct sim *sim, bool power)
{
    struct sim_daemon *daemon = &sim->daemon;
    if (!daemon->up) {
        return;
    }
    sim_trace(sim, "daemon is killed", power, 0, 0);
    sim_recovery_before(sim);
    if (sim->durable) {
        sim_snapshots_stop(sim);
    }
    sim_storage_stop(sim, power);
    for (uint32_t i = 0; i < daemon->shards; i++) {
        pd_host_destroy(daemon->hosts[i]);
        daemon->hosts[i] = NULL;
    }
    struct pd_link *link;
    for (uint32_t i = 0; i <= SIM_CONTROL; i++) {
        while ((link = pd_list_pop(&daemon->mail[i])) != NULL) {
            pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
        }
    }
    pd_control_host_destroy(daemon->control_host);
    daemon->control_host = NULL;
    daemon->control = NULL;
    daemon->up = false;
    daemon->paused = false;
    daemon->stop = SIM_STOP_NONE;
    daemon->serial = 0;
    for (uint32_t i = 0; i < SIM_CONNS_MAX; i++) {
        if (sim->conns[i].used && sim->conns[i].at_host != NULL) {
            sim_net_close_host(sim, &sim->conns[i]);
        }
    }
}

void sim_daemon_stop(struct sim *sim)
{
    uint64_t after_us = sim_random_between(&sim->daemon.random, 1000, AGAIN_US);
    bool power = sim_random_chance(&sim->daemon.random, 50);
    sim_trace(sim, "daemon stops: its disk has failed", 0, 0, 0);
    sim->counts.stops++;
    sim_daemon_kill(sim, power);
    sim_schedule(sim, after_us, SIM_EVENT_START, SIM_DAEMON, 0, 0);
}
