/* Snapshots of a shard that goes on working: with the log from where one began they bring back the
 * same bits at every record behind its end; what was tampered with is refused, or never breaks
 * memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/core/traffic.h"

enum { RUNS = 16, EVENTS = 400, HURT_RUNS = 4, SEED_FIRST = 1 };

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

/* ---- what was tampered with ---- */

START_TEST(a_piece_with_anything_changed_never_breaks_memory)
{
    uint64_t random = SEED_FIRST;
    uint64_t refused = 0;
    uint64_t pieces = 0;
    for (unsigned run = 0; run < HURT_RUNS; run++) {
        traffic_run_with_snapshots(&traffic, SEED_FIRST + run, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
        for (uint32_t i = 0; i < traffic.snapshot_count; i++) {
            const struct traffic_snapshot *snapshot = traffic.snapshots[i];
            struct pd_shard *shard = traffic_shard(&traffic);
            const char *text = NULL;
            for (uint32_t j = 0; j < snapshot->piece_count; j++) {
                const struct pd_logged *piece = &snapshot->pieces[j].logged;
                uint8_t *header;
                uint8_t *payload;
                struct pd_logged copy = traffic_hurt(piece, &random, &header, &payload);
                bool slot = piece->kind == PD_PIECE_SLOT;
                if (!slot && load(shard, &copy, &text) != PARAMD_OK) {
                    ck_assert_ptr_nonnull(text);
                    refused++;
                }
                free(header);
                free(payload);
                /* As it was, so that the state goes on; by now that may be refused too. */
                (void)load(shard, piece, &text);
                pieces += !slot;
            }
            for (uint32_t j = snapshot->start; j < traffic.record_count; j++) {
                (void)replay(shard, &traffic.records[j].logged, &text);
            }
            refused += pd_shard_replay_end(shard, traffic.record_count, &text) != PARAMD_OK;
            pd_shard_destroy(shard);
        }
        traffic_finish(&traffic);
    }
    ck_assert_uint_gt(refused, pieces / 4);
}
END_TEST

/* The first snapshot with a piece of the kind, which has a payload if one of its kind can. */
static const struct traffic_snapshot *snapshot_with(unsigned kind, uint32_t *ret_place)
{
    for (uint32_t i = 0; i < traffic.snapshot_count; i++) {
        const struct traffic_snapshot *snapshot = traffic.snapshots[i];
        for (uint32_t j = 0; j < snapshot->piece_count; j++) {
            const struct pd_logged *piece = &snapshot->pieces[j].logged;
            if (piece->kind == kind && (kind != PD_PIECE_BLOCKS || piece->payload_count > 0)) {
                *ret_place = j;
                return snapshot;
            }
        }
    }
    ck_abort_msg("no piece of kind %u", kind);
}

/* A shard with the pieces of the snapshot before this place. */
static struct pd_shard *loaded_to(const struct traffic_snapshot *snapshot, uint32_t place)
{
    struct pd_shard *shard = traffic_shard(&traffic);
    const char *text;
    for (uint32_t i = 0; i < place; i++) {
        ck_assert_int_eq(load(shard, &snapshot->pieces[i].logged, &text), PARAMD_OK);
    }
    return shard;
}

START_TEST(a_piece_that_does_not_fit_is_refused)
{
    const char *text;
    traffic_run_with_snapshots(&traffic, 7, PARAMD__ACK_LEVEL__LOGGED, 3000);
    for (unsigned kind = PD_PIECE_MODEL; kind <= PD_PIECE_IDS; kind++) {
        uint32_t place;
        const struct traffic_snapshot *snapshot = snapshot_with(kind, &place);
        struct pd_shard *shard = loaded_to(snapshot, place);
        struct pd_logged piece = snapshot->pieces[place].logged;
        if (kind == PD_PIECE_BLOCKS) {
            piece.payload_count--;
        } else {
            piece.payload_count++;
        }
        ck_assert_int_eq(load(shard, &piece, &text), PARAMD_INVALID);
        pd_shard_destroy(shard);

        shard = loaded_to(snapshot, place + 1);
        ck_assert_int_eq(load(shard, &snapshot->pieces[place].logged, &text), PARAMD_INVALID);
        pd_shard_destroy(shard);

        /* Where there are no models yet, or slots already. */
        bool of_slot = kind >= PD_PIECE_SLOT;
        shard = of_slot ? traffic_shard(&traffic) : loaded(snapshot);
        enum paramd_status status = load(shard, &snapshot->pieces[place].logged, &text);
        ck_assert_int_eq(status, kind == PD_PIECE_SLOT ? PARAMD_OK : PARAMD_INVALID);
        piece.kind = 63;
        ck_assert_int_eq(load(shard, &piece, &text), PARAMD_UNSUPPORTED);
        pd_shard_destroy(shard);
    }
    traffic_finish(&traffic);
}
END_TEST

/* All records behind the snapshot, and its end. */
static enum paramd_status finish(struct pd_shard *shard, const struct traffic_snapshot *snapshot,
                                 uint64_t last_lsn)
{
    const char *text;
    enum paramd_status status = PARAMD_OK;
    for (uint32_t i = snapshot->start; i < traffic.record_count && status == PARAMD_OK; i++) {
        status = replay(shard, &traffic.records[i].logged, &text);
    }
    if (status == PARAMD_OK) {
        status = pd_shard_replay_end(shard, last_lsn, &text);
    }
    pd_shard_destroy(shard);
    return status;
}

START_TEST(a_snapshot_without_some_of_its_slots_is_refused)
{
    traffic_run_with_snapshots(&traffic, 7, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
    const struct traffic_snapshot *snapshot = traffic.snapshots[0];
    uint64_t last = traffic.record_count;
    ck_assert_int_eq(finish(loaded(snapshot), snapshot, last), PARAMD_OK);
    uint32_t place = snapshot->piece_count;
    while (snapshot->pieces[--place].logged.kind != PD_PIECE_SLOT) {
    }
    ck_assert_int_eq(finish(loaded_to(snapshot, place), snapshot, last), PARAMD_INVALID);
    ck_assert_int_eq(finish(loaded(snapshot), snapshot, snapshot->end - 1), PARAMD_INVALID);
    ck_assert_int_eq(finish(loaded(snapshot), snapshot, snapshot->end), PARAMD_OK);
    traffic_finish(&traffic);
}
END_TEST

START_TEST(a_ready_model_without_some_of_its_blocks_is_refused)
{
    const char *text;
    traffic_run_with_snapshots(&traffic, 7, PARAMD__ACK_LEVEL__LOGGED, 3000);
    unsigned tried = 0;
    for (uint32_t i = 0; i < traffic.snapshot_count; i++) {
        const struct traffic_snapshot *snapshot = traffic.snapshots[i];
        struct pd_shard *shard = traffic_shard(&traffic);
        bool ready = false;
        for (uint32_t j = 0; j < snapshot->piece_count; j++) {
            bool blocks = snapshot->pieces[j].logged.kind == PD_PIECE_BLOCKS;
            ck_assert(blocks || load(shard, &snapshot->pieces[j].logged, &text) == PARAMD_OK);
        }
        const struct pd_model *model = shard->models;
        for (; model != NULL; model = model->by_number.next) {
            ready = ready || (model->ready && model->block_count > 0);
        }
        tried += ready;
        enum paramd_status status = pd_shard_replay_end(shard, snapshot->end, &text);
        ck_assert(!ready || status == PARAMD_INVALID);
        pd_shard_destroy(shard);
    }
    ck_assert_uint_gt(tried, 0);
    traffic_finish(&traffic);
}
END_TEST

static bool waits(const struct pd_shard *shard)
{
    const struct pd_model *model = shard->models;
    while (model != NULL && model->waiting == NULL) {
        model = model->by_number.next;
    }
    return model != NULL;
}

/* Push ids that wait for a session which the log does not open. */
START_TEST(ids_of_a_session_that_is_in_no_record_are_refused)
{
    const char *text;
    unsigned tried = 0;
    for (uint64_t seed = SEED_FIRST; tried == 0 && seed < SEED_FIRST + RUNS; seed++) {
        traffic_run_with_snapshots(&traffic, seed, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
        for (uint32_t i = 0; i < traffic.snapshot_count; i++) {
            struct pd_shard *shard = loaded(traffic.snapshots[i]);
            if (waits(shard)) {
                ck_assert_int_eq(pd_shard_replay_end(shard, UINT64_MAX, &text), PARAMD_INVALID);
                tried++;
            }
            pd_shard_destroy(shard);
        }
        traffic_finish(&traffic);
    }
    ck_assert_uint_gt(tried, 0);
}
END_TEST

/* An opening is never followed by a lower one. */
START_TEST(ids_of_an_opening_that_was_over_before_are_refused)
{
    const char *text;
    uint32_t place;
    traffic_run_with_snapshots(&traffic, 7, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
    const struct traffic_snapshot *snapshot = snapshot_with(PD_PIECE_IDS, &place);
    struct pd_shard *shard = loaded_to(snapshot, place);
    struct pd_model *model = shard->models;
    for (; model != NULL; model = model->by_number.next) {
        struct pd_session *session = model->sessions;
        for (; session != NULL; session = session->by_bits.next) {
            session->opening += 100;
        }
    }
    ck_assert_int_eq(load(shard, &snapshot->pieces[place].logged, &text), PARAMD_INVALID);
    pd_shard_destroy(shard);
    traffic_finish(&traffic);
}
END_TEST

/* The number of the model that a piece, or a record, is about. */
static uint64_t model_of(const struct pd_logged *logged,
                         const ProtobufCMessageDescriptor *descriptor)
{
    pd_arena_reset(&arena);
    const ProtobufCMessage *header =
        pd_decode(descriptor, &arena, logged->header, logged->header_count);
    ck_assert_ptr_nonnull(header);
    return descriptor == &paramd__snapshot_blocks__descriptor
               ? ((const Paramd__SnapshotBlocks *)header)->model
               : ((const Paramd__RecordTold *)header)->model;
}

/* As if the model had been dropped before any of its slots was copied: its READY comes when it has
 * no values, and then the record that drops it. */
static void replay_dropped(const struct traffic_snapshot *snapshot, uint32_t ready)
{
    const char *text = "";
    uint8_t header[256];
    Paramd__RecordTold told = PARAMD__RECORD_TOLD__INIT;
    told.model = model_of(&traffic.records[ready].logged, &paramd__record_told__descriptor);
    struct pd_logged drop = {.lsn = snapshot->end, .kind = PD_RECORD_DROP, .header = header};
    drop.header_count = protobuf_c_message_pack(&told.base, header);
    struct pd_shard *shard = traffic_shard(&traffic);
    for (uint32_t i = 0; i < snapshot->piece_count; i++) {
        const struct pd_logged *piece = &snapshot->pieces[i].logged;
        if (piece->kind != PD_PIECE_BLOCKS ||
            model_of(piece, &paramd__snapshot_blocks__descriptor) != told.model) {
            ck_assert_int_eq(load(shard, piece, &text), PARAMD_OK);
        }
    }
    for (uint32_t i = snapshot->start; i <= ready; i++) {
        ck_assert_msg(replay(shard, &traffic.records[i].logged, &text) == PARAMD_OK, "%s", text);
    }
    ck_assert_int_eq(replay(shard, &drop, &text), PARAMD_OK);
    ck_assert_ptr_null(pd_shard_model(shard, told.model));
    pd_shard_destroy(shard);
}

START_TEST(a_model_may_be_dropped_before_its_slots_are_copied)
{
    unsigned tried = 0;
    for (uint64_t seed = SEED_FIRST; tried == 0 && seed < SEED_FIRST + RUNS; seed++) {
        traffic_run_with_snapshots(&traffic, seed, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
        for (uint32_t i = 0; i < traffic.snapshot_count; i++) {
            const struct traffic_snapshot *snapshot = traffic.snapshots[i];
            struct pd_shard *shard = loaded(snapshot);
            for (uint32_t j = snapshot->start; j < snapshot->end; j++) {
                const struct pd_logged *logged = &traffic.records[j].logged;
                if (logged->kind == PD_RECORD_READY &&
                    pd_shard_model(shard, model_of(logged, &paramd__record_told__descriptor)) !=
                        NULL) {
                    replay_dropped(snapshot, j);
                    tried++;
                }
            }
            pd_shard_destroy(shard);
        }
        traffic_finish(&traffic);
    }
    ck_assert_uint_gt(tried, 0);
}
END_TEST

/* Within the snapshot some slots would have the attempt's values and others not. */
START_TEST(another_attempt_within_a_snapshot_is_refused)
{
    traffic_run_with_snapshots(&traffic, 7, PARAMD__ACK_LEVEL__LOGGED, EVENTS);
    const struct traffic_snapshot *snapshot = traffic.snapshots[0];
    const char *text;
    uint8_t header[256];
    uint8_t session[PD_SESSION_BYTES] = {0};
    for (unsigned behind = 0; behind < 2; behind++) {
        struct pd_shard *shard = loaded(snapshot);
        Paramd__RecordTold told = PARAMD__RECORD_TOLD__INIT;
        told.model = shard->models->number;
        told.attempt = shard->models->attempt + 1;
        told.session = (ProtobufCBinaryData){sizeof session, session};
        struct pd_logged logged = {.lsn = snapshot->end + behind,
                                   .kind = PD_RECORD_RESTART_INIT,
                                   .header = header,
                                   .header_count = protobuf_c_message_pack(&told.base, header)};
        ck_assert_int_eq(replay(shard, &logged, &text), behind == 1 ? PARAMD_OK : PARAMD_INVALID);
        pd_shard_destroy(shard);
    }
    traffic_finish(&traffic);
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
    TCase *tampered = tcase_create("tampered");
    tcase_add_checked_fixture(tampered, setup, teardown);
    tcase_add_test(tampered, a_piece_with_anything_changed_never_breaks_memory);
    tcase_add_test(tampered, a_piece_that_does_not_fit_is_refused);
    tcase_add_test(tampered, a_snapshot_without_some_of_its_slots_is_refused);
    tcase_add_test(tampered, a_ready_model_without_some_of_its_blocks_is_refused);
    tcase_add_test(tampered, ids_of_a_session_that_is_in_no_record_are_refused);
    tcase_add_test(tampered, ids_of_an_opening_that_was_over_before_are_refused);
    tcase_add_test(tampered, a_model_may_be_dropped_before_its_slots_are_copied);
    tcase_add_test(tampered, another_attempt_within_a_snapshot_is_refused);
    suite_add_tcase(suite, tampered);
    return suite;
}
