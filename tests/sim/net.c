/* Connections as byte streams: what is written arrives in pieces of any size, in order and later;
 * what is under way may be lost with its connection, come late, or never. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/sim/sim.h"

enum {
    STREAM_NET = 100,
    TINY_PERCENT = 12, /* of writes and reads */
    TINY_BYTES = 40,
    SLOW_WINDOW = 700,
    SLOW_LATENCY_US = 8000
};

static uint32_t index_of(const struct sim *sim, const struct sim_conn *conn)
{
    return (uint32_t)(conn - sim->conns);
}

/* ---- Pipes ---- */

static void schedule_head(struct sim *sim, struct sim_conn *conn, enum sim_direction to)
{
    const struct sim_pipe *pipe = &conn->pipes[to];
    if (pipe->segment_first < pipe->segment_end) {
        uint64_t due_us = pipe->segments[pipe->segment_first].due_us;
        due_us = due_us < pipe->held_until_us ? pipe->held_until_us : due_us;
        uint64_t after_us = due_us > sim->now_us ? due_us - sim->now_us : 0;
        sim_schedule(sim, after_us, SIM_EVENT_DELIVER, index_of(sim, conn), to, conn->serial);
    }
}

static void push_segment(struct sim *sim, struct sim_conn *conn, enum sim_direction to,
                         size_t bytes)
{
    struct sim_pipe *pipe = &conn->pipes[to];
    uint64_t jitter_us = sim_random_between(&conn->random, 0, pipe->latency_us);
    uint64_t due_us = sim->now_us + pipe->latency_us + jitter_us;
    if (pipe->slow_until_us > sim->now_us) {
        due_us += SLOW_LATENCY_US;
    }
    if (pipe->segment_first == pipe->segment_end) {
        pipe->segment_first = pipe->segment_end = 0;
    } else if (pipe->segments[pipe->segment_end - 1].due_us > due_us) {
        due_us = pipe->segments[pipe->segment_end - 1].due_us;
    }
    if (pipe->segment_end == pipe->segment_capacity) {
        pipe->segment_capacity = pipe->segment_capacity * 2 + 16;
        pipe->segments = realloc(pipe->segments, pipe->segment_capacity * sizeof *pipe->segments);
    }
    pipe->segments[pipe->segment_end++] = (struct sim_segment){bytes, due_us};
    if (pipe->segment_end - pipe->segment_first == 1) {
        schedule_head(sim, conn, to);
    }
}

static void finish(struct sim *sim, struct sim_conn *conn, enum sim_direction to)
{
    if (!conn->pipes[to].ended) {
        conn->pipes[to].ended = true;
        push_segment(sim, conn, to, 0);
    }
}

size_t sim_net_room(const struct sim *sim, const struct sim_conn *conn, enum sim_direction to)
{
    const struct sim_pipe *pipe = &conn->pipes[to];
    size_t window = pipe->slow_until_us > sim->now_us ? SLOW_WINDOW : pipe->window;
    size_t used = pipe->end - pipe->first;
    return conn->broken || pipe->ended || used >= window ? 0 : window - used;
}

size_t sim_net_piece(struct sim_conn *conn, size_t available)
{
    if (!sim_random_chance(&conn->random, TINY_PERCENT)) {
        return available;
    }
    size_t piece = (size_t)sim_random_between(&conn->random, 1, TINY_BYTES);
    return piece < available ? piece : available;
}

void sim_net_write(struct sim *sim, struct sim_conn *conn, enum sim_direction to,
                   const struct pd_span *spans, size_t count, size_t bytes)
{
    struct sim_pipe *pipe = &conn->pipes[to];
    if (pipe->end + bytes > pipe->capacity) {
        if (pipe->first > 0) {
            memmove(pipe->bytes, pipe->bytes + pipe->first, pipe->end - pipe->first);
        }
        pipe->arrived -= pipe->first;
        pipe->end -= pipe->first;
        pipe->first = 0;
        if (pipe->end + bytes > pipe->capacity) {
            pipe->capacity = (pipe->end + bytes) * 2;
            pipe->bytes = realloc(pipe->bytes, pipe->capacity);
        }
    }
    size_t left = bytes;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t step = spans[i].bytes < left ? spans[i].bytes : left;
        memcpy(pipe->bytes + pipe->end, spans[i].data, step);
        pipe->end += step;
        left -= step;
    }
    push_segment(sim, conn, to, bytes);
}

