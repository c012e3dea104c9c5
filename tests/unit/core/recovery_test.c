/* What a shard makes of the messages with which a start tells it what exists: it keeps what control
 * names, as control names it, and forgets the rest. */
#include <stdlib.h>
#include <string.h>

#include "server/core/shard_state.h"
#include "tests/support/check_main.h"

enum { MODEL = 7, OTHER = 8, ARENA_BYTES = 1 << 20, SLOT = 5 };

static struct pd_shard *shard;
static struct pd_definition *definition;
static struct pd_arena arena;
static struct pd_effects effects;
static struct pd_peer peer;
static struct pd_hyper hyper;

static void *take(void *context, size_t bytes)
{
    (void)context;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    ck_assert_ptr_nonnull(memory);
    return memset(memory, 0, bytes);
}

static void give(void *context, void *memory, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(memory);
}

static void empty(struct pd_link *list)
{
    struct pd_link *link;
    while ((link = pd_list_pop(list)) != NULL) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
}

/* Whether a message of this kind went to control. */
static bool said(enum pd_message_kind kind)
{
    bool found = false;
    struct pd_link *link = effects.to_control.next;
    for (; link != &effects.to_control; link = link->next) {
        found = found || PD_CONTAINER(link, struct pd_message, link)->kind == kind;
    }
    return found;
}

static void step(struct pd_event event)
{
    empty(&effects.to_control);
    pd_arena_reset(&arena);
    effects = (struct pd_effects){.arena = &arena};
    pd_link_init(&effects.to_control);
    event.log_room = UINT64_MAX;
    pd_shard_step(shard, &event, &effects);
}

static struct pd_message *message_of(enum pd_message_kind kind, uint64_t model)
{
    struct pd_message *message = pd_message_create(kind, 0);
    ck_assert_ptr_nonnull(message);
    message->model = model;
    return message;
}

static struct pd_session_key key_of(uint8_t worker)
{
    struct pd_session_key key = {.nonce = 1};
    memset(key.bits, worker, sizeof key.bits);
    return key;
}

static void make(uint64_t model, uint64_t generation, uint64_t attempt)
{
    struct pd_message *message = message_of(PD_MESSAGE_CREATE_MODEL, model);
    message->generation = generation;
    message->attempt = attempt;
    message->definition = definition;
    message->hypers = malloc(sizeof hyper);
    ck_assert_ptr_nonnull(message->hypers);
    message->hypers[0] = hyper;
    message->hyper_count = 1;
    step((struct pd_event){.kind = PD_EVENT_MESSAGE, .message = message});
    ck_assert(said(PD_MESSAGE_TOOK));
}

/* ATTACH is granted; the answer. */
static const Paramd__Attached *open_session(uint8_t worker, uint64_t opening)
{
    struct pd_message *message = message_of(PD_MESSAGE_OPEN_SESSION, MODEL);
    message->session = key_of(worker);
    message->opening = opening;
    step((struct pd_event){.kind = PD_EVENT_GONE, .peer = &peer});
    peer.greeted = true;
    step((struct pd_event){.kind = PD_EVENT_MESSAGE, .message = message, .peer = &peer});
    ck_assert_uint_eq(effects.reply_count, 1);
    ck_assert_int_eq(effects.replies[0].kind, PD_KIND_ATTACHED);
    return (const Paramd__Attached *)effects.replies[0].header;
}

/* The worker that is attached uses up some push ids. */
static void skip(void)
{
    Paramd__Skip skipped = PARAMD__SKIP__INIT;
    skipped.request_id = 1;
    skipped.model = MODEL;
    skipped.slot = SLOT;
    skipped.from = 1;
    skipped.to = 3;
    step((struct pd_event){.kind = PD_EVENT_REQUEST,
                           .peer = &peer,
                           .frame_kind = PD_KIND_SKIP,
                           .header = &skipped.base});
    ck_assert_uint_eq(effects.reply_count, 1);
    ck_assert_int_ne(effects.replies[0].kind, PD_KIND_ERROR);
}

/* All there is: these sessions. */
static void recovered(const struct pd_session_of_model *sessions, size_t count)
{
    struct pd_message *message = message_of(PD_MESSAGE_RECOVERED, 0);
    message->sessions = malloc((count + 1) * sizeof *sessions);
    ck_assert_ptr_nonnull(message->sessions);
    for (size_t i = 0; i < count; i++) {
        message->sessions[i] = sessions[i];
    }
    message->session_count = count;
    step((struct pd_event){.kind = PD_EVENT_MESSAGE, .message = message});
}

static void start(void)
{
    struct pd_shard_options options = {.shards = 1,
                                       .copies_max = 1 << 20,
                                       .push_ids_max = 1 << 20,
                                       .lease_us = 1000,
                                       .retention_us = 1000,
                                       .memory = {take, give, NULL},
                                       .version = "paramd/test",
                                       .records = true};
    Paramd__Definition message = PARAMD__DEFINITION__INIT;
    Paramd__Group group = PARAMD__GROUP__INIT;
    Paramd__Group *groups = &group;
    Paramd__Tensor tensor = PARAMD__TENSOR__INIT;
    Paramd__Tensor *tensors = &tensor;
    uint64_t shape = 5;
    char error[PD_ERROR_TEXT_BYTES];
    group.name = "g";
    group.optimizer = "sgd";
    tensor.name = "t";
    tensor.shape = &shape;
    tensor.n_shape = 1;
    tensor.init = PARAMD__INITIALISER__ZEROS;
    message.groups = &groups;
    message.n_groups = 1;
    message.tensors = &tensors;
    message.n_tensors = 1;
    ck_assert_int_eq(pd_definition_create("m", &message, &definition, error), PARAMD_OK);
    pd_hyper_defaults(pd_optimizer_find("sgd"), &hyper);
    pd_arena_init(&arena, ARENA_BYTES);
    pd_link_init(&effects.to_control);
    pd_peer_init(&peer, (struct pd_conn_id){0, 1});
    ck_assert_int_eq(pd_shard_create(&options, &shard), PARAMD_OK);
    make(MODEL, 1, 1);
}

