/* Broken connections, passing refusals and restarts: every push is applied once, in order, whatever
 * happens between. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "tests/support/check_main.h"
#include "tests/unit/client/world.h"

enum { ELEMENTS = 2500, BLOCKS = 3, PUSHES = 5 };

/* Some pushes of ones (n-th push: n), all in flight together. */
struct storm {
    struct pd_op *ops[PUSHES];
    float gradients[PUSHES][ELEMENTS];
    float values[ELEMENTS];
};

static struct storm *storm_start(struct world *world, enum pd_op_kind kind)
{
    struct storm *storm = calloc(1, sizeof *storm);
    for (unsigned i = 0; i < PUSHES; i++) {
        for (unsigned j = 0; j < ELEMENTS; j++) {
            storm->gradients[i][j] = (float)(1U << i);
        }
        storm->ops[i] = world_op(world, kind, 0, 1, storm->gradients[i],
                                 kind == PD_OP_PUSH_PULL ? storm->values : NULL, 0, NULL);
    }
    return storm;
}

/* Each push is there once, in the daemon's eyes and in the client's. */
static void storm_end(struct world *world, struct storm *storm, const char *what, uint64_t where)
{
    for (unsigned i = 0; i < PUSHES; i++) {
        struct paramd_result result = world_finish(world, storm->ops[i]);
        ck_assert_msg(result.status == PARAMD_OK, "%s %lu: push %u: %s", what, (unsigned long)where,
                      i, paramd_status_name(result.status));
        pd_op_release(storm->ops[i]);
    }
    float sum = (1U << PUSHES) - 1;
    for (unsigned i = 0; i < ELEMENTS; i++) {
        ck_assert_msg(world_value(world, 0, i) == sum, "%s %lu: element %u is %g", what,
                      (unsigned long)where, i, (double)world_value(world, 0, i));
    }
    struct paramd_counters counters;
    pd_client_session_counters(world->session, &counters);
    ck_assert_uint_eq(counters.pushes, PUSHES * BLOCKS);
    ck_assert_uint_eq(counters.lost, 0);
    free(storm);
}

START_TEST(a_cut_at_any_byte_towards_the_daemon_doubles_and_loses_nothing)
{
    /* The whole exchange is about 50,000 bytes: borders of frames are met one by one, payloads with
     * a stride. */
    struct world probe;
    world_init(&probe, 1, 4);
    world_join(&probe, 1, ELEMENTS, 1024);
    uint64_t from = probe.to_server;
    storm_end(&probe, storm_start(&probe, PD_OP_PUSH), "undisturbed", 0);
    uint64_t to = probe.to_server;
    world_deinit(&probe);
    for (uint64_t cut = from + 1; cut <= to; cut += (cut - from) % 10240 < 200 ? 1 : 331) {
        struct world world;
        world_init(&world, 1, 4);
        world.cut_to_server = cut;
        world_join(&world, 1, ELEMENTS, 1024);
        storm_end(&world, storm_start(&world, PD_OP_PUSH), "cut", cut);
        ck_assert_uint_eq(world.connects, 2);
        world_deinit(&world);
    }
}
END_TEST

START_TEST(a_cut_at_any_byte_of_the_answers_doubles_and_loses_nothing)
{
    struct world probe;
    world_init(&probe, 1, 4);
    world_join(&probe, 1, ELEMENTS, 1024);
    uint64_t from = probe.from_server;
    storm_end(&probe, storm_start(&probe, PD_OP_PUSH_PULL), "undisturbed", 0);
    uint64_t to = probe.from_server;
    world_deinit(&probe);
    for (uint64_t cut = from + 1; cut <= to; cut += (cut - from) % 10240 < 200 ? 1 : 331) {
        struct world world;
        world_init(&world, 1, 4);
        world.cut_from_server = cut;
        world_join(&world, 1, ELEMENTS, 1024);
        storm_end(&world, storm_start(&world, PD_OP_PUSH_PULL), "cut", cut);
        world_deinit(&world);
    }
}
END_TEST

