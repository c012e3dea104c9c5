/* Cancelling in each state of a push and a pull: buffers are free at once, push ids stay without
 * gaps, and the result says what became of it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/client/world.h"

enum { ELEMENTS = 2500, BLOCKS = 3 };

static float *ones(void)
{
    float *memory = malloc(ELEMENTS * sizeof *memory);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        memory[i] = 1;
    }
    return memory;
}

/* After whatever happened, a plain push of ones is applied once. */
static void still_works(struct world *world)
{
    float before = world_value(world, 0, 0);
    float *gradient = ones();
    struct pd_op *op = world_op(world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    ck_assert_int_eq(world_finish(world, op).status, PARAMD_OK);
    ck_assert_float_eq(world_value(world, 0, 0), before + 1);
    pd_op_release(op);
    free(gradient);
}

START_TEST(what_was_not_sent_is_cancelled_at_once)
{
    struct world world;
    struct paramd_result result;
    float *gradient = ones();
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    pd_op_cancel(op);
    free(gradient); /* under ASan a later look at it would show */
    ck_assert(pd_op_finished(op));
    pd_op_result(op, &result);
    ck_assert_int_eq(result.status, PARAMD_CANCELLED);
    ck_assert_uint_eq(result.unknown, BLOCKS);
    world_settle(&world);
    ck_assert_uint_eq(world.server.frames[PD_KIND_PUSH] + world.server.frames[PD_KIND_SKIP], 0);
    pd_op_release(op);
    still_works(&world);
    world_deinit(&world);
}
END_TEST

START_TEST(cancelled_parked_pushes_leave_no_gap)
{
    enum { PUSHES = 100 };
    struct world world;
    struct pd_op *ops[PUSHES];
    float *gradient = ones();
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    for (unsigned i = 0; i < PUSHES; i++) {
        ops[i] = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    }
    for (unsigned i = 0; i < PUSHES; i += 3) {
        pd_op_cancel(ops[i]);
        ck_assert(pd_op_finished(ops[i]));
    }
    for (unsigned i = 0; i < PUSHES; i++) {
        struct paramd_result result = world_finish(&world, ops[i]);
        ck_assert_int_eq(result.status, i % 3 == 0 ? PARAMD_CANCELLED : PARAMD_OK);
        pd_op_release(ops[i]);
    }
    ck_assert_float_eq(world_value(&world, 0, 0), 66);
    still_works(&world);
    world_deinit(&world);
    free(gradient);
}
END_TEST

/* Cancels after _i rounds of a push, whatever it is doing then; the result must agree with the
 * daemon. */
START_TEST(a_push_cancelled_at_any_moment_says_what_became_of_it)
{
    struct world world;
    float *gradient = ones();
    float *values = calloc(ELEMENTS, sizeof *values);
    bool pulls = _i % 2 == 1;
    world_init(&world, 1 + (unsigned)_i % 2, (uint64_t)_i * 31 + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    struct pd_op *op =
        world_op(&world, pulls ? PD_OP_PUSH_PULL : PD_OP_PUSH, 0, 1, gradient, values, 0, NULL);
    for (int i = 0; i < _i / 2; i++) {
        (void)world_step(&world);
    }
    pd_op_cancel(op);
    free(gradient);
    free(values);
    struct paramd_result result = world_finish(&world, op);
    ck_assert_uint_eq(result.done + result.unknown, BLOCKS);
    ck_assert_msg(result.done == world.server.applied, "seed %d: %lu done, %lu applied", _i,
                  (unsigned long)result.done, (unsigned long)world.server.applied);
    pd_op_release(op);
    still_works(&world);
    world_deinit(&world);
}
END_TEST

START_TEST(a_cancelled_push_whose_answer_was_lost_is_skipped_and_told)
{
    struct world world;
    float *gradient = ones();
    world_init(&world, 1, (uint64_t)_i + 1);
    world.whole_pieces = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = _i == 0; /* 0: never reached the core; 1: applied */
    world.server.faults.cut_after_apply = _i == 1;
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    for (unsigned i = 0; i < 50 && world.server.frames[PD_KIND_PUSH] == 0; i++) {
        (void)world_step(&world);
    }
    pd_op_cancel(op);
    free(gradient);
    ck_assert(!pd_op_finished(op));
    world.server.faults.mute = false;
    if (world.conns[0] != NULL) {
        world_break(&world, 0);
    }
    struct paramd_result result = world_finish(&world, op);
    ck_assert_int_eq(result.status, _i == 0 ? PARAMD_CANCELLED : PARAMD_OK);
    ck_assert_uint_eq(world.server.frames[PD_KIND_SKIP], BLOCKS);
    ck_assert_uint_eq(world.server.applied, _i == 0 ? 0 : BLOCKS);
    pd_op_release(op);
    still_works(&world);
    world_deinit(&world);
}
END_TEST

START_TEST(a_skip_whose_answer_was_lost_still_tells_a_cancel)
{
    struct world world;
    float *gradient = ones();
    world_init(&world, 1, 7);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    for (unsigned i = 0; i < 50; i++) {
        (void)world_step(&world);
    }
    pd_op_cancel(op);
    free(gradient);
    world.server.faults.mute = false;
    world.server.faults.cut_after_skip = 2;
    world_break(&world, 0);
    struct paramd_result result = world_finish(&world, op);
    ck_assert_uint_gt(world.server.frames[PD_KIND_SKIP], BLOCKS);
    ck_assert_int_eq(result.status, PARAMD_CANCELLED);
    ck_assert_uint_eq(result.unknown, BLOCKS);
    ck_assert_uint_eq(world.server.applied, 0);
    pd_op_release(op);
    still_works(&world);
    world_deinit(&world);
}
END_TEST

START_TEST(a_half_sent_push_costs_the_connection_when_it_is_cancelled)
{
    struct world world;
    float *gradient = ones();
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    struct pd_span spans[8];
    size_t count = pd_client_write_source(world.client, 0, spans, 8, world.now_us);
    ck_assert_uint_gt(count, 1);
    fake_conn_feed(world.conns[0], spans[0].data, spans[0].bytes);
    pd_client_written(world.client, 0, spans[0].bytes + 0, world.now_us);
    pd_op_cancel(op);
    free(gradient);
    unsigned link;
    ck_assert(pd_client_close_wanted(world.client, &link));
    ck_assert_uint_eq(link, 0);
    fake_conn_destroy(world.conns[0]);
    world.conns[0] = NULL;
    ck_assert_int_eq(world_finish(&world, op).status, PARAMD_CANCELLED);
    ck_assert_uint_eq(world.server.applied, 0);
    pd_op_release(op);
    still_works(&world);
    world_deinit(&world);
}
END_TEST

START_TEST(a_pull_cancelled_at_any_moment_touches_its_buffer_no_more)
{
    struct world world;
    float *values = calloc(ELEMENTS, sizeof *values);
    world_init(&world, 1, (uint64_t)_i * 13 + 1);
    world.server.send_payload_sums = _i % 2 == 0;
    world_join(&world, 1, ELEMENTS, 1024);
    struct pd_op *op = world_op(&world, PD_OP_PULL, 0, 1, NULL, values, 0, NULL);
    for (int i = 0; i < _i / 2; i++) {
        (void)world_step(&world);
    }
    pd_op_cancel(op);
    free(values);
    ck_assert(pd_op_finished(op));
    world_settle(&world);
    ck_assert_uint_eq(world.connects, 1);
    pd_op_release(op);
    still_works(&world);
    world_deinit(&world);
}
END_TEST

START_TEST(a_pull_cancelled_at_any_byte_of_its_answer_frees_its_buffer)
{
    size_t step = 61;
    for (size_t at = 1;; at += step) {
        struct world world;
        float *values = calloc(ELEMENTS, sizeof *values);
        world_init(&world, 1, 1);
        world.server.send_payload_sums = _i == 1;
        world_join(&world, 1, ELEMENTS, 1024);
        struct pd_op *op =
            world_op(&world, _i == 0 ? PD_OP_PULL : PD_OP_PUSH_PULL, 0, 1, values, values, 0, NULL);
        world_write(&world, 0);
        size_t read = world_read(&world, 0, at);
        bool whole = pd_op_finished(op);
        pd_op_cancel(op);
        free(values);
        world_settle(&world);
        ck_assert(pd_op_finished(op));
        ck_assert_uint_eq(world.connects, 1);
        pd_op_release(op);
        still_works(&world);
        world_deinit(&world);
        if (whole) {
            ck_assert_uint_gt(read, ELEMENTS * sizeof(float));
            break;
        }
    }
}
END_TEST

START_TEST(an_abandoned_push_is_unknown_and_its_id_is_cleared_up_later)
{
    struct world world;
    struct paramd_result result;
    float *gradient = ones();
    world_init(&world, 1, 1);
    world.whole_pieces = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    world_settle(&world);
    pd_op_cancel(op);
    pd_op_abandon(op);
    pd_op_result(op, &result);
    ck_assert_int_eq(result.status, PARAMD_UNKNOWN);
    ck_assert_uint_eq(result.unknown, BLOCKS);
    pd_op_release(op);
    free(gradient);
    world.server.faults.mute = false;
    world_break(&world, 0);
    still_works(&world);
    ck_assert_uint_eq(world.server.frames[PD_KIND_SKIP], BLOCKS);
    world_deinit(&world);
}
END_TEST

START_TEST(giving_up_again_and_again_while_the_daemon_is_away_holds_no_memory)
{
    struct world world;
    float *gradient = ones();
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.unreachable = true;
    world_break(&world, 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
        world_settle(&world);
        pd_op_release(op);
        ck_assert_uint_eq(pd_client_session_unfinished(world.session), 0);
    }
    world.unreachable = false;
    still_works(&world);
    ck_assert_uint_eq(world.server.frames[PD_KIND_SKIP], 0);
    world_deinit(&world);
    free(gradient);
}
END_TEST

START_TEST(closing_a_handle_ends_its_tickets_and_lets_the_model_be_joined_again)
{
    struct world world;
    float *gradient = ones();
    struct paramd_result result;
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    struct pd_op *op = world_op(&world, PD_OP_PUSH_PULL, 0, 1, gradient, gradient, 0, NULL);
    for (int i = 0; i < _i; i++) {
        (void)world_step(&world);
    }
    pd_client_session_destroy(world.session);
    free(gradient);
    ck_assert(pd_op_finished(op));
    pd_op_result(op, &result);
    ck_assert_uint_eq(result.done + result.unknown, BLOCKS);
    pd_op_release(op);
    world_join(&world, 1, ELEMENTS, 1024);
    still_works(&world);
    world_deinit(&world);
}
END_TEST

/* Makes the next frames and lets only the first bytes of them go. */
static void write_a_little(struct world *world)
{
    struct pd_span spans[8];
    size_t count = pd_client_write_source(world->client, 0, spans, 8, world->now_us);
    ck_assert_uint_gt(count, 0);
    fake_conn_feed(world->conns[0], spans[0].data, 1);
    pd_client_written(world->client, 0, 1, world->now_us);
}

START_TEST(a_model_that_goes_while_a_push_is_half_sent_ends_all_pushes)
{
    struct world world;
    struct paramd_result result;
    struct pd_op *ops[2];
    float *gradient = ones();
    world_init(&world, 1, 1);
    world.whole_pieces = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    ops[0] = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    world_write(&world, 0);
    ops[1] = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    write_a_little(&world);
    Paramd__Error error = PARAMD__ERROR__INIT;
    error.request_id = world.server.last_request;
    error.status = PARAMD_NOT_FOUND;
    fake_conn_send(world.conns[0], PD_KIND_ERROR, &error.base, NULL, 0, 0);
    (void)world_read(&world, 0, SIZE_MAX);
    for (unsigned i = 0; i < 2; i++) {
        pd_op_result(ops[i], &result);
        ck_assert_int_eq(result.status, PARAMD_NOT_FOUND);
        pd_op_release(ops[i]);
    }
    free(gradient);
    world.server.faults.mute = false;
    world_settle(&world);
    world_deinit(&world);
}
END_TEST

/* _i: what becomes of the connection on which the call is half sent. */
START_TEST(a_call_given_up_while_it_is_sent_is_forgotten)
{
    struct world world;
    Paramd__Report report = PARAMD__REPORT__INIT;
    world_init(&world, 1, 1);
    world.whole_pieces = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.busy_calls = _i == 2;
    struct pd_call *call = pd_call_start(world.client, NULL, PD_KIND_REPORT, &report.base, NULL, 0);
    write_a_little(&world);
    pd_call_destroy(call);
    if (_i == 1) {
        world_break(&world, 0);
    }
    if (_i != 0) {
        still_works(&world);
        world_pass(&world, 300 * 1000); /* a call that was told BUSY would be sent again by then */
        ck_assert_uint_eq(world.server.frames[PD_KIND_REPORT], (unsigned)_i / 2);
    }
    world_deinit(&world);
}
END_TEST

static unsigned done_count;

static void count_done(struct paramd_ticket *ticket, void *arg)
{
    (void)ticket;
    done_count += *(const unsigned *)arg;
}

START_TEST(each_done_is_handed_out_once_and_not_after_a_release)
{
    struct world world;
    float *gradient = ones();
    unsigned one = 1;
    struct paramd_call call = {.done = count_done, .arg = &one};
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    struct pd_op *ops[3];
    for (unsigned i = 0; i < 3; i++) {
        ops[i] = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, &call);
    }
    for (unsigned i = 0; i < 3; i++) {
        (void)world_finish(&world, ops[i]);
    }
    pd_op_release(ops[1]);
    struct pd_op *op;
    done_count = 0;
    while ((op = pd_client_next_done(world.client)) != NULL) {
        void *arg;
        pd_op_done(op, &arg)(NULL, arg);
        ck_assert(op == ops[0] || op == ops[2]);
    }
    ck_assert_uint_eq(done_count, 2);
    pd_op_release(ops[0]);
    pd_op_release(ops[2]);
    world_deinit(&world);
    free(gradient);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client/cancel");
    TCase *tests = tcase_create("cancel");
    tcase_add_test(tests, what_was_not_sent_is_cancelled_at_once);
    tcase_add_test(tests, cancelled_parked_pushes_leave_no_gap);
    tcase_add_loop_test(tests, a_push_cancelled_at_any_moment_says_what_became_of_it, 0, 60);
    tcase_add_loop_test(tests, a_cancelled_push_whose_answer_was_lost_is_skipped_and_told, 0, 2);
    tcase_add_test(tests, a_skip_whose_answer_was_lost_still_tells_a_cancel);
    tcase_add_test(tests, a_half_sent_push_costs_the_connection_when_it_is_cancelled);
    tcase_add_loop_test(tests, a_pull_cancelled_at_any_moment_touches_its_buffer_no_more, 0, 40);
    tcase_add_loop_test(tests, a_pull_cancelled_at_any_byte_of_its_answer_frees_its_buffer, 0, 2);
    tcase_add_test(tests, an_abandoned_push_is_unknown_and_its_id_is_cleared_up_later);
    tcase_add_test(tests, giving_up_again_and_again_while_the_daemon_is_away_holds_no_memory);
    tcase_add_loop_test(tests, closing_a_handle_ends_its_tickets_and_lets_the_model_be_joined_again,
                        0, 20);
    tcase_add_test(tests, a_model_that_goes_while_a_push_is_half_sent_ends_all_pushes);
    tcase_add_loop_test(tests, a_call_given_up_while_it_is_sent_is_forgotten, 0, 3);
    tcase_add_test(tests, each_done_is_handed_out_once_and_not_after_a_release);
    suite_add_tcase(suite, tests);
    return suite;
}
