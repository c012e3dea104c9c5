/* Sessions on this shard's connections, requests that control decides, and what control tells the
 * shard to do. */
#include <stdlib.h>
#include <string.h>

#include "server/base/assert.h"
#include "server/core/shard_state.h"

/* ---- to control ---- */

static uint8_t *copy_of(const uint8_t *bytes, size_t count)
{
    uint8_t *copy = malloc(count + 1);
    if (copy != NULL && count > 0) {
        memcpy(copy, bytes, count);
    }
    return copy;
}

/* Whether control has as many requests of this connection as it may: this one has to wait. */
static bool must_wait(const struct pd_event *event, struct pd_effects *effects)
{
    bool wait = event->peer->asked >= PD_CONTROL_REQUESTS_MAX;
    if (wait) {
        effects->verdict = PD_VERDICT_WAIT;
    }
    return wait;
}

/* Sends a request on to control, with so many bytes of payload, which it takes over. The message
 * comes back as ANSWERED. NULL without memory, which was answered. */
static struct pd_message *forward(struct pd_shard *shard, const struct pd_event *event,
                                  uint8_t *payload, size_t payload_count,
                                  struct pd_effects *effects)
{
    uint8_t *header = copy_of(event->header_bytes, event->header_count);
    struct pd_message *message =
        header != NULL ? pd_tell(shard, effects, PD_MESSAGE_REQUEST) : NULL;
    if (message == NULL) {
        free(header);
        free(payload);
        pd_reply_error(effects, pd_request_id(event->header), PARAMD_RESOURCE_EXHAUSTED,
                       "no memory for this request: send it again later");
        return NULL;
    }
    event->peer->asked++;
    message->conn = event->peer->id;
    message->request_id = pd_request_id(event->header);
    message->frame_kind = event->frame_kind;
    message->header = header;
    message->header_bytes = event->header_count;
    message->bytes = payload;
    message->byte_count = payload_count;
    return message;
}

void pd_shard_forward(struct pd_shard *shard, const struct pd_event *event,
                      struct pd_effects *effects)
{
    if (!must_wait(event, effects)) {
        (void)forward(shard, event, NULL, 0, effects);
    }
}

void pd_shard_forward_of(struct pd_shard *shard, const struct pd_event *event, uint64_t model,
                         struct pd_effects *effects)
{
    const struct pd_attachment *attachment = pd_attachment_for(shard, event, model, effects);
    if (attachment == NULL || must_wait(event, effects)) {
        return;
    }
    struct pd_message *message = forward(shard, event, NULL, 0, effects);
    if (message != NULL) {
        message->model = model;
        message->session = attachment->session->key;
    }
}

void pd_shard_create_request(struct pd_shard *shard, const struct pd_event *event,
                             struct pd_effects *effects)
{
    struct pd_peer *peer = event->peer;
    uint64_t request_id = pd_request_id(event->header);
    if (peer->definition != NULL && peer->definition_request != request_id) {
        pd_close(effects, PARAMD_PROTOCOL, "another CREATE came between the frames of a CREATE");
        return;
    }
    if (!event->more && must_wait(event, effects)) {
        return;
    }
    size_t total = peer->definition_bytes + event->payload_count;
    if (total > PD_DEFINITION_BYTES_MAX) {
        pd_close(effects, PARAMD_TOO_LARGE, "a definition is above 16 MiB");
        return;
    }
    if (event->payload_count > PD_DEFINITIONS_BYTES_MAX - shard->definition_bytes) {
        pd_close(effects, PARAMD_BUSY, "too many definitions are arriving at once");
        return;
    }
    if (peer->definition == NULL) {
        peer->definition_us = event->now_us;
    }
    uint8_t *definition = realloc(peer->definition, total + 1);
    if (definition == NULL) {
        pd_close(effects, PARAMD_RESOURCE_EXHAUSTED, "no memory for a definition");
        return;
    }
    if (event->payload_count > 0) {
        memcpy(definition + peer->definition_bytes, event->payload, event->payload_count);
    }
    peer->definition = definition;
    peer->definition_bytes = total;
    peer->definition_request = request_id;
    shard->definition_bytes += event->payload_count;
    if (!event->more) {
        peer->definition = NULL;
        peer->definition_bytes = 0;
        if (forward(shard, event, definition, total, effects) == NULL) {
            shard->definition_bytes -= total;
        }
    }
}

