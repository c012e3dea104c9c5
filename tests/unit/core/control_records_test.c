/* Control's records: whatever shards and clients were told, a start from the log knows again, at
 * every place where the log can end; and what a log cannot say is refused. */
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/kinds.h"
#include "server/core/control_state.h"
#include "tests/support/check_main.h"
#include "tests/unit/core/control_world.h"

enum { SEEDS = 60, STEPS = 1500, CUTS = 12, FLIPS = 150, KINDS = 128, LOG_ROOM = 1 << 20 };

static struct pd_control_effects effects;
static struct pd_arena arena;

static void setup(void)
{
    pd_link_init(&effects.records);
    pd_link_init(&effects.messages);
    pd_link_init(&effects.notes);
    effects.log_room = LOG_ROOM;
    pd_arena_init(&arena, PD_DECODED_BYTES_MAX);
}

static void teardown(void)
{
    pd_world_discard(&effects);
    pd_arena_deinit(&arena);
}

/* A world after so many steps, with crashes in between. */
static struct pd_world *lived(uint64_t seed)
{
    struct pd_world *world = pd_world_create(seed);
    for (unsigned i = 0; i < STEPS && world->log_count < PD_WORLD_RECORDS_MAX - 16; i++) {
        pd_world_step(world);
        if (pd_world_random(world, STEPS / 4) == 0) {
            unsigned least = world->log_count > 4 ? world->log_count - 4 : 1;
            unsigned records = world->log_count;
            while (records > least && pd_world_random(world, 2) == 0) {
                records--;
            }
            while (!world->told_at[records]) {
                records++;
            }
            pd_world_crash(world, records);
        }
    }
    return world;
}

/* A control that has read so many records. */
static struct pd_control *replayed(struct pd_world *world, unsigned records)
{
    struct pd_control *control = pd_world_control(world);
    char error[PD_ERROR_TEXT_BYTES];
    for (unsigned i = 0; i < records; i++) {
        struct pd_logged logged = pd_world_logged(world->log[i]);
        enum paramd_status status = pd_control_replay(control, &logged, error);
        ck_assert_msg(status == PARAMD_OK, "record %u: %s", i, error);
    }
    return control;
}

/* The answer to one request: its kind and header; the other effects are gone. */
static unsigned ask(struct pd_world *world, struct pd_control *control, struct pd_message *request,
                    const ProtobufCMessage **ret_header)
{
    unsigned kind = 0;
    pd_control_step(control, request, world->now_us, &effects);
    for (struct pd_link *link = effects.messages.next; link != &effects.messages && kind == 0;
         link = link->next) {
        const struct pd_message *message = PD_CONTAINER(link, struct pd_message, link);
        if (message->kind == PD_MESSAGE_ANSWER) {
            uint32_t count;
            kind = message->bytes[4];
            memcpy(&count, message->bytes + 8, sizeof count);
            pd_arena_reset(&arena);
            *ret_header = pd_decode(pd_kind_descriptor(kind), &arena,
                                    message->bytes + PD_PREFIX_BYTES, count);
            ck_assert_ptr_nonnull(*ret_header);
        }
    }
    pd_world_discard(&effects);
    return kind;
}

static int compare_sessions(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct pd_session_of_model));
}

static int compare_models(const void *a, const void *b)
{
    const struct pd_told_model *first = a;
    const struct pd_told_model *second = b;
    return (first->number > second->number) - (first->number < second->number);
}

/* But for what a start changes: generations; and what shards are not told: clocks, openings. */
static void expect_same(struct pd_told told, struct pd_told known, bool clean, uint64_t seed)
{
    qsort(told.models, told.model_count, sizeof told.models[0], compare_models);
    qsort(told.sessions, told.session_count, sizeof told.sessions[0], compare_sessions);
    qsort(known.sessions, known.session_count, sizeof known.sessions[0], compare_sessions);
    ck_assert_msg(told.model_count == known.model_count, "seed %lu", seed);
    ck_assert_msg(told.session_count == known.session_count, "seed %lu", seed);
    for (uint64_t i = 0; i < told.model_count; i++) {
        uint64_t before = told.models[i].generation;
        uint64_t after = known.models[i].generation;
        ck_assert_msg(clean ? before == after : before < after, "seed %lu", seed);
        told.models[i].generation = after;
        told.models[i].opening = 0;
        memset(told.models[i].clock, 0, sizeof told.models[i].clock);
    }
    ck_assert_msg(memcmp(&told, &known, sizeof told) == 0, "seed %lu", seed);
}

