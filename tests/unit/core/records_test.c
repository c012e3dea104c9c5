/* Records and replay of the shard core: what is written down brings back the same bits at every
 * point, and what was tampered with is refused or does something else, but never breaks memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/core/traffic.h"

enum { RUNS = 120, HURT_RUNS = 40, EVENTS = 300, SEED_FIRST = 1 };

static struct traffic traffic;

static enum paramd_status replay(struct pd_shard *shard, const struct pd_logged *logged,
                                 struct pd_arena *arena, const char **ret_text)
{
    struct pd_definitions definitions = traffic_definitions(&traffic);
    return pd_shard_replay(shard, logged, &definitions, arena, ret_text);
}

/* ---- the same bits ---- */

static void replay_all(void)
{
    struct pd_shard *shard = traffic_shard(&traffic);
    struct pd_arena arena;
    const char *text = "";
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    for (uint32_t i = 0; i < traffic.record_count; i++) {
        const struct written_record *record = &traffic.records[i];
        ck_assert_msg(replay(shard, &record->logged, &arena, &text) == PARAMD_OK,
                      "seed %llu, record %u: %s", (unsigned long long)traffic.seed, i, text);
        ck_assert_msg(!record->cut || traffic_hash(&traffic, shard) == record->hash,
                      "seed %llu: another state after record %u, %s",
                      (unsigned long long)traffic.seed, i, pd_record_name(record->logged.kind));
    }
    pd_arena_deinit(&arena);
    pd_shard_destroy(shard);
}