/* ---- sessions ---- */

void pd_model_release(struct pd_shard *shard, struct pd_model *model)
{
    (void)shard;
    PD_ASSERT(model->users > 0);
    model->users--;
}

void pd_session_detach(struct pd_shard *shard, struct pd_session *session)
{
    struct pd_model *model = session->model;
    session->attachments--;
    if (session->ended && session->attachments == 0) {
        pd_session_destroy(session);
    }
    if (model != NULL) {
        pd_model_release(shard, model);
    }
}

struct pd_session *pd_session_find(struct pd_model *model, const uint8_t bits[PD_SESSION_BYTES])
{
    struct pd_session *session = NULL;
    HASH_FIND(by_bits, model->sessions, bits, PD_SESSION_BYTES, session);
    return session;
}

void pd_session_end(struct pd_model *model, struct pd_session *session)
{
    HASH_DELETE(by_bits, model->sessions, session);
    session->ended = true;
    /* Connections that still hold it must not keep a deleted model's memory. */
    session->model = NULL;
    model->users -= session->attachments;
    if (session->attachments == 0) {
        pd_session_destroy(session);
    }
}

void pd_sessions_end(struct pd_model *model)
{
    struct pd_session *session;
    struct pd_session *next;
    HASH_ITER(by_bits, model->sessions, session, next) {
        pd_session_end(model, session);
    }
    HASH_ITER(by_bits, model->waiting, session, next) {
        HASH_DELETE(by_bits, model->waiting, session);
        pd_session_destroy(session);
    }
}

struct pd_session *pd_session_open(struct pd_shard *shard, struct pd_model *model,
                                   const struct pd_session_key *key, uint64_t opening)
{
    struct pd_session *session = pd_session_find(model, key->bits);
    if (session != NULL && session->opening == opening) {
        session->key.nonce = key->nonce;
        return session;
    }
    if (session != NULL) {
        pd_session_end(model, session);
    }
    session = pd_session_create(model, key, shard->options.shards, &shard->push_ids_room);
    if (session == NULL) {
        return NULL;
    }
    session->opening = opening;
    HASH_ADD(by_bits, model->sessions, key.bits, PD_SESSION_BYTES, session);
    if (session->by_bits.tbl == NULL) {
        pd_session_destroy(session);
        return NULL;
    }
    return session;
}

/* A place whose session was ended, to be used again; NULL if there is none. */
static struct pd_attachment *ended_attachment(struct pd_peer *peer)
{
    for (uint32_t i = 0; i < peer->attachment_count; i++) {
        if (peer->attachments[i].session->ended) {
            return &peer->attachments[i];
        }
    }
    return NULL;
}

/* Binds the session to the connection, once. */
static bool attach(struct pd_shard *shard, struct pd_peer *peer, struct pd_session *session)
{
    struct pd_attachment *place = pd_peer_attachment(peer, session->model->number);
    if (place != NULL && place->session == session) {
        return true;
    }
    if (place == NULL) {
        place = ended_attachment(peer);
    }
    if (place != NULL) {
        pd_session_detach(shard, place->session);
    } else {
        if (peer->attachment_count == PD_ATTACHMENTS_MAX) {
            return false;
        }
        struct pd_attachment *attachments =
            realloc(peer->attachments, (peer->attachment_count + 1) * sizeof *attachments);
        if (attachments == NULL) {
            return false;
        }
        peer->attachments = attachments;
        place = &attachments[peer->attachment_count++];
    }
    *place = (struct pd_attachment){session->model->number, session};
    session->attachments++;
    session->model->users++;
    return true;
}

