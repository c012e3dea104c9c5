/* The life of models: CREATE and its comparison, the initialiser and its attempts, SET, DELETE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/plant.h"
#include "server/core/control_state.h"
#include "server/core/model.h"
#include "server/core/record.h"

void pd_control_model_destroy(struct pd_control_model *model)
{
    if (model == NULL) {
        return;
    }
    pd_definition_destroy(model->definition);
    free(model->groups);
    free(model);
}

static bool same_key(const struct pd_session_key *a, const struct pd_session_key *b)
{
    return a->nonce == b->nonce && memcmp(a->bits, b->bits, PD_SESSION_BYTES) == 0;
}

/* Hyper-parameters hold only checked numbers, so equal bits are equal values. */
static bool same_hyper(const struct pd_hyper *a, const struct pd_hyper *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* ---- hyper-parameters ---- */

static enum paramd_status read_group(const struct pd_group_def *group,
                                     struct pd_control_group *ret_group,
                                     char error[PD_ERROR_TEXT_BYTES])
{
    const struct pd_optimizer *optimizer = pd_optimizer_find(group->optimizer);
    if (optimizer == NULL) {
        (void)snprintf(error, PD_ERROR_TEXT_BYTES, "group %.60s: no optimizer is named \"%.60s\"",
                       group->name, group->optimizer);
        return PARAMD_UNSUPPORTED;
    }
    pd_hyper_defaults(optimizer, &ret_group->hyper);
    for (size_t i = 0; i < group->hyper_count; i++) {
        const struct pd_hyper_def *def = &group->hypers[i];
        enum paramd_status status =
            pd_hyper_set(optimizer, &ret_group->hyper, def->name, def->number, def->text, error,
                         PD_ERROR_TEXT_BYTES);
        if (status != PARAMD_OK) {
            return status;
        }
    }
    ret_group->created = ret_group->hyper;
    return pd_hyper_check(optimizer, &ret_group->hyper, error, PD_ERROR_TEXT_BYTES);
}

Paramd__GroupHypers **pd_control_hypers(struct pd_control *control,
                                        const struct pd_control_model *model,
                                        enum pd_hypers_of which, size_t *ret_count)
{
    size_t groups = model->definition->group_count;
    Paramd__GroupHypers **list = pd_arena_take(&control->arena, groups * sizeof *list);
    size_t count = 0;
    for (size_t i = 0; i < groups && list != NULL; i++) {
        const struct pd_control_group *known = &model->groups[i];
        if (which == PD_HYPERS_CHANGED && known->set == 0) {
            continue;
        }
        const struct pd_group_def *def = &model->definition->groups[i];
        struct pd_group_hypers *group = pd_arena_take(&control->arena, sizeof *group);
        if (group == NULL) {
            return NULL;
        }
        pd_group_hypers_fill(group, def->name, pd_optimizer_find(def->optimizer),
                             which == PD_HYPERS_CREATED ? &known->created : &known->hyper);
        list[count++] = &group->message;
    }
    *ret_count = count;
    return list;
}

/* ---- CREATE ---- */

static void answer_created(struct pd_control *control, const struct pd_control_model *model,
                           struct pd_conn_id conn, uint64_t request_id, bool initialiser,
                           bool created, struct pd_control_effects *effects)
{
    Paramd__Created message = PARAMD__CREATED__INIT;
    message.request_id = request_id;
    message.model = model->number;
    message.generation = model->generation;
    message.ready = model->state == PD_MODEL_READY;
    message.initialiser = initialiser;
    message.attempt = model->attempt;
    message.created = created;
    message.groups = pd_control_hypers(control, model, PD_HYPERS_CHANGED, &message.n_groups);
    if (message.groups == NULL || pd_frame_head_bytes(&message.base) == 0) {
        pd_control_error(effects, conn, request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "no room for the answer: ask again later");
        return;
    }
    pd_control_answer(effects, conn, PD_KIND_CREATED, &message.base);
}

enum paramd_status pd_control_model_read(struct pd_control *control, const char *name,
                                         const uint8_t *bytes, size_t count,
                                         struct pd_control_model **ret_model,
                                         char error[PD_ERROR_TEXT_BYTES])
{
    enum paramd_status status = PARAMD_NO_MEMORY;
    (void)snprintf(error, PD_ERROR_TEXT_BYTES, "no memory for the definition");
    const Paramd__Definition *definition = (const Paramd__Definition *)pd_decode(
        &paramd__definition__descriptor, &control->arena, bytes, count);
    struct pd_control_model *model = calloc(1, sizeof *model);
    if (definition == NULL) {
        status = PARAMD_INVALID;
        (void)snprintf(error, PD_ERROR_TEXT_BYTES,
                       "the definition is not a protobuf message of this schema, or too large");
    } else if (model != NULL) {
        status = pd_definition_create(name, definition, &model->definition, error);
    }
    if (status == PARAMD_OK && model->definition->ack_level == PARAMD__ACK_LEVEL__LOGGED &&
        !control->options.records) {
        status = PARAMD_UNSUPPORTED;
        (void)snprintf(error, PD_ERROR_TEXT_BYTES,
                       "ack level \"logged\" needs a data directory: start the daemon with "
                       "--data-dir DIR, or ask for \"applied\"");
    }
    if (status == PARAMD_OK) {
        model->groups = calloc(model->definition->group_count, sizeof *model->groups);
        status = model->groups != NULL ? PARAMD_OK : PARAMD_NO_MEMORY;
    }
    for (size_t i = 0; status == PARAMD_OK && i < model->definition->group_count; i++) {
        status = read_group(&model->definition->groups[i], &model->groups[i], error);
    }
    if (status != PARAMD_OK) {
        pd_control_model_destroy(model);
        return status;
    }
    *ret_model = model;
    return PARAMD_OK;
}

/* Names the first difference from the definition as first created; true if there is none. */
static bool same_model(const struct pd_control_model *first, const struct pd_control_model *second,
                       char difference[PD_ERROR_TEXT_BYTES])
{
    if (!pd_definition_same(first->definition, second->definition, difference)) {
        return false;
    }
    for (size_t i = 0; i < first->definition->group_count; i++) {
        if (!same_hyper(&first->groups[i].created, &second->groups[i].created)) {
            const struct pd_group_def *def = &first->definition->groups[i];
            const struct pd_optimizer *optimizer = pd_optimizer_find(def->optimizer);
            struct pd_hyper_item a = {.name = ""};
            struct pd_hyper_item b = a;
            size_t j = 0;
            while (pd_hyper_item(optimizer, &first->groups[i].created, j, &a) &&
                   pd_hyper_item(optimizer, &second->groups[i].created, j, &b) &&
                   memcmp(&a.number, &b.number, sizeof a.number) == 0) {
                j++;
            }
            (void)snprintf(difference, PD_ERROR_TEXT_BYTES,
                           "group %.80s has %s=%g, the model was created with %g", def->name,
                           a.name, b.number, a.number);
            return false;
        }
    }
    return true;
}

/* The next attempt to initialise, by this asker: all shards drop what they have first. */
static void restart(struct pd_control *control, struct pd_control_model *model,
                    const struct pd_control_request *request, const struct pd_session_key *asker,
                    struct pd_control_effects *effects)
{
    struct pd_message like = {.kind = PD_MESSAGE_RESTART_INIT,
                              .model = model->number,
                              .attempt = model->attempt + 1,
                              .session = *asker};
    Paramd__RecordDecided decided = pd_control_decided(control, model->number, asker);
    decided.attempt = like.attempt;
    if (pd_control_decide(control, PD_RECORD_ATTEMPT, &decided, &like, request, effects) == NULL) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "no memory, or no room in the log, for this request: send it again later");
        return;
    }
    model->attempt++;
    model->state = PD_MODEL_RESTARTING;
    model->shards_initialised = 0;
    model->initialiser = *asker;
    model->initialiser_seen_us = control->now_us;
    pd_control_note(effects, PD_NOTE_WARN,
                    "model %s: its initialiser is gone, attempt %llu begins with another",
                    model->definition->name, (unsigned long long)model->attempt);
}