/* The model is asked for as it was first made, then with another definition. */
static void expect_definition(struct pd_world *world, struct pd_control *control,
                              const struct pd_told_model *model)
{
    unsigned name = (unsigned)(model->name[0] - 'a');
    unsigned form = (unsigned)model->form;
    const ProtobufCMessage *header = NULL;
    ck_assert_uint_eq(ask(world, control, pd_world_create_request(world, name, form, 99), &header),
                      PD_KIND_CREATED);
    const Paramd__Created *created = (const Paramd__Created *)header;
    ck_assert(!created->created);
    ck_assert_uint_eq(created->model, model->number);
    ck_assert_int_eq(created->ready, model->ready != 0);
    ck_assert_int_eq((int)created->n_groups, (model->set[0] != 0) + (model->set[1] != 0));
    ck_assert_uint_eq(
        ask(world, control, pd_world_create_request(world, name, 1 - form, 99), &header),
        PD_KIND_ERROR);
    ck_assert_int_eq(((const Paramd__Error *)header)->status, PARAMD_MISMATCH);
}

/* A straggler is told so; the next clock is taken. */
static void expect_clock(struct pd_world *world, struct pd_control *control,
                         const struct pd_told_model *model, unsigned group)
{
    const ProtobufCMessage *header = NULL;
    uint64_t clock = model->clock[group];
    if (clock != 0) {
        ck_assert_uint_eq(ask(world, control,
                              pd_world_set_request(world, model->name, group, 77, clock), &header),
                          PD_KIND_ERROR);
        ck_assert_int_eq(((const Paramd__Error *)header)->status, PARAMD_SUPERSEDED);
    }
    ck_assert_uint_eq(ask(world, control,
                          pd_world_set_request(world, model->name, group, 77, clock + 1), &header),
                      0);
}

/* LIST pages by number: it must come sorted, and with all. */
static void expect_list(struct pd_world *world, struct pd_control *control,
                        const struct pd_told *told)
{
    Paramd__List list = PARAMD__LIST__INIT;
    const ProtobufCMessage *header = NULL;
    ck_assert_uint_eq(
        ask(world, control, pd_world_request(world, PD_KIND_LIST, &list.base), &header),
        PD_KIND_LISTED);
    const Paramd__Listed *listed = (const Paramd__Listed *)header;
    ck_assert_uint_eq(listed->n_models, told->model_count);
    uint64_t sessions = 0;
    for (size_t i = 0; i < listed->n_models; i++) {
        ck_assert(i == 0 || listed->models[i]->number > listed->models[i - 1]->number);
        sessions += listed->models[i]->sessions;
    }
    ck_assert_uint_eq(sessions, told->session_count);
}

START_TEST(what_anybody_was_told_is_known_after_a_start)
{
    struct pd_world *world = lived((uint64_t)_i);
    for (unsigned i = 0; i < CUTS; i++) {
        unsigned records = 1 + (unsigned)pd_world_random(world, world->log_count);
        while (!world->told_at[records]) {
            records++;
        }
        const struct pd_told *told = &world->history[records];
        struct pd_control *control = replayed(world, records);
        uint64_t epoch = control->epoch;
        bool clean = pd_world_random(world, 2) == 0;
        ck_assert_int_eq(pd_control_recovered(control, clean, world->now_us, &effects), PARAMD_OK);
        ck_assert_uint_eq(control->epoch, epoch + 1);
        expect_same(*told, pd_world_recovered(world, &effects), clean, (uint64_t)_i);
        pd_world_discard(&effects);
        expect_list(world, control, told);
        for (uint64_t j = 0; j < told->model_count; j++) {
            ck_assert_ptr_nonnull(pd_control_definition(control, told->models[j].number));
            expect_definition(world, control, &told->models[j]);
            for (unsigned group = 0; group < PD_WORLD_GROUPS; group++) {
                expect_clock(world, control, &told->models[j], group);
            }
        }
        pd_control_destroy(control);
    }
    pd_world_destroy(world);
}
END_TEST

