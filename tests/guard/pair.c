/* The wire between the two, turn by turn: the client writes, the daemon reads and answers, the
 * client reads. The caller's clock moves only when nothing else does. */
#include "tests/guard/pair.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIRE_BYTES = 8 * 1024 * 1024, /* more than a round: nobody waits for room */
    SPANS_MAX = 256,
    WAIT_US = 1000,
    WAITS_MAX = 10000,
    NAME_BYTES = 24
};

/* ---- The daemon's surroundings ---- */

static void *take(void *context, size_t bytes)
{
    (void)context;
    size_t rounded = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded);
    return memory != NULL ? memset(memory, 0, rounded) : NULL;
}

static void give(void *context, void *memory, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(memory);
}

static void daemon_open(struct pd_pair *pair)
{
    const struct pd_control_options control = {
        .shards = 1,
        .models_max = 1,
        .sessions_max = 1,
        .lease_us = 30000000,
        .retention_us = UINT64_C(86400000000),
        .start_us = 1000000,
        .version = "paramd/guard",
    };
    const struct pd_host_options host = {
        .shards = 1,
        .connections_max = 1,
        .in_flight_max = 64U << 20,
        .copies_max = 64U << 20,
        .push_ids_max = 64U << 20,
        .lease_us = control.lease_us,
        .retention_us = control.retention_us,
        .memory = {take, give, NULL},
        .version = control.version,
    };
    pd_link_init(&pair->effects.messages);
    pd_link_init(&pair->effects.notes);
    if (pd_control_create(&control, &pair->control) != PARAMD_OK ||
        pd_host_create(&host, &pair->host) != PARAMD_OK) {
        errx(1, "no daemon");
    }
}

static bool carry_messages(struct pd_pair *pair)
{
    bool moved = false;
    struct pd_message *message;
    while ((message = pd_host_next_outgoing(pair->host)) != NULL) {
        pd_control_step(pair->control, message, pair->now_us, &pair->effects);
        moved = true;
    }
    struct pd_link *link;
    while ((link = pd_list_pop(&pair->effects.messages)) != NULL) {
        pd_host_message(pair->host, PD_CONTAINER(link, struct pd_message, link), pair->now_us);
        moved = true;
    }
    for (link = pair->effects.notes.next; link != &pair->effects.notes;) {
        struct pd_note *note = PD_CONTAINER(link, struct pd_note, link);
        link = link->next;
        free(note);
    }
    pd_link_init(&pair->effects.notes);
    return moved;
}

/* ---- The wire ---- */

/* As much of the spans as the wire has room for. */
static size_t fill(struct pd_pair_wire *wire, const struct pd_span *spans, size_t count)
{
    size_t before = wire->end;
    for (size_t i = 0; i < count && wire->end < WIRE_BYTES; i++) {
        size_t room = WIRE_BYTES - wire->end;
        size_t step = spans[i].bytes < room ? spans[i].bytes : room;
        memcpy(wire->data + wire->end, spans[i].data, step);
        wire->end += step;
    }
    return wire->end - before;
}

/* As much as the spans hold. */
static size_t empty(struct pd_pair_wire *wire, const struct pd_span *spans, size_t count)
{
    size_t before = wire->first;
    for (size_t i = 0; i < count; i++) {
        size_t left = wire->end - wire->first;
        size_t step = spans[i].bytes < left ? spans[i].bytes : left;
        memcpy(spans[i].data, wire->data + wire->first, step);
        wire->first += step;
    }
    size_t taken = wire->first - before;
    if (wire->first == wire->end) {
        wire->first = wire->end = 0;
    }
    return taken;
}

static bool client_writes(struct pd_pair *pair)
{
    struct pd_span spans[SPANS_MAX];
    bool moved = false;
    while (pair->to_daemon.end < WIRE_BYTES) {
        size_t count = pd_client_write_source(pair->client, 0, spans, SPANS_MAX, pair->now_us);
        if (count == 0) {
            break;
        }
        pd_client_written(pair->client, 0, fill(&pair->to_daemon, spans, count), pair->now_us);
        moved = true;
    }
    return moved;
}

static bool daemon_reads(struct pd_pair *pair)
{
    struct pd_span spans[PD_HOST_READ_SPANS];
    bool moved = false;
    while (pair->to_daemon.end > 0) {
        unsigned count = pd_host_read_target(pair->host, pair->conn, spans);
        if (count == 0) {
            break;
        }
        size_t bytes = empty(&pair->to_daemon, spans, count);
        pd_host_received(pair->host, pair->conn, bytes, pair->now_us);
        moved = true;
    }
    return moved;
}

static bool daemon_writes(struct pd_pair *pair)
{
    struct pd_span spans[PD_HOST_WRITE_SPANS];
    bool moved = false;
    while (pd_host_next_active(pair->host) != NULL) {
        pair->poked = true;
    }
    while (pair->poked && pair->to_client.end < WIRE_BYTES) {
        unsigned count = pd_host_write_source(pair->host, pair->conn, spans);
        pair->poked = count > 0;
        if (count > 0) {
            size_t bytes = fill(&pair->to_client, spans, count);
            pd_host_written(pair->host, pair->conn, bytes, pair->now_us);
            moved = true;
        }
    }
    const char *reason;
    if (pd_host_finished(pair->conn, &reason)) {
        errx(1, "the daemon closes: %s", reason);
    }
    return moved;
}

static bool client_reads(struct pd_pair *pair)
{
    struct pd_span spans[SPANS_MAX];
    bool moved = false;
    while (pair->to_client.end > 0) {
        size_t count = pd_client_read_target(pair->client, 0, spans, SPANS_MAX);
        size_t bytes = empty(&pair->to_client, spans, count);
        pd_client_received(pair->client, 0, bytes, pair->now_us);
        moved = true;
    }
    return moved;
}