void pd_control_restarted(struct pd_control *control, struct pd_control_ask *ask,
                          struct pd_control_effects *effects)
{
    struct pd_control_model *model = pd_control_find_number(control, ask->model);
    if (model == NULL || model->state == PD_MODEL_DELETED) {
        pd_control_error(effects, ask->conn, ask->request_id, PARAMD_NOT_FOUND,
                         "the model was deleted");
        return;
    }
    if (model->state == PD_MODEL_RESTARTING) {
        model->state = PD_MODEL_INITIALISING;
    }
    answer_created(control, model, ask->conn, ask->request_id, true, false, effects);
}

bool pd_control_being_made(const struct pd_control_model *model,
                           const struct pd_control_request *request,
                           struct pd_control_effects *effects)
{
    if (model->state != PD_MODEL_CREATING && model->state != PD_MODEL_FAILED) {
        return false;
    }
    pd_control_error(effects, request->conn, request->request_id, PARAMD_BUSY,
                     "the model is being made: ask again in a moment");
    return true;
}

/* CREATE of a model that is there. */
static void join(struct pd_control *control, struct pd_control_model *model,
                 const struct pd_control_request *request, const struct pd_session_key *asker,
                 struct pd_control_effects *effects)
{
    if (pd_control_being_made(model, request, effects)) {
        return;
    }
    if (model->state == PD_MODEL_RESTARTING) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_BUSY,
                         "another attempt to initialise begins: ask again in a moment");
        return;
    }
    bool initialiser =
        model->state == PD_MODEL_INITIALISING && same_key(&model->initialiser, asker);
    if (initialiser) {
        model->initialiser_seen_us = control->now_us;
    } else if (model->state == PD_MODEL_INITIALISING &&
               control->now_us - model->initialiser_seen_us > control->options.lease_us) {
        restart(control, model, request, asker, effects);
        return;
    }
    answer_created(control, model, request->conn, request->request_id, initialiser, false, effects);
}

