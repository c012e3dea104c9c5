/* Create, attach and initialise: who fills the model, who waits, who takes over; and control calls.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/client/world.h"

enum { ELEMENTS = 3000, TENSORS = 2 };

static bool join_over(const void *arg)
{
    return pd_join_status(arg) != PARAMD_PENDING;
}

static bool call_over(const void *arg)
{
    return pd_call_status(arg) != PARAMD_PENDING;
}

/* First values of a worker: all of its own number, moments beside them. */
static void give_values(struct world *world, float *memory, float number)
{
    world->initial = calloc(TENSORS, sizeof *world->initial);
    for (unsigned i = 0; i < 2 * ELEMENTS; i++) {
        memory[i] = i < ELEMENTS ? number : number + 100;
    }
    for (unsigned i = 0; i < TENSORS; i++) {
        world->initial[i] = (struct paramd_values){
            .weights = memory, .moments = {NULL, memory + ELEMENTS}, .step = 5};
    }
}

static int join_status(struct world *world, uint64_t us)
{
    (void)world_until(world, join_over, world->join, us);
    return pd_join_status(world->join);
}

START_TEST(the_creator_fills_the_model_with_its_values_moments_and_steps)
{
    struct world world;
    float memory[2 * ELEMENTS];
    world_init(&world, 1 + (unsigned)_i % 3, (uint64_t)_i + 1);
    give_values(&world, memory, 7);
    world_join_start(&world, world_definition("model", TENSORS, ELEMENTS, 1024, false), 1);
    world.server.faults.busy_frames = (unsigned)_i % 4;
    world.server.faults.busy_calls = (unsigned)_i % 2;
    ck_assert_int_eq(join_status(&world, 10000000), PARAMD_OK);
    ck_assert(world.server.ready);
    for (uint64_t i = 0; i < world.server.definition->block_count; i++) {
        const struct fake_block *block = &world.server.blocks[i];
        ck_assert_uint_eq(block->step, 5);
        for (uint32_t j = 0; j < block->elements; j++) {
            ck_assert_msg(block->parts[0][j] == 7 && block->parts[1][j] == 0 &&
                              block->parts[2][j] == 107,
                          "seed %d: block %lu, element %u", _i, (unsigned long)i, j);
        }
    }
    world_deinit(&world);
}
END_TEST

START_TEST(a_cut_at_any_byte_of_a_join_only_delays_it)
{
    struct world probe;
    float memory[2 * ELEMENTS];
    world_init(&probe, 1, 1);
    give_values(&probe, memory, 7);
    world_join_start(&probe, world_definition("model", TENSORS, ELEMENTS, 1024, false), 1);
    ck_assert_int_eq(join_status(&probe, 10000000), PARAMD_OK);
    uint64_t bytes = probe.to_server;
    world_deinit(&probe);
    for (uint64_t cut = 1; cut < bytes; cut += cut < 600 ? 1 : 97) {
        struct world world;
        world_init(&world, 1, 1);
        give_values(&world, memory, 7);
        world.cut_to_server = cut;
        world_join_start(&world, world_definition("model", TENSORS, ELEMENTS, 1024, false), 1);
        ck_assert_msg(join_status(&world, 10000000) == PARAMD_OK, "cut %lu: %s", (unsigned long)cut,
                      pd_join_text(world.join));
        ck_assert_float_eq(world_value(&world, 1, ELEMENTS - 1), 7);
        world_deinit(&world);
    }
}
END_TEST

/* Another session has created the model and sends nothing. */
static void occupy(struct world *world, float *memory)
{
    world_init(world, 2, 3);
    give_values(world, memory, 1);
    world_join_start(world, world_definition("model", TENSORS, ELEMENTS, 1024, false), 1);
    for (unsigned i = 0; i < 100 && world->server.definition == NULL; i++) {
        (void)world_step(world);
    }
    ck_assert_ptr_nonnull(world->server.definition);
    pd_join_destroy(world->join);
    world->join = NULL;
    free(world->initial);
}

