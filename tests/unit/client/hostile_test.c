/* A daemon that answers nonsense: it costs the connection, never the process, and nothing is
 * believed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "tests/support/check_main.h"
#include "tests/unit/client/world.h"

enum { ELEMENTS = 2500 };

/* Lets the client greet, and send one request that the fake daemon does not answer. */
static void wait_for_request(struct world *world, enum pd_kind kind)
{
    for (unsigned i = 0; i < 1000 && world->server.frames[kind] == 0; i++) {
        (void)world_step(world);
    }
    ck_assert_uint_eq(world->server.frames[kind], 1);
}

struct case_of {
    const char *what;
    void (*say)(struct fake_conn *conn, uint64_t request_id);
};

static void say_unasked(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__Done done = PARAMD__DONE__INIT;
    done.request_id = request_id + 1000;
    fake_conn_send(conn, PD_KIND_DONE, &done.base, NULL, 0, 0);
}

static void say_wrong_kind(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__Pong pong = PARAMD__PONG__INIT;
    pong.request_id = request_id;
    fake_conn_send(conn, PD_KIND_PONG, &pong.base, NULL, 0, 0);
}

static void say_client_kind(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__Ping ping = PARAMD__PING__INIT;
    ping.request_id = request_id;
    fake_conn_send(conn, PD_KIND_PING, &ping.base, NULL, 0, 0);
}

static void say_no_frame(struct fake_conn *conn, uint64_t request_id)
{
    uint8_t bytes[64];
    memset(bytes, (int)(request_id % 7) + 'a', sizeof bytes);
    fake_conn_send_raw(conn, bytes, sizeof bytes);
}

static void say_huge(struct fake_conn *conn, uint64_t request_id)
{
    uint8_t bytes[PD_PREFIX_BYTES] = {'P', 'D', 'M', 'F', 10,  0,   0,   0,
                                      255, 255, 255, 255, 255, 255, 255, 255};
    bytes[30] = (uint8_t)request_id;
    fake_conn_send_raw(conn, bytes, sizeof bytes);
}

static void say_short_ack(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__Ack ack = PARAMD__ACK__INIT;
    ack.request_id = request_id;
    fake_conn_send(conn, PD_KIND_ACK, &ack.base, NULL, 0, 0);
}

/* Three entries as the push has them, but for what the caller has changed. */
static void send_ack(struct fake_conn *conn, uint64_t request_id, uint32_t slot_off, uint64_t id,
                     int status, uint64_t version, size_t versions)
{
    uint32_t first = conn->server->definition->first_slot;
    uint32_t slots[3] = {(first + slot_off) % PD_SLOTS, (first + 1) % PD_SLOTS,
                         (first + 2) % PD_SLOTS};
    uint64_t ids[3] = {id, 1, 1};
    int32_t statuses[3] = {status, PARAMD_OK, PARAMD_OK};
    uint64_t numbers[3] = {version, 2, 2};
    Paramd__Ack ack = PARAMD__ACK__INIT;
    ack.request_id = request_id;
    ack.n_slot = ack.n_push_id = ack.n_status = 3;
    ack.n_version = versions;
    ack.slot = slots;
    ack.push_id = ids;
    ack.status = statuses;
    ack.version = numbers;
    fake_conn_send(conn, PD_KIND_ACK, &ack.base, NULL, 0, 0);
}

static void say_ack_of_another_slot(struct fake_conn *conn, uint64_t request_id)
{
    send_ack(conn, request_id, 7, 1, PARAMD_OK, 2, 3);
}

static void say_ack_of_another_id(struct fake_conn *conn, uint64_t request_id)
{
    send_ack(conn, request_id, 0, 2, PARAMD_OK, 2, 3);
}

static void say_ack_with_uneven_arrays(struct fake_conn *conn, uint64_t request_id)
{
    send_ack(conn, request_id, 0, 1, PARAMD_OK, 2, 2);
}

static void say_expected_the_past(struct fake_conn *conn, uint64_t request_id)
{
    send_ack(conn, request_id, 0, 1, PARAMD_EXPECTED, 0, 3);
}

static void say_ack_with_payload(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__Ack ack = PARAMD__ACK__INIT;
    ack.request_id = request_id;
    fake_conn_send(conn, PD_KIND_ACK, &ack.base, "payload", 7, 0);
}

static void say_moved_nowhere(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__Moved moved = PARAMD__MOVED__INIT;
    (void)request_id;
    fake_conn_send(conn, PD_KIND_MOVED, &moved.base, NULL, 0, 0);
}

static void say_moved_to_millions(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__SlotMap map = PARAMD__SLOT_MAP__INIT;
    Paramd__Moved moved = PARAMD__MOVED__INIT;
    (void)request_id;
    map.shards = 1000000;
    moved.slot_map = &map;
    fake_conn_send(conn, PD_KIND_MOVED, &moved.base, NULL, 0, 0);
}