uint64_t pd_control_model_bytes(const struct pd_control_model *model)
{
    const struct pd_definition *definition = model->definition;
    unsigned moments[PD_GROUPS_MAX];
    for (size_t i = 0; i < definition->group_count; i++) {
        moments[i] = pd_optimizer_moments(pd_optimizer_find(definition->groups[i].optimizer),
                                          &model->groups[i].hyper);
    }
    return pd_model_bytes(definition, moments);
}

/* Why the model may not be made, said in an answer; true if it may. */
static bool admit(struct pd_control *control, struct pd_control_model *model,
                  const struct pd_control_request *request, struct pd_control_effects *effects)
{
    const struct pd_definition *definition = model->definition;
    model->bytes = pd_control_model_bytes(model);
    uint64_t limit = control->options.memory_max;
    uint64_t free_bytes = limit > control->memory_bytes ? limit - control->memory_bytes : 0;
    if (model->bytes == UINT64_MAX || (limit != 0 && model->bytes > free_bytes)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "model %.100s needs %llu bytes for weights and moments, and %llu are free "
                         "of the %llu this daemon may use: raise --memory-max or delete a model",
                         definition->name, (unsigned long long)model->bytes,
                         (unsigned long long)free_bytes, (unsigned long long)limit);
        return false;
    }
    uint64_t model_limit = control->options.model_memory_max;
    if (model_limit != 0 && model->bytes > model_limit) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "model %.100s needs %llu bytes, a model may have %llu: raise "
                         "--model-memory-max",
                         definition->name, (unsigned long long)model->bytes,
                         (unsigned long long)model_limit);
        return false;
    }
    if (control->model_count >= control->options.models_max) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_BUSY,
                         "there are %u models already, the most this daemon keeps: delete one",
                         control->model_count);
        return false;
    }
    return true;
}

bool pd_control_enter(struct pd_control *control, struct pd_control_model *model)
{
    const char *name = model->definition->name;
    HASH_ADD_KEYPTR(by_name, control->models, name, strlen(name), model);
    if (model->by_name.tbl == NULL) {
        return false;
    }
    HASH_ADD(by_number, control->numbers, number, sizeof model->number, model);
    if (model->by_number.tbl == NULL) {
        HASH_DELETE(by_name, control->models, model);
        return false;
    }
    control->model_count++;
    control->memory_bytes += model->bytes;
    return true;
}

void pd_control_leave(struct pd_control *control, struct pd_control_model *model)
{
    HASH_DELETE(by_name, control->models, model);
    control->model_count--;
    model->state = PD_MODEL_DELETED;
    pd_control_forget(control, model->number);
}

void pd_control_remove(struct pd_control *control, struct pd_control_model *model)
{
    HASH_DELETE(by_number, control->numbers, model);
    control->memory_bytes -= model->bytes;
    pd_control_model_destroy(model);
}

bool pd_control_make(struct pd_control *control, const struct pd_control_model *model,
                     const struct pd_control_request *request, struct pd_control_effects *effects)
{
    size_t groups = model->definition->group_count;
    struct pd_hyper *hypers = malloc(groups * sizeof *hypers);
    if (hypers == NULL) {
        return false;
    }
    for (size_t i = 0; i < groups; i++) {
        hypers[i] = model->groups[i].hyper;
    }
    struct pd_message like = {.kind = PD_MESSAGE_CREATE_MODEL,
                              .model = model->number,
                              .generation = model->generation,
                              .attempt = model->attempt,
                              .session = model->initialiser,
                              .definition = model->definition,
                              .hypers = hypers,
                              .hyper_count = groups};
    bool asked = pd_control_ask_all(control, &like, request, effects) != NULL;
    free(hypers);
    return asked;
}

