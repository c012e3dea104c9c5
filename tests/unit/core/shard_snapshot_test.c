/* Snapshots of a shard that goes on working: with the log from where one began they bring back the
 * same bits at every record behind its end; what was tampered with is refused, or never breaks
 * memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/core/traffic.h"

enum { RUNS = 24, EVENTS = 400, HURT_RUNS = 20, SEED_FIRST = 1 };

static struct traffic traffic;
static struct pd_arena arena;

static void setup(void)
{
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
}

static void teardown(void)
{
    pd_arena_deinit(&arena);
}

static enum paramd_status load(struct pd_shard *shard, const struct pd_logged *piece,
                               const char **ret_text)
{
    struct pd_definitions definitions = traffic_definitions(&traffic);
    return pd_shard_snapshot_load(shard, piece, &definitions, &arena, ret_text);
}

static enum paramd_status replay(struct pd_shard *shard, const struct pd_logged *logged,
                                 const char **ret_text)
{
    struct pd_definitions definitions = traffic_definitions(&traffic);
    return pd_shard_replay(shard, logged, &definitions, &arena, ret_text);
}

static struct pd_shard *loaded(const struct traffic_snapshot *snapshot)
{
    struct pd_shard *shard = traffic_shard(&traffic);
    const char *text = "";
    for (uint32_t i = 0; i < snapshot->piece_count; i++) {
        ck_assert_msg(load(shard, &snapshot->pieces[i].logged, &text) == PARAMD_OK,
                      "seed %lu, piece %u: %s", traffic.seed, i, text);
    }
    return shard;
}

/* The shard after the snapshot and all records behind it. */
static struct pd_shard *recovered(const struct traffic_snapshot *snapshot)
{
    struct pd_shard *shard = loaded(snapshot);
    const char *text = "";
    for (uint32_t i = snapshot->start; i < traffic.record_count; i++) {
        const struct written_record *record = &traffic.records[i];
        ck_assert_msg(replay(shard, &record->logged, &text) == PARAMD_OK,
                      "seed %lu, record %u of a snapshot from %u to %u: %s", traffic.seed, i,
                      snapshot->start, snapshot->end, text);
        if (traffic.level == PARAMD__ACK_LEVEL__LOGGED && i >= snapshot->end && record->cut) {
            ck_assert_msg(traffic_hash(&traffic, shard) == record->hash,
                          "seed %lu: another state after record %u, %s, of a snapshot from %u to "
                          "%u",
                          traffic.seed, i, pd_record_name(record->logged.kind), snapshot->start,
                          snapshot->end);
        }
    }
    ck_assert_msg(pd_shard_replay_end(shard, traffic.record_count, &text) == PARAMD_OK,
                  "seed %lu: %s", traffic.seed, text);
    ck_assert_ptr_null(shard->loaded);
    return shard;
}

START_TEST(a_snapshot_and_its_log_have_the_same_bits_after_every_event)
{
    uint64_t snapshots = 0;
    uint64_t spoilt = 0;
    uint64_t kinds[PD_RECORD_DROP + 1] = {0}; /* while a snapshot was being made */
    uint64_t pieces[PD_PIECE_IDS + 1] = {0};
    for (unsigned run = 0; run < RUNS; run++) {
        traffic_run_with_snapshots(&traffic, SEED_FIRST + run, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
        for (uint32_t i = 0; i < traffic.snapshot_count; i++) {
            const struct traffic_snapshot *snapshot = traffic.snapshots[i];
            pd_shard_destroy(recovered(snapshot));
            for (uint32_t j = snapshot->start; j < snapshot->end; j++) {
                kinds[traffic.records[j].logged.kind]++;
            }
            for (uint32_t j = 0; j < snapshot->piece_count; j++) {
                pieces[snapshot->pieces[j].logged.kind]++;
            }
        }
        snapshots += traffic.snapshot_count;
        spoilt += traffic.spoilt;
        traffic_finish(&traffic);
    }
    ck_assert_uint_gt(snapshots, RUNS);
    ck_assert_uint_gt(spoilt, RUNS / 8);
    for (unsigned i = PD_RECORD_MODEL; i <= PD_RECORD_DROP; i++) {
        ck_assert_msg(kinds[i] > 1 || i == PD_RECORD_RESTART_INIT, "%s: only %lu",
                      pd_record_name(i), kinds[i]);
    }
    for (unsigned i = PD_PIECE_MODEL; i <= PD_PIECE_IDS; i++) {
        ck_assert_uint_gt(pieces[i], RUNS);
    }
}
END_TEST

/* ---- at `applied` ---- */

/* Whether it could be compared: the same attempt, the same opening. */
static bool expect_copied(struct pd_shard *shard, const struct copied *copied)
{
    struct pd_model *model = pd_shard_model(shard, copied->model);
    if (model == NULL || model->attempt != copied->attempt) {
        return false;
    }
    if (copied->block != UINT64_MAX) {
        ck_assert_msg(pd_block_hash(pd_model_block(model, copied->block)) == copied->hash,
                      "seed %lu: block %lu", traffic.seed, copied->block);
        return true;
    }
    const struct pd_session *session = pd_session_find(model, traffic.keys[copied->session].bits);
    if (session == NULL || session->opening != copied->opening) {
        return false;
    }
    const struct pd_slot_ids *ids = pd_session_ids(session, copied->slot);
    ck_assert(copied->ids.last == 0 || ids != NULL);
    ck_assert_uint_eq(ids != NULL ? ids->last : 0, copied->ids.last);
    ck_assert_uint_eq(ids != NULL ? ids->refused : 0, copied->ids.refused);
    return true;
}

START_TEST(pushes_at_applied_come_back_as_they_were_when_their_slot_was_copied)
{
    uint64_t compared = 0;
    for (unsigned run = 0; run < RUNS; run++) {
        traffic_run_with_snapshots(&traffic, SEED_FIRST + run, PARAMD__ACK_LEVEL__APPLIED, EVENTS);
        for (uint32_t i = 0; i < traffic.snapshot_count; i++) {
            const struct traffic_snapshot *snapshot = traffic.snapshots[i];
            struct pd_shard *shard = recovered(snapshot);
            for (uint32_t j = 0; j < snapshot->copied_count; j++) {
                compared += expect_copied(shard, &snapshot->copied[j]);
            }
            pd_shard_destroy(shard);
        }
        traffic_finish(&traffic);
    }
    ck_assert_uint_gt(compared, 100 * RUNS);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("snapshots");
    TCase *core = tcase_create("snapshots");
    tcase_add_checked_fixture(core, setup, teardown);
    tcase_add_test(core, a_snapshot_and_its_log_have_the_same_bits_after_every_event);
    tcase_add_test(core, pushes_at_applied_come_back_as_they_were_when_their_slot_was_copied);
    suite_add_tcase(suite, core);
    return suite;
}
