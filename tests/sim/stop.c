/* A daemon that is told to stop, as node.c does it: what is in hand is finished, a last snapshot is
 * taken, all logs are closed whole. The next start finds everything as it was. */
#include "server/storage/manifest.h"
#include "tests/sim/sim.h"

enum { LOOK_US = 10000, DRAIN_US = 10000000 };

static void look_again(struct sim *sim)
{
    uint64_t after_us = sim_random_between(&sim->daemon.random, 50, LOOK_US);
    sim_schedule(sim, after_us, SIM_EVENT_STOPPING, SIM_DAEMON, 0, sim->daemon.serial);
}

/* The process ends; its disk may lose power right after it. */
static void end(struct sim *sim)
{
    uint64_t after_us = sim->daemon.away_us;
    bool power = sim_random_chance(&sim->daemon.random, 50);
    sim_daemon_kill(sim, power);
    sim_schedule(sim, after_us, SIM_EVENT_START, SIM_DAEMON, 0, 0);
}

void sim_stop_begin(struct sim *sim, uint64_t away_us)
{
    struct sim_daemon *daemon = &sim->daemon;
    if (daemon->stop != SIM_STOP_NONE) { /* a second signal: at once */
        end(sim);
        return;
    }
    sim_trace(sim, "daemon is told to stop", 0, 0, 0);
    daemon->stop = SIM_STOP_DRAINS;
    daemon->away_us = away_us;
    daemon->stop_us = sim->now_us;
    if (sim->durable) {
        sim_enter(sim, SIM_DAEMON);
        pd_control_host_end_snapshots(daemon->control_host);
        sim_leave(sim);
        sim_snapshots_drain(sim);
        sim_daemon_serve_control(sim);
    }
    look_again(sim);
}

static bool drained(struct sim *sim)
{
    bool all = true;
    for (uint32_t i = 0; i < sim->daemon.shards; i++) {
        sim_enter(sim, SIM_DAEMON);
        all = pd_host_drain(sim->daemon.hosts[i]) && all;
        sim_leave(sim);
        sim_daemon_serve(sim, i);
    }
    return all;
}

static bool logs_ended(struct sim *sim)
{
    struct sim_daemon *daemon = &sim->daemon;
    bool all = true;
    for (uint32_t i = 0; i < daemon->shards; i++) {
        struct pd_host *host = daemon->hosts[i];
        all = pd_host_end_log(host) == PARAMD_OK &&
              pd_host_durable_lsn(host) == pd_host_last_lsn(host) && all;
        sim_storage_work(sim, i);
    }
    if (all) {
        all = pd_control_host_end_log(daemon->control_host) == PARAMD_OK &&
              pd_control_host_idle(daemon->control_host);
        sim_storage_work(sim, SIM_CONTROL);
    }
    return all;
}

static void end_clean(struct sim *sim)
{
    struct pd_manifest *manifest = &sim->storage.recovery->manifest;
    struct pd_storage_error error;
    manifest->epochs[manifest->epoch_count - 1].clean = true;
    enum paramd_status status =
        pd_manifest_write(pd_sim_disk_of(sim->storage.disk), manifest, &error);
    sim_trace(sim, "daemon has stopped clean (-status)", (uint64_t)-status, 0, 0);
    sim_storage_look(sim, SIM_NOBODY);
    sim->daemon.clean = status == PARAMD_OK;
    sim->counts.clean_stops += sim->daemon.clean;
}

void sim_stop_step(struct sim *sim)
{
    struct sim_daemon *daemon = &sim->daemon;
    if (daemon->paused) {
        look_again(sim);
        return;
    }
    if (daemon->stop == SIM_STOP_DRAINS && drained(sim)) {
        if (!sim->durable) {
            end(sim);
            return;
        }
        daemon->stop = SIM_STOP_SAVES;
    }
    if (daemon->stop == SIM_STOP_DRAINS && sim->now_us - daemon->stop_us > DRAIN_US) {
        end(sim);
        return;
    }
    if (daemon->stop == SIM_STOP_SAVES) {
        sim_snapshots_save_last(sim);
    }
    if (daemon->stop == SIM_STOP_ENDS && logs_ended(sim)) {
        if (daemon->saved) {
            end_clean(sim);
        }
        end(sim);
        return;
    }
    look_again(sim);
}
