/* The daemon as a process: real hosts and the real control core, messages carried between them,
 * bytes moved as net/ moves them. */
#include <stdlib.h>
#include <string.h>

#include "server/host_state.h"
#include "tests/sim/sim.h"

enum {
    TICK_US = 250000,
    MAIL_US = 200 /* at most, until a loop looks into its mailbox */
};

/* After each call that may have changed a block: between two of them nothing is read. */
static void left_host(struct sim *sim, uint32_t shard)
{
    sim_leave(sim);
    sim_watch_host(sim, shard);
}

/* ---- Messages ---- */

static void post(struct sim *sim, uint32_t receiver, struct pd_message *message)
{
    struct sim_daemon *daemon = &sim->daemon;
    pd_link_init(&message->link);
    pd_list_push(&daemon->mail[receiver], &message->link);
    if (!daemon->mail_due[receiver]) {
        daemon->mail_due[receiver] = true;
        uint64_t after_us = sim_random_between(&daemon->random, 1, MAIL_US);
        sim_schedule(sim, after_us, SIM_EVENT_MAIL, receiver, 0, daemon->serial);
    }
}

/* What control has to say goes out, and what it has to write is taken. */
void sim_daemon_serve_control(struct sim *sim)
{
    struct sim_daemon *daemon = &sim->daemon;
    struct pd_message *message;
    struct pd_note *note;
    while ((message = pd_control_host_next_message(daemon->control_host)) != NULL) {
        post(sim, message->shard, message);
    }
    while ((note = pd_control_host_next_note(daemon->control_host)) != NULL) {
        free(note);
    }
    sim_recovery_watch(sim);
    sim_storage_work(sim, SIM_CONTROL);
    sim_snapshots_look(sim);
}

static void control_step(struct sim *sim, struct pd_message *message)
{
    sim_enter(sim, SIM_DAEMON);
    pd_control_host_step(sim->daemon.control_host, message, sim->now_us);
    sim_leave(sim);
    sim_daemon_serve_control(sim);
}

void sim_daemon_mail(struct sim *sim, uint32_t receiver)
{
    struct sim_daemon *daemon = &sim->daemon;
    struct pd_link *link;
    daemon->mail_due[receiver] = false;
    while ((link = pd_list_pop(&daemon->mail[receiver])) != NULL) {
        struct pd_message *message = PD_CONTAINER(link, struct pd_message, link);
        sim_trace(sim, "message (to, kind, model)", receiver, message->kind, message->model);
        if (receiver == SIM_CONTROL) {
            bool request = message->kind == PD_MESSAGE_REQUEST;
            sim->counts.creates += request && message->frame_kind == PD_KIND_CREATE;
            sim->counts.attaches += request && message->frame_kind == PD_KIND_ATTACH;
            control_step(sim, message);
        } else {
            sim_enter(sim, SIM_DAEMON);
            pd_host_message(daemon->hosts[receiver], message, sim->now_us);
            left_host(sim, receiver);
            sim_daemon_serve(sim, receiver);
        }
    }
}

void sim_daemon_tick(struct sim *sim, uint32_t receiver)
{
    uint64_t after_us = TICK_US;
    if (receiver == SIM_CONTROL) {
        control_step(sim, NULL);
    } else {
        sim_enter(sim, SIM_DAEMON);
        uint64_t wake_us = pd_host_tick(sim->daemon.hosts[receiver], sim->now_us);
        left_host(sim, receiver);
        if (wake_us < sim->now_us + after_us) {
            after_us = wake_us > sim->now_us ? wake_us - sim->now_us : 1;
        }
        sim_daemon_serve(sim, receiver);
    }
    sim_schedule(sim, after_us, SIM_EVENT_TICK, receiver, 0, sim->daemon.serial);
}

/* ---- Connections ---- */

static struct pd_host *host_of(struct sim *sim, const struct sim_conn *conn)
{
    return sim->daemon.hosts[conn->shard];
}