/* Behind which record the state ends that the last start found. */
static unsigned state_records(const struct pd_world *world)
{
    unsigned records = 0;
    while (world->log[records++]->kind != PD_RECORD_STATE_END) {
    }
    return records;
}

static void expect_same_model(const struct pd_control_model *model,
                              const struct pd_control_model *other, uint64_t seed)
{
    enum pd_model_state state =
        model->state == PD_MODEL_READY ? PD_MODEL_READY : PD_MODEL_INITIALISING;
    char difference[PD_ERROR_TEXT_BYTES];
    ck_assert_msg(other != NULL && other->state == state, "seed %lu", seed);
    ck_assert(pd_definition_same(model->definition, other->definition, difference));
    ck_assert(pd_definition_same(other->definition, model->definition, difference));
    ck_assert_mem_eq(&model->initialiser, &other->initialiser, sizeof model->initialiser);
    ck_assert_mem_eq(model->groups, other->groups, PD_WORLD_GROUPS * sizeof model->groups[0]);
    const uint64_t words[] = {model->generation, model->attempt,  model->sets,
                              model->openings,   model->sessions, model->bytes};
    const uint64_t others[] = {other->generation, other->attempt,  other->sets,
                               other->openings,   other->sessions, other->bytes};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        ck_assert_msg(words[i] == others[i], "seed %lu, word %zu: %lu, %lu", seed, i, words[i],
                      others[i]);
    }
}

/* All that a log keeps of a control, but for models that are being made or freed. */
static void expect_same_state(struct pd_control *control, struct pd_control *other, uint64_t seed)
{
    unsigned models = 0;
    const struct pd_control_model *model = control->numbers;
    for (; model != NULL; model = model->by_number.next) {
        if (model->state == PD_MODEL_INITIALISING || model->state == PD_MODEL_RESTARTING ||
            model->state == PD_MODEL_READY) {
            expect_same_model(model, pd_control_find_number(other, model->number), seed);
            models++;
        }
    }
    ck_assert_uint_eq(models, other->model_count);
    ck_assert_uint_eq(control->session_count, other->session_count);
    const struct pd_control_session *session = control->sessions;
    for (; session != NULL; session = session->by_id.next) {
        const struct pd_control_session *found =
            pd_control_session_find(other, session->id.model, session->id.bits);
        ck_assert_ptr_nonnull(found);
        ck_assert_uint_eq(found->nonce, session->nonce);
        ck_assert_uint_eq(found->opening, session->opening);
    }
    ck_assert_uint_eq(control->epoch, other->epoch);
    ck_assert_uint_eq(control->generation, other->generation);
    ck_assert_uint_eq(control->first_number, other->first_number);
    ck_assert_uint_ge(control->next_number, other->next_number);
}

/* Of a control that has lived for a while, and of one that begins with what it found. */
START_TEST(a_log_by_itself_has_the_state_of_who_wrote_it)
{
    struct pd_world *world = lived((uint64_t)_i);
    struct pd_control *control = replayed(world, world->log_count);
    char error[PD_ERROR_TEXT_BYTES];
    expect_same_state(world->control, control, (uint64_t)_i);
    ck_assert_int_eq(pd_control_recovered(control, _i % 2 == 0, world->now_us, &effects),
                     PARAMD_OK);
    struct pd_control *next = pd_world_control(world);
    for (struct pd_link *link = effects.records.next; link != &effects.records; link = link->next) {
        struct pd_logged logged =
            pd_world_logged(PD_CONTAINER(link, struct pd_control_record, link));
        ck_assert(!pd_control_state_complete(next));
        ck_assert_msg(pd_control_replay(next, &logged, error) == PARAMD_OK, "%s", error);
    }
    ck_assert(pd_control_state_complete(next));
    expect_same_state(control, next, (uint64_t)_i);
    ck_assert_uint_eq(control->next_number, next->next_number);
    ck_assert_uint_eq(control->memory_bytes, next->memory_bytes);
    pd_control_destroy(next);
    pd_control_destroy(control);
    pd_world_destroy(world);
}
END_TEST

