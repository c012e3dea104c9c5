/* The wire between core and fake daemon. */
#include "tests/unit/client/world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPANS_MAX = 64, PIECE_MAX = 96 * 1024, ROUNDS_MAX = 2000000 };

bool world_in_core;

void world_init(struct world *world, unsigned shards, uint64_t seed)
{
    *world = (struct world){.now_us = 1000000, .random = seed};
    fake_server_init(&world->server, shards);
    struct pd_client_options options = {.name = "test", .random = seed};
    world->client = pd_client_create(&options);
    ck_assert_ptr_nonnull(world->client);
}

void world_deinit(struct world *world)
{
    pd_join_destroy(world->join);
    if (world->session != NULL) {
        pd_client_session_destroy(world->session);
    }
    pd_client_destroy(world->client);
    for (unsigned i = 0; i < PD_SHARDS_MAX; i++) {
        fake_conn_destroy(world->conns[i]);
    }
    fake_server_deinit(&world->server);
    free(world->initial);
}

uint64_t world_random(struct world *world)
{
    world->random ^= world->random << 13 | 1;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random;
}

static size_t piece(struct world *world, size_t available)
{
    if (world->whole_pieces || available == 0) {
        return available;
    }
    /* Mostly large, often tiny: both kinds of borders are met. */
    size_t limit = world_random(world) % 3 == 0 ? 40 : PIECE_MAX;
    size_t count = 1 + (size_t)(world_random(world) % limit);
    return count < available ? count : available;
}

void world_break(struct world *world, unsigned link)
{
    fake_conn_destroy(world->conns[link]);
    world->conns[link] = NULL;
    pd_client_disconnected(world->client, link, "the test broke it", world->now_us);
}

/* Whether moving count more bytes crosses the cut; *count is then shortened to it. */
static bool crosses(uint64_t so_far, uint64_t cut, size_t *count)
{
    if (cut == 0 || so_far >= cut || so_far + *count < cut) {
        return false;
    }
    *count = (size_t)(cut - so_far);
    return true;
}

static bool move_to_server(struct world *world, unsigned link)
{
    struct pd_span spans[SPANS_MAX];
    world_in_core = true;
    size_t count = pd_client_write_source(world->client, link, spans, SPANS_MAX, world->now_us);
    world_in_core = false;
    size_t available = 0;
    for (size_t i = 0; i < count; i++) {
        available += spans[i].bytes;
    }
    if (available == 0) {
        return false;
    }
    size_t bytes = piece(world, available);
    bool cut = crosses(world->to_server, world->cut_to_server, &bytes);
    size_t left = bytes;
    for (size_t i = 0; left > 0; i++) {
        size_t step = spans[i].bytes < left ? spans[i].bytes : left;
        fake_conn_feed(world->conns[link], spans[i].data, step);
        left -= step;
    }
    world->to_server += bytes;
    world_in_core = true;
    pd_client_written(world->client, link, bytes, world->now_us);
    world_in_core = false;
    if (cut || world->conns[link]->closed) {
        world_break(world, link);
    }
    return true;
}

static bool move_from_server(struct world *world, unsigned link)
{
    struct pd_span spans[SPANS_MAX];
    size_t count = pd_client_read_target(world->client, link, spans, SPANS_MAX);
    size_t room = 0;
    for (size_t i = 0; i < count; i++) {
        room += spans[i].bytes;
    }
    size_t bytes = piece(world, world->conns[link]->out_bytes);
    bytes = bytes < room ? bytes : room;
    if (bytes == 0) {
        return false;
    }
    bool cut = crosses(world->from_server, world->cut_from_server, &bytes);
    size_t left = bytes;
    for (size_t i = 0; left > 0; i++) {
        size_t step = spans[i].bytes < left ? spans[i].bytes : left;
        left -= fake_conn_take(world->conns[link], spans[i].data, step);
    }
    world->from_server += bytes;
    world_in_core = true;
    pd_client_received(world->client, link, bytes, world->now_us);
    world_in_core = false;
    if (cut) {
        world_break(world, link);
    }
    return true;
}