static void say_moved_for_a_push(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__SlotMap map = PARAMD__SLOT_MAP__INIT;
    Paramd__Moved moved = PARAMD__MOVED__INIT;
    map.shards = 1;
    moved.request_id = request_id;
    moved.slot_map = &map;
    fake_conn_send(conn, PD_KIND_MOVED, &moved.base, NULL, 0, 0);
}

static void say_connection_error(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__Error error = PARAMD__ERROR__INIT;
    (void)request_id;
    error.status = PARAMD_PROTOCOL;
    error.message = (char *)(uintptr_t) "you are wrong";
    fake_conn_send(conn, PD_KIND_ERROR, &error.base, NULL, 0, 0);
}

static void say_garbage_header(struct fake_conn *conn, uint64_t request_id)
{
    /* A sound frame whose header is no ACK: a length-delimited field that is longer than the
     * header. */
    uint8_t head[PD_PREFIX_BYTES + 64];
    Paramd__Error error = PARAMD__ERROR__INIT;
    error.request_id = request_id;
    error.message = (char *)(uintptr_t) "x";
    pd_frame_head_write(head, PD_KIND_ACK, 0, &error.base, 0, 0);
    fake_conn_send_raw(conn, head, pd_frame_head_bytes(&error.base));
}

static const struct case_of push_cases[] = {
    {"an answer to nothing", say_unasked},
    {"an answer of another kind", say_wrong_kind},
    {"a kind that clients send", say_client_kind},
    {"bytes that are no frame", say_no_frame},
    {"lengths above all limits", say_huge},
    {"an ACK without entries", say_short_ack},
    {"an ACK of another slot", say_ack_of_another_slot},
    {"an ACK of another push id", say_ack_of_another_id},
    {"an ACK with uneven arrays", say_ack_with_uneven_arrays},
    {"EXPECTED of an id that was answered", say_expected_the_past},
    {"an ACK with a payload", say_ack_with_payload},
    {"MOVED without a slot map", say_moved_nowhere},
    {"a slot map of a million shards", say_moved_to_millions},
    {"MOVED for a whole push", say_moved_for_a_push},
    {"an ERROR of the connection", say_connection_error},
    {"a header of another message", say_garbage_header},
};

START_TEST(nonsense_in_answer_to_a_push_costs_the_connection_only)
{
    const struct case_of *now = &push_cases[_i];
    struct world world;
    float *gradient = calloc(ELEMENTS, sizeof *gradient);
    world_init(&world, 1, 3);
    world.whole_pieces = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    wait_for_request(&world, PD_KIND_PUSH);
    now->say(world.conns[0], world.server.last_request);
    world_settle(&world);
    ck_assert_msg(world.conns[0] == NULL, "%s: the connection is still there", now->what);
    ck_assert(!pd_op_finished(op));
    world.server.faults.mute = false;
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    ck_assert_uint_eq(world.server.applied, 3);
    ck_assert_uint_eq(world.connects, 2);
    pd_op_release(op);
    world_deinit(&world);
    free(gradient);
}
END_TEST

/* What BLOCKS of one block of 1,024 elements would say, to be bent. */
static void send_blocks(struct fake_conn *conn, uint64_t request_id, uint32_t dtype,
                        Paramd__Part part, uint64_t block, uint64_t version, size_t bytes,
                        bool last)
{
    static uint8_t payload[4096];
    uint32_t tensors[1] = {0};
    uint64_t blocks_of[1] = {block};
    uint64_t versions[1] = {version};
    uint64_t steps[1] = {0};
    Paramd__Blocks blocks = PARAMD__BLOCKS__INIT;
    blocks.request_id = request_id;
    blocks.generation = conn->server->generation;
    blocks.dtype = dtype;
    blocks.part = part;
    blocks.n_tensor = blocks.n_block = blocks.n_version = blocks.n_step = 1;
    blocks.tensor = tensors;
    blocks.block = blocks_of;
    blocks.version = versions;
    blocks.step = steps;
    blocks.last = last;
    fake_conn_send(conn, PD_KIND_BLOCKS, &blocks.base, payload, bytes, 0);
}

static void say_other_dtype(struct fake_conn *conn, uint64_t request_id)
{
    send_blocks(conn, request_id, PD_BF16, PARAMD__PART__WEIGHTS, 0, 1, 2048, false);
}

static void say_other_part(struct fake_conn *conn, uint64_t request_id)
{
    send_blocks(conn, request_id, PD_F32, PARAMD__PART__MOMENT1, 0, 1, 4096, false);
}

static void say_other_block(struct fake_conn *conn, uint64_t request_id)
{
    send_blocks(conn, request_id, PD_F32, PARAMD__PART__WEIGHTS, 3, 1, 4096, false);
}

