/* Shards whose number changes at a start: what they hold stays the same, and what they do with it;
 * where a crash left them with different knowledge, what they all can have is kept. */
#include <stdlib.h>
#include <string.h>

#include "proto/slot.h"
#include "tests/support/check_main.h"
#include "tests/unit/core/twins.h"

enum {
    RUNS = 8,
    EVENTS = 200,
    RESTARTS = 4,
    EARLY_RUNS = 12,
    MODEL = 5,
    BLOCKS = 8,
    ELEMENTS = BLOCKS * PD_BLOCK_ELEMENTS_MIN,
    IDS = 3
};

static struct twins twins;

START_TEST(any_number_of_shards_holds_the_same_as_one)
{
    twins_create(&twins, (uint64_t)_i, 1 + (uint32_t)_i % TWIN_SHARDS_MAX);
    twins.snapshots = _i % 2 == 0;
    for (unsigned i = 0; i < EVENTS; i++) {
        twins_act(&twins);
        if (i % (EVENTS / RESTARTS) == 0) {
            twins_restart(&twins, 1 + (uint32_t)twins_draw(&twins, TWIN_SHARDS_MAX));
            twins_compare(&twins);
        }
    }
    twins_restart(&twins, TWIN_SHARDS_MAX - (uint32_t)_i % TWIN_SHARDS_MAX);
    twins_compare(&twins);
    ck_assert_uint_gt(twins.applied, EVENTS / 4);
    ck_assert_uint_gt(twins.refused, 0);
    ck_assert_uint_gt(twins.duplicates, 0);
    ck_assert(!twins.snapshots || twins.snapshots_used > 0);
    twins_destroy(&twins);
}
END_TEST

/* A restart before the server has made all first values. */
START_TEST(first_values_go_on_where_they_were)
{
    twins_create(&twins, (uint64_t)_i, 1);
    twins_restart(&twins, 3);
    twins_restart(&twins, 2);
    twins_compare(&twins);
    twins_destroy(&twins);
}
END_TEST

/* ---- by hand ---- */

static struct pd_definition *definition;
static struct pd_hyper hyper;
static struct pd_shard *from[2];
static struct pd_shard *to[3];
static size_t in_use;
static size_t peak;
static unsigned takes_left; /* until there is no memory */

static void *take(void *context, size_t bytes)
{
    (void)context;
    if (takes_left == 0) {
        return NULL;
    }
    takes_left--;
    in_use += bytes;
    peak = in_use > peak ? in_use : peak;
    return calloc(1, bytes);
}

static void give(void *context, void *memory, size_t bytes)
{
    (void)context;
    in_use -= bytes;
    free(memory);
}

static void define(uint64_t elements, uint32_t block_elements)
{
    Paramd__Definition message = PARAMD__DEFINITION__INIT;
    Paramd__Group group = PARAMD__GROUP__INIT;
    Paramd__Group *groups = &group;
    Paramd__Tensor tensor = PARAMD__TENSOR__INIT;
    Paramd__Tensor *tensors = &tensor;
    char error[PD_ERROR_TEXT_BYTES];
    group.name = "g";
    group.optimizer = "momentum";
    tensor.name = "t";
    tensor.shape = &elements;
    tensor.n_shape = 1;
    message.groups = &groups;
    message.n_groups = 1;
    message.tensors = &tensors;
    message.n_tensors = 1;
    message.block_elements = block_elements;
    ck_assert_int_eq(pd_definition_create("m", &message, &definition, error), PARAMD_OK);
    pd_hyper_defaults(pd_optimizer_find("momentum"), &hyper);
}

static void setup(void)
{
    takes_left = 1000;
    in_use = peak = 0;
    define(ELEMENTS, PD_BLOCK_ELEMENTS_MIN);
    memset(from, 0, sizeof from);
    memset(to, 0, sizeof to);
}

static void teardown(void)
{
    for (unsigned i = 0; i < 3; i++) {
        pd_shard_destroy(i < 2 ? from[i] : NULL);
        pd_shard_destroy(to[i]);
    }
    ck_assert_uint_eq(in_use, 0);
    pd_definition_destroy(definition);
}

static struct pd_shard *make_shard(uint32_t shard, uint32_t shards)
{
    struct pd_shard *made = twins_shard(shard, shards);
    made->options.memory = (struct pd_memory){take, give, NULL};
    return made;
}

static struct pd_session_key key_of(uint8_t bits)
{
    struct pd_session_key key = {.nonce = bits};
    key.bits[0] = bits;
    return key;
}