size_t sim_net_arrived(const struct sim_conn *conn, enum sim_direction to)
{
    return conn->pipes[to].arrived - conn->pipes[to].first;
}

size_t sim_net_read(struct sim_conn *conn, enum sim_direction to, const struct pd_span *spans,
                    size_t count)
{
    struct sim_pipe *pipe = &conn->pipes[to];
    size_t piece = sim_net_piece(conn, sim_net_arrived(conn, to));
    size_t given = 0;
    for (size_t i = 0; i < count && given < piece; i++) {
        size_t step = spans[i].bytes < piece - given ? spans[i].bytes : piece - given;
        memcpy(spans[i].data, pipe->bytes + pipe->first, step);
        pipe->first += step;
        given += step;
    }
    return given;
}

/* ---- Connections ---- */

struct sim_conn *sim_net_open(struct sim *sim, uint32_t process, uint32_t link)
{
    uint32_t place = 0;
    while (place < SIM_CONNS_MAX && sim->conns[place].used) {
        place++;
    }
    if (place == SIM_CONNS_MAX) {
        return NULL;
    }
    struct sim_conn *conn = &sim->conns[place];
    uint64_t serial = ++sim->next_serial;
    struct sim_random random =
        sim_random_stream(sim->options.seed, ((uint64_t)STREAM_NET << 32) + serial);
    *conn = (struct sim_conn){.used = true,
                              .serial = serial,
                              .process = process,
                              .link = link,
                              .at_client = true,
                              .random = random};
    for (unsigned i = 0; i < 2; i++) {
        conn->pipes[i].window = (size_t)1 << sim_random_between(&conn->random, 17, 20);
        conn->pipes[i].latency_us = (uint64_t)1 << sim_random_between(&conn->random, 3, 11);
    }
    sim->counts.connections++;
    sim_trace(sim, "connect (process, link, connection)", process, link, serial);
    sim_schedule(sim, conn->pipes[0].latency_us, SIM_EVENT_CONNECT, place, 0, serial);
    return conn;
}

static void release(struct sim_conn *conn)
{
    if (!conn->at_client && conn->at_host == NULL && conn->used) {
        for (unsigned i = 0; i < 2; i++) {
            free(conn->pipes[i].bytes);
            free(conn->pipes[i].segments);
        }
        *conn = (struct sim_conn){.used = false};
    }
}

void sim_net_close_client(struct sim *sim, struct sim_conn *conn)
{
    sim_trace(sim, "client closes (process, link, connection)", conn->process, conn->link,
              conn->serial);
    conn->at_client = false;
    finish(sim, conn, SIM_TO_SERVER);
    release(conn);
}

void sim_net_close_host(struct sim *sim, struct sim_conn *conn)
{
    sim_trace(sim, "daemon closes (shard, connection)", conn->shard, conn->serial, 0);
    conn->at_host = NULL;
    if (conn->at_client) {
        finish(sim, conn, SIM_TO_CLIENT);
    }
    release(conn);
}

void sim_net_reset(struct sim *sim, struct sim_conn *conn, struct sim_random *random)
{
    conn->broken = true;
    for (unsigned to = 0; to < 2; to++) {
        struct sim_pipe *pipe = &conn->pipes[to];
        uint64_t keep = sim_random_between(random, 0, pipe->segment_end - pipe->segment_first);
        for (size_t i = pipe->segment_first + (size_t)keep; i < pipe->segment_end; i++) {
            pipe->end -= pipe->segments[i].bytes;
        }
        if (keep > 0 || pipe->segment_first == pipe->segment_end) {
            pipe->segment_end = pipe->segment_first + (size_t)keep;
        } else {
            /* Its delivery is scheduled: it becomes the end. */
            pipe->segments[pipe->segment_first].bytes = 0;
            pipe->segment_end = pipe->segment_first + 1;
            pipe->ended = true;
        }
        if (!pipe->ended || (keep > 0 && pipe->segments[pipe->segment_end - 1].bytes > 0)) {
            pipe->ended = true;
            push_segment(sim, conn, to, 0);
        }
    }
}