void pd_control_create_request(struct pd_control *control, const struct pd_control_request *request,
                               struct pd_control_effects *effects)
{
    const Paramd__Create *create = (const Paramd__Create *)request->header;
    struct pd_session_key asker = {.nonce = create->nonce};
    char text[PD_ERROR_TEXT_BYTES];
    if (create->session.len != PD_SESSION_BYTES) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_INVALID,
                         "the session has %zu bytes: 16 are needed", create->session.len);
        return;
    }
    memcpy(asker.bits, create->session.data, PD_SESSION_BYTES);
    struct pd_control_model *model = NULL;
    enum paramd_status status =
        pd_control_model_read(control, create->model, request->message->bytes,
                              request->message->byte_count, &model, text);
    if (status != PARAMD_OK) {
        pd_control_error(effects, request->conn, request->request_id,
                         status == PARAMD_NO_MEMORY ? PARAMD_RESOURCE_EXHAUSTED : status, "%s",
                         text);
        return;
    }
    struct pd_control_model *first = pd_control_find(control, create->model);
    if (first != NULL) {
        if (same_model(first, model, text)) {
            join(control, first, request, &asker, effects);
        } else {
            pd_control_error(effects, request->conn, request->request_id, PARAMD_MISMATCH,
                             "model %.100s exists with another definition: %s; delete it first, or "
                             "take another name",
                             create->model, text);
        }
        pd_control_model_destroy(model);
        return;
    }
    if (!admit(control, model, request, effects)) {
        pd_control_model_destroy(model);
        return;
    }
    model->number = control->next_number++;
    model->generation = control->generation;
    model->attempt = 1;
    model->initialiser = asker;
    model->initialiser_seen_us = control->now_us;
    bool entered = pd_control_enter(control, model);
    if (entered && pd_control_make(control, model, request, effects)) {
        return;
    }
    if (entered) {
        pd_control_leave(control, model);
        pd_control_remove(control, model);
    } else {
        pd_control_model_destroy(model);
    }
    pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                     "no memory for the bookkeeping of this model");
}

/* Takes the model's name away and has the shards drop it; who asked (NULL: nobody) is told when all
 * have. */
static bool drop(struct pd_control *control, struct pd_control_model *model,
                 const struct pd_control_request *request, struct pd_control_effects *effects)
{
    struct pd_message like = {.kind = PD_MESSAGE_DROP_MODEL, .model = model->number};
    Paramd__RecordDecided decided = pd_control_decided(control, model->number, NULL);
    /* One that could not be made is in no record. */
    const struct pd_control_ask *ask = model->state == PD_MODEL_FAILED
                                           ? pd_control_ask_all(control, &like, request, effects)
                                           : pd_control_decide(control, PD_RECORD_MODEL_DELETED,
                                                               &decided, &like, request, effects);
    if (ask == NULL) {
        return false;
    }
    pd_control_leave(control, model);
    return true;
}

void pd_control_created(struct pd_control *control, struct pd_control_ask *ask,
                        struct pd_control_effects *effects)
{
    struct pd_control_model *model = pd_control_find_number(control, ask->model);
    if (model == NULL || model->state == PD_MODEL_DELETED) {
        pd_control_error(effects, ask->conn, ask->request_id, PARAMD_NOT_FOUND,
                         "the model was deleted");
        return;
    }
    bool made = ask->status == PARAMD_OK;
    if (!made || !pd_control_log_created(control, model, ask->request->bytes,
                                         ask->request->byte_count, effects)) {
        model->state = PD_MODEL_FAILED;
        pd_control_error(effects, ask->conn, ask->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         made ? "the log has no room for the %llu bytes of model %.100s"
                              : "the machine has no memory for the %llu bytes of model %.100s: "
                                "lower --memory-max to what it has, or delete a model",
                         (unsigned long long)model->bytes, model->definition->name);
        (void)drop(control, model, NULL, effects);
        return;
    }
    if (model->state == PD_MODEL_CREATING) {
        model->state = PD_MODEL_INITIALISING;
    }
    pd_control_note(
        effects, PD_NOTE_INFO, "model %s created: %zu tensors, %llu elements, number %llu",
        model->definition->name, model->definition->tensor_count,
        (unsigned long long)model->definition->element_count, (unsigned long long)model->number);
    bool initialiser = false;
    for (size_t i = 0; i < model->definition->tensor_count; i++) {
        initialiser =
            initialiser || model->definition->tensors[i].init == PARAMD__INITIALISER__CLIENT;
    }
    answer_created(control, model, ask->conn, ask->request_id, initialiser, true, effects);
}