/* The model on one shard, with this attempt's values in all its blocks. */
static struct pd_model *make_model(struct pd_shard *shard, uint64_t attempt)
{
    struct pd_message message = {.model = MODEL,
                                 .generation = 1,
                                 .attempt = attempt,
                                 .session = key_of((uint8_t)attempt),
                                 .definition = definition,
                                 .hypers = &hyper,
                                 .hyper_count = 1};
    ck_assert_int_eq(pd_shard_make_model(shard, &message), PARAMD_OK);
    struct pd_model *model = pd_shard_model(shard, MODEL);
    for (uint32_t i = 0; i < model->block_count; i++) {
        pd_block_start(&model->blocks[i]);
        pd_block_complete(&model->blocks[i], 0);
    }
    return model;
}

static void use_ids(struct pd_shard *shard, uint64_t opening)
{
    struct pd_session_key key = key_of(1);
    struct pd_session *session =
        pd_session_open(shard, pd_shard_model(shard, MODEL), &key, opening);
    ck_assert_ptr_nonnull(session);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t slot = pd_slot_of_block(definition->first_slot, i);
        if (pd_slot_shard(slot, shard->options.shards) == shard->options.shard) {
            ck_assert(pd_session_reserve(session, slot));
            pd_slot_ids_skip(pd_session_ids(session, slot), IDS);
        }
    }
}

static void two_shards(void)
{
    from[0] = make_shard(0, 2);
    from[1] = make_shard(1, 2);
}

static struct pd_model *become_one(void)
{
    to[0] = make_shard(0, 1);
    ck_assert_int_eq(pd_shard_reshard(from, 2, to, 1), PARAMD_OK);
    return pd_shard_model(to[0], MODEL);
}

START_TEST(values_of_an_attempt_that_is_over_are_dropped)
{
    struct pd_session_key last = key_of(2);
    two_shards();
    make_model(from[0], _i == 0 ? 1 : 2);
    make_model(from[1], _i == 0 ? 2 : 1)->ready = false;
    const struct pd_model *model = become_one();
    ck_assert_uint_eq(model->attempt, 2);
    ck_assert_mem_eq(&model->initialiser, &last, sizeof last);
    ck_assert_uint_eq(model->incomplete, BLOCKS / 2);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        bool old = model->blocks[i].slot % 2 == (unsigned)_i;
        ck_assert_uint_eq(model->blocks[i].version, old ? 0 : 1);
        ck_assert_int_eq(model->blocks[i].started, !old);
    }
}
END_TEST

START_TEST(the_last_opening_of_a_session_is_kept)
{
    two_shards();
    make_model(from[0], 1);
    make_model(from[1], 1);
    use_ids(from[0], _i == 0 ? 1 : 2);
    use_ids(from[1], _i == 0 ? 2 : 1);
    struct pd_model *model = become_one();
    struct pd_session_key key = key_of(1);
    const struct pd_session *session = pd_session_find(model, key.bits);
    ck_assert_ptr_nonnull(session);
    ck_assert_uint_eq(session->opening, 2);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t slot = model->blocks[i].slot;
        const struct pd_slot_ids *ids = pd_session_ids(session, slot);
        ck_assert_uint_eq(ids != NULL ? ids->last : 0, slot % 2 == (unsigned)_i ? 0 : IDS);
    }
}
END_TEST

START_TEST(a_model_that_one_shard_has_is_not_complete)
{
    two_shards();
    make_model(from[_i], 1)->ready = true;
    const struct pd_model *model = become_one();
    ck_assert_uint_eq(model->incomplete, BLOCKS / 2);
    ck_assert(!model->ready);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        ck_assert_ptr_nonnull(model->blocks[i].parts);
        ck_assert_uint_eq(model->blocks[i].version, model->blocks[i].slot % 2 == (unsigned)_i);
    }
}
END_TEST

START_TEST(a_model_that_one_shard_has_as_ready_is_ready)
{
    two_shards();
    make_model(from[0], 1)->ready = _i == 0;
    make_model(from[1], 1)->ready = _i == 1;
    pd_shard_model(from[1], MODEL)->generation = 9;
    const struct pd_model *model = become_one();
    ck_assert(model->ready);
    ck_assert_uint_eq(model->generation, 9);
}
END_TEST