START_TEST(a_second_worker_waits_and_takes_over_when_the_initialiser_dies)
{
    struct world world;
    float memory[2 * ELEMENTS];
    occupy(&world, memory);
    give_values(&world, memory, 2);
    world_join_start(&world, world_definition("model", TENSORS, ELEMENTS, 1024, false), 2);
    ck_assert_int_eq(join_status(&world, 3000000), PARAMD_PENDING);
    ck_assert_uint_le(world.server.frames[PD_KIND_CREATE], 40);
    world.server.initialiser_dead = true;
    ck_assert_int_eq(join_status(&world, 10000000), PARAMD_OK);
    ck_assert_uint_eq(world.server.attempt, 2);
    ck_assert_float_eq(world_value(&world, 0, 0), 2);
    world_deinit(&world);
}
END_TEST

START_TEST(an_initialiser_that_was_overtaken_takes_the_others_values)
{
    struct world world;
    float memory[2 * ELEMENTS];
    world_init(&world, 1, (uint64_t)_i + 1);
    give_values(&world, memory, 3);
    world_join_start(&world, world_definition("model", TENSORS, ELEMENTS, 1024, false), 3);
    for (int i = 0; i < 200 && world.server.frames[PD_KIND_INIT] <= (unsigned)_i; i++) {
        (void)world_step(&world);
    }
    world.server.attempt++;
    memset(world.server.initialiser, 9, sizeof world.server.initialiser);
    ck_assert_int_eq(join_status(&world, 2000000), world.server.ready ? PARAMD_OK : PARAMD_PENDING);
    for (uint64_t i = 0; i < world.server.definition->block_count; i++) {
        world.server.blocks[i].version = 1;
    }
    world.server.ready = true;
    ck_assert_int_eq(join_status(&world, 2000000), PARAMD_OK);
    world_deinit(&world);
}
END_TEST

START_TEST(a_session_in_use_is_told_by_the_join)
{
    struct world world;
    world_init(&world, 1, 1);
    world.server.faults.attach_status = PARAMD_SESSION_IN_USE;
    world_join_start(&world, world_definition("model", TENSORS, ELEMENTS, 1024, true), 1);
    ck_assert_int_eq(join_status(&world, 1000000), PARAMD_SESSION_IN_USE);
    world_deinit(&world);
}
END_TEST

START_TEST(one_client_joins_a_model_once)
{
    struct world world;
    world_init(&world, 1, 1);
    world_join(&world, TENSORS, ELEMENTS, 1024);
    world_join_start(&world, world_definition("model", TENSORS, ELEMENTS, 1024, true), 2);
    ck_assert_int_eq(join_status(&world, 1000000), PARAMD_INVALID);
    world_deinit(&world);
}
END_TEST

START_TEST(a_join_as_goes_on_with_the_sessions_push_ids)
{
    struct world world;
    float gradient[ELEMENTS] = {0};
    world_init(&world, 2, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    for (unsigned round = 0; round < 2; round++) {
        struct pd_op *op = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
        ck_assert_int_eq(world_finish(&world, op).status, PARAMD_OK);
        pd_op_release(op);
        pd_client_session_destroy(world.session);
        world.session = NULL;
        world_join(&world, 1, ELEMENTS, 1024); /* with the same id */
    }
    ck_assert_uint_eq(world.server.applied, 6);
    world_deinit(&world);
}
END_TEST

START_TEST(an_attach_learns_the_definition_from_the_daemon)
{
    struct world world;
    struct pd_join_options options = {.nonce = 5, .model = "model", .session = {8}};
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 300, 10, 1024);
    pd_client_session_destroy(world.session);
    world.session = NULL;
    world.join = pd_join_create(world.client, &options);
    ck_assert_int_eq(join_status(&world, 5000000), PARAMD_OK);
    struct pd_client_session *session = pd_join_take_session(world.join);
    ck_assert_uint_eq(pd_client_session_definition(session)->tensor_count, 300);
    ck_assert_str_eq(pd_client_session_definition(session)->tensors[299].name, "t299");
    pd_client_session_destroy(session);
    world_deinit(&world);
}
END_TEST