/* The log may end behind any record, also one of several that came out of one step; but within the
 * state it is of no use. */
START_TEST(a_log_may_end_behind_any_record)
{
    struct pd_world *world = lived((uint64_t)_i);
    unsigned state = state_records(world);
    for (unsigned records = 0; records <= world->log_count; records += 1 + records / 8) {
        struct pd_control *control = replayed(world, records);
        ck_assert_int_eq(pd_control_state_complete(control), records >= state);
        if (records > 0 && records < state) {
            pd_control_destroy(control);
            continue;
        }
        ck_assert_int_eq(pd_control_recovered(control, false, world->now_us, &effects), PARAMD_OK);
        pd_world_discard(&effects);
        pd_control_destroy(control);
    }
    pd_world_destroy(world);
}
END_TEST

/* A session may be said to be open twice: under the same nonce it changes nothing. */
START_TEST(a_record_that_comes_twice_is_refused)
{
    struct pd_world *world = lived((uint64_t)_i);
    char error[PD_ERROR_TEXT_BYTES] = "";
    for (unsigned i = 0; i < world->log_count; i += 3) {
        struct pd_control *control = replayed(world, i + 1);
        struct pd_logged logged = pd_world_logged(world->log[i]);
        enum paramd_status expected = logged.kind == PD_RECORD_OPENED ? PARAMD_OK : PARAMD_INVALID;
        ck_assert_msg(pd_control_replay(control, &logged, error) == expected, "seed %d, %s", _i,
                      pd_record_name(logged.kind));
        ck_assert(expected == PARAMD_OK || error[0] != '\0');
        pd_control_destroy(control);
    }
    pd_world_destroy(world);
}
END_TEST

/* One record of the log is left out: it is noticed at the latest by the next that builds on it, and
 * models and sessions of the state are counted. */
START_TEST(what_follows_a_record_that_is_missing_is_refused)
{
    struct pd_world *world = lived((uint64_t)_i);
    char error[PD_ERROR_TEXT_BYTES];
    unsigned refused = 0;
    unsigned state = state_records(world);
    for (unsigned missing = 0; missing < world->log_count; missing += missing < state ? 1 : 5) {
        struct pd_control *control = pd_world_control(world);
        enum paramd_status status = PARAMD_OK;
        for (unsigned i = 0; i < world->log_count && status == PARAMD_OK; i++) {
            struct pd_logged logged = pd_world_logged(world->log[i]);
            status = i != missing ? pd_control_replay(control, &logged, error) : PARAMD_OK;
        }
        refused += status == PARAMD_INVALID;
        unsigned kind = world->log[missing]->kind;
        bool counted = missing < state && kind != PD_RECORD_SET && kind != PD_RECORD_MODEL_READY;
        ck_assert(!counted || status == PARAMD_INVALID);
        pd_control_destroy(control);
    }
    ck_assert_uint_gt(refused, 0);
    pd_world_destroy(world);
}
END_TEST

/* A copy with one byte or one length changed, of its own size so that every read beyond it shows.
 */
static struct pd_logged damaged(struct pd_world *world, const struct pd_control_record *record,
                                uint8_t **ret_header, uint8_t **ret_payload)
{
    struct pd_logged logged = pd_world_logged(record);
    uint64_t choice = pd_world_random(world, 8);
    if (choice == 0) {
        logged.kind = (unsigned)pd_world_random(world, KINDS);
    } else if (choice == 1) {
        logged.header_count = pd_world_random(world, logged.header_count + 1);
    } else if (choice == 2) {
        logged.payload_count = pd_world_random(world, logged.payload_count + 1);
    }
    *ret_header = malloc(logged.header_count + 1);
    *ret_payload = malloc(logged.payload_count + 1);
    ck_assert(*ret_header != NULL && *ret_payload != NULL);
    memcpy(*ret_header, logged.header, logged.header_count);
    memcpy(*ret_payload, logged.payload, logged.payload_count);
    bool in_payload = logged.payload_count > 0 && choice > 5;
    size_t count = in_payload ? logged.payload_count : logged.header_count;
    if (choice > 2 && count > 0) {
        uint8_t *bytes = in_payload ? *ret_payload : *ret_header;
        bytes[pd_world_random(world, count)] ^= (uint8_t)(1U << pd_world_random(world, 8));
    }
    logged.header = *ret_header;
    logged.payload = *ret_payload;
    return logged;
}