static void tell_ready(struct pd_control *control, struct pd_control_model *model,
                       struct pd_control_effects *effects)
{
    struct pd_message like = {
        .kind = PD_MESSAGE_READY, .model = model->number, .attempt = model->attempt};
    model->ready_told = pd_control_tell_all(control, &like, effects);
}

static bool has_all_values(const struct pd_control *control, const struct pd_control_model *model)
{
    return model->state == PD_MODEL_INITIALISING &&
           model->shards_initialised == control->options.shards;
}

/* Not without a record; pd_control_remind tries again. */
static void make_ready(struct pd_control *control, struct pd_control_model *model,
                       struct pd_control_effects *effects)
{
    Paramd__RecordDecided decided = pd_control_decided(control, model->number, NULL);
    decided.attempt = model->attempt;
    if (pd_control_log(control, PD_RECORD_MODEL_READY, &decided.base, NULL, 0, effects)) {
        model->state = PD_MODEL_READY;
        tell_ready(control, model, effects);
        pd_control_note(effects, PD_NOTE_INFO, "model %s is ready", model->definition->name);
    }
}

void pd_control_remind(struct pd_control *control, struct pd_control_effects *effects)
{
    struct pd_control_model *model;
    struct pd_control_model *next;
    HASH_ITER(by_name, control->models, model, next) {
        if (model->state == PD_MODEL_READY && !model->ready_told) {
            tell_ready(control, model, effects);
        } else if (has_all_values(control, model)) {
            make_ready(control, model, effects);
        } else if (model->state == PD_MODEL_FAILED) {
            (void)drop(control, model, NULL, effects);
        }
    }
}

void pd_control_initialised(struct pd_control *control, const struct pd_message *message,
                            struct pd_control_effects *effects)
{
    struct pd_control_model *model = pd_control_find_number(control, message->model);
    if (model == NULL || message->attempt != model->attempt) {
        return;
    }
    model->shards_initialised++;
    if (has_all_values(control, model)) {
        make_ready(control, model, effects);
    }
}

/* ---- SET and DELETE ---- */

/* The group's hyper-parameters after the SET; an answer was given if it is not allowed. */
static bool changed_hyper(const struct pd_control_request *request, const Paramd__Set *set,
                          const struct pd_group_def *def, const struct pd_control_group *group,
                          struct pd_hyper *ret_hyper, struct pd_control_effects *effects)
{
    const struct pd_optimizer *optimizer = pd_optimizer_find(def->optimizer);
    char error[PD_ERROR_TEXT_BYTES];
    *ret_hyper = group->hyper;
    for (size_t i = 0; i < set->n_hypers; i++) {
        const Paramd__Hyper *hyper = set->hypers[i];
        enum paramd_status status = pd_hyper_set(optimizer, ret_hyper, hyper->name, hyper->number,
                                                 hyper->text, error, sizeof error);
        if (status != PARAMD_OK) {
            pd_control_error(effects, request->conn, request->request_id, status, "%s", error);
            return false;
        }
    }
    if (pd_hyper_check(optimizer, ret_hyper, error, sizeof error) != PARAMD_OK) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_INVALID, "%s", error);
        return false;
    }
    if (pd_optimizer_moments(optimizer, ret_hyper) !=
        pd_optimizer_moments(optimizer, &group->hyper)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_INVALID,
                         "group %.100s: this change needs more or fewer moments than the model "
                         "was created with: create another model",
                         def->name);
        return false;
    }
    return true;
}

