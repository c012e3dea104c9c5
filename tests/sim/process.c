/* A client process: the real client core, its connections and its time. It can be stopped, and
 * killed and started again as the same worker. */
#include <string.h>

#include "tests/sim/sim.h"

enum { STREAM_PROCESS = 20, SPANS_MAX = 16 };

static uint32_t index_of(const struct sim *sim, const struct sim_process *process)
{
    return (uint32_t)(process - sim->processes);
}

void sim_process_start(struct sim *sim, uint32_t number)
{
    struct sim_process *process = &sim->processes[number];
    if (process->alive) {
        return;
    }
    uint32_t identity = number < SIM_CLIENTS_MAX ? number : process->identity;
    uint64_t serial = ++sim->next_serial;
    *process = (struct sim_process){
        .identity = identity,
        .alive = true,
        .serial = serial,
        .wake_us = PD_NEVER,
        .random = sim_random_stream(sim->options.seed, ((uint64_t)STREAM_PROCESS << 32) + serial),
    };
    process->nonce = sim_random_next(&process->random) | 1;
    const struct pd_client_options options = {.name = "sim",
                                              .random = sim_random_next(&process->random)};
    process->client = pd_client_create(&options);
    sim->counts.client_starts++;
    sim_trace(sim, "client starts (process, identity)", number, identity, 0);
    sim_process_service(sim, number);
}

void sim_process_kill(struct sim *sim, uint32_t number)
{
    struct sim_process *process = &sim->processes[number];
    if (!process->alive) {
        return;
    }
    sim_trace(sim, "client is killed (process)", number, 0, 0);
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
        if (process->conns[i] != NULL) {
            sim_net_close_client(sim, process->conns[i]);
        }
    }
    sim_worker_drop(sim, process);
    pd_client_destroy(process->client);
    uint32_t identity = process->identity;
    *process = (struct sim_process){.identity = identity};
}

void sim_process_resume(struct sim *sim, uint32_t number)
{
    struct sim_process *process = &sim->processes[number];
    process->paused = false;
    sim_trace(sim, "client goes on (process)", number, 0, 0);
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
        if (process->conns[i] != NULL) {
            sim_net_wake(sim, process->conns[i], SIM_TO_CLIENT);
        }
    }
    sim_process_service(sim, number);
}

/* ---- Connections ---- */

/* A client that finds an answer wrong comes back on another connection, and all goes on. */
static void check_answers(struct sim *sim, const struct sim_process *process)
{
    const char *trouble = pd_client_trouble(process->client);
    if (sim->counts.failed_allocations == 0 && strstr(trouble, "broke the protocol") != NULL) {
        sim_violate(sim, "client %u: %s", process->identity, trouble);
    }
}

void sim_process_connected(struct sim *sim, struct sim_conn *conn)
{
    sim_enter(sim, conn->process);
    pd_client_connected(sim->processes[conn->process].client, conn->link, sim->local, sim->now_us);
    sim_leave(sim);
    sim_process_service(sim, conn->process);
}

void sim_process_disconnected(struct sim *sim, struct sim_conn *conn, const char *why)
{
    struct sim_process *process = &sim->processes[conn->process];
    uint32_t number = conn->process;
    uint32_t link = conn->link;
    process->conns[link] = NULL;
    sim_net_close_client(sim, conn);
    sim_enter(sim, number);
    pd_client_disconnected(process->client, link, why, sim->now_us);
    sim_leave(sim);
    sim_process_service(sim, number);
}

void sim_process_receive(struct sim *sim, struct sim_conn *conn)
{
    struct sim_process *process = &sim->processes[conn->process];
    struct pd_span spans[SPANS_MAX];
    while (sim_net_arrived(conn, SIM_TO_CLIENT) > 0) {
        size_t count = pd_client_read_target(process->client, conn->link, spans, SPANS_MAX);
        if (count == 0) {
            break;
        }
        size_t bytes = sim_net_read(conn, SIM_TO_CLIENT, spans, count);
        sim_enter(sim, conn->process);
        pd_client_received(process->client, conn->link, bytes, sim->now_us);
        sim_leave(sim);
        check_answers(sim, process);
    }
    uint32_t number = conn->process;
    sim_daemon_write(sim, conn); /* there may be room for more */
    sim_process_service(sim, number);
}

/* ---- The process at work ---- */

static void write_link(struct sim *sim, struct sim_process *process, struct sim_conn *conn)
{
    struct pd_span spans[SPANS_MAX];
    size_t room;
    while ((room = sim_net_room(sim, conn, SIM_TO_SERVER)) > 0) {
        sim_enter(sim, conn->process);
        size_t count =
            pd_client_write_source(process->client, conn->link, spans, SPANS_MAX, sim->now_us);
        sim_leave(sim);
        size_t available = 0;
        for (size_t i = 0; i < count; i++) {
            available += spans[i].bytes;
        }
        if (available == 0) {
            return;
        }
        size_t bytes = sim_net_piece(conn, available < room ? available : room);
        sim_net_write(sim, conn, SIM_TO_SERVER, spans, count, bytes);
        sim_enter(sim, conn->process);
        pd_client_written(process->client, conn->link, bytes, sim->now_us);
        sim_leave(sim);
    }
}

/* Whether there were any. */
static bool do_wishes(struct sim *sim, struct sim_process *process)
{
    bool some = false;
    unsigned link;
    while (pd_client_close_wanted(process->client, &link)) {
        struct sim_conn *conn = process->conns[link];
        process->conns[link] = NULL;
        if (conn != NULL) {
            sim_net_close_client(sim, conn);
        }
        some = true;
    }
    while (pd_client_connect_wanted(process->client, &link)) {
        process->conns[link] = sim_net_open(sim, index_of(sim, process), link);
        if (process->conns[link] == NULL) {
            pd_client_disconnected(process->client, link, "no descriptor is left", sim->now_us);
        }
        some = true;
    }
    return some;
}

void sim_process_service(struct sim *sim, uint32_t number)
{
    struct sim_process *process = &sim->processes[number];
    if (!process->alive || process->paused || sim->violated) {
        return;
    }
    uint64_t wake_us;
    bool again;
    do {
        uint64_t worker_us = sim_worker_step(sim, process);
        sim_enter(sim, number);
        wake_us = pd_client_tick(process->client, sim->now_us);
        sim_leave(sim);
        wake_us = worker_us < wake_us ? worker_us : wake_us;
        again = do_wishes(sim, process);
        for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
            if (process->conns[i] != NULL) {
                write_link(sim, process, process->conns[i]);
            }
        }
    } while (again);
    if (wake_us < process->wake_us) {
        wake_us = wake_us > sim->now_us ? wake_us : sim->now_us + 1;
        process->wake_us = wake_us;
        sim_schedule(sim, wake_us - sim->now_us, SIM_EVENT_WAKE, number, 0, process->serial);
    }
}