START_TEST(an_applied_push_whose_answer_was_lost_is_not_applied_again)
{
    struct world world;
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.cut_after_apply = 3;
    storm_end(&world, storm_start(&world, PD_OP_PUSH), "seed", (uint64_t)_i);
    struct paramd_counters counters;
    pd_client_session_counters(world.session, &counters);
    ck_assert_uint_gt(counters.resent, 0);
    ck_assert_uint_ge(counters.reconnects, 3);
    world_deinit(&world);
}
END_TEST

START_TEST(passing_refusals_delay_and_keep_the_order)
{
    struct world world;
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.busy_frames = 1 + (unsigned)_i % 4;
    world.server.faults.not_attached = (unsigned)_i % 3;
    storm_end(&world, storm_start(&world, _i % 2 == 0 ? PD_OP_PUSH : PD_OP_PUSH_PULL), "seed",
              (uint64_t)_i);
    ck_assert_uint_eq(world.connects, 2);
    world_deinit(&world);
}
END_TEST

START_TEST(a_refused_push_has_its_turn_while_others_never_stop)
{
    enum { TENSORS = 200 };
    struct world world;
    float value = 1;
    struct pd_op *ops[2000];
    unsigned count = 0;
    world_init(&world, 1, 1);
    world_join(&world, 1 + TENSORS, 1, 1024);
    world.server.faults.busy_frames = 1;
    struct pd_op *refused = world_op(&world, PD_OP_PUSH, 0, 1, &value, NULL, 0, NULL);
    while (!pd_op_finished(refused) && count < 2000) {
        ops[count] = world_op(&world, PD_OP_PUSH, 1 + count % TENSORS, 1, &value, NULL, 0, NULL);
        count++;
        world_write(&world, 0);
        (void)world_read(&world, 0,
                         count < 20 ? 10 : 50); /* so that something is always in flight */
        world.now_us += 1000;
        (void)pd_client_tick(world.client, world.now_us);
    }
    ck_assert(pd_op_finished(refused));
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(world_finish(&world, ops[i]).status, PARAMD_OK);
        pd_op_release(ops[i]);
    }
    ck_assert_uint_eq(world.server.applied, 1 + count);
    pd_op_release(refused);
    world_deinit(&world);
}
END_TEST