/* Under ASan a late byte of the definition would show. */
START_TEST(a_join_given_up_at_any_moment_leaves_nothing_behind)
{
    struct world world;
    struct pd_join_options options = {.nonce = 5, .model = "model", .session = {8}};
    world_init(&world, 1, (uint64_t)_i + 1);
    world_join(&world, 2000, 10, 1024);
    pd_client_session_destroy(world.session);
    world.session = NULL;
    world_pass(&world, 100000);
    if (_i % 2 == 0) {
        world.join = pd_join_create(world.client, &options);
    } else {
        world_join_start(&world, world_definition("other", 2000, 10, 1024, true), 1);
    }
    for (int i = 0; i < _i / 2; i++) {
        (void)world_step(&world);
    }
    pd_join_destroy(world.join);
    world.join = NULL;
    world_pass(&world, 100000);
    world_join(&world, 2000, 10, 1024);
    world_deinit(&world);
}
END_TEST

START_TEST(an_attach_given_up_at_any_byte_of_its_answer_leaves_nothing_behind)
{
    struct pd_join_options options = {.nonce = 5, .model = "model", .session = {8}};
    for (size_t at = 1; at < 2600; at += 41) {
        struct world world;
        world_init(&world, 1, 1);
        world_join(&world, 200, 10, 1024);
        pd_client_session_destroy(world.session);
        world.session = NULL;
        world_pass(&world, 100000);
        world.join = pd_join_create(world.client, &options);
        (void)pd_client_tick(world.client, world.now_us);
        world_write(&world, 0);
        ck_assert_uint_eq(world_read(&world, 0, at), at);
        pd_join_destroy(world.join);
        world.join = NULL;
        world_settle(&world);
        ck_assert_uint_eq(world.connects, 2); /* the second after the handle was closed */
        world_deinit(&world);
    }
}
END_TEST