void world_write(struct world *world, unsigned link)
{
    while (world->conns[link] != NULL && move_to_server(world, link)) {
    }
}

size_t world_read(struct world *world, unsigned link, size_t bytes)
{
    size_t left = bytes;
    while (left > 0 && world->conns[link] != NULL && world->conns[link]->out_bytes > 0) {
        struct pd_span spans[SPANS_MAX];
        if (pd_client_read_target(world->client, link, spans, SPANS_MAX) == 0) {
            break;
        }
        size_t count = spans[0].bytes < left ? spans[0].bytes : left;
        count = fake_conn_take(world->conns[link], spans[0].data, count);
        pd_client_received(world->client, link, count, world->now_us);
        left -= count;
    }
    return bytes - left;
}

static void send_preamble(struct world *world, unsigned link)
{
    const struct pd_preamble preamble = {.version = PD_PROTOCOL_VERSION, .shard = link};
    uint8_t bytes[PD_PREAMBLE_BYTES];
    pd_preamble_write(&preamble, bytes);
    fake_conn_feed(world->conns[link], bytes, sizeof bytes);
}

static bool do_wishes(struct world *world)
{
    unsigned link;
    bool some = false;
    while (pd_client_close_wanted(world->client, &link)) {
        fake_conn_destroy(world->conns[link]);
        world->conns[link] = NULL;
        some = true;
    }
    while (pd_client_connect_wanted(world->client, &link)) {
        ck_assert_ptr_null(world->conns[link]);
        some = true;
        if (world->unreachable) {
            pd_client_disconnected(world->client, link, "cannot connect to the test",
                                   world->now_us);
            continue;
        }
        world->connects++;
        world->conns[link] = fake_conn_create(&world->server);
        send_preamble(world, link);
        world_in_core = true;
        pd_client_connected(world->client, link, !world->remote, world->now_us);
        world_in_core = false;
    }
    return some;
}

bool world_step(struct world *world)
{
    world_in_core = true;
    (void)pd_client_tick(world->client, world->now_us);
    world_in_core = false;
    bool some = do_wishes(world);
    unsigned first = (unsigned)(world_random(world) % world->server.shards);
    for (unsigned i = 0; i < PD_SHARDS_MAX; i++) {
        unsigned link = (i + first) % PD_SHARDS_MAX;
        if (world->conns[link] != NULL && move_to_server(world, link)) {
            some = true;
        }
        if (world->conns[link] != NULL && move_from_server(world, link)) {
            some = true;
        }
    }
    return some;
}

void world_settle(struct world *world)
{
    for (unsigned rounds = 0; world_step(world); rounds++) {
        ck_assert_uint_lt(rounds, ROUNDS_MAX);
    }
}

bool world_until(struct world *world, bool (*done)(const void *arg), const void *arg, uint64_t us)
{
    uint64_t end_us = world->now_us + us;
    for (unsigned rounds = 0; rounds < ROUNDS_MAX; rounds++) {
        if (done(arg)) {
            return true;
        }
        if (world_step(world)) {
            continue;
        }
        uint64_t wake_us = pd_client_tick(world->client, world->now_us);
        if (wake_us > end_us) {
            return done(arg);
        }
        world->now_us = wake_us > world->now_us ? wake_us : world->now_us + 1;
    }
    return false;
}

static bool never(const void *arg)
{
    (void)arg;
    return false;
}

void world_pass(struct world *world, uint64_t us)
{
    uint64_t end_us = world->now_us + us;
    (void)world_until(world, never, NULL, us);
    world->now_us = end_us;
    world_settle(world);
}

static bool op_over(const void *arg)
{
    return pd_op_finished(arg);
}

