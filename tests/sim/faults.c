/* What goes wrong: each fault has a number, its time and random stream of its own, so that it stays
 * the same when others are left out. */
#include "tests/sim/sim.h"
#include "tests/support/allocations.h"

enum {
    ALLOCATIONS = 60, /* the failing one is one of so many next ones */
    DELAY_US = 1200000,
    PAUSE_SHORT_US = 400000,
    PAUSE_LONG_US = 10000000, /* beyond lease and retention */
    TWIN_US = 5000000,
    RESTART_US = 2500000,
    DISK_CALLS = 12, /* a fault of the disk comes at one of so many next calls */
    FULL_US = 1500000
};

const char *sim_fault_name(enum sim_fault_kind kind)
{
    static const char *const names[SIM_FAULT_KINDS] = {
#define NAME(name, text) text,
        SIM_FAULT_LIST(NAME)
#undef NAME
    };
    return names[kind];
}

/* One of the connections whose both ends are open; NULL: there is none. */
static struct sim_conn *choose_conn(struct sim *sim, struct sim_random *random)
{
    struct sim_conn *open[SIM_CONNS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < SIM_CONNS_MAX; i++) {
        if (sim->conns[i].used && sim->conns[i].at_client && sim->conns[i].at_host != NULL) {
            open[count++] = &sim->conns[i];
        }
    }
    uint64_t which = sim_random_next(random);
    return count > 0 ? open[which % count] : NULL;
}

static uint64_t pause_us(struct sim_random *random)
{
    bool shortly = sim_random_chance(random, 60);
    return sim_random_between(random, 1000, shortly ? PAUSE_SHORT_US : PAUSE_LONG_US);
}

/* ---- Network ---- */

static void vanish(struct sim *sim, struct sim_conn *conn)
{
    sim_schedule(sim, SIM_KEEPALIVE_US, SIM_EVENT_VANISHED, (uint32_t)(conn - sim->conns), 0,
                 conn->serial);
}

static void break_conn(struct sim *sim, enum sim_fault_kind kind, struct sim_conn *conn,
                       struct sim_random *random)
{
    struct sim_pipe *one = &conn->pipes[sim_random_between(random, 0, 1)];
    uint64_t until_us = sim->now_us + sim_random_between(random, 1000, DELAY_US);
    switch (kind) {
    case SIM_FAULT_RESET:
        sim_net_reset(sim, conn, random);
        break;
    case SIM_FAULT_LATE:
        /* The client gives it up; what it had written comes long after its next connection. */
        conn->pipes[SIM_TO_SERVER].held_until_us = until_us;
        sim_process_disconnected(sim, conn, "the connection was reset");
        break;
    case SIM_FAULT_BLACK_HOLE:
        conn->pipes[SIM_TO_SERVER].dead = conn->pipes[SIM_TO_CLIENT].dead = true;
        vanish(sim, conn);
        break;
    case SIM_FAULT_ONE_WAY:
        one->dead = true;
        vanish(sim, conn);
        break;
    case SIM_FAULT_DELAY:
        one->held_until_us = until_us;
        break;
    default:
        one->slow_until_us = until_us;
        break;
    }
}

/* ---- Processes ---- */

static void reset_all(struct sim *sim, uint32_t process, struct sim_random *random)
{
    for (uint32_t i = 0; i < SIM_CONNS_MAX; i++) {
        struct sim_conn *conn = &sim->conns[i];
        bool lost = sim_random_chance(random, 50);
        if (lost && conn->used && (process == SIM_DAEMON || conn->process == process)) {
            sim_net_reset(sim, conn, random);
        }
    }
}

static void crash(struct sim *sim, uint32_t number, struct sim_random *random)
{
    uint64_t after_us = sim_random_between(random, 1000, RESTART_US);
    if (sim->processes[number].alive) {
        reset_all(sim, number, random);
        sim_process_kill(sim, number);
        sim_schedule(sim, after_us, SIM_EVENT_START, number, 0, 0);
    }
}

static void close_one(struct sim *sim, uint32_t number, struct sim_random *random)
{
    uint32_t model = (uint32_t)sim_random_between(random, 0, SIM_MODELS - 1);
    struct sim_process *process = &sim->processes[number];
    if (process->alive && !process->paused && !process->finished) {
        sim_worker_close(sim, process, model);
        sim_process_service(sim, number);
    }
}

static void pause_client(struct sim *sim, uint32_t number, struct sim_random *random)
{
    struct sim_process *process = &sim->processes[number];
    uint64_t after_us = pause_us(random);
    if (process->alive && !process->paused) {
        process->paused = true;
        sim_schedule(sim, after_us, SIM_EVENT_RESUME, number, 0, process->serial);
    }
}

static void start_twin(struct sim *sim, uint32_t identity, struct sim_random *random)
{
    uint64_t for_us = sim_random_between(random, 100000, TWIN_US);
    bool stopped = sim_random_chance(random, 50);
    for (uint32_t i = SIM_CLIENTS_MAX; i < SIM_PROCESSES_MAX; i++) {
        struct sim_process *twin = &sim->processes[i];
        if (!twin->alive) {
            twin->identity = identity;
            sim_process_start(sim, i);
            sim_schedule(sim, for_us, SIM_EVENT_STOP, i, 0, twin->serial);
            break;
        }
    }
    if (stopped) {
        pause_client(sim, identity, random);
    }
}