START_TEST(a_delete_whose_answer_was_lost_is_no_error)
{
    struct world world;
    Paramd__Delete delete = PARAMD__DELETE__INIT;
    delete.model = (char *)(uintptr_t) "model";
    world_init(&world, 1, 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.cut_from_server = world.from_server + 1;
    struct pd_call *call = pd_call_start(world.client, NULL, PD_KIND_DELETE, &delete.base, NULL, 0);
    ck_assert(world_until(&world, call_over, call, 5000000));
    ck_assert_int_eq(pd_call_status(call), PARAMD_OK);
    ck_assert_uint_eq(world.server.frames[PD_KIND_DELETE], 2);
    pd_call_destroy(call);
    call = pd_call_start(world.client, NULL, PD_KIND_DELETE, &delete.base, NULL, 0);
    ck_assert(world_until(&world, call_over, call, 5000000));
    ck_assert_int_eq(pd_call_status(call), PARAMD_NOT_FOUND);
    pd_call_destroy(call);
    world_deinit(&world);
}
END_TEST

START_TEST(an_attach_to_no_model_is_not_found)
{
    struct world world;
    struct pd_join_options options = {.nonce = 5, .model = "none", .session = {8}};
    world_init(&world, 1, 1);
    world.join = pd_join_create(world.client, &options);
    ck_assert_int_eq(join_status(&world, 5000000), PARAMD_NOT_FOUND);
    world_deinit(&world);
}
END_TEST

START_TEST(a_join_without_a_daemon_waits_and_says_why)
{
    struct world world;
    world_init(&world, 1, 1);
    world.unreachable = true;
    world_join_start(&world, world_definition("model", TENSORS, ELEMENTS, 1024, true), 1);
    ck_assert_int_eq(join_status(&world, 5000000), PARAMD_PENDING);
    ck_assert_str_eq(pd_client_trouble(world.client), "cannot connect to the test");
    world.unreachable = false;
    ck_assert_int_eq(join_status(&world, 5000000), PARAMD_OK);
    world_deinit(&world);
}
END_TEST

static struct pd_call *start_set(struct world *world, Paramd__Hyper *hyper)
{
    Paramd__Set set = PARAMD__SET__INIT;
    Paramd__Hyper *hypers[1] = {hyper};
    set.model = (char *)(uintptr_t) "model";
    set.group = (char *)(uintptr_t) "all";
    set.n_hypers = 1;
    set.hypers = hypers;
    return pd_call_start_set(world->client, world->session, &set.base);
}

START_TEST(pushes_after_a_set_wait_for_its_answer)
{
    struct world world;
    float gradient[ELEMENTS] = {0};
    Paramd__Hyper hyper = PARAMD__HYPER__INIT;
    hyper.name = (char *)(uintptr_t) "lr";
    hyper.number = 0.5;
    world_init(&world, 2, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.mute = true;
    struct pd_call *set = start_set(&world, &hyper);
    struct pd_op *push = world_op(&world, PD_OP_PUSH, 0, 1, gradient, NULL, 0, NULL);
    world_settle(&world);
    ck_assert_uint_eq(world.server.frames[PD_KIND_SET], 1);
    ck_assert_uint_eq(world.server.frames[PD_KIND_PUSH], 0);
    world.server.faults.mute = false;
    if (_i == 0) {
        world_break(&world, 0); /* the answer never comes: it is asked again */
        ck_assert(world_until(&world, call_over, set, 5000000));
        ck_assert_int_eq(pd_call_status(set), PARAMD_OK);
        ck_assert_float_eq(world.server.learning_rate, 0.5F);
    }
    pd_call_destroy(set); /* given up, it holds nothing any more */
    ck_assert_int_eq(world_finish(&world, push).status, PARAMD_OK);
    pd_op_release(push);
    world_deinit(&world);
}
END_TEST

START_TEST(a_call_is_repeated_when_the_daemon_is_busy_or_its_connection_breaks)
{
    struct world world;
    Paramd__List list = PARAMD__LIST__INIT;
    world_init(&world, 1, (uint64_t)_i + 1);
    world_join(&world, 1, ELEMENTS, 1024);
    world.server.faults.busy_calls = 2;
    world.cut_from_server = world.from_server + 1 + (uint64_t)_i * 7;
    struct pd_call *call = pd_call_start(world.client, NULL, PD_KIND_LIST, &list.base, NULL, 0);
    ck_assert(world_until(&world, call_over, call, 5000000));
    ck_assert_int_eq(pd_call_status(call), PARAMD_OK);
    const Paramd__Listed *listed = (const Paramd__Listed *)pd_call_answer(call);
    ck_assert_uint_eq(listed->n_models, 1);
    ck_assert_str_eq(listed->models[0]->name, "model");
    pd_call_destroy(call);
    world_deinit(&world);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client/join");
    TCase *tests = tcase_create("join");
    tcase_add_loop_test(tests, the_creator_fills_the_model_with_its_values_moments_and_steps, 0,
                        12);
    tcase_add_test(tests, a_cut_at_any_byte_of_a_join_only_delays_it);
    tcase_add_test(tests, a_second_worker_waits_and_takes_over_when_the_initialiser_dies);
    tcase_add_loop_test(tests, an_initialiser_that_was_overtaken_takes_the_others_values, 0, 3);
    tcase_add_test(tests, a_session_in_use_is_told_by_the_join);
    tcase_add_test(tests, one_client_joins_a_model_once);
    tcase_add_test(tests, a_join_as_goes_on_with_the_sessions_push_ids);
    tcase_add_loop_test(tests, an_attach_learns_the_definition_from_the_daemon, 0, 8);
    tcase_add_loop_test(tests, a_join_given_up_at_any_moment_leaves_nothing_behind, 0, 60);
    tcase_add_test(tests, an_attach_given_up_at_any_byte_of_its_answer_leaves_nothing_behind);
    tcase_add_test(tests, a_delete_whose_answer_was_lost_is_no_error);
    tcase_add_test(tests, an_attach_to_no_model_is_not_found);
    tcase_add_test(tests, a_join_without_a_daemon_waits_and_says_why);
    tcase_add_loop_test(tests, pushes_after_a_set_wait_for_its_answer, 0, 2);
    tcase_add_loop_test(tests, a_call_is_repeated_when_the_daemon_is_busy_or_its_connection_breaks,
                        0, 12);
    suite_add_tcase(suite, tests);
    return suite;
}