START_TEST(a_replay_has_the_same_bits_after_every_event)
{
    uint64_t kinds[PD_RECORD_DROP + 1] = {0};
    uint64_t results[PD_RESULT_END] = {0};
    uint64_t refused = 0;
    uint64_t unchanged = 0;
    for (unsigned run = 0; run < RUNS; run++) {
        traffic_run(&traffic, SEED_FIRST + run, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
        replay_all();
        for (unsigned i = 0; i <= PD_RECORD_DROP; i++) {
            kinds[i] += traffic.kinds[i];
        }
        for (unsigned i = 0; i < PD_RESULT_END; i++) {
            results[i] += traffic.results[i];
        }
        refused += traffic.refused_for_room;
        unchanged += traffic.unchanged;
        traffic_finish(&traffic);
    }
    for (unsigned i = PD_RECORD_MODEL; i <= PD_RECORD_DROP; i++) {
        ck_assert_msg(kinds[i] >= RUNS / 2, "%s: only %llu", pd_record_name(i),
                      (unsigned long long)kinds[i]);
    }
    for (unsigned i = 0; i < PD_RESULT_END; i++) {
        ck_assert_msg(results[i] >= RUNS, "result %u: only %llu", i,
                      (unsigned long long)results[i]);
    }
    ck_assert_uint_ge(refused, RUNS);
    ck_assert_uint_ge(unchanged, RUNS);
}
END_TEST

START_TEST(pushes_at_applied_leave_no_record)
{
    for (unsigned run = 0; run < 10; run++) {
        traffic_run(&traffic, SEED_FIRST + run, PARAMD__ACK_LEVEL__APPLIED, EVENTS);
        ck_assert_uint_eq(traffic.kinds[PD_RECORD_PUSH], 0);
        ck_assert_uint_eq(traffic.kinds[PD_RECORD_SKIP], 0);
        ck_assert_uint_gt(traffic.kinds[PD_RECORD_INIT], 0);
        ck_assert_uint_gt(traffic.kinds[PD_RECORD_SESSION_OPENED], 0);
        traffic_finish(&traffic);
    }
}
END_TEST

/* ---- what was tampered with ---- */

START_TEST(a_record_with_anything_changed_never_breaks_memory)
{
    uint64_t random = SEED_FIRST;
    uint64_t refused = 0;
    struct pd_arena arena;
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    for (unsigned run = 0; run < HURT_RUNS; run++) {
        traffic_run(&traffic, 1000 + run, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
        struct pd_shard *shard = traffic_shard(&traffic);
        for (uint32_t i = 0; i < traffic.record_count; i++) {
            uint8_t *header;
            uint8_t *payload;
            const char *text = NULL;
            struct pd_logged copy =
                traffic_hurt(&traffic.records[i].logged, &random, &header, &payload);
            if (replay(shard, &copy, &arena, &text) != PARAMD_OK) {
                ck_assert_ptr_nonnull(text);
                refused++;
            }
            free(header);
            free(payload);
            /* What was refused goes again as it was, so that the state goes on; by now that may
             * be refused too. */
            (void)replay(shard, &traffic.records[i].logged, &arena, &text);
        }
        pd_shard_destroy(shard);
        traffic_finish(&traffic);
    }
    pd_arena_deinit(&arena);
    ck_assert_uint_gt(refused, HURT_RUNS * EVENTS / 4);
}
END_TEST

/* Replays up to the first record of the kind, which is given back, not replayed. */
static const struct pd_logged *replay_to(struct pd_shard *shard, unsigned kind,
                                         struct pd_arena *arena)
{
    const char *text;
    for (uint32_t i = 0; i < traffic.record_count; i++) {
        if (traffic.records[i].logged.kind == kind) {
            return &traffic.records[i].logged;
        }
        ck_assert_int_eq(replay(shard, &traffic.records[i].logged, arena, &text), PARAMD_OK);
    }
    ck_abort_msg("no record of kind %u", kind);
}

START_TEST(a_record_that_does_not_fit_is_refused)
{
    static const unsigned twice[] = {
        PD_RECORD_MODEL, PD_RECORD_RESTART_INIT,  PD_RECORD_INITIALISED, PD_RECORD_PUSH,
        PD_RECORD_SKIP,  PD_RECORD_SESSION_ENDED, PD_RECORD_DROP};
    static const unsigned with_payload[] = {PD_RECORD_INIT, PD_RECORD_PUSH};
    struct pd_arena arena;
    const char *text;
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    traffic_run(&traffic, 7, PARAMD__ACK_LEVEL__LOGGED, 3000);
    for (size_t i = 0; i < sizeof twice / sizeof twice[0]; i++) {
        struct pd_shard *shard = traffic_shard(&traffic);
        const struct pd_logged *logged = replay_to(shard, twice[i], &arena);
        ck_assert_int_eq(replay(shard, logged, &arena, &text), PARAMD_OK);
        ck_assert_msg(replay(shard, logged, &arena, &text) == PARAMD_INVALID, "%s twice",
                      pd_record_name(twice[i]));
        pd_shard_destroy(shard);
    }
    for (size_t i = 0; i < sizeof with_payload / sizeof with_payload[0]; i++) {
        struct pd_shard *shard = traffic_shard(&traffic);
        struct pd_logged logged = *replay_to(shard, with_payload[i], &arena);
        logged.payload_count--;
        ck_assert_int_eq(replay(shard, &logged, &arena, &text), PARAMD_INVALID);
        pd_shard_destroy(shard);
    }
    struct pd_shard *fresh = traffic_shard(&traffic);
    struct pd_logged logged = traffic.records[traffic.record_count - 1].logged;
    ck_assert_int_eq(replay(fresh, &logged, &arena, &text), PARAMD_INVALID);
    logged.kind = 63;
    ck_assert_int_eq(replay(fresh, &logged, &arena, &text), PARAMD_UNSUPPORTED);
    pd_shard_destroy(fresh);
    traffic_finish(&traffic);
    pd_arena_deinit(&arena);
}
END_TEST

START_TEST(at_applied_a_session_that_ends_need_not_be_there)
{
    struct pd_arena arena;
    const char *text;
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    traffic_run(&traffic, 7, PARAMD__ACK_LEVEL__APPLIED, 3000);
    struct pd_shard *shard = traffic_shard(&traffic);
    const struct pd_logged *logged = replay_to(shard, PD_RECORD_SESSION_ENDED, &arena);
    ck_assert_int_eq(replay(shard, logged, &arena, &text), PARAMD_OK);
    uint64_t hash = traffic_hash(&traffic, shard);
    ck_assert_int_eq(replay(shard, logged, &arena, &text), PARAMD_OK);
    ck_assert_uint_eq(traffic_hash(&traffic, shard), hash);
    pd_shard_destroy(shard);
    traffic_finish(&traffic);
    pd_arena_deinit(&arena);
}
END_TEST

START_TEST(a_set_that_needs_other_moments_is_refused)
{
    const struct pd_optimizer *optimizer = pd_optimizer_find("rmsprop");
    struct pd_arena arena;
    const char *text;
    unsigned tried = 0;
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    for (uint64_t seed = 1; tried == 0; seed++) {
        traffic_run(&traffic, seed, PARAMD__ACK_LEVEL__LOGGED, 0);
        const struct pd_definition *definition = traffic.made[0].definition;
        for (size_t i = 0; i < 2; i++) {
            struct pd_shard *shard = traffic_shard(&traffic);
            struct pd_hyper hyper = traffic.made[0].hypers[i];
            struct pd_group_hypers group;
            Paramd__GroupHypers *groups[] = {&group.message};
            Paramd__RecordTold told = PARAMD__RECORD_TOLD__INIT;
            uint8_t header[4096];
            char error[PD_ERROR_TEXT_BYTES];
            if (pd_optimizer_find(definition->groups[i].optimizer) == optimizer) {
                ck_assert_int_eq(
                    pd_hyper_set(optimizer, &hyper, "momentum", 0.9, NULL, error, sizeof error),
                    PARAMD_OK);
                pd_group_hypers_fill(&group, definition->groups[i].name, optimizer, &hyper);
                told.model = traffic.made[0].number;
                told.groups = groups;
                told.n_groups = 1;
                struct pd_logged logged = {.kind = PD_RECORD_SET_HYPERS, .header = header};
                logged.header_count = protobuf_c_message_pack(&told.base, header);
                ck_assert_int_eq(replay(shard, &traffic.records[0].logged, &arena, &text),
                                 PARAMD_OK);
                ck_assert_int_eq(replay(shard, &logged, &arena, &text), PARAMD_INVALID);
                tried++;
            }
            pd_shard_destroy(shard);
        }
        traffic_finish(&traffic);
    }
    pd_arena_deinit(&arena);
}
END_TEST

static const struct pd_definition *find_nothing(void *context, uint64_t model)
{
    (void)context;
    (void)model;
    return NULL;
}

START_TEST(records_of_models_that_control_does_not_know_are_passed_over)
{
    struct pd_definitions none = {find_nothing, NULL};
    struct pd_arena arena;
    const char *text;
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    traffic_run(&traffic, 3, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
    struct pd_shard *shard = traffic_shard(&traffic);
    for (uint32_t i = 0; i < traffic.record_count; i++) {
        ck_assert_int_eq(pd_shard_replay(shard, &traffic.records[i].logged, &none, &arena, &text),
                         PARAMD_OK);
    }
    ck_assert_uint_eq(traffic_hash(&traffic, shard), 0);
    pd_shard_destroy(shard);
    traffic_finish(&traffic);
    pd_arena_deinit(&arena);
}
END_TEST

/* ---- hyper-parameters ---- */

START_TEST(hyper_parameters_come_back_from_their_message)
{
    const struct pd_optimizer *optimizer;
    for (size_t i = 0; (optimizer = pd_optimizer_at(i)) != NULL; i++) {
        struct pd_group_hypers message;
        struct pd_hyper hyper;
        struct pd_hyper back;
        char error[PD_ERROR_TEXT_BYTES];
        pd_hyper_defaults(optimizer, &hyper);
        ck_assert_int_eq(pd_hyper_set(optimizer, &hyper, "lr", 0.1, NULL, error, sizeof error),
                         PARAMD_OK);
        ck_assert_int_eq(
            pd_hyper_set(optimizer, &hyper, "schedule", 0, "inverse_sqrt", error, sizeof error),
            PARAMD_OK);
        pd_group_hypers_fill(&message, "g", optimizer, &hyper);
        ck_assert_int_eq(pd_group_hypers_read(&message.message, optimizer, &back), PARAMD_OK);
        ck_assert_msg(memcmp(&hyper, &back, sizeof hyper) == 0, "%s", pd_optimizer_name(optimizer));
        message.values[0].number = NAN;
        ck_assert_int_eq(pd_group_hypers_read(&message.message, optimizer, &back), PARAMD_INVALID);
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("records");
    TCase *same = tcase_create("same");
    tcase_add_test(same, a_replay_has_the_same_bits_after_every_event);
    tcase_add_test(same, pushes_at_applied_leave_no_record);
    tcase_add_test(same, hyper_parameters_come_back_from_their_message);
    suite_add_tcase(suite, same);
    TCase *tampered = tcase_create("tampered");
    tcase_add_test(tampered, a_record_with_anything_changed_never_breaks_memory);
    tcase_add_test(tampered, a_record_that_does_not_fit_is_refused);
    tcase_add_test(tampered, at_applied_a_session_that_ends_need_not_be_there);
    tcase_add_test(tampered, a_set_that_needs_other_moments_is_refused);
    tcase_add_test(tampered, records_of_models_that_control_does_not_know_are_passed_over);
    suite_add_tcase(suite, tampered);
    return suite;
}
