/* Push, pull and push_pull over an undisturbed wire: what arrives, in how many frames, and what
 * results say. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "tests/support/check_main.h"
#include "tests/unit/client/world.h"

enum { SEEDS = 12 };

/* Small whole numbers: sums are exact in any order. */
static float *numbers(size_t count, unsigned salt)
{
    float *memory = malloc(count * sizeof *memory);
    for (size_t i = 0; i < count; i++) {
        memory[i] = (float)((i * 7 + salt) % 13) - 6;
    }
    return memory;
}

START_TEST(what_is_pushed_comes_back_for_any_split)
{
    enum { ELEMENTS = 10000, TENSORS = 3 };
    struct world world;
    world_init(&world, 1 + (unsigned)_i % 4, (uint64_t)_i + 1);
    world_join(&world, TENSORS, ELEMENTS, 1024);
    float *gradients = numbers(TENSORS * ELEMENTS, (unsigned)_i);
    float *values = calloc(TENSORS * ELEMENTS, sizeof *values);
    struct pd_op *push = world_op(&world, PD_OP_PUSH, 0, TENSORS, gradients, NULL, ELEMENTS, NULL);
    ck_assert_int_eq(world_finish(&world, push).status, PARAMD_OK);
    struct pd_op *pull = world_op(&world, PD_OP_PULL, 0, TENSORS, NULL, values, ELEMENTS, NULL);
    struct paramd_result result = world_finish(&world, pull);
    ck_assert_int_eq(result.status, PARAMD_OK);
    ck_assert_uint_eq(result.blocks, 30);
    ck_assert_uint_eq(result.done, 30);
    for (size_t i = 0; i < TENSORS * ELEMENTS; i++) {
        ck_assert_msg(values[i] == gradients[i], "seed %d: element %zu differs", _i, i);
    }
    pd_op_release(push);
    pd_op_release(pull);
    world_deinit(&world);
    free(gradients);
    free(values);
}
END_TEST

START_TEST(push_pull_brings_values_with_its_own_push_in_them)
{
    enum { ELEMENTS = 70000 };
    struct world world;
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 65536);
    float *gradients = numbers(ELEMENTS, 3);
    float *values = calloc(ELEMENTS, sizeof *values);
    for (unsigned round = 1; round <= 3; round++) {
        struct pd_op *op = world_op(&world, PD_OP_PUSH_PULL, 0, 1, gradients, values, 0, NULL);
        ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
        for (size_t i = 0; i < ELEMENTS; i++) {
            ck_assert_msg(values[i] == (float)round * gradients[i], "round %u, element %zu", round,
                          i);
        }
        pd_op_release(op);
    }
    world_deinit(&world);
    free(gradients);
    free(values);
}
END_TEST

START_TEST(thousands_of_one_tensor_calls_travel_in_a_handful_of_frames)
{
    enum { CALLS = 4000, ELEMENTS = 64 };
    struct world world;
    struct pd_op **ops = calloc(CALLS, sizeof(struct pd_op *));
    world_init(&world, 1, 5);
    world.whole_pieces = true;
    world_join(&world, CALLS, ELEMENTS, 1024);
    float *gradients = numbers((size_t)CALLS * ELEMENTS, 1);
    struct paramd_call call = {.weight = 2};
    for (uint32_t i = 0; i < CALLS; i++) {
        ops[i] = world_op(&world, PD_OP_PUSH, i, 1, gradients + (size_t)i * ELEMENTS, NULL,
                          ELEMENTS, &call);
    }
    for (uint32_t i = 0; i < CALLS; i++) {
        ck_assert_int_eq(world_finish(&world, ops[i]).status, PARAMD_OK);
        pd_op_release(ops[i]);
    }
    ck_assert_uint_eq(world.server.entries[PD_KIND_PUSH], CALLS);
    ck_assert_uint_le(world.server.frames[PD_KIND_PUSH], 6);
    ck_assert_msg(fabs(world.server.weight - 2.0 * CALLS) < 0.5, "weight %g", world.server.weight);
    world_deinit(&world);
    free(ops);
    free(gradients);
}
END_TEST