START_TEST(damaged_records_are_refused_or_mean_something)
{
    struct pd_world *world = lived((uint64_t)_i);
    char error[PD_ERROR_TEXT_BYTES];
    unsigned refused = 0;
    for (unsigned flip = 0; flip < FLIPS; flip++) {
        unsigned broken = (unsigned)pd_world_random(world, world->log_count);
        struct pd_control *control = replayed(world, broken);
        uint8_t *header;
        uint8_t *payload;
        struct pd_logged logged = damaged(world, world->log[broken], &header, &payload);
        enum paramd_status status = pd_control_replay(control, &logged, error);
        free(header);
        free(payload);
        for (unsigned i = broken + 1; status == PARAMD_OK && i < world->log_count; i++) {
            logged = pd_world_logged(world->log[i]);
            status = pd_control_replay(control, &logged, error);
        }
        if (status == PARAMD_OK && pd_control_state_complete(control)) {
            ck_assert_int_eq(pd_control_recovered(control, false, world->now_us, &effects),
                             PARAMD_OK);
            pd_world_discard(&effects);
        }
        refused += status != PARAMD_OK;
        pd_control_destroy(control);
    }
    ck_assert_uint_gt(refused, FLIPS / 4);
    pd_world_destroy(world);
}
END_TEST

static void short_session(Paramd__RecordDecided *decided)
{
    decided->session.len = 3;
}

static void long_session(Paramd__RecordDecided *decided)
{
    static uint8_t bytes[PD_SESSION_BYTES + 1];
    decided->session = (ProtobufCBinaryData){sizeof bytes, bytes};
}

static void no_groups(Paramd__RecordDecided *decided)
{
    decided->n_groups = 0;
}

static void first_group_twice(Paramd__RecordDecided *decided)
{
    decided->groups[decided->n_groups - 1] = decided->groups[0];
}

static void another_name(Paramd__RecordDecided *decided)
{
    decided->name = "not a name";
}

static void no_attempt(Paramd__RecordDecided *decided)
{
    decided->attempt = 0;
}

static void another_generation(Paramd__RecordDecided *decided)
{
    decided->generation++;
}

static void no_generation(Paramd__RecordDecided *decided)
{
    decided->generation = 0;
}

static void later_generation(Paramd__RecordDecided *decided)
{
    decided->generation += UINT64_C(1) << 42;
}

static void number_of_another_start(Paramd__RecordDecided *decided)
{
    decided->model += UINT64_C(1) << 42;
}

static void another_number(Paramd__RecordDecided *decided)
{
    decided->model = 1;
}

static void another_moment(Paramd__RecordDecided *decided)
{
    for (size_t i = 0; i < decided->groups[0]->n_hypers; i++) {
        if (strcmp(decided->groups[0]->hypers[i]->name, "momentum") == 0) {
            decided->groups[0]->hypers[i]->number = 0.5;
        }
    }
}

static void another_hyper(Paramd__RecordDecided *decided)
{
    decided->groups[0]->hypers[0]->number = -1;
}

static void another_set(Paramd__RecordDecided *decided)
{
    decided->set++;
}

static void no_set(Paramd__RecordDecided *decided)
{
    decided->set = 0;
}

static void another_opening(Paramd__RecordDecided *decided)
{
    decided->opening += 1000;
}

static void no_opening(Paramd__RecordDecided *decided)
{
    decided->opening = 0;
}