static void let_in(struct sim *sim, struct sim_random *random)
{
    uint64_t shard = sim_random_next(random);
    uint64_t what = sim_random_between(random, 0, SIM_NONSENSES - 1);
    const struct sim_daemon *daemon = &sim->daemon;
    if (daemon->up && !daemon->paused && daemon->stop == SIM_STOP_NONE) {
        sim_stranger_visit(sim, (uint32_t)(shard % daemon->shards), (enum sim_nonsense)what);
    }
}

static void kill_daemon(struct sim *sim, struct sim_random *random)
{
    uint64_t after_us = sim_random_between(random, 1000, RESTART_US);
    bool power = sim_random_chance(random, 70);
    bool in_start = sim_random_chance(random, 25);
    uint32_t start_crashes = (uint32_t)sim_random_between(random, 1, 2);
    if (sim->daemon.up) {
        reset_all(sim, SIM_DAEMON, random);
        sim->daemon.start_crashes = in_start ? start_crashes : 0;
        sim_daemon_kill(sim, power);
        sim_schedule(sim, after_us, SIM_EVENT_START, SIM_DAEMON, 0, 0);
    }
}

static void stop_daemon(struct sim *sim, struct sim_random *random)
{
    uint64_t away_us = sim_random_between(random, 1000, RESTART_US);
    if (sim->daemon.up && !sim->daemon.paused) {
        sim_stop_begin(sim, away_us);
    }
}

static void pause_daemon(struct sim *sim, struct sim_random *random)
{
    uint64_t after_us = pause_us(random);
    if (sim->daemon.up && !sim->daemon.paused) {
        sim->daemon.paused = true;
        sim_schedule(sim, after_us, SIM_EVENT_RESUME, SIM_DAEMON, 0, sim->daemon.serial);
    }
}

static void starve(struct sim *sim, uint32_t client, struct sim_random *random)
{
    bool daemon = sim_random_chance(random, 70);
    uint64_t which = sim_random_between(random, 1, ALLOCATIONS);
    sim->short_of_memory = daemon ? SIM_DAEMON : client;
    pd_allocations_fail((unsigned)which);
}

/* ---- Disk ---- */

static void fill_disk(struct sim *sim, struct sim_random *random)
{
    uint64_t for_us = sim_random_between(random, 1000, FULL_US);
    if (sim->durable) {
        pd_sim_disk_limit(sim->storage.disk, 0);
        sim_schedule(sim, for_us, SIM_EVENT_SPACE, 0, 0, 0);
    }
}

static void break_disk(struct sim *sim, enum sim_fault_kind kind, struct sim_random *random)
{
    static const enum pd_sim_fault damages[] = {PD_SIM_BIT_FLIP, PD_SIM_LOST_WRITE,
                                                PD_SIM_MISDIRECTED};
    uint64_t calls = sim_random_between(random, 1, DISK_CALLS);
    uint64_t which = sim_random_between(random, 0, 2);
    sim_storage_fault(sim,
                      kind == SIM_FAULT_DISK_SYNC    ? PD_SIM_SYNC_FAILS
                      : kind == SIM_FAULT_DISK_SHORT ? PD_SIM_SHORT_WRITE
                                                     : damages[which],
                      calls);
}

void sim_fault_begin(struct sim *sim, uint32_t number)
{
    struct sim_fault *fault = &sim->faults[number];
    struct sim_random random = fault->random;
    uint32_t client = (uint32_t)sim_random_between(&random, 0, sim->client_count - 1);
    struct sim_conn *conn = choose_conn(sim, &random);
    sim->counts.faults++;
    sim->counts.fault_kinds[fault->kind]++;
    sim_trace(sim, sim_fault_name(fault->kind), number, client, conn != NULL ? conn->serial : 0);
    switch (fault->kind) {
    case SIM_FAULT_CLIENT_CRASH:
        crash(sim, client, &random);
        break;
    case SIM_FAULT_CLIENT_CLOSE:
        close_one(sim, client, &random);
        break;
    case SIM_FAULT_CLIENT_PAUSE:
        pause_client(sim, client, &random);
        break;
    case SIM_FAULT_TWIN:
        start_twin(sim, client, &random);
        break;
    case SIM_FAULT_STRANGER:
        let_in(sim, &random);
        break;
    case SIM_FAULT_BAD_GRADIENT:
        sim->processes[client].bad_next = true;
        break;
    case SIM_FAULT_DAEMON_KILL:
        kill_daemon(sim, &random);
        break;
    case SIM_FAULT_DAEMON_STOP:
        stop_daemon(sim, &random);
        break;
    case SIM_FAULT_DAEMON_PAUSE:
        pause_daemon(sim, &random);
        break;
    case SIM_FAULT_DISK_FULL:
        fill_disk(sim, &random);
        break;
    case SIM_FAULT_DISK_SYNC:
    case SIM_FAULT_DISK_SHORT:
    case SIM_FAULT_DISK_DAMAGE:
        break_disk(sim, fault->kind, &random);
        break;
    case SIM_FAULT_ALLOCATION:
        starve(sim, client, &random);
        break;
    default:
        if (conn != NULL) {
            break_conn(sim, fault->kind, conn, &random);
        }
        break;
    }
}
