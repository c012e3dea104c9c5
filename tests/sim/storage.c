/* The daemon's data directory: a disk that outlives it, the writer of each log, which does one job
 * after the other, each after a while, and what becomes of them when the daemon dies. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/reached.h"
#include "tests/sim/sim.h"

enum {
    STREAM_DISK = 30,
    JOB_US = 400,
    SLOW_JOB_US = 30000,
    SLOW_PERCENT = 10,
    JOB_CALLS = 7 /* of the disk: a job has no more */
};

void sim_storage_create(struct sim *sim)
{
    struct sim_storage *storage = &sim->storage;
    storage->random = sim_random_stream(sim->options.seed, STREAM_DISK);
    if (sim->durable) {
        storage->disk = pd_sim_disk_create(sim_random_next(&storage->random));
    }
}

void sim_storage_destroy(struct sim *sim)
{
    if (sim->storage.disk != NULL) {
        pd_sim_disk_destroy(sim->storage.disk);
    }
}

void sim_storage_open_log(struct sim *sim, uint32_t writer, const char *name)
{
    struct sim_log *log = &sim->storage.logs[writer];
    (void)snprintf(log->name, sizeof log->name, "%s", name);
    pd_wal_files_init(&log->files, pd_sim_disk_of(sim->storage.disk), log->name);
    log->open = true;
    log->busy = false;
}

/* ---- Jobs ---- */

static bool take_job(struct sim *sim, uint32_t writer, struct pd_wal_job *job)
{
    if (writer == SIM_CONTROL) {
        return pd_control_host_take_job(sim->daemon.control_host, job);
    }
    bool taken = pd_host_take_job(sim->daemon.hosts[writer], job);
    sim_watch_host(sim, writer);
    return taken;
}

bool sim_storage_work(struct sim *sim, uint32_t writer)
{
    struct sim_storage *storage = &sim->storage;
    struct sim_log *log = &storage->logs[writer];
    bool taken = log->open && !log->busy && take_job(sim, writer, &log->job);
    if (taken) {
        log->busy = true;
        bool slow = sim_random_chance(&storage->random, SLOW_PERCENT);
        uint64_t after_us = sim_random_between(&storage->random, 20, slow ? SLOW_JOB_US : JOB_US);
        sim_schedule(sim, after_us, SIM_EVENT_JOB, writer, 0, sim->daemon.serial);
    }
    return taken;
}

void sim_storage_fault(struct sim *sim, enum pd_sim_fault fault, uint64_t after_calls)
{
    struct sim_storage *storage = &sim->storage;
    if (storage->disk != NULL) {
        storage->planned = true;
        storage->fault = fault;
        pd_sim_disk_plan(storage->disk, fault, pd_sim_disk_calls(storage->disk) + after_calls);
    }
}

void sim_storage_look(struct sim *sim, uint32_t writer)
{
    struct sim_storage *storage = &sim->storage;
    if (!storage->planned || !pd_sim_disk_happened(storage->disk)) {
        return;
    }
    storage->planned = false;
    sim->counts.disk_faults++;
    sim_trace(sim, "a fault of the disk happened (kind, writer)", storage->fault, writer, 0);
    if (storage->fault == PD_SIM_BIT_FLIP || storage->fault == PD_SIM_LOST_WRITE ||
        storage->fault == PD_SIM_MISDIRECTED) {
        storage->damaged = true;
        storage->damaged_writer = writer;
        storage->later = 0;
    }
}

void sim_storage_job(struct sim *sim, uint32_t writer)
{
    struct sim_storage *storage = &sim->storage;
    struct sim_log *log = &storage->logs[writer];
    log->due = sim->daemon.paused;
    if (log->due) { /* the whole process is stopped */
        return;
    }
    struct pd_disk_result result = pd_wal_files_run(&log->files, &log->job);
    sim_reached_status(result.status);
    log->busy = false;
    sim->counts.jobs++;
    sim_trace(sim, "job is done (writer, kind, bytes)", writer, log->job.kind, log->job.count);
    storage->later += storage->damaged && storage->damaged_writer == writer &&
                      log->job.kind == PD_WAL_WRITE && result.status == PARAMD_OK;
    sim_storage_look(sim, writer);
    bool full = log->job.kind == PD_WAL_PREPARE && result.status == PARAMD_RESOURCE_EXHAUSTED;
    sim->counts.no_space += full;
    sim_daemon_job_done(sim, writer, result.status);
    if (result.status != PARAMD_OK && !full) {
        sim_daemon_stop(sim);
    }
}

void sim_storage_stop(struct sim *sim, bool power)
{
    struct sim_storage *storage = &sim->storage;
    if (storage->disk == NULL) {
        return;
    }
    for (uint32_t i = 0; i <= SIM_CONTROL; i++) {
        struct sim_log *log = &storage->logs[i];
        if (!log->open) {
            continue;
        }
        if (log->busy) { /* it dies in the middle of it */
            uint64_t calls = sim_random_between(&storage->random, 1, JOB_CALLS);
            pd_sim_disk_plan(storage->disk, PD_SIM_FAIL, pd_sim_disk_calls(storage->disk) + calls);
            struct pd_disk_result result = pd_wal_files_run(&log->files, &log->job);
            (void)result;
        }
        pd_wal_files_deinit(&log->files);
        log->open = log->busy = log->due = false;
    }
    storage->planned = false;
    pd_sim_disk_plan(storage->disk, PD_SIM_FAIL, 0);
    if (power) {
        bool torn = sim_random_chance(&storage->random, 50);
        pd_sim_disk_crash(storage->disk, torn);
    } else {
        pd_sim_disk_kill(storage->disk);
    }
}