static const struct {
    enum pd_record_kind kind;
    bool state;        /* that a start found, not decided since */
    const char *group; /* of a SET; NULL: any */
    void (*change)(Paramd__RecordDecided *decided);
} changes[] = {
    {PD_RECORD_MODEL_CREATED, false, NULL, short_session},
    {PD_RECORD_MODEL_CREATED, false, NULL, long_session},
    {PD_RECORD_MODEL_CREATED, false, NULL, no_groups},
    {PD_RECORD_MODEL_CREATED, false, NULL, first_group_twice},
    {PD_RECORD_MODEL_CREATED, false, NULL, another_name},
    {PD_RECORD_MODEL_CREATED, false, NULL, no_attempt},
    {PD_RECORD_MODEL_CREATED, false, NULL, another_generation},
    {PD_RECORD_MODEL_CREATED, false, NULL, number_of_another_start},
    {PD_RECORD_MODEL_CREATED, false, NULL, another_number},
    {PD_RECORD_MODEL_CREATED, false, NULL, another_opening},
    {PD_RECORD_MODEL_CREATED, true, NULL, no_attempt},
    {PD_RECORD_MODEL_CREATED, true, NULL, number_of_another_start},
    {PD_RECORD_MODEL_CREATED, true, NULL, no_generation},
    {PD_RECORD_MODEL_CREATED, true, NULL, later_generation},
    {PD_RECORD_SET, true, NULL, no_set},
    {PD_RECORD_OPENED, true, NULL, no_opening},
    {PD_RECORD_OPENED, true, NULL, another_opening},
    {PD_RECORD_MODEL_READY, true, NULL, no_attempt},
    {PD_RECORD_MODEL_READY, false, NULL, no_attempt},
    {PD_RECORD_MODEL_READY, false, NULL, long_session},
    {PD_RECORD_ATTEMPT, false, NULL, no_attempt},
    {PD_RECORD_ATTEMPT, false, NULL, short_session},
    {PD_RECORD_SET, false, NULL, no_groups},
    {PD_RECORD_SET, false, NULL, another_number},
    {PD_RECORD_SET, false, NULL, another_hyper},
    {PD_RECORD_SET, false, NULL, another_set},
    {PD_RECORD_SET, false, "g0", another_moment},
    {PD_RECORD_OPENED, false, NULL, long_session},
    {PD_RECORD_OPENED, false, NULL, no_opening},
    {PD_RECORD_ENDED, false, NULL, short_session},
    {PD_RECORD_MODEL_DELETED, false, NULL, another_number},
};

/* Whether the record is of the kind, and if so, that its changed form is refused. */
static bool expect_refused(struct pd_world *world, unsigned place, size_t change)
{
    struct pd_logged logged = pd_world_logged(world->log[place]);
    char error[PD_ERROR_TEXT_BYTES];
    if (logged.kind != changes[change].kind ||
        changes[change].state != (place < state_records(world))) {
        return false;
    }
    pd_arena_reset(&arena);
    Paramd__RecordDecided *decided = (Paramd__RecordDecided *)pd_decode(
        &paramd__record_decided__descriptor, &arena, logged.header, logged.header_count);
    ck_assert_ptr_nonnull(decided);
    if (changes[change].group != NULL &&
        strcmp(decided->groups[0]->group, changes[change].group) != 0) {
        return false;
    }
    changes[change].change(decided);
    uint8_t *header = malloc(protobuf_c_message_get_packed_size(&decided->base));
    ck_assert_ptr_nonnull(header);
    logged.header_count = protobuf_c_message_pack(&decided->base, header);
    logged.header = header;
    struct pd_control *control = replayed(world, place);
    ck_assert_msg(pd_control_replay(control, &logged, error) == PARAMD_INVALID, "change %zu",
                  change);
    pd_control_destroy(control);
    free(header);
    return true;
}

START_TEST(a_record_that_does_not_fit_is_refused)
{
    struct pd_world *world = NULL;
    bool found = false;
    for (uint64_t seed = 0; seed < SEEDS && !found; seed++) {
        world = lived(seed);
        for (unsigned i = 0; i < world->log_count && !found; i++) {
            found = expect_refused(world, i, (size_t)_i);
        }
        pd_world_destroy(world);
    }
    ck_assert_msg(found, "change %d", _i);
}
END_TEST