struct paramd_result world_finish(struct world *world, struct pd_op *op)
{
    struct paramd_result result;
    ck_assert_msg(world_until(world, op_over, op, UINT64_C(60000000)), "an op does not finish: %s",
                  pd_client_trouble(world->client));
    pd_op_result(op, &result);
    return result;
}

struct pd_definition *world_definition(const char *name, size_t tensors, uint64_t elements,
                                       uint32_t block_elements, bool server)
{
    static char names[WORLD_TENSORS_MAX][24];
    static Paramd__Tensor items[WORLD_TENSORS_MAX];
    static Paramd__Tensor *pointers[WORLD_TENSORS_MAX];
    Paramd__Group group = PARAMD__GROUP__INIT;
    Paramd__Group *groups[1] = {&group};
    Paramd__Definition message = PARAMD__DEFINITION__INIT;
    struct pd_definition *definition = NULL;
    char text[PD_ERROR_TEXT_BYTES] = "";
    group.name = (char *)(uintptr_t) "all";
    group.optimizer = (char *)(uintptr_t) "sgd";
    for (size_t i = 0; i < tensors; i++) {
        paramd__tensor__init(&items[i]);
        (void)snprintf(names[i], sizeof names[i], "t%zu", i);
        items[i].name = names[i];
        items[i].n_shape = 1;
        items[i].shape = &elements;
        items[i].init = server ? PARAMD__INITIALISER__ZEROS : PARAMD__INITIALISER__CLIENT;
        pointers[i] = &items[i];
    }
    message.n_groups = 1;
    message.groups = groups;
    message.n_tensors = tensors;
    message.tensors = pointers;
    message.block_elements = block_elements;
    int status = pd_definition_create(name, &message, &definition, text);
    ck_assert_msg(status == PARAMD_OK, "definition: %s", text);
    return definition;
}

void world_join_start(struct world *world, struct pd_definition *definition, uint8_t id)
{
    struct pd_join_options options = {.nonce = 99,
                                      .definition = definition,
                                      .model = definition->name,
                                      .initial = world->initial};
    options.session[PD_SESSION_BYTES - 1] = id;
    world->join = pd_join_create(world->client, &options);
    ck_assert_ptr_nonnull(world->join);
}

static bool join_over(const void *arg)
{
    return pd_join_status(arg) != PARAMD_PENDING;
}

void world_join(struct world *world, size_t tensors, uint64_t elements, uint32_t block_elements)
{
    world_join_start(world, world_definition("model", tensors, elements, block_elements, true), 1);
    ck_assert(world_until(world, join_over, world->join, 10000000));
    ck_assert_msg(pd_join_status(world->join) == PARAMD_OK, "join: %s", pd_join_text(world->join));
    world->session = pd_join_take_session(world->join);
    pd_join_destroy(world->join);
    world->join = NULL;
}

struct pd_op *world_op(struct world *world, enum pd_op_kind kind, uint32_t first, size_t count,
                       float *gradients, float *values, size_t stride,
                       const struct paramd_call *call)
{
    static struct paramd_io entries[WORLD_TENSORS_MAX];
    static const struct paramd_call plain = {0};
    char text[PD_CALL_TEXT_BYTES] = "";
    struct pd_op *op = NULL;
    for (size_t i = 0; i < count; i++) {
        entries[i] =
            (struct paramd_io){.tensor = first + (uint32_t)i,
                               .gradient = gradients == NULL ? NULL : gradients + i * stride,
                               .values = values == NULL ? NULL : values + i * stride};
    }
    int status =
        pd_op_start(world->session, kind, entries, count, call != NULL ? call : &plain, &op, text);
    ck_assert_msg(status == PARAMD_OK, "start: %s", text);
    return op;
}

float world_value(const struct world *world, uint32_t tensor, uint64_t element)
{
    const struct pd_definition *definition = world->server.definition;
    uint64_t block = definition->tensors[tensor].first_block + element / definition->block_elements;
    return world->server.blocks[block].parts[0][element % definition->block_elements];
}