/* ---- Events ---- */

static void ended(struct sim *sim, struct sim_conn *conn, enum sim_direction to)
{
    if (to == SIM_TO_SERVER && conn->at_host != NULL) {
        sim_daemon_closed(sim, conn);
    } else if (to == SIM_TO_CLIENT && conn->at_client) {
        sim_process_disconnected(sim, conn, "the connection was closed");
    }
}

void sim_net_wake(struct sim *sim, struct sim_conn *conn, enum sim_direction to)
{
    if (to == SIM_TO_SERVER && conn->at_host != NULL && !sim->daemon.paused) {
        sim_daemon_receive(sim, conn);
    } else if (to == SIM_TO_CLIENT && conn->at_client && !sim->processes[conn->process].paused) {
        sim_process_receive(sim, conn);
    }
}

static void deliver(struct sim *sim, struct sim_conn *conn, enum sim_direction to)
{
    struct sim_pipe *pipe = &conn->pipes[to];
    bool paused = to == SIM_TO_SERVER ? sim->daemon.paused : sim->processes[conn->process].paused;
    if (pipe->dead || pipe->segment_first == pipe->segment_end) {
        return;
    }
    const struct sim_segment *segment = &pipe->segments[pipe->segment_first];
    bool last = segment->bytes == 0;
    if (pipe->held_until_us > sim->now_us) {
        schedule_head(sim, conn, to);
        return;
    }
    if (paused && last) { /* whoever is stopped does not see the end either */
        sim_schedule(sim, 20000, SIM_EVENT_DELIVER, index_of(sim, conn), to, conn->serial);
        return;
    }
    size_t bytes = segment->bytes;
    uint64_t serial = conn->serial;
    pipe->arrived += bytes;
    pipe->segment_first++;
    schedule_head(sim, conn, to);
    sim_trace(sim,
              to == SIM_TO_SERVER ? "to server (connection, bytes, hash)"
                                  : "to client (connection, bytes, hash)",
              serial, bytes, last ? 0 : XXH3_64bits(pipe->bytes + pipe->arrived - bytes, bytes));
    sim_net_wake(sim, conn, to);
    if (last && conn->serial == serial) {
        ended(sim, conn, to);
    }
}

static void connect(struct sim *sim, struct sim_conn *conn)
{
    uint32_t place = index_of(sim, conn);
    if (!conn->at_client) {
        release(conn);
    } else if ((sim->daemon.up && sim->daemon.paused) || sim->processes[conn->process].paused) {
        sim_schedule(sim, 20000, SIM_EVENT_CONNECT, place, 0, conn->serial);
    } else if (!sim->daemon.up || !sim_daemon_accept(sim, conn)) {
        sim_process_disconnected(sim, conn, "connection refused");
    } else {
        sim_process_connected(sim, conn);
    }
}

void sim_net_event(struct sim *sim, const struct sim_event *event)
{
    struct sim_conn *conn = &sim->conns[event->subject];
    if (event->kind == SIM_EVENT_CONNECT) {
        connect(sim, conn);
    } else if (event->kind == SIM_EVENT_DELIVER) {
        deliver(sim, conn, (enum sim_direction)event->detail);
    } else if (conn->at_host != NULL) {
        sim_daemon_closed(sim, conn);
    }
}

void sim_net_free(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_CONNS_MAX; i++) {
        sim->conns[i].at_client = false;
        sim->conns[i].at_host = NULL;
        release(&sim->conns[i]);
    }
}