START_TEST(calls_made_one_by_one_share_frames_while_answers_are_under_way)
{
    enum { CALLS = 100 };
    struct world world;
    struct pd_op *ops[CALLS];
    float value = 1;
    world_init(&world, 1, 5);
    world_join(&world, CALLS, 1, 1024);
    for (uint32_t i = 0; i < CALLS; i++) {
        ops[i] = world_op(&world, _i == 0 ? PD_OP_PUSH : PD_OP_PULL, i, 1, &value, &value, 0, NULL);
        world_write(&world, 0);
    }
    enum pd_kind kind = _i == 0 ? PD_KIND_PUSH : PD_KIND_PULL;
    ck_assert_uint_eq(world.server.frames[kind], 4);
    for (uint32_t i = 0; i < CALLS; i++) {
        ck_assert_int_eq(world_finish(&world, ops[i]).status, PARAMD_OK);
        pd_op_release(ops[i]);
    }
    ck_assert_uint_eq(world.server.frames[kind], 5);
    world_deinit(&world);
}
END_TEST

START_TEST(a_large_tensor_travels_as_one_block_a_frame)
{
    enum { ELEMENTS = 5 * 65536 };
    struct world world;
    world_init(&world, 1, 5);
    world_join(&world, 1, ELEMENTS, 65536);
    float *gradients = numbers(ELEMENTS, 1);
    struct paramd_call call = {.weight = 32};
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradients, NULL, 0, &call);
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    ck_assert_uint_eq(world.server.frames[PD_KIND_PUSH], 5);
    ck_assert_msg(fabs(world.server.weight - 32) < 0.5, "the call's weight counts once: %g",
                  world.server.weight);
    pd_op_release(op);
    world_deinit(&world);
    free(gradients);
}
END_TEST

START_TEST(pushes_to_one_tensor_beyond_64_are_all_applied_in_order)
{
    enum { PUSHES = 200, ELEMENTS = 8 };
    struct world world;
    struct pd_op *ops[PUSHES];
    float gradient[ELEMENTS] = {1, 1, 1, 1, 1, 1, 1, 1};
    world_init(&world, 1, (uint64_t)_i + 9);
    world_join(&world, 1, ELEMENTS, 1024);
    for (unsigned i = 0; i < PUSHES; i++) {
        ops[i] = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    }
    world_write(&world, 0);
    ck_assert_uint_eq(world.server.entries[PD_KIND_PUSH], PD_UNANSWERED_MAX);
    for (unsigned i = 0; i < PUSHES; i++) {
        ck_assert_int_eq(world_finish(&world, ops[i]).status, PARAMD_OK);
        pd_op_release(ops[i]);
    }
    ck_assert_float_eq(world_value(&world, 0, 0), PUSHES);
    struct paramd_block_info info;
    pd_client_session_block(world.session, 0, 0, &info);
    ck_assert_uint_eq(info.applied, PUSHES);
    ck_assert_uint_eq(info.version, 1 + PUSHES);
    world_deinit(&world);
}
END_TEST

START_TEST(if_newer_leaves_unchanged_blocks_alone)
{
    enum { ELEMENTS = 4096 };
    struct world world;
    float *gradients = numbers(ELEMENTS, 1);
    float *values = calloc(ELEMENTS, sizeof *values);
    struct paramd_call newer = {.if_newer = true};
    struct paramd_counters counters;
    world_init(&world, 2, 3);
    world_join(&world, 2, ELEMENTS, 1024);
    struct pd_op *first = world_op(&world, PD_OP_PULL, 0, 1, NULL, values, 0, &newer);
    ck_assert_int_eq(world_finish(&world, first).status, PARAMD_OK);
    struct pd_op *again = world_op(&world, PD_OP_PULL, 0, 1, NULL, values, 0, &newer);
    struct paramd_result result = world_finish(&world, again);
    ck_assert_int_eq(result.status, PARAMD_OK);
    ck_assert_uint_eq(result.done, 4);
    pd_client_session_counters(world.session, &counters);
    ck_assert_uint_eq(counters.bytes_pulled, ELEMENTS * sizeof(float));
    struct pd_op *push = world_op(&world, PD_OP_PUSH, 0, 1, gradients, NULL, 0, NULL);
    ck_assert_int_eq(world_finish(&world, push).status, PARAMD_OK);
    ck_assert_uint_eq(world.server.base_version, 1);
    struct pd_op *changed = world_op(&world, PD_OP_PULL, 0, 1, NULL, values, 0, &newer);
    ck_assert_int_eq(world_finish(&world, changed).status, PARAMD_OK);
    ck_assert_float_eq(values[5], gradients[5]);
    pd_op_release(first);
    pd_op_release(again);
    pd_op_release(push);
    pd_op_release(changed);
    world_deinit(&world);
    free(gradients);
    free(values);
}
END_TEST

