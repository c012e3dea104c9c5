/* Control's records, which its log keeps: making them, and what a start makes of them. What the log
 * says exists; a shard that knows more forgets it, one that knows less is told again. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/plant.h"
#include "server/base/assert.h"
#include "server/core/control_state.h"

/* Numbers that one start of the daemon may give out. Those of models that could not be made are in
 * no record of control's, but in shards' logs: the next start begins behind them all. More than a
 * daemon can use up in years, and two million starts fit. */
#define NUMBERS_OF_START ((uint64_t)1 << 42)
#define NUMBER_MAX (UINT64_MAX / 2)

/* Of one decision, but for the groups and the definition of a model. Sessions expire in steps of
 * as many as fit. */
enum { DECISION_BYTES = 4 * 1024 };

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- making them ---- */

Paramd__RecordDecided pd_control_decided(const struct pd_control *control, uint64_t model,
                                         const struct pd_session_key *key)
{
    Paramd__RecordDecided decided = PARAMD__RECORD_DECIDED__INIT;
    decided.time_us = control->now_us;
    decided.model = model;
    if (key != NULL) {
        decided.session.data = (uint8_t *)(uintptr_t)key->bits;
        decided.session.len = PD_SESSION_BYTES;
        decided.nonce = key->nonce;
    }
    return decided;
}

bool pd_control_log(struct pd_control *control, enum pd_record_kind kind,
                    const ProtobufCMessage *header, const uint8_t *payload, size_t payload_count,
                    struct pd_control_effects *effects)
{
    if (!control->options.records) {
        return true;
    }
    size_t header_count = protobuf_c_message_get_packed_size(header);
    if (header_count > PD_RECORD_HEADER_BYTES_MAX ||
        header_count + payload_count > effects->log_room) {
        return false;
    }
    struct pd_control_record *record = malloc(sizeof *record + header_count + payload_count);
    if (record == NULL) {
        return false;
    }
    record->kind = kind;
    record->header_count = protobuf_c_message_pack(header, record->bytes);
    record->payload_count = payload_count;
    if (payload_count > 0) {
        memcpy(record->bytes + header_count, payload, payload_count);
    }
    effects->log_room -= header_count + payload_count;
    pd_link_init(&record->link);
    pd_list_push(&effects->records, &record->link);
    return true;
}

void pd_control_unlog(const struct pd_control *control, struct pd_control_effects *effects)
{
    if (control->options.records) {
        struct pd_control_record *record =
            PD_CONTAINER(effects->records.prev, struct pd_control_record, link);
        effects->log_room += record->header_count + record->payload_count;
        pd_link_remove(&record->link);
        free(record);
    }
}

size_t pd_control_record_bytes(const struct pd_control *control, const struct pd_message *message)
{
    const struct pd_control_ask *ask = NULL;
    if (message != NULL && message->kind == PD_MESSAGE_TOOK) {
        HASH_FIND(by_number, control->asks, &message->ask, sizeof message->ask, ask);
    }
    if (ask == NULL || ask->kind != PD_MESSAGE_CREATE_MODEL || ask->request == NULL) {
        return DECISION_BYTES;
    }
    const struct pd_definition *definition = pd_control_definition(control, ask->model);
    size_t groups = definition != NULL ? definition->group_count : 0;
    return DECISION_BYTES + groups * PD_RECORD_GROUP_BYTES + ask->request->byte_count;
}

bool pd_control_log_created(struct pd_control *control, const struct pd_control_model *model,
                            const uint8_t *definition, size_t count,
                            struct pd_control_effects *effects)
{
    Paramd__RecordDecided decided = pd_control_decided(control, model->number, &model->initialiser);
    decided.name = model->definition->name;
    decided.generation = model->generation;
    decided.attempt = model->attempt;
    decided.opening = model->openings;
    decided.groups = pd_control_hypers(control, model, PD_HYPERS_CREATED, &decided.n_groups);
    return decided.groups != NULL && pd_control_log(control, PD_RECORD_MODEL_CREATED, &decided.base,
                                                    definition, count, effects);
}