START_TEST(as_many_shards_learn_from_each_other_too)
{
    two_shards();
    make_model(from[0], 2)->ready = true;
    if (_i == 0) {
        make_model(from[1], 2)->groups[0].hyper.value[0] = 0.25;
    }
    to[0] = make_shard(0, 2);
    to[1] = make_shard(1, 2);
    ck_assert_int_eq(pd_shard_reshard(from, 2, to, 2), PARAMD_OK);
    const struct pd_model *first = pd_shard_model(to[0], MODEL);
    const struct pd_model *second = pd_shard_model(to[1], MODEL);
    ck_assert(first->ready && second != NULL && second->ready == (_i == 0));
    ck_assert_uint_eq(second->attempt, 2);
    ck_assert(memcmp(&first->groups[0].hyper, &second->groups[0].hyper, sizeof hyper) == 0);
}
END_TEST

START_TEST(parts_of_different_models_are_refused)
{
    two_shards();
    make_model(from[0], 1);
    make_model(from[1], 1)->groups[0].moments = 2;
    to[0] = make_shard(0, 1);
    ck_assert_int_eq(pd_shard_reshard(from, 2, to, 1), PARAMD_INVALID);
}
END_TEST

START_TEST(push_ids_need_their_room)
{
    two_shards();
    make_model(from[0], 1);
    make_model(from[1], 1);
    use_ids(from[1], 1);
    for (uint32_t i = 0; i < 3; i++) {
        to[i] = make_shard(i, _i == 0 ? 2 : 3);
        to[i]->options.push_ids_max = to[i]->push_ids_room = 100;
    }
    ck_assert_int_eq(pd_shard_reshard(from, 2, to, _i == 0 ? 2 : 3), PARAMD_RESOURCE_EXHAUSTED);
}
END_TEST

/* Chunk by chunk: with much less than twice the model's memory. */
START_TEST(memory_is_given_back_on_the_way)
{
    pd_definition_destroy(definition);
    define(UINT64_C(24) << 20, PD_BLOCK_ELEMENTS_MAX);
    from[0] = make_shard(0, 1);
    struct pd_message message = {
        .model = MODEL, .definition = definition, .hypers = &hyper, .hyper_count = 1};
    ck_assert_int_eq(pd_shard_make_model(from[0], &message), PARAMD_OK);
    size_t bytes = in_use;
    for (uint32_t i = 0; i < 2; i++) {
        to[i] = make_shard(i, 2);
    }
    ck_assert_uint_eq(from[0]->memory_bytes, bytes);
    ck_assert_int_eq(pd_shard_reshard(from, 1, to, 2), PARAMD_OK);
    ck_assert_uint_eq(in_use, bytes);
    ck_assert_uint_eq(to[0]->memory_bytes + to[1]->memory_bytes, bytes);
    ck_assert_uint_le(peak, bytes + bytes / 2);
}
END_TEST

START_TEST(without_memory_nothing_leaks)
{
    from[0] = make_shard(0, 1);
    make_model(from[0], 1);
    use_ids(from[0], 1);
    for (uint32_t i = 0; i < 3; i++) {
        to[i] = make_shard(i, 3);
    }
    takes_left = (unsigned)_i;
    ck_assert_int_eq(pd_shard_reshard(from, 1, to, 3), PARAMD_RESOURCE_EXHAUSTED);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("reshard");
    TCase *random = tcase_create("random");
    tcase_add_loop_test(random, any_number_of_shards_holds_the_same_as_one, 0, RUNS);
    tcase_add_loop_test(random, first_values_go_on_where_they_were, 0, EARLY_RUNS);
    suite_add_tcase(suite, random);
    TCase *hand = tcase_create("by hand");
    tcase_add_checked_fixture(hand, setup, teardown);
    tcase_add_loop_test(hand, values_of_an_attempt_that_is_over_are_dropped, 0, 2);
    tcase_add_loop_test(hand, the_last_opening_of_a_session_is_kept, 0, 2);
    tcase_add_loop_test(hand, a_model_that_one_shard_has_is_not_complete, 0, 2);
    tcase_add_loop_test(hand, a_model_that_one_shard_has_as_ready_is_ready, 0, 2);
    tcase_add_loop_test(hand, as_many_shards_learn_from_each_other_too, 0, 2);
    tcase_add_test(hand, parts_of_different_models_are_refused);
    tcase_add_loop_test(hand, push_ids_need_their_room, 0, 2);
    tcase_add_test(hand, memory_is_given_back_on_the_way);
    tcase_add_loop_test(hand, without_memory_nothing_leaks, 0, 3);
    suite_add_tcase(suite, hand);
    return suite;
}