START_TEST(moments_come_beside_weights_of_the_same_version)
{
    enum { ELEMENTS = 3000 };
    struct world world;
    float *values = calloc(3 * ELEMENTS, sizeof *values);
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    for (uint64_t i = 0; i < 3; i++) {
        for (uint32_t j = 0; j < world.server.blocks[i].elements; j++) {
            world.server.blocks[i].parts[0][j] = 1;
            world.server.blocks[i].parts[2][j] = 3;
        }
        world.server.blocks[i].step = 17;
    }
    struct paramd_io entry = {.values = values, .moments = {NULL, values + ELEMENTS}};
    struct paramd_call call = {0};
    struct pd_op *op;
    char text[PD_CALL_TEXT_BYTES];
    ck_assert_int_eq(pd_op_start(world.session, PD_OP_PULL, &entry, 1, &call, &op, text),
                     PARAMD_OK);
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    for (size_t i = 0; i < ELEMENTS; i++) {
        ck_assert_float_eq(values[i], 1);
        ck_assert_float_eq(values[ELEMENTS + i], 3);
    }
    struct paramd_block_info info;
    pd_client_session_block(world.session, 0, 2, &info);
    ck_assert_uint_eq(info.step, 17);
    pd_op_release(op);
    world_deinit(&world);
    free(values);
}
END_TEST

START_TEST(a_refused_block_is_named_and_the_others_are_applied)
{
    enum { ELEMENTS = 4000 };
    struct world world;
    float *gradients = numbers(ELEMENTS, 1);
    world_init(&world, 2, 3);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.refuse_not_finite = true;
    gradients[2048] = NAN;
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradients, NULL, 0, NULL);
    struct paramd_result result = world_finish(&world, op);
    ck_assert_int_eq(result.status, PARAMD_NOT_FINITE);
    ck_assert_uint_eq(result.block, 2);
    ck_assert_uint_eq(result.done, 3);
    ck_assert_uint_eq(result.refused, 1);
    pd_op_release(op);
    gradients[2048] = 0;
    op = world_op(&world, PD_OP_PUSH, 0, 1, gradients, NULL, 0, NULL);
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    pd_op_release(op);
    world_deinit(&world);
    free(gradients);
}
END_TEST

START_TEST(half_precision_is_sent_and_received_as_it_is)
{
    enum { ELEMENTS = 2000 };
    struct world world;
    uint16_t *gradients = calloc(ELEMENTS, sizeof *gradients);
    uint16_t *values = calloc(ELEMENTS, sizeof *values);
    struct paramd_call call = {.dtype = PARAMD_BF16, .scale = 2};
    for (size_t i = 0; i < ELEMENTS; i++) {
        gradients[i] = 0x3f80; /* 1 */
    }
    world_init(&world, 1, 3);
    world_join(&world, 1, ELEMENTS, 1024);
    struct paramd_io entry = {.gradient = gradients, .values = values};
    struct pd_op *op;
    char text[PD_CALL_TEXT_BYTES];
    ck_assert_int_eq(pd_op_start(world.session, PD_OP_PUSH_PULL, &entry, 1, &call, &op, text),
                     PARAMD_OK);
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    for (size_t i = 0; i < ELEMENTS; i++) {
        ck_assert_uint_eq(values[i], 0x4000); /* 2 */
    }
    pd_op_release(op);
    world_deinit(&world);
    free(gradients);
    free(values);
}
END_TEST

START_TEST(payloads_are_summed_between_hosts_only)
{
    enum { ELEMENTS = 2000 };
    struct world world;
    float *gradients = numbers(ELEMENTS, 1);
    float *values = calloc(ELEMENTS, sizeof *values);
    world_init(&world, 1, 3);
    world.remote = _i == 1;
    world.server.send_payload_sums = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.payload_sums_seen = false; /* CREATE's definition is always summed */
    struct pd_op *op = world_op(&world, PD_OP_PUSH_PULL, 0, 1, gradients, values, 0, NULL);
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
    ck_assert_int_eq(world.server.payload_sums_seen, _i == 1);
    pd_op_release(op);
    world_deinit(&world);
    free(gradients);
    free(values);
}
END_TEST