static bool connect_both(struct pd_pair *pair)
{
    unsigned link;
    if (pd_client_close_wanted(pair->client, &link)) {
        errx(1, "the client closes: %s", pd_client_trouble(pair->client));
    }
    if (!pd_client_connect_wanted(pair->client, &link)) {
        return false;
    }
    pair->conn = pd_host_open(pair->host, true, NULL, pair->now_us);
    if (pair->conn == NULL || link != 0) {
        errx(1, "no connection");
    }
    pd_client_connected(pair->client, link, true, pair->now_us);
    return true;
}

static bool turn(struct pd_pair *pair)
{
    (void)pd_client_tick(pair->client, pair->now_us);
    bool moved = connect_both(pair);
    if (pair->conn != NULL) {
        moved = client_writes(pair) || moved;
        moved = daemon_reads(pair) || moved;
        moved = carry_messages(pair) || moved;
        moved = daemon_writes(pair) || moved;
        moved = client_reads(pair) || moved;
    }
    return moved;
}

static void run_until(struct pd_pair *pair, bool (*done)(const void *), const void *what)
{
    for (unsigned waits = 0; !done(what);) {
        if (turn(pair)) {
            continue;
        }
        if (++waits > WAITS_MAX) {
            errx(1, "nothing moves any more: %s", pd_client_trouble(pair->client));
        }
        pair->now_us += WAIT_US;
        (void)pd_host_tick(pair->host, pair->now_us);
        pd_control_step(pair->control, NULL, pair->now_us, &pair->effects);
    }
}

/* ---- The client ---- */

static struct pd_definition *define(size_t tensors, uint64_t elements)
{
    Paramd__Group group = PARAMD__GROUP__INIT;
    Paramd__Group *groups[1] = {&group};
    Paramd__Definition message = PARAMD__DEFINITION__INIT;
    Paramd__Tensor *items = calloc(tensors, sizeof *items);
    Paramd__Tensor **pointers = calloc(tensors, sizeof *pointers);
    char(*names)[NAME_BYTES] = calloc(tensors, sizeof *names);
    struct pd_definition *definition = NULL;
    char text[PD_ERROR_TEXT_BYTES] = "";
    if (items == NULL || pointers == NULL || names == NULL) {
        err(1, "definition");
    }
    group.name = (char *)(uintptr_t) "all";
    group.optimizer = (char *)(uintptr_t) "adam";
    for (size_t i = 0; i < tensors; i++) {
        paramd__tensor__init(&items[i]);
        (void)snprintf(names[i], NAME_BYTES, "t%zu", i);
        items[i].name = names[i];
        items[i].n_shape = 1;
        items[i].shape = &elements;
        items[i].init = PARAMD__INITIALISER__ZEROS;
        pointers[i] = &items[i];
    }
    message.n_groups = 1;
    message.groups = groups;
    message.n_tensors = tensors;
    message.tensors = pointers;
    message.block_elements = 65536;
    if (pd_definition_create("guard", &message, &definition, text) != PARAMD_OK) {
        errx(1, "definition: %s", text);
    }
    free(items);
    free(pointers);
    free(names);
    return definition;
}

static bool join_over(const void *join)
{
    return pd_join_status(join) != PARAMD_PENDING;
}

void pd_pair_open(struct pd_pair *pair, size_t tensors, uint64_t elements)
{
    const struct pd_client_options options = {.name = "guard"};
    *pair = (struct pd_pair){.now_us = 5000000};
    pair->to_daemon.data = malloc(WIRE_BYTES);
    pair->to_client.data = malloc(WIRE_BYTES);
    pair->client = pd_client_create(&options);
    if (pair->to_daemon.data == NULL || pair->to_client.data == NULL || pair->client == NULL) {
        err(1, "pair");
    }
    daemon_open(pair);
    const struct pd_join_options join_options = {
        .session = {1}, .nonce = 1, .definition = define(tensors, elements), .model = "guard"};
    struct pd_join *join = pd_join_create(pair->client, &join_options);
    if (join == NULL) {
        err(1, "join");
    }
    run_until(pair, join_over, join);
    if (pd_join_status(join) != PARAMD_OK) {
        errx(1, "join: %s", pd_join_text(join));
    }
    pair->session = pd_join_take_session(join);
    pd_join_destroy(join);
}

void pd_pair_close(struct pd_pair *pair)
{
    pd_client_session_destroy(pair->session);
    pd_client_destroy(pair->client);
    pd_host_destroy(pair->host);
    pd_control_destroy(pair->control);
    free(pair->to_daemon.data);
    free(pair->to_client.data);
}

struct pd_op *pd_pair_start(struct pd_pair *pair, enum pd_op_kind kind,
                            const struct paramd_io *entry)
{
    static const struct paramd_call call = {0};
    char text[PD_CALL_TEXT_BYTES];
    struct pd_op *op = NULL;
    if (pd_op_start(pair->session, kind, entry, 1, &call, &op, text) != PARAMD_OK) {
        errx(1, "call: %s", text);
    }
    return op;
}

static bool op_over(const void *op)
{
    return pd_op_finished(op);
}

void pd_pair_finish(struct pd_pair *pair, struct pd_op *op)
{
    struct paramd_result result;
    run_until(pair, op_over, op);
    pd_op_result(op, &result);
    if (result.status != PARAMD_OK) {
        errx(1, "call: %s", paramd_status_name(result.status));
    }
    pd_op_release(op);
}