bool sim_daemon_accept(struct sim *sim, struct sim_conn *conn)
{
    if (sim->daemon.stop != SIM_STOP_NONE) {
        return false;
    }
    conn->shard = conn->link % sim->daemon.shards;
    sim_enter(sim, SIM_DAEMON);
    conn->at_host = pd_host_open(host_of(sim, conn), sim->local, conn, sim->now_us);
    sim_leave(sim);
    return conn->at_host != NULL;
}

static void close_host(struct sim *sim, struct sim_conn *conn)
{
    struct pd_host_conn *at_host = conn->at_host;
    sim_enter(sim, SIM_DAEMON);
    pd_host_closed(host_of(sim, conn), at_host, sim->now_us);
    left_host(sim, conn->shard);
    sim_net_close_host(sim, conn);
}

void sim_daemon_closed(struct sim *sim, struct sim_conn *conn)
{
    uint32_t shard = conn->shard;
    close_host(sim, conn);
    sim_daemon_serve(sim, shard);
}

static void write_turn(struct sim *sim, struct sim_conn *conn)
{
    size_t room;
    while (conn->poked && (room = sim_net_room(sim, conn, SIM_TO_CLIENT)) > 0) {
        struct pd_span spans[PD_HOST_WRITE_SPANS];
        sim_enter(sim, SIM_DAEMON);
        unsigned count = pd_host_write_source(host_of(sim, conn), conn->at_host, spans);
        sim_leave(sim);
        size_t available = 0;
        for (unsigned i = 0; i < count; i++) {
            available += spans[i].bytes;
        }
        conn->poked = available > 0;
        if (available > 0) {
            size_t bytes = sim_net_piece(conn, available < room ? available : room);
            sim_net_write(sim, conn, SIM_TO_CLIENT, spans, count, bytes);
            sim_enter(sim, SIM_DAEMON);
            pd_host_written(host_of(sim, conn), conn->at_host, bytes, sim->now_us);
            left_host(sim, conn->shard);
        }
    }
}

static void read_turn(struct sim *sim, struct sim_conn *conn)
{
    struct pd_span spans[PD_HOST_READ_SPANS];
    uint64_t serial = conn->serial;
    while (conn->serial == serial && conn->at_host != NULL &&
           sim_net_arrived(conn, SIM_TO_SERVER) > 0) {
        unsigned count = pd_host_read_target(host_of(sim, conn), conn->at_host, spans);
        conn->paused = count == 0;
        if (conn->paused) {
            return;
        }
        size_t bytes = sim_net_read(conn, SIM_TO_SERVER, spans, count);
        sim_enter(sim, SIM_DAEMON);
        pd_host_received(host_of(sim, conn), conn->at_host, bytes, sim->now_us);
        left_host(sim, conn->shard);
        conn->poked = true;
        sim_daemon_serve(sim, conn->shard);
    }
}

/* A sound client is sent away only if it or its network is slow, or another takes its place. */
static void check_reason(struct sim *sim, const char *reason)
{
    static const char *const sound[] = {"a newer connection",     "no HELLO",
                                        "a frame did not arrive", "a CREATE did not arrive",
                                        "it reads slower",        "the daemon is stopping"};
    bool known = sim->counts.failed_allocations > 0;
    for (size_t i = 0; i < sizeof sound / sizeof sound[0]; i++) {
        known = known || strncmp(reason, sound[i], strlen(sound[i])) == 0;
    }
    if (!known) {
        sim_violate(sim, "the daemon closes a client's connection: %s", reason);
    }
}

/* What net/ does for a connection that the host has named. */
static void turn(struct sim *sim, struct sim_conn *conn)
{
    struct pd_span spans[PD_HOST_READ_SPANS];
    const char *reason = NULL;
    write_turn(sim, conn);
    if (pd_host_finished(conn->at_host, &reason)) {
        check_reason(sim, reason);
        close_host(sim, conn);
    } else if (conn->paused && pd_host_read_target(host_of(sim, conn), conn->at_host, spans) > 0) {
        conn->paused = false;
        read_turn(sim, conn);
    }
}