/* What a start found is there, and no record can take it away. */
START_TEST(a_state_does_not_lose_anything)
{
    static const enum pd_record_kind kinds[][2] = {{PD_RECORD_OPENED, PD_RECORD_ENDED},
                                                   {PD_RECORD_SET, PD_RECORD_MODEL_DELETED}};
    unsigned found[2] = {0};
    char error[PD_ERROR_TEXT_BYTES];
    for (uint64_t seed = 0; seed < SEEDS / 6; seed++) {
        struct pd_world *world = lived(seed);
        for (unsigned i = 0; i < state_records(world); i++) {
            for (unsigned j = 0; j < 2; j++) {
                struct pd_logged logged = pd_world_logged(world->log[i]);
                struct pd_control *control = replayed(world, i + 1);
                bool fits = logged.kind == kinds[j][0];
                logged.kind = kinds[j][1];
                found[j] += fits;
                ck_assert(!fits || pd_control_replay(control, &logged, error) == PARAMD_INVALID);
                pd_control_destroy(control);
            }
        }
        pd_world_destroy(world);
    }
    ck_assert_uint_gt(found[0], 0);
    ck_assert_uint_gt(found[1], 0);
}
END_TEST

/* The worlds would prove nothing if what they are about never happened in them. */
START_TEST(the_worlds_have_everything_in_them)
{
    unsigned kinds[KINDS] = {0};
    unsigned errors[64] = {0};
    unsigned ends[3] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct pd_world *world = lived(seed);
        for (unsigned i = 0; i < world->log_count; i++) {
            struct pd_logged logged = pd_world_logged(world->log[i]);
            kinds[logged.kind]++;
            if (logged.kind == PD_RECORD_ENDED) {
                pd_arena_reset(&arena);
                const ProtobufCMessage *header =
                    pd_decode(&paramd__record_decided__descriptor, &arena, logged.header,
                              logged.header_count);
                ends[((const Paramd__RecordDecided *)header)->end]++;
            }
        }
        for (unsigned i = 0; i < 64; i++) {
            errors[i] += world->errors[i];
        }
        pd_world_destroy(world);
    }
    for (unsigned kind = PD_RECORD_START; kind <= PD_RECORD_STATE_END; kind++) {
        ck_assert_msg(kinds[kind] > SEEDS / 6, "%s: %u", pd_record_name(kind), kinds[kind]);
    }
    static const int statuses[] = {
        PARAMD_MISMATCH, PARAMD_SUPERSEDED, PARAMD_SESSION_EXPIRED,   PARAMD_SESSION_IN_USE,
        PARAMD_BUSY,     PARAMD_NOT_FOUND,  PARAMD_RESOURCE_EXHAUSTED};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        ck_assert_msg(errors[-statuses[i]] > SEEDS / 6, "status %d: %u", statuses[i],
                      errors[-statuses[i]]);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_msg(ends[i] > SEEDS / 6, "end %u: %u", i, ends[i]);
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("control's records");
    TCase *core = tcase_create("records");
    tcase_add_checked_fixture(core, setup, teardown);
    tcase_add_loop_test(core, what_anybody_was_told_is_known_after_a_start, 0, SEEDS);
    tcase_add_loop_test(core, a_log_by_itself_has_the_state_of_who_wrote_it, 0, SEEDS);
    tcase_add_loop_test(core, a_log_may_end_behind_any_record, 0, SEEDS / 6);
    tcase_add_test(core, a_state_does_not_lose_anything);
    tcase_add_loop_test(core, a_record_that_comes_twice_is_refused, 0, SEEDS / 6);
    tcase_add_loop_test(core, what_follows_a_record_that_is_missing_is_refused, 0, SEEDS / 6);
    tcase_add_loop_test(core, damaged_records_are_refused_or_mean_something, 0, SEEDS / 6);
    tcase_add_loop_test(core, a_record_that_does_not_fit_is_refused, 0,
                        sizeof changes / sizeof changes[0]);
    tcase_add_test(core, the_worlds_have_everything_in_them);
    suite_add_tcase(suite, core);
    return suite;
}