static void reply_attached(const struct pd_shard *shard, const struct pd_session *session,
                           uint64_t request_id, struct pd_effects *effects)
{
    const struct pd_model *model = session->model;
    Paramd__Attached *attached = pd_arena_take(effects->arena, sizeof *attached);
    uint32_t *slots = pd_arena_take(effects->arena, PD_SLOTS * sizeof *slots);
    uint64_t *ids = pd_arena_take(effects->arena, PD_SLOTS * sizeof *ids);
    if (attached == NULL || slots == NULL || ids == NULL) {
        pd_close(effects, PARAMD_RESOURCE_EXHAUSTED, "no memory for an answer");
        return;
    }
    paramd__attached__init(attached);
    attached->request_id = request_id;
    attached->model = model->number;
    attached->generation = model->generation;
    attached->ready = model->ready;
    attached->slot = slots;
    attached->push_id = ids;
    size_t count = 0;
    for (uint32_t slot = shard->options.shard; slot < PD_SLOTS; slot += shard->options.shards) {
        const struct pd_slot_ids *of_slot = pd_session_ids(session, slot);
        if (of_slot != NULL && of_slot->last > 0) {
            slots[count] = slot;
            ids[count++] = of_slot->last;
        }
    }
    attached->n_slot = attached->n_push_id = count;
    pd_reply(effects, PD_KIND_ATTACHED, &attached->base);
}

/* ATTACH was granted. */
static void attach_granted(struct pd_shard *shard, struct pd_model *model,
                           const struct pd_event *event, struct pd_effects *effects)
{
    const struct pd_message *message = event->message;
    if (event->peer == NULL) {
        return;
    }
    if (model == NULL) {
        pd_reply_error(effects, message->request_id, PARAMD_NOT_FOUND, "the model was deleted");
        return;
    }
    const struct pd_attachment *place = pd_peer_attachment(event->peer, model->number);
    if (place != NULL && !place->session->ended &&
        memcmp(place->session->key.bits, message->session.bits, PD_SESSION_BYTES) != 0) {
        pd_reply_error(effects, message->request_id, PARAMD_INVALID,
                       "this connection has another session in the model: open one of its own "
                       "for each session");
        return;
    }
    struct pd_session *session = pd_session_find(model, message->session.bits);
    bool known = session != NULL && session->key.nonce == message->session.nonce &&
                 session->opening == message->opening;
    if (!known && !pd_shard_record_room(shard, event, effects, 0)) {
        pd_reply_error(effects, message->request_id, PARAMD_RESOURCE_EXHAUSTED,
                       "the log has no room for a session: try again later");
        return;
    }
    session = pd_session_open(shard, model, &message->session, message->opening);
    if (session != NULL && !known) {
        pd_shard_record_told(shard, event, PD_RECORD_SESSION_OPENED, NULL, 0, effects);
    }
    if (session == NULL || !attach(shard, event->peer, session)) {
        pd_reply_error(effects, message->request_id, PARAMD_BUSY,
                       "no memory for this session, or this connection uses 64 models already: "
                       "open another one, or try again later");
        return;
    }
    session->seen = true;
    effects->wait = effects->wait || model->logged; /* the answer names push ids */
    reply_attached(shard, session, message->request_id, effects);
}

/* ---- from control ---- */

/* The message goes back to control as the answer: nothing has to be allocated, so it cannot fail.
 */
static void took(struct pd_shard *shard, struct pd_message *message, enum paramd_status status,
                 struct pd_effects *effects)
{
    message->kind = PD_MESSAGE_TOOK;
    message->shard = shard->options.shard;
    message->status = status;
    pd_list_push(&effects->to_control, &message->link);
}