/* The model and group that a SET names, or NULL after it was answered. */
static struct pd_control_model *set_target(struct pd_control *control,
                                           const struct pd_control_request *request,
                                           const Paramd__Set *set, uint32_t *ret_group,
                                           struct pd_control_effects *effects)
{
    struct pd_control_model *model = pd_control_find(control, set->model);
    if (model == NULL) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_NOT_FOUND,
                         "no model is named \"%.100s\"", set->model);
        return NULL;
    }
    if (pd_control_being_made(model, request, effects)) {
        return NULL;
    }
    if (set->n_hypers == 0 || set->n_hypers > PD_HYPERS_MAX) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_INVALID,
                         "a SET names %zu hyper-parameters: 1 to %d are allowed", set->n_hypers,
                         PD_HYPERS_MAX);
        return NULL;
    }
    for (size_t i = 0; i < model->definition->group_count; i++) {
        if (strcmp(model->definition->groups[i].name, set->group) == 0) {
            *ret_group = (uint32_t)i;
            return model;
        }
    }
    pd_control_error(effects, request->conn, request->request_id, PARAMD_NOT_FOUND,
                     "model %.100s has no group named \"%.100s\"", set->model, set->group);
    return NULL;
}

void pd_control_group_set(struct pd_control_model *model, size_t place,
                          const struct pd_hyper *hyper, uint64_t number, uint64_t clock)
{
    struct pd_control_group *group = &model->groups[place];
    group->hyper = *hyper;
    group->set = model->sets = number;
    if (clock != 0) {
        group->clock = clock;
    }
}

/* Tells the shards, with a record if it is not a repeated one; false without memory or room in the
 * log. */
static bool ask_set(struct pd_control *control, const struct pd_control_model *model,
                    const struct pd_message *like, uint64_t clock, bool repeated,
                    const struct pd_control_request *request, struct pd_control_effects *effects)
{
    if (repeated || pd_plant(set_not_logged)) {
        return pd_control_ask_all(control, like, request, effects) != NULL;
    }
    struct pd_control_set set;
    pd_control_set_fill(&set, control, model, like->group, like->hypers, like->set, clock);
    return pd_control_decide(control, PD_RECORD_SET, &set.decided, like, request, effects) != NULL;
}

void pd_control_set(struct pd_control *control, const struct pd_control_request *request,
                    struct pd_control_effects *effects)
{
    const Paramd__Set *set = (const Paramd__Set *)request->header;
    uint32_t place = 0;
    struct pd_hyper hyper;
    struct pd_control_model *model = set_target(control, request, set, &place, effects);
    if (model == NULL) {
        return;
    }
    const struct pd_group_def *def = &model->definition->groups[place];
    struct pd_control_group *group = &model->groups[place];
    if (!changed_hyper(request, set, def, group, &hyper, effects)) {
        return;
    }
    bool repeated =
        group->set != 0 && set->clock == group->clock && same_hyper(&hyper, &group->hyper);
    if (set->clock != 0 && set->clock <= group->clock && !repeated) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_SUPERSEDED,
                         "group %.100s was set at clock %llu already, this SET is of clock %llu",
                         def->name, (unsigned long long)group->clock,
                         (unsigned long long)set->clock);
        return;
    }
    struct pd_message like = {.kind = PD_MESSAGE_SET_HYPERS,
                              .model = model->number,
                              .group = place,
                              .set = repeated ? group->set : model->sets + 1,
                              .hypers = &hyper,
                              .hyper_count = 1};
    if (!ask_set(control, model, &like, set->clock, repeated, request, effects)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "no memory, or no room in the log, for this request: send it again later");
        return;
    }
    if (!repeated) {
        pd_control_group_set(model, place, &hyper, like.set, set->clock);
    }
    pd_control_note(effects, PD_NOTE_INFO, "model %s: hyper-parameters of group %s changed",
                    model->definition->name, def->name);
}

void pd_control_delete(struct pd_control *control, const struct pd_control_request *request,
                       struct pd_control_effects *effects)
{
    const Paramd__Delete *delete = (const Paramd__Delete *)request->header;
    struct pd_control_model *model = pd_control_find(control, delete->model);
    if (model == NULL || (delete->number != 0 && delete->number != model->number)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_NOT_FOUND,
                         "no model is named \"%.100s\"%s", delete->model,
                         model != NULL ? " and has that number" : "");
        return;
    }
    if (pd_control_being_made(model, request, effects)) {
        return;
    }
    pd_control_note(effects, PD_NOTE_INFO, "model %s deleted", model->definition->name);
    if (!drop(control, model, request, effects)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "no memory, or no room in the log, for this request: send it again later");
    }
}

void pd_control_freed(struct pd_control *control, const struct pd_message *message)
{
    struct pd_control_model *model = pd_control_find_number(control, message->model);
    if (model != NULL && ++model->shards_freed == control->options.shards) {
        pd_control_remove(control, model);
    }
}