START_TEST(random_faults_everywhere_double_and_lose_nothing)
{
    struct world world;
    world_init(&world, 1 + (unsigned)_i % 3, (uint64_t)_i * 77 + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    for (unsigned round = 0; round < 3; round++) {
        struct storm *storm =
            storm_start(&world, (_i + (int)round) % 2 == 0 ? PD_OP_PUSH : PD_OP_PUSH_PULL);
        struct fake_faults *faults = &world.server.faults;
        faults->busy_frames = (unsigned)(world_random(&world) % 3);
        faults->cut_after_apply = (unsigned)(world_random(&world) % 2);
        faults->moved_entries = (unsigned)(world_random(&world) % 4);
        world.cut_to_server = world.to_server + 1 + world_random(&world) % 30000;
        world.cut_from_server = world.from_server + 1 + world_random(&world) % 3000;
        for (unsigned i = 0; i < PUSHES; i++) {
            ck_assert_int_eq(world_finish(&world, storm->ops[i]).status, PARAMD_OK);
            pd_op_release(storm->ops[i]);
        }
        for (unsigned i = 0; i < ELEMENTS; i++) {
            float sum = (float)((round + 1) * ((1U << PUSHES) - 1));
            ck_assert_msg(world_value(&world, 0, i) == sum, "seed %d, round %u: element %u", _i,
                          round, i);
        }
        free(storm);
    }
    world_deinit(&world);
}
END_TEST

START_TEST(moved_entries_and_pulls_are_asked_for_again)
{
    struct world world;
    float values[ELEMENTS];
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.moved_entries = 2;
    world.server.faults.moved_requests = 1;
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    struct pd_op *pull = world_op(&world, PD_OP_PULL, 0, 1, NULL, values, 0, NULL);
    ck_assert_int_eq(world_finish(&world, pull).status, PARAMD_OK);
    pd_op_release(pull);
    storm_end(&world, storm, "seed", (uint64_t)_i);
    world_deinit(&world);
}
END_TEST

START_TEST(another_number_of_shards_reroutes_what_is_unanswered)
{
    struct world world;
    world_init(&world, 1 + (unsigned)_i % 3, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    unsigned before = world.server.shards;
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    for (unsigned i = 0; i < 3 + (unsigned)_i; i++) {
        (void)world_step(&world);
    }
    world.server.shards = 1 + (before + (unsigned)_i) % 4;
    world.server.epoch++;
    for (unsigned i = 0; i < before; i++) { /* the daemon has been restarted with its data */
        if (world.conns[i] != NULL) {
            world_break(&world, i);
        }
    }
    storm_end(&world, storm, "seed", (uint64_t)_i);
    world_deinit(&world);
}
END_TEST

START_TEST(what_a_restarted_daemon_lost_is_counted_once_and_passed_over)
{
    struct world world;
    struct paramd_counters counters;
    world_init(&world, 1, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    storm_end(&world, storm_start(&world, PD_OP_PUSH), "before", 0);
    fake_server_lose(&world.server, 2); /* of 5 in each of 3 slots */
    world_break(&world, 0);
    world_pass(&world, 1000000);
    pd_client_session_counters(world.session, &counters);
    ck_assert_uint_eq(counters.lost, 3 * BLOCKS);
    fake_server_lose(&world.server, 2); /* again, with nothing new in between */
    world_break(&world, 0);
    world_pass(&world, 1000000);
    pd_client_session_counters(world.session, &counters);
    ck_assert_uint_eq(counters.lost, 3 * BLOCKS);
    uint64_t applied = world.server.applied;
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    for (unsigned i = 0; i < PUSHES; i++) {
        ck_assert_int_eq(world_finish(&world, storm->ops[i]).status, PARAMD_OK);
        pd_op_release(storm->ops[i]);
    }
    free(storm);
    ck_assert_uint_eq(world.server.applied - applied, PUSHES * BLOCKS);
    ck_assert_uint_eq(world.server.sessions[0].last[world.server.definition->first_slot],
                      2 * PUSHES);
    static const uint64_t lasts[] = {8, 2}; /* and from a snapshot before both losses */
    static const uint64_t lost[] = {3 + 2, 3 + 2 + 3};
    for (unsigned i = 0; i < 2; i++) {
        fake_server_lose(&world.server, lasts[i]);
        world_break(&world, 0);
        world_pass(&world, 1000000);
        pd_client_session_counters(world.session, &counters);
        ck_assert_uint_eq(counters.lost, lost[i] * BLOCKS);
    }
    world_deinit(&world);
}
END_TEST

START_TEST(an_idle_client_hears_what_was_lost_on_any_number_of_shards)
{
    struct world world;
    struct paramd_counters counters;
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    storm_end(&world, storm_start(&world, PD_OP_PUSH), "before", 0);
    fake_server_lose(&world.server, 2);
    world.server.shards = 2 + (unsigned)_i;
    world.server.epoch++;
    world_break(&world, 0);
    world_pass(&world, 1000000);
    pd_client_session_counters(world.session, &counters);
    ck_assert_uint_eq(counters.lost, 3 * BLOCKS);
    world_deinit(&world);
}
END_TEST

START_TEST(versions_of_another_generation_count_as_none)
{
    struct world world;
    float gradient[ELEMENTS] = {0};
    struct paramd_block_info info;
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    float values[ELEMENTS];
    struct pd_op *pull = world_op(&world, PD_OP_PULL, 0, 1, NULL, values, 0, NULL);
    ck_assert_int_eq(world_finish(&world, pull).status, PARAMD_OK);
    pd_op_release(pull);
    pd_client_session_block(world.session, 0, 0, &info);
    ck_assert_uint_eq(info.version, 1);
    world.unreachable = true;
    world_break(&world, 0);
    struct pd_op *push = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    world.server.generation++;
    world.server.base_version = 77;
    world.unreachable = false;
    ck_assert_int_eq(world_finish(&world, push).status, PARAMD_OK);
    ck_assert_uint_eq(world.server.base_version, 0);
    pd_op_release(push);
    world_deinit(&world);
}
END_TEST

START_TEST(a_model_that_is_gone_ends_every_ticket_with_not_found)
{
    struct world world;
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    for (int i = 0; i < _i; i++) {
        (void)world_step(&world);
    }
    fake_server_forget(&world.server);
    if (_i % 2 == 0) {
        world_break(&world, 0);
    }
    for (unsigned i = 0; i < PUSHES; i++) {
        struct paramd_result result = world_finish(&world, storm->ops[i]);
        ck_assert(result.status == PARAMD_NOT_FOUND || result.status == PARAMD_OK);
        pd_op_release(storm->ops[i]);
    }
    struct paramd_io entry = {.gradient = storm->gradients[0]};
    struct paramd_call call = {0};
    struct pd_op *op;
    char text[PD_CALL_TEXT_BYTES];
    if (pd_client_session_gone(world.session) == PARAMD_OK) {
        op = world_op(&world, PD_OP_PUSH, 0, 1, storm->gradients[0], NULL, 0, NULL);
        ck_assert_int_eq(world_finish(&world, op).status, PARAMD_NOT_FOUND);
        pd_op_release(op);
    }
    ck_assert_int_eq(pd_client_session_gone(world.session), PARAMD_NOT_FOUND);
    ck_assert_int_eq(pd_op_start(world.session, PD_OP_PUSH, &entry, 1, &call, &op, text),
                     PARAMD_NOT_FOUND);
    free(storm);
    world_deinit(&world);
}
END_TEST

START_TEST(a_model_made_anew_under_the_same_name_is_not_the_old_one)
{
    struct world world;
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.number++;
    world_break(&world, 0);
    world_pass(&world, 1000000);
    ck_assert_int_eq(pd_client_session_gone(world.session), PARAMD_NOT_FOUND);
    world_deinit(&world);
}
END_TEST

START_TEST(an_expired_session_leaves_sent_pushes_unknown_and_sends_none_again)
{
    struct world world;
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    world_settle(&world);
    world.unreachable = true;
    world_break(&world, 0);
    struct pd_op *later = world_op(&world, PD_OP_PUSH, 0, 1, storm->gradients[0], NULL, 0, NULL);
    world.server.faults.mute = false;
    world.unreachable = false;
    world.server.sessions[0].known = false;
    for (unsigned i = 0; i < PUSHES; i++) {
        struct paramd_result result = world_finish(&world, storm->ops[i]);
        ck_assert_int_eq(result.status, PARAMD_UNKNOWN);
        ck_assert_uint_eq(result.unknown, BLOCKS);
        pd_op_release(storm->ops[i]);
    }
    ck_assert_int_eq(world_finish(&world, later).status, PARAMD_CANCELLED);
    ck_assert_int_eq(pd_client_session_gone(world.session), PARAMD_SESSION_EXPIRED);
    ck_assert_uint_eq(world.server.applied, 0);
    pd_op_release(later);
    free(storm);
    world_deinit(&world);
}
END_TEST

START_TEST(a_frame_refused_for_good_does_not_stop_what_follows)
{
    struct world world;
    world_init(&world, 1, (uint64_t)_i + 1);
    world.whole_pieces = true;
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.invalid_frames = 1;
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    unsigned invalid = 0;
    for (unsigned i = 0; i < PUSHES; i++) {
        struct paramd_result result = world_finish(&world, storm->ops[i]);
        if (result.status == PARAMD_INVALID) {
            char text[PD_CALL_TEXT_BYTES];
            pd_op_text(storm->ops[i], text);
            ck_assert_str_eq(text, "model model, tensor t0, block 0: a value is not allowed");
            invalid++;
        } else {
            ck_assert_int_eq(result.status, PARAMD_OK);
        }
        pd_op_release(storm->ops[i]);
    }
    ck_assert_uint_gt(invalid, 0);
    ck_assert_str_eq(pd_client_trouble(world.client), ""); /* the pushes themselves have told it */
    struct pd_op *push = world_op(&world, PD_OP_PUSH, 0, 1, storm->gradients[0], NULL, 0, NULL);
    ck_assert_int_eq(world_finish(&world, push).status, PARAMD_OK);
    pd_op_release(push);
    free(storm);
    world_deinit(&world);
}
END_TEST

START_TEST(an_idle_client_keeps_its_lease_with_pings)
{
    struct world world;
    world_init(&world, 2, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    storm_end(&world, storm_start(&world, PD_OP_PUSH), "seed", 1);
    unsigned before = world.server.frames[PD_KIND_PING];
    world_pass(&world, world.server.lease_us);
    unsigned pings = world.server.frames[PD_KIND_PING] - before;
    ck_assert_uint_ge(pings, 4); /* on each of two connections */
    ck_assert_uint_le(pings, 8);
    world_deinit(&world);
}
END_TEST

START_TEST(a_daemon_that_falls_silent_is_left_and_tried_again)
{
    struct world world;
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    world_pass(&world, world.server.lease_us * 2);
    world.server.faults.mute = false;
    storm_end(&world, storm, "silence", 0);
    ck_assert_uint_ge(world.connects, 2);
    world_deinit(&world);
}
END_TEST

START_TEST(reconnects_slow_down_to_two_seconds)
{
    struct world world;
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.unreachable = true;
    world_break(&world, 0);
    struct storm *storm = storm_start(&world, PD_OP_PUSH);
    world_pass(&world, 60000000);
    ck_assert_str_eq(pd_client_trouble(world.client), "cannot connect to the test");
    world.unreachable = false;
    uint64_t start_us = world.now_us;
    storm_end(&world, storm, "reconnect", 0);
    ck_assert_uint_le(world.now_us - start_us, 2000000);
    world_deinit(&world);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client/resend");
    TCase *tests = tcase_create("resend");
    tcase_add_test(tests, a_cut_at_any_byte_towards_the_daemon_doubles_and_loses_nothing);
    tcase_add_test(tests, a_cut_at_any_byte_of_the_answers_doubles_and_loses_nothing);
    tcase_add_loop_test(tests, an_applied_push_whose_answer_was_lost_is_not_applied_again, 0, 10);
    tcase_add_loop_test(tests, passing_refusals_delay_and_keep_the_order, 0, 24);
    tcase_add_test(tests, a_refused_push_has_its_turn_while_others_never_stop);
    tcase_add_loop_test(tests, random_faults_everywhere_double_and_lose_nothing, 0, 60);
    tcase_add_loop_test(tests, moved_entries_and_pulls_are_asked_for_again, 0, 10);
    tcase_add_loop_test(tests, another_number_of_shards_reroutes_what_is_unanswered, 0, 24);
    tcase_add_loop_test(tests, what_a_restarted_daemon_lost_is_counted_once_and_passed_over, 0, 4);
    tcase_add_loop_test(tests, an_idle_client_hears_what_was_lost_on_any_number_of_shards, 0, 3);
    tcase_add_test(tests, versions_of_another_generation_count_as_none);
    tcase_add_loop_test(tests, a_model_that_is_gone_ends_every_ticket_with_not_found, 0, 12);
    tcase_add_test(tests, a_model_made_anew_under_the_same_name_is_not_the_old_one);
    tcase_add_test(tests, an_expired_session_leaves_sent_pushes_unknown_and_sends_none_again);
    tcase_add_loop_test(tests, a_frame_refused_for_good_does_not_stop_what_follows, 0, 4);
    tcase_add_test(tests, an_idle_client_keeps_its_lease_with_pings);
    tcase_add_test(tests, a_daemon_that_falls_silent_is_left_and_tried_again);
    tcase_add_test(tests, reconnects_slow_down_to_two_seconds);
    suite_add_tcase(suite, tests);
    return suite;
}