bool pd_shard_logs(const struct pd_shard *shard, const struct pd_model *model)
{
    return shard->options.records && model->definition->ack_level == PARAMD__ACK_LEVEL__LOGGED;
}

bool pd_shard_enter_model(struct pd_shard *shard, struct pd_model *model)
{
    model->logged = pd_shard_logs(shard, model);
    HASH_ADD(by_number, shard->models, number, sizeof model->number, model);
    if (model->by_number.tbl == NULL) {
        /* At once: to control it was never there. */
        pd_model_free(model, &shard->options.memory);
        return false;
    }
    shard->memory_bytes += model->bytes;
    return true;
}

enum paramd_status pd_shard_make_model(struct pd_shard *shard, const struct pd_message *message)
{
    struct pd_model *model;
    enum paramd_status status = pd_model_create(
        message, shard->options.shard, shard->options.shards, &shard->options.memory, &model);
    if (status == PARAMD_OK && !pd_shard_enter_model(shard, model)) {
        status = PARAMD_RESOURCE_EXHAUSTED;
    }
    return status;
}

void pd_shard_drop_model(struct pd_shard *shard, struct pd_model *model)
{
    pd_sessions_end(model);
    HASH_DELETE(by_number, shard->models, model);
    model->dropped = true;
    model->definition = NULL;
    pd_list_push(&shard->dropped, &model->dropped_link);
}