static void say_short_payload(struct fake_conn *conn, uint64_t request_id)
{
    send_blocks(conn, request_id, PD_F32, PARAMD__PART__WEIGHTS, 0, 1, 4092, false);
}

static void say_block_twice(struct fake_conn *conn, uint64_t request_id)
{
    send_blocks(conn, request_id, PD_F32, PARAMD__PART__WEIGHTS, 0, 1, 4096, false);
    send_blocks(conn, request_id, PD_F32, PARAMD__PART__WEIGHTS, 0, 1, 4096, false);
}

static void say_version_none(struct fake_conn *conn, uint64_t request_id)
{
    send_blocks(conn, request_id, PD_F32, PARAMD__PART__WEIGHTS, 0, 0, 4096, false);
}

static void say_last_too_early(struct fake_conn *conn, uint64_t request_id)
{
    send_blocks(conn, request_id, PD_F32, PARAMD__PART__WEIGHTS, 0, 1, 4096, true);
}

static const struct case_of pull_cases[] = {
    {"another dtype", say_other_dtype},
    {"a part that was not asked for", say_other_part},
    {"a block that was not asked for", say_other_block},
    {"a payload that is too short", say_short_payload},
    {"a block twice", say_block_twice},
    {"version 0", say_version_none},
    {"the last frame with blocks missing", say_last_too_early},
};

START_TEST(nonsense_in_answer_to_a_pull_costs_the_connection_only)
{
    const struct case_of *now = &pull_cases[_i];
    struct world world;
    float *values = calloc(ELEMENTS, sizeof *values);
    world_init(&world, 1, 3);
    world.whole_pieces = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    struct pd_op *op = world_op(&world, PD_OP_PULL, 0, 1, NULL, values, 0, NULL);
    wait_for_request(&world, PD_KIND_PULL);
    now->say(world.conns[0], world.server.last_request);
    world_settle(&world);
    ck_assert_msg(world.conns[0] == NULL, "%s: the connection is still there", now->what);
    ck_assert(!pd_op_finished(op));
    world.server.faults.mute = false;
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    pd_op_release(op);
    world_deinit(&world);
    free(values);
}
END_TEST

START_TEST(flipped_bits_in_answers_never_do_harm)
{
    /* Payloads are summed, so that no flipped bit may reach a value. */
    struct world world;
    float *gradient = calloc(ELEMENTS, sizeof *gradient);
    float *values = calloc(ELEMENTS, sizeof *values);
    world_init(&world, 1, (uint64_t)_i + 1);
    world.server.send_payload_sums = true;
    world_join(&world, 1, ELEMENTS, 1024);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        gradient[i] = 1;
    }
    struct pd_op *op = world_op(&world, PD_OP_PUSH_PULL, 0, 1, gradient, values, 0, NULL);
    for (unsigned i = 0; i < 3000 && !pd_op_finished(op); i++) {
        struct fake_conn *conn = world.conns[0];
        if (conn != NULL && conn->out_bytes > 0 && world_random(&world) % 8 == 0 && i < 200) {
            conn->out[world_random(&world) % conn->out_bytes] ^=
                (uint8_t)(1 << world_random(&world) % 8);
        }
        (void)world_step(&world);
        world.now_us += 10000;
    }
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    ck_assert_uint_eq(world.server.applied, 3);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        ck_assert_msg(values[i] == 1, "seed %d: element %u", _i, i);
    }
    pd_op_release(op);
    world_deinit(&world);
    free(gradient);
    free(values);
}
END_TEST

START_TEST(a_skippable_kind_of_a_later_version_is_passed_over)
{
    struct world world;
    float *gradient = calloc(ELEMENTS, sizeof *gradient);
    Paramd__Ping header = PARAMD__PING__INIT;
    world_init(&world, 1, 3);
    world_join(&world, 1, ELEMENTS, 1024);
    fake_conn_send(world.conns[0], (enum pd_kind)99, &header.base, "something new", 13,
                   PD_FRAME_SKIPPABLE);
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    ck_assert_uint_eq(world.connects, 1);
    pd_op_release(op);
    world_deinit(&world);
    free(gradient);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client/hostile");
    TCase *tests = tcase_create("hostile");
    tcase_add_loop_test(tests, nonsense_in_answer_to_a_push_costs_the_connection_only, 0,
                        (int)(sizeof push_cases / sizeof push_cases[0]));
    tcase_add_loop_test(tests, nonsense_in_answer_to_a_pull_costs_the_connection_only, 0,
                        (int)(sizeof pull_cases / sizeof pull_cases[0]));
    tcase_add_loop_test(tests, flipped_bits_in_answers_never_do_harm, 0, 60);
    tcase_add_test(tests, a_skippable_kind_of_a_later_version_is_passed_over);
    suite_add_tcase(suite, tests);
    return suite;
}