START_TEST(what_a_call_must_not_say_is_refused_with_a_sentence)
{
    struct world world;
    float value = 0;
    struct pd_op *op = NULL;
    char text[PD_CALL_TEXT_BYTES] = "";
    struct paramd_call call = {0};
    world_init(&world, 1, 3);
    world_join(&world, 2, 1, 1024);
    struct paramd_io twice[2] = {{.gradient = &value}, {.gradient = &value}};
    struct paramd_io unknown = {.tensor = 2, .gradient = &value};
    struct paramd_io empty = {0};
    struct pd_client_session *session = world.session;
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH, twice, 2, &call, &op, text), PARAMD_INVALID);
    ck_assert_str_eq(text, "entry 1: tensor t0 occurs twice in the call");
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH, &unknown, 1, &call, &op, text),
                     PARAMD_INVALID);
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH, &empty, 1, &call, &op, text), PARAMD_INVALID);
    ck_assert_int_eq(pd_op_start(session, PD_OP_PULL, &empty, 1, &call, &op, text), PARAMD_INVALID);
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH_PULL, twice, 1, &call, &op, text),
                     PARAMD_INVALID);
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH, twice, 0, &call, &op, text), PARAMD_INVALID);
    call.dtype = (enum paramd_dtype)3;
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH, twice, 1, &call, &op, text), PARAMD_INVALID);
    call = (struct paramd_call){.scale = NAN};
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH, twice, 1, &call, &op, text), PARAMD_INVALID);
    call = (struct paramd_call){.weight = -1};
    ck_assert_int_eq(pd_op_start(session, PD_OP_PUSH, twice, 1, &call, &op, text), PARAMD_INVALID);
    ck_assert_ptr_null(op);
    world_deinit(&world);
}
END_TEST

START_TEST(unfinished_tickets_are_bounded)
{
    struct world world;
    float value = 0;
    char text[PD_CALL_TEXT_BYTES];
    struct paramd_call call = {0};
    struct paramd_io entry = {.gradient = &value};
    struct pd_op *extra;
    struct pd_op **ops = calloc(PD_TICKETS_MAX, sizeof(struct pd_op *));
    world_init(&world, 1, 3);
    world_join(&world, 1, 1, 1024);
    for (size_t i = 0; i < PD_TICKETS_MAX; i++) {
        ck_assert_int_eq(pd_op_start(world.session, PD_OP_PUSH, &entry, 1, &call, &ops[i], text),
                         PARAMD_OK);
    }
    ck_assert_int_eq(pd_op_start(world.session, PD_OP_PUSH, &entry, 1, &call, &extra, text),
                     PARAMD_BUSY);
    ck_assert_int_eq(world_finish(&world, ops[0]).status, PARAMD_OK);
    ck_assert_int_eq(pd_op_start(world.session, PD_OP_PUSH, &entry, 1, &call, &extra, text),
                     PARAMD_OK);
    for (size_t i = 0; i < PD_TICKETS_MAX; i++) {
        pd_op_release(ops[i]);
    }
    pd_op_release(extra);
    world_deinit(&world);
    free(ops);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client/ops");
    TCase *tests = tcase_create("ops");
    tcase_add_loop_test(tests, what_is_pushed_comes_back_for_any_split, 0, SEEDS);
    tcase_add_loop_test(tests, push_pull_brings_values_with_its_own_push_in_them, 0, SEEDS);
    tcase_add_test(tests, thousands_of_one_tensor_calls_travel_in_a_handful_of_frames);
    tcase_add_loop_test(tests, calls_made_one_by_one_share_frames_while_answers_are_under_way, 0,
                        2);
    tcase_add_test(tests, a_large_tensor_travels_as_one_block_a_frame);
    tcase_add_loop_test(tests, pushes_to_one_tensor_beyond_64_are_all_applied_in_order, 0, SEEDS);
    tcase_add_test(tests, if_newer_leaves_unchanged_blocks_alone);
    tcase_add_loop_test(tests, moments_come_beside_weights_of_the_same_version, 0, SEEDS);
    tcase_add_test(tests, a_refused_block_is_named_and_the_others_are_applied);
    tcase_add_test(tests, half_precision_is_sent_and_received_as_it_is);
    tcase_add_loop_test(tests, payloads_are_summed_between_hosts_only, 0, 2);
    tcase_add_test(tests, what_a_call_must_not_say_is_refused_with_a_sentence);
    tcase_add_test(tests, unfinished_tickets_are_bounded);
    suite_add_tcase(suite, tests);
    return suite;
}