/* The place of the first block of this tensor or a later one. */
static uint32_t first_block_of(const struct pd_model *model, uint32_t tensor)
{
    uint32_t low = 0;
    uint32_t high = model->block_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (model->blocks[middle].tensor < tensor) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Looks at the page's blocks only: there may be millions, and pushes wait meanwhile. */
static void count_tensors(const struct pd_model *model, struct pd_count *count)
{
    for (uint32_t i = first_block_of(model, count->first_tensor); i < model->block_count; i++) {
        const struct pd_block *block = &model->blocks[i];
        if (block->tensor - count->first_tensor >= count->tensor_count) {
            break;
        }
        struct pd_tensor_count *tensor = &count->tensors[block->tensor - count->first_tensor];
        if (block->version < tensor->version_min) {
            tensor->version_min = block->version;
        }
        if (block->version > tensor->version_max) {
            tensor->version_max = block->version;
        }
        tensor->version_sum += block->version;
    }
}

static void hash_blocks(const struct pd_model *model, struct pd_count *count)
{
    for (uint32_t i = 0; i < count->hash_count; i++) {
        uint64_t in_model;
        const struct pd_block *block = NULL;
        if (pd_model_locate(model, count->first_tensor, count->first_block + i, &in_model)) {
            block = pd_model_block(model, in_model);
        }
        count->hashes[i] = block != NULL ? pd_block_hash(block) : 0;
    }
}

/* Control has made room for the counters in the message. */
static void count(struct pd_shard *shard, const struct pd_model *model, struct pd_message *message,
                  struct pd_effects *effects)
{
    message->kind = PD_MESSAGE_COUNTED;
    message->shard = shard->options.shard;
    message->count->shard.memory_bytes = shard->memory_bytes;
    message->count->shard.copies = shard->copied;
    if (model != NULL) {
        message->count->model = model->count;
        count_tensors(model, message->count);
        hash_blocks(model, message->count);
    }
    pd_list_push(&effects->to_control, &message->link);
}

/* ---- what is told and done, and logged where it changed something ---- */

static void forget_session(struct pd_shard *shard, struct pd_model *model,
                           const struct pd_event *event, struct pd_effects *effects)
{
    struct pd_message *message = event->message;
    struct pd_session *session =
        model != NULL ? pd_session_find(model, message->session.bits) : NULL;
    if (session != NULL) {
        message->opening = session->opening;
        pd_session_end(model, session);
        pd_shard_record_told(shard, event, PD_RECORD_SESSION_ENDED, NULL, 0, effects);
    }
    took(shard, message, PARAMD_OK, effects);
}

static void drop(struct pd_shard *shard, struct pd_model *model, const struct pd_event *event,
                 struct pd_effects *effects)
{
    if (model != NULL) {
        pd_shard_drop_model(shard, model);
        pd_shard_record_told(shard, event, PD_RECORD_DROP, NULL, 0, effects);
    }
    /* One that could not be made here has nothing to give back: there will be no FREED. */
    took(shard, event->message, model != NULL ? PARAMD_OK : PARAMD_NOT_FOUND, effects);
}

static void restart(struct pd_shard *shard, struct pd_model *model, const struct pd_event *event,
                    struct pd_effects *effects)
{
    if (model != NULL) {
        pd_shard_snapshot_spoil(shard, model);
        pd_model_restart(model, event->message);
        pd_shard_record_told(shard, event, PD_RECORD_RESTART_INIT, NULL, 0, effects);
    }
    took(shard, event->message, PARAMD_OK, effects);
    if (model != NULL) {
        pd_shard_tell_initialised(shard, model, effects);
    }
}

static void set_hypers(struct pd_shard *shard, struct pd_model *model, const struct pd_event *event,
                       struct pd_effects *effects)
{
    const struct pd_message *message = event->message;
    struct pd_group *group = model != NULL ? &model->groups[message->group] : NULL;
    /* Hyper-parameters hold only checked numbers, so equal bits are equal values. */
    if (group != NULL && memcmp(&group->hyper, message->hypers, sizeof group->hyper) != 0) {
        group->hyper = message->hypers[0];
        pd_group_hypers_fill(&shard->told_hypers, model->definition->groups[message->group].name,
                             group->optimizer, &group->hyper);
        shard->told_group = &shard->told_hypers.message;
        pd_shard_record_told(shard, event, PD_RECORD_SET_HYPERS, &shard->told_group, 1, effects);
    }
    took(shard, event->message, PARAMD_OK, effects);
}

static void ready(struct pd_shard *shard, struct pd_model *model, const struct pd_event *event,
                  struct pd_effects *effects)
{
    if (model != NULL && model->attempt == event->message->attempt && !model->ready) {
        model->ready = true;
        pd_shard_record_told(shard, event, PD_RECORD_READY, NULL, 0, effects);
    }
}

/* The hyper-parameters of all groups of a model to be made, for its record. NULL without memory. */
static Paramd__GroupHypers **group_hypers(const struct pd_message *message, struct pd_arena *arena)
{
    Paramd__GroupHypers **groups = pd_arena_take(arena, message->hyper_count * sizeof *groups);
    for (size_t i = 0; groups != NULL && i < message->hyper_count; i++) {
        const struct pd_group_def *def = &message->definition->groups[i];
        struct pd_group_hypers *group = pd_arena_take(arena, sizeof *group);
        if (group == NULL) {
            return NULL;
        }
        pd_group_hypers_fill(group, def->name, pd_optimizer_find(def->optimizer),
                             &message->hypers[i]);
        groups[i] = &group->message;
    }
    return groups;
}

/* In a recovery: control says what it knows of a model that replay has brought back. */
static void keep(struct pd_shard *shard, struct pd_model *model, const struct pd_event *event,
                 struct pd_effects *effects)
{
    struct pd_message *message = event->message;
    model->kept = true;
    model->generation = message->generation;
    model->told_attempt = 0;
    if (message->attempt > model->attempt) {
        pd_shard_snapshot_spoil(shard, model);
        pd_model_restart(model, message);
        pd_shard_record_told(shard, event, PD_RECORD_RESTART_INIT, NULL, 0, effects);
    }
    took(shard, message, PARAMD_OK, effects);
    pd_shard_tell_initialised(shard, model, effects);
}

/* In a recovery: what control has not named is gone. There is no record of it: a number is never
 * another model's, an opening never another session's, and the next start says it again. */
static void forget_unknown(struct pd_shard *shard, const struct pd_message *message)
{
    for (size_t i = 0; i < message->session_count; i++) {
        const struct pd_session_of_model *known = &message->sessions[i];
        struct pd_model *model = pd_shard_model(shard, known->model);
        struct pd_session *session = model != NULL ? pd_session_find(model, known->key.bits) : NULL;
        if (session != NULL) {
            session->kept = session->opening == known->opening;
        }
    }
    struct pd_model *model;
    struct pd_model *next_model;
    HASH_ITER(by_number, shard->models, model, next_model) {
        struct pd_session *session;
        struct pd_session *next;
        HASH_ITER(by_bits, model->sessions, session, next) {
            if (!session->kept) {
                pd_session_end(model, session);
            }
        }
        if (!model->kept) {
            pd_shard_drop_model(shard, model);
        }
    }
}

static void create(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    struct pd_message *message = event->message;
    Paramd__GroupHypers **groups = NULL;
    enum paramd_status status = PARAMD_RESOURCE_EXHAUSTED;
    if (!shard->options.records ||
        (pd_shard_record_room(shard, event, effects,
                              message->hyper_count * PD_RECORD_GROUP_BYTES) &&
         (groups = group_hypers(message, effects->arena)) != NULL)) {
        status = pd_shard_make_model(shard, message);
    }
    if (status == PARAMD_OK) {
        pd_shard_record_told(shard, event, PD_RECORD_MODEL, groups, message->hyper_count, effects);
    }
    took(shard, message, status, effects);
    struct pd_model *model = pd_shard_model(shard, message->model);
    if (model != NULL) {
        model->kept = true;
    }
    if (model != NULL && model->block_count == 0) {
        pd_shard_tell_initialised(shard, model, effects);
    }
    (void)pd_shard_initialise_step(shard, event, effects);
}

void pd_shard_message(struct pd_shard *shard, const struct pd_event *event,
                      struct pd_effects *effects)
{
    struct pd_message *message = event->message;
    struct pd_model *model = pd_shard_model(shard, message->model);
    switch (message->kind) {
    case PD_MESSAGE_CREATE_MODEL:
        if (model != NULL) {
            keep(shard, model, event, effects);
        } else {
            create(shard, event, effects);
        }
        return;
    case PD_MESSAGE_RECOVERED:
        forget_unknown(shard, message);
        break;
    case PD_MESSAGE_RESTART_INIT:
        restart(shard, model, event, effects);
        return;
    case PD_MESSAGE_SET_HYPERS:
        set_hypers(shard, model, event, effects);
        return;
    case PD_MESSAGE_DROP_MODEL:
        drop(shard, model, event, effects);
        return;
    case PD_MESSAGE_END_SESSION:
        forget_session(shard, model, event, effects);
        return;
    case PD_MESSAGE_ANSWERED:
        shard->definition_bytes -= message->byte_count;
        if (event->peer != NULL) {
            event->peer->asked--;
        }
        break;
    case PD_MESSAGE_COUNT:
        count(shard, model, message, effects);
        return;
    case PD_MESSAGE_READY:
        ready(shard, model, event, effects);
        break;
    case PD_MESSAGE_OPEN_SESSION:
        attach_granted(shard, model, event, effects);
        break;
    default:
        break; /* the host's own */
    }
    pd_message_destroy(message);
}

bool pd_peer_holds(const struct pd_peer *peer, uint64_t model, const struct pd_session_key *key,
                   bool other_nonce)
{
    for (uint32_t i = 0; i < peer->attachment_count; i++) {
        const struct pd_attachment *attachment = &peer->attachments[i];
        const struct pd_session_key *held = &attachment->session->key;
        if (attachment->model_number == model && !attachment->session->ended &&
            memcmp(held->bits, key->bits, PD_SESSION_BYTES) == 0) {
            return !other_nonce || held->nonce != key->nonce;
        }
    }
    return false;
}