void sim_daemon_serve(struct sim *sim, uint32_t shard)
{
    struct pd_host *host = sim->daemon.hosts[shard];
    struct pd_host_conn *active;
    struct pd_message *message;
    do { /* a job that is taken lets go on what waited for room */
        while ((active = pd_host_next_active(host)) != NULL) {
            struct sim_conn *conn = pd_host_conn_user(active);
            conn->poked = true;
            turn(sim, conn);
        }
        while ((message = pd_host_next_outgoing(host)) != NULL) {
            post(sim, SIM_CONTROL, message);
        }
    } while (sim_storage_work(sim, shard));
}

void sim_daemon_recovered(struct sim *sim, bool clean)
{
    sim_enter(sim, SIM_DAEMON);
    enum paramd_status status =
        pd_control_host_recovered(sim->daemon.control_host, clean, sim->now_us);
    sim_leave(sim);
    if (status == PARAMD_OK) {
        sim_recovery_started(sim, clean);
        sim_daemon_serve_control(sim);
    } else {
        sim_daemon_stop(sim);
    }
}

void sim_daemon_job_done(struct sim *sim, uint32_t writer, enum paramd_status status)
{
    struct sim_daemon *daemon = &sim->daemon;
    sim_enter(sim, SIM_DAEMON);
    if (writer == SIM_CONTROL) {
        pd_control_host_job_done(daemon->control_host, status, sim->now_us);
        sim_leave(sim);
        sim_daemon_serve_control(sim);
    } else {
        pd_host_job_done(daemon->hosts[writer], status, sim->now_us);
        left_host(sim, writer);
        sim_daemon_serve(sim, writer);
    }
}

void sim_daemon_receive(struct sim *sim, struct sim_conn *conn)
{
    uint64_t serial = conn->serial;
    uint32_t process = conn->process;
    read_turn(sim, conn);
    if (conn->serial == serial) {
        sim_daemon_write(sim, conn);
    }
    sim_process_service(sim, process); /* there may be room for more */
}

void sim_daemon_write(struct sim *sim, struct sim_conn *conn)
{
    if (conn->at_host != NULL && conn->poked && !sim->daemon.paused) {
        uint32_t shard = conn->shard;
        turn(sim, conn);
        sim_daemon_serve(sim, shard);
    }
}

void sim_daemon_schedule(struct sim *sim)
{
    struct sim_daemon *daemon = &sim->daemon;
    for (uint32_t i = 0; i < daemon->shards; i++) {
        uint64_t after_us = sim_random_between(&daemon->random, 1, TICK_US);
        sim_schedule(sim, after_us, SIM_EVENT_TICK, i, 0, daemon->serial);
    }
    sim_schedule(sim, TICK_US, SIM_EVENT_TICK, SIM_CONTROL, 0, daemon->serial);
}

void sim_daemon_resume(struct sim *sim)
{
    sim->daemon.paused = false;
    sim_trace(sim, "daemon goes on", 0, 0, 0);
    sim_daemon_schedule(sim);
    for (uint32_t i = 0; i <= SIM_CONTROL; i++) {
        if (sim->daemon.mail_due[i]) {
            sim_schedule(sim, 1, SIM_EVENT_MAIL, i, 0, sim->daemon.serial);
        }
        if (sim->storage.logs[i].due) {
            sim_schedule(sim, 1, SIM_EVENT_JOB, i, 0, sim->daemon.serial);
        }
    }
    for (uint32_t i = 0; i < SIM_CONNS_MAX; i++) {
        sim_net_wake(sim, &sim->conns[i], SIM_TO_SERVER);
        sim_daemon_write(sim, &sim->conns[i]);
    }
}