void pd_control_set_fill(struct pd_control_set *set, const struct pd_control *control,
                         const struct pd_control_model *model, size_t place,
                         const struct pd_hyper *hyper, uint64_t number, uint64_t clock)
{
    const struct pd_group_def *def = &model->definition->groups[place];
    pd_group_hypers_fill(&set->hypers, def->name, pd_optimizer_find(def->optimizer), hyper);
    set->group = &set->hypers.message;
    set->decided = pd_control_decided(control, model->number, NULL);
    set->decided.set = number;
    set->decided.clock = clock;
    set->decided.groups = &set->group;
    set->decided.n_groups = 1;
}

/* ---- replay ---- */

__attribute__((format(printf, 2, 3))) static enum paramd_status
refuse(char error[PD_ERROR_TEXT_BYTES], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    /* The analyzer has seen too many calls to remember va_start.
     * NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(error, PD_ERROR_TEXT_BYTES, format, arguments);
    va_end(arguments);
    return PARAMD_INVALID;
}

static enum paramd_status no_memory(char error[PD_ERROR_TEXT_BYTES])
{
    (void)refuse(error, "no memory for what the log says");
    return PARAMD_NO_MEMORY;
}

static enum paramd_status replay_start(struct pd_control *control, const Paramd__RecordStart *start,
                                       char error[PD_ERROR_TEXT_BYTES])
{
    if (control->epoch != 0 || start->epoch == 0 || start->shards == 0 ||
        start->shards > PD_SHARDS_MAX || start->generation == 0 || start->first_number == 0 ||
        start->first_number > NUMBER_MAX) {
        return refuse(error,
                      "start %llu with %u shards, generation %llu and numbers from %llu, where "
                      "start %llu was",
                      (unsigned long long)start->epoch, start->shards,
                      (unsigned long long)start->generation,
                      (unsigned long long)start->first_number, (unsigned long long)control->epoch);
    }
    control->epoch = start->epoch;
    control->generation = start->generation;
    control->first_number = start->first_number;
    return PARAMD_OK;
}

static enum paramd_status replay_state_end(struct pd_control *control,
                                           const Paramd__RecordStateEnd *end,
                                           char error[PD_ERROR_TEXT_BYTES])
{
    if (control->state_complete || end->models != control->model_count ||
        end->sessions != control->session_count) {
        return refuse(
            error, "the state at start %llu has %u models and %u sessions, not %llu, %llu",
            (unsigned long long)control->epoch, control->model_count, control->session_count,
            (unsigned long long)end->models, (unsigned long long)end->sessions);
    }
    control->state_complete = true;
    control->next_number = control->first_number;
    return PARAMD_OK;
}

/* The hyper-parameters that a group of the model begins with, or gets. */
static enum paramd_status read_hyper(const struct pd_control_model *model, size_t place,
                                     const Paramd__GroupHypers *hypers, struct pd_hyper *ret_hyper,
                                     char error[PD_ERROR_TEXT_BYTES])
{
    const struct pd_group_def *def = &model->definition->groups[place];
    if (strcmp(def->name, hypers->group) != 0 ||
        pd_group_hypers_read(hypers, pd_optimizer_find(def->optimizer), ret_hyper) != PARAMD_OK) {
        return refuse(error, "hyper-parameters that group %.100s of model %.100s cannot have",
                      def->name, model->definition->name);
    }
    return PARAMD_OK;
}

/* Fills in what the record says about a model that was just read. */
static enum paramd_status fill_model(struct pd_control_model *model,
                                     const Paramd__RecordDecided *decided,
                                     char error[PD_ERROR_TEXT_BYTES])
{
    model->number = decided->model;
    model->generation = decided->generation;
    model->attempt = decided->attempt;
    model->openings = decided->opening;
    model->state = PD_MODEL_INITIALISING;
    model->initialiser.nonce = decided->nonce;
    memcpy(model->initialiser.bits, decided->session.data, PD_SESSION_BYTES);
    if (decided->n_groups != model->definition->group_count) {
        return refuse(error, "model %.100s has %zu groups, its record %zu", model->definition->name,
                      model->definition->group_count, decided->n_groups);
    }
    for (size_t i = 0; i < decided->n_groups; i++) {
        enum paramd_status status =
            read_hyper(model, i, decided->groups[i], &model->groups[i].created, error);
        if (status != PARAMD_OK) {
            return status;
        }
        model->groups[i].hyper = model->groups[i].created;
    }
    model->bytes = pd_control_model_bytes(model);
    return model->bytes != UINT64_MAX ? PARAMD_OK : refuse(error, "a model beyond counting");
}

/* Models that starts before made are the state; this start's have its generation and numbers. */
static bool number_fits(const struct pd_control *control, const Paramd__RecordDecided *decided)
{
    if (!control->state_complete) {
        return decided->model < control->first_number &&
               decided->generation <= control->generation && decided->generation > 0;
    }
    return decided->model - control->first_number < NUMBERS_OF_START &&
           decided->generation == control->generation && decided->opening == 0;
}

static enum paramd_status replay_created(struct pd_control *control,
                                         const Paramd__RecordDecided *decided,
                                         const struct pd_logged *logged,
                                         char error[PD_ERROR_TEXT_BYTES])
{
    /* In order: every shard takes one CREATE_MODEL before the next. */
    if (decided->model < control->next_number || !number_fits(control, decided) ||
        decided->attempt == 0 || decided->session.len != PD_SESSION_BYTES ||
        pd_control_find(control, decided->name) != NULL) {
        return refuse(error, "model %.100s, number %llu, is there already or was not made then",
                      decided->name, (unsigned long long)decided->model);
    }
    struct pd_control_model *model = NULL;
    enum paramd_status status = pd_control_model_read(control, decided->name, logged->payload,
                                                      logged->payload_count, &model, error);
    if (status != PARAMD_OK) {
        return status == PARAMD_NO_MEMORY ? status : PARAMD_INVALID;
    }
    status = fill_model(model, decided, error);
    if (status == PARAMD_OK && !pd_control_enter(control, model)) {
        status = no_memory(error);
    }
    if (status != PARAMD_OK) {
        pd_control_model_destroy(model);
        return status;
    }
    control->next_number = decided->model + 1;
    return PARAMD_OK;
}

/* The state has the last SET of each group only. */
static enum paramd_status replay_set(struct pd_control_model *model,
                                     const Paramd__RecordDecided *decided, bool state_complete,
                                     char error[PD_ERROR_TEXT_BYTES])
{
    const struct pd_definition *definition = model->definition;
    const char *name = decided->n_groups == 1 ? decided->groups[0]->group : "";
    size_t place = 0;
    while (place < definition->group_count && strcmp(definition->groups[place].name, name) != 0) {
        place++;
    }
    if (place == definition->group_count) {
        return refuse(error, "a SET of a group that model %.100s does not have", definition->name);
    }
    struct pd_control_group *group = &model->groups[place];
    const struct pd_optimizer *optimizer = pd_optimizer_find(definition->groups[place].optimizer);
    struct pd_hyper hyper;
    enum paramd_status status = read_hyper(model, place, decided->groups[0], &hyper, error);
    if (status != PARAMD_OK) {
        return status;
    }
    bool follows = state_complete ? decided->set == model->sets + 1 : decided->set > model->sets;
    if (!follows || (decided->clock != 0 && decided->clock <= group->clock) ||
        pd_optimizer_moments(optimizer, &hyper) != pd_optimizer_moments(optimizer, &group->hyper)) {
        return refuse(error, "SET %llu of model %.100s does not follow what it had",
                      (unsigned long long)decided->set, definition->name);
    }
    pd_control_group_set(model, place, &hyper, decided->set, decided->clock);
    return PARAMD_OK;
}

static enum paramd_status replay_opened(struct pd_control *control, struct pd_control_model *model,
                                        const struct pd_session_key *key, uint64_t opening,
                                        char error[PD_ERROR_TEXT_BYTES])
{
    struct pd_control_session *session = pd_control_session_find(control, model->number, key->bits);
    /* Those of the state were opened before. */
    bool follows = session != NULL           ? opening == session->opening
                   : control->state_complete ? opening > model->openings
                                             : opening > 0 && opening <= model->openings;
    if (!follows) {
        return refuse(error, "opening %llu of a session of model %.100s does not follow",
                      (unsigned long long)opening, model->definition->name);
    }
    uint64_t openings = larger(model->openings, opening);
    if (session == NULL) {
        session = pd_control_session_add(control, model, key);
    }
    if (session == NULL) {
        return no_memory(error);
    }
    session->nonce = key->nonce;
    session->opening = opening;
    model->openings = openings;
    return PARAMD_OK;
}

static enum paramd_status replay_ended(struct pd_control *control, struct pd_control_model *model,
                                       const struct pd_session_key *key,
                                       char error[PD_ERROR_TEXT_BYTES])
{
    struct pd_control_session *session = pd_control_session_find(control, model->number, key->bits);
    if (session == NULL) {
        return refuse(error, "the end of a session that model %.100s does not have",
                      model->definition->name);
    }
    pd_control_session_drop(control, session);
    return PARAMD_OK;
}

/* The values' attempt: one that is ready has had its last. */
static enum paramd_status replay_attempt(struct pd_control_model *model,
                                         const Paramd__RecordDecided *decided, bool ready,
                                         const struct pd_session_key *key,
                                         char error[PD_ERROR_TEXT_BYTES])
{
    if (model->state == PD_MODEL_READY || decided->attempt != model->attempt + (ready ? 0 : 1)) {
        return refuse(error, "attempt %llu of model %.100s does not follow attempt %llu",
                      (unsigned long long)decided->attempt, model->definition->name,
                      (unsigned long long)model->attempt);
    }
    if (ready) {
        model->state = PD_MODEL_READY;
    } else {
        model->attempt = decided->attempt;
        model->initialiser = *key;
    }
    return PARAMD_OK;
}

/* All kinds that are about a model that is there. */
static enum paramd_status replay_decided(struct pd_control *control, unsigned kind,
                                         const Paramd__RecordDecided *decided,
                                         char error[PD_ERROR_TEXT_BYTES])
{
    struct pd_control_model *model = pd_control_find_number(control, decided->model);
    struct pd_session_key key = {.nonce = decided->nonce};
    bool undoes =
        kind == PD_RECORD_ATTEMPT || kind == PD_RECORD_ENDED || kind == PD_RECORD_MODEL_DELETED;
    bool needs_key =
        kind == PD_RECORD_ATTEMPT || kind == PD_RECORD_OPENED || kind == PD_RECORD_ENDED;
    if (model == NULL || decided->session.len != (needs_key ? PD_SESSION_BYTES : 0)) {
        return refuse(error, "a %s of model %llu, which is not there, or whose session is wrong",
                      pd_record_name(kind), (unsigned long long)decided->model);
    }
    if (undoes && !control->state_complete) {
        return refuse(error, "a %s of model %llu in the state that a start found",
                      pd_record_name(kind), (unsigned long long)decided->model);
    }
    if (needs_key) {
        memcpy(key.bits, decided->session.data, PD_SESSION_BYTES);
    }
    switch (kind) {
    case PD_RECORD_ATTEMPT:
        return replay_attempt(model, decided, false, &key, error);
    case PD_RECORD_MODEL_READY:
        return replay_attempt(model, decided, true, &key, error);
    case PD_RECORD_SET:
        return replay_set(model, decided, control->state_complete, error);
    case PD_RECORD_OPENED:
        return replay_opened(control, model, &key, decided->opening, error);
    case PD_RECORD_ENDED:
        return replay_ended(control, model, &key, error);
    default: /* MODEL_DELETED */
        pd_control_leave(control, model);
        pd_control_remove(control, model);
        return PARAMD_OK;
    }
}

enum paramd_status pd_control_replay(struct pd_control *control, const struct pd_logged *logged,
                                     char error[PD_ERROR_TEXT_BYTES])
{
    pd_arena_reset(&control->arena);
    bool known = logged->kind >= PD_RECORD_START && pd_record_descriptor(logged->kind) != NULL;
    const ProtobufCMessage *header =
        known ? pd_decode(pd_record_descriptor(logged->kind), &control->arena, logged->header,
                          logged->header_count)
              : NULL;
    if (header == NULL) {
        return refuse(error,
                      "a record of kind %u (%s) that this version cannot read in "
                      "control's log",
                      logged->kind, pd_record_name(logged->kind));
    }
    if (logged->kind == PD_RECORD_START) {
        return replay_start(control, (const Paramd__RecordStart *)header, error);
    }
    const Paramd__RecordDecided *decided = (const Paramd__RecordDecided *)header;
    if (control->epoch == 0) {
        return refuse(error, "the log does not begin with a start");
    }
    if (logged->kind == PD_RECORD_STATE_END) {
        return replay_state_end(control, (const Paramd__RecordStateEnd *)header, error);
    }
    return logged->kind == PD_RECORD_MODEL_CREATED
               ? replay_created(control, decided, logged, error)
               : replay_decided(control, logged->kind, decided, error);
}

/* ---- a start ---- */

const struct pd_definition *pd_control_definition(const struct pd_control *control, uint64_t model)
{
    struct pd_control_model *found = NULL;
    HASH_FIND(by_number, control->numbers, &model, sizeof model, found);
    return found != NULL && found->state != PD_MODEL_DELETED ? found->definition : NULL;
}

bool pd_control_state_complete(const struct pd_control *control)
{
    return control->state_complete;
}

/* Tells all shards what a model is; false without memory. */
static bool restore(struct pd_control *control, struct pd_control_model *model,
                    struct pd_control_effects *effects)
{
    bool told = pd_control_make(control, model, NULL, effects);
    for (uint32_t i = 0; told && i < model->definition->group_count; i++) {
        struct pd_message like = {.kind = PD_MESSAGE_SET_HYPERS,
                                  .model = model->number,
                                  .group = i,
                                  .set = model->groups[i].set,
                                  .hypers = &model->groups[i].hyper,
                                  .hyper_count = 1};
        told = like.set == 0 || pd_control_tell_all(control, &like, effects);
    }
    struct pd_message ready = {
        .kind = PD_MESSAGE_READY, .model = model->number, .attempt = model->attempt};
    model->ready_told = true;
    return told &&
           (model->state != PD_MODEL_READY || pd_control_tell_all(control, &ready, effects));
}

void pd_control_restored(struct pd_control *control, const struct pd_control_ask *ask,
                         struct pd_control_effects *effects)
{
    const struct pd_definition *definition = pd_control_definition(control, ask->model);
    if (ask->status != PARAMD_OK && definition != NULL) {
        pd_control_note(effects, PD_NOTE_WARN,
                        "model %s: a shard has no memory for its part, which is refused until a "
                        "start with more",
                        definition->name);
    }
}

/* Tells all shards which sessions there are, and that there is nothing else; false without memory.
 * Leases and retention start anew. */
static bool restore_sessions(struct pd_control *control, struct pd_control_effects *effects)
{
    struct pd_message like = {.kind = PD_MESSAGE_RECOVERED};
    like.sessions = calloc((size_t)control->session_count + 1, sizeof *like.sessions);
    if (like.sessions == NULL) {
        return false;
    }
    struct pd_control_session *session = control->sessions;
    for (; session != NULL; session = session->by_id.next) {
        struct pd_session_of_model *told = &like.sessions[like.session_count++];
        told->model = session->id.model;
        told->key.nonce = session->nonce;
        told->opening = session->opening;
        memcpy(told->key.bits, session->id.bits, PD_SESSION_BYTES);
        session->seen_us = control->now_us;
        session->connected_us = control->now_us;
    }
    bool told = pd_control_tell_all(control, &like, effects);
    free(like.sessions);
    return told;
}

/* The group whose last SET came next after this one; NULL: none did. */
static const struct pd_control_group *next_set(const struct pd_control_model *model, uint64_t after)
{
    const struct pd_control_group *next = NULL;
    for (size_t i = 0; i < model->definition->group_count; i++) {
        const struct pd_control_group *group = &model->groups[i];
        if (group->set > after && (next == NULL || group->set < next->set)) {
            next = group;
        }
    }
    return next;
}

/* What the new log has to say of a model. */
static enum paramd_status log_model(struct pd_control *control,
                                    const struct pd_control_model *model,
                                    struct pd_control_effects *effects)
{
    uint8_t *definition;
    size_t count;
    pd_arena_reset(&control->arena);
    if (pd_definition_encode(model->definition, &definition, &count) != PARAMD_OK) {
        return PARAMD_NO_MEMORY;
    }
    bool logged = pd_control_log_created(control, model, definition, count, effects);
    free(definition);
    const struct pd_control_group *group = NULL;
    while (logged && (group = next_set(model, group != NULL ? group->set : 0)) != NULL) {
        struct pd_control_set set;
        pd_control_set_fill(&set, control, model, (size_t)(group - model->groups), &group->hyper,
                            group->set, group->clock);
        logged = pd_control_log(control, PD_RECORD_SET, &set.decided.base, NULL, 0, effects);
    }
    if (logged && model->state == PD_MODEL_READY) {
        Paramd__RecordDecided ready = pd_control_decided(control, model->number, NULL);
        ready.attempt = model->attempt;
        logged = pd_control_log(control, PD_RECORD_MODEL_READY, &ready.base, NULL, 0, effects);
    }
    return logged ? PARAMD_OK : PARAMD_RESOURCE_EXHAUSTED;
}

/* What the new log begins with, behind START. */
static enum paramd_status log_state(struct pd_control *control, struct pd_control_effects *effects)
{
    enum paramd_status status = PARAMD_OK;
    const struct pd_control_model *model = control->numbers;
    for (; model != NULL && status == PARAMD_OK; model = model->by_number.next) {
        status = log_model(control, model, effects);
    }
    bool logged = status == PARAMD_OK;
    const struct pd_control_session *session = control->sessions;
    for (; session != NULL && logged; session = session->by_id.next) {
        struct pd_session_key key = {.nonce = session->nonce};
        memcpy(key.bits, session->id.bits, PD_SESSION_BYTES);
        Paramd__RecordDecided opened = pd_control_decided(control, session->id.model, &key);
        opened.opening = session->opening;
        logged = pd_control_log(control, PD_RECORD_OPENED, &opened.base, NULL, 0, effects);
    }
    Paramd__RecordStateEnd end = PARAMD__RECORD_STATE_END__INIT;
    end.time_us = control->now_us;
    end.models = control->model_count;
    end.sessions = control->session_count;
    if (logged && pd_control_log(control, PD_RECORD_STATE_END, &end.base, NULL, 0, effects)) {
        return PARAMD_OK;
    }
    return status != PARAMD_OK ? status : PARAMD_RESOURCE_EXHAUSTED;
}

/* What a start changes. */
static void begin_epoch(struct pd_control *control, const Paramd__RecordStart *start)
{
    control->epoch = start->epoch;
    control->generation = start->generation;
    control->first_number = start->first_number;
    control->next_number = start->first_number;
    control->state_complete = true;
    struct pd_control_model *model = start->clean ? NULL : control->numbers;
    for (; !pd_plant(generation_not_recorded) && model != NULL; model = model->by_number.next) {
        model->generation = start->generation;
    }
}

enum paramd_status pd_control_recovered(struct pd_control *control, bool clean, uint64_t now_us,
                                        struct pd_control_effects *effects)
{
    PD_ASSERT(control->epoch == 0 || control->state_complete);
    const struct pd_control_options *options = &control->options;
    bool first = control->epoch == 0;
    Paramd__RecordStart start = PARAMD__RECORD_START__INIT;
    control->now_us = now_us;
    start.time_us = now_us;
    start.start_us = options->start_us;
    start.epoch = control->epoch + 1;
    start.shards = options->shards;
    start.generation = larger(options->start_us, control->generation + 1);
    start.first_number =
        larger(options->start_us, first ? 1 : control->first_number + NUMBERS_OF_START);
    start.clean = clean;
    if (!pd_control_log(control, PD_RECORD_START, &start.base, NULL, 0, effects)) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    begin_epoch(control, &start);
    enum paramd_status status = log_state(control, effects);
    struct pd_control_model *model = control->numbers;
    for (; model != NULL && status == PARAMD_OK; model = model->by_number.next) {
        model->initialiser_seen_us = now_us;
        status = restore(control, model, effects) ? PARAMD_OK : PARAMD_NO_MEMORY;
    }
    if (status != PARAMD_OK) {
        return status;
    }
    return restore_sessions(control, effects) ? PARAMD_OK : PARAMD_NO_MEMORY;
}