static void stop(void)
{
    step((struct pd_event){.kind = PD_EVENT_GONE, .peer = &peer});
    empty(&effects.to_control);
    pd_shard_destroy(shard);
    pd_definition_destroy(definition);
    pd_arena_deinit(&arena);
}

START_TEST(a_model_named_again_is_kept_under_its_new_generation)
{
    const struct pd_session_of_model known = {MODEL, key_of(1), 1};
    (void)open_session(1, 1);
    skip();
    uint64_t hash = pd_shard_hash(shard, MODEL);
    make(MODEL, 2, 1);
    ck_assert_uint_eq(effects.record_count, 0);
    ck_assert(said(PD_MESSAGE_INITIALISED));
    recovered(&known, 1);
    ck_assert_uint_eq(pd_shard_hash(shard, MODEL), hash);
    const Paramd__Attached *attached = open_session(1, 1);
    ck_assert_uint_eq(attached->generation, 2);
    ck_assert_uint_eq(attached->n_slot, 1);
    ck_assert_uint_eq(attached->push_id[0], 3);
}
END_TEST

START_TEST(a_model_and_a_session_that_are_not_named_are_forgotten)
{
    const struct pd_session_of_model known[] = {{MODEL, key_of(1), 1}, {OTHER, key_of(1), 1}};
    (void)open_session(1, 1);
    uint64_t hash = pd_shard_hash(shard, MODEL);
    (void)open_session(2, 2);
    step((struct pd_event){.kind = PD_EVENT_GONE, .peer = &peer});
    ck_assert_uint_ne(pd_shard_hash(shard, MODEL), hash);
    recovered(known, 2);
    ck_assert_uint_eq(pd_shard_hash(shard, MODEL), hash);
    ck_assert_uint_eq(pd_shard_hash(shard, OTHER), 0);
}
END_TEST

START_TEST(a_model_that_is_not_named_gives_its_memory_back)
{
    pd_shard_model(shard, MODEL)->kept = false; /* as replay leaves it */
    recovered(NULL, 0);
    ck_assert_uint_eq(pd_shard_hash(shard, MODEL), 0);
    step((struct pd_event){.kind = PD_EVENT_TIME, .now_us = 1});
    step((struct pd_event){.kind = PD_EVENT_TIME, .now_us = 2});
    ck_assert(said(PD_MESSAGE_FREED));
}
END_TEST

START_TEST(an_attempt_that_the_shard_did_not_see_drops_its_values)
{
    make(MODEL, 2, 2);
    ck_assert_uint_eq(effects.record_count, 1);
    ck_assert_int_eq(effects.records[0].kind, PD_RECORD_RESTART_INIT);
}
END_TEST

START_TEST(that_values_are_there_is_told_once_and_only_when_asked)
{
    struct pd_model *model = pd_shard_model(shard, MODEL);
    model->kept = false; /* as replay leaves it */
    model->told_attempt = 0;
    step((struct pd_event){.kind = PD_EVENT_TIME, .now_us = 1});
    ck_assert(!said(PD_MESSAGE_INITIALISED));
    make(MODEL, 2, 1);
    ck_assert(said(PD_MESSAGE_INITIALISED));
    step((struct pd_event){.kind = PD_EVENT_TIME, .now_us = 2});
    ck_assert(!said(PD_MESSAGE_INITIALISED));
}
END_TEST

START_TEST(a_session_opened_again_has_none_of_its_push_ids)
{
    const struct pd_session_of_model again = {MODEL, key_of(1), 2};
    (void)open_session(1, 1);
    skip();
    ck_assert_uint_eq(open_session(1, 1)->n_slot, 1);
    ck_assert_uint_eq(open_session(1, 2)->n_slot, 0);
    skip();
    recovered(&again, 1);
    ck_assert_uint_eq(open_session(1, 2)->n_slot, 1);
    const struct pd_session_of_model third = {MODEL, key_of(1), 3};
    recovered(&third, 1);
    ck_assert_uint_eq(open_session(1, 3)->n_slot, 0);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("a shard in recovery");
    TCase *core = tcase_create("recovery");
    tcase_add_checked_fixture(core, start, stop);
    tcase_add_test(core, a_model_named_again_is_kept_under_its_new_generation);
    tcase_add_test(core, a_model_and_a_session_that_are_not_named_are_forgotten);
    tcase_add_test(core, a_model_that_is_not_named_gives_its_memory_back);
    tcase_add_test(core, an_attempt_that_the_shard_did_not_see_drops_its_values);
    tcase_add_test(core, that_values_are_there_is_told_once_and_only_when_asked);
    tcase_add_test(core, a_session_opened_again_has_none_of_its_push_ids);
    suite_add_tcase(suite, core);
    return suite;
}
