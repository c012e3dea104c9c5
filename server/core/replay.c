/* Records done again: each is checked as if a peer had sent it, and then goes the way it went when
 * it was made, without deciding anything. PUSH and SKIP go on in push.c, first values in init.c. */
#include <stdlib.h>
#include <string.h>

#include "server/core/shard_state.h"

const char pd_replay_no_memory[] = "no memory within the limit that was set";

enum paramd_status pd_replay_refuse(struct pd_replay *replay, const char *text)
{
    replay->text = text;
    return PARAMD_INVALID;
}

struct pd_session *pd_replay_session(const struct pd_replay *replay, ProtobufCBinaryData bits)
{
    return bits.len == PD_SESSION_BYTES ? pd_session_find(replay->model, bits.data) : NULL;
}

/* ---- what control told ---- */

static bool read_key(const Paramd__RecordTold *told, struct pd_session_key *ret_key)
{
    if (told->session.len != PD_SESSION_BYTES) {
        return false;
    }
    memcpy(ret_key->bits, told->session.data, PD_SESSION_BYTES);
    ret_key->nonce = told->nonce;
    return true;
}

struct pd_hyper *pd_replay_groups(struct pd_replay *replay, Paramd__GroupHypers *const *groups,
                                  size_t count, const struct pd_definition *definition)
{
    struct pd_hyper *hypers = count == definition->group_count
                                  ? pd_arena_take(replay->arena, count * sizeof *hypers)
                                  : NULL;
    for (size_t i = 0; hypers != NULL && i < count; i++) {
        const struct pd_optimizer *optimizer = pd_optimizer_find(definition->groups[i].optimizer);
        if (strcmp(groups[i]->group, definition->groups[i].name) != 0 || optimizer == NULL ||
            pd_group_hypers_read(groups[i], optimizer, &hypers[i]) != PARAMD_OK) {
            return NULL;
        }
    }
    return hypers;
}

static enum paramd_status replay_model(struct pd_replay *replay, const Paramd__RecordTold *told,
                                       const struct pd_definition *definition)
{
    struct pd_message message = {.kind = PD_MESSAGE_CREATE_MODEL,
                                 .model = told->model,
                                 .generation = told->generation,
                                 .attempt = told->attempt,
                                 .definition = definition};
    if (replay->model != NULL) {
        return pd_replay_refuse(replay, "a MODEL that is there already");
    }
    message.hypers = pd_replay_groups(replay, told->groups, told->n_groups, definition);
    message.hyper_count = told->n_groups;
    if (message.hypers == NULL || !read_key(told, &message.session)) {
        return pd_replay_refuse(replay, "a MODEL whose groups are not those of its definition");
    }
    return pd_shard_make_model(replay->shard, &message);
}

static enum paramd_status replay_restart(struct pd_replay *replay, const Paramd__RecordTold *told)
{
    struct pd_message message = {.kind = PD_MESSAGE_RESTART_INIT, .attempt = told->attempt};
    if (told->attempt <= replay->model->attempt || !read_key(told, &message.session)) {
        return pd_replay_refuse(replay, "a RESTART_INIT whose attempt was made already");
    }
    if (pd_replay_within(replay)) {
        return pd_replay_refuse(replay, "a RESTART_INIT that spoils the snapshot");
    }
    pd_model_restart(replay->model, &message);
    return PARAMD_OK;
}

static enum paramd_status replay_ready(struct pd_replay *replay, const Paramd__RecordTold *told)
{
    struct pd_model *model = replay->model;
    /* Slots that a snapshot copied after the model was dropped do not have it. */
    bool complete = model->incomplete == 0 || model->in_snapshot;
    if (told->attempt != model->attempt || !complete) {
        return pd_replay_refuse(replay, "READY of a model without values");
    }
    model->ready = true;
    return PARAMD_OK;
}

static enum paramd_status replay_set(struct pd_replay *replay, const Paramd__RecordTold *told)
{
    const struct pd_model *model = replay->model;
    struct pd_group *group = NULL;
    struct pd_hyper hyper;
    for (size_t i = 0; told->n_groups == 1 && i < model->group_count; i++) {
        if (strcmp(told->groups[0]->group, model->definition->groups[i].name) == 0) {
            group = &model->groups[i];
        }
    }
    /* Another number of moments would be memory that the blocks do not have. */
    if (group == NULL ||
        pd_group_hypers_read(told->groups[0], group->optimizer, &hyper) != PARAMD_OK ||
        pd_optimizer_moments(group->optimizer, &hyper) != group->moments) {
        return pd_replay_refuse(replay, "SET_HYPERS of what the group cannot have");
    }
    group->hyper = hyper;
    return PARAMD_OK;
}

static enum paramd_status replay_opened(struct pd_replay *replay, const Paramd__RecordTold *told)
{
    struct pd_session_key key;
    if (!read_key(told, &key)) {
        return pd_replay_refuse(replay, "SESSION_OPENED without a session");
    }
    struct pd_session *session = pd_session_open(replay->shard, replay->model, &key, told->opening);
    if (session == NULL) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    return pd_replay_open(replay, session)
               ? PARAMD_OK
               : pd_replay_refuse(replay, "SESSION_OPENED as what another session was opened");
}

static enum paramd_status replay_ended(struct pd_replay *replay, const Paramd__RecordTold *told)
{
    struct pd_session *session = pd_replay_session(replay, told->session);
    if (session != NULL && session->opening == told->opening) {
        pd_session_end(replay->model, session);
        return PARAMD_OK;
    }
    /* Without logged pushes another number of shards keeps only sessions that a snapshot has ids
     * of, and that one may have been passed over. */
    return replay->model->logged ? pd_replay_refuse(replay, "SESSION_ENDED of no session")
                                 : PARAMD_OK;
}

/* At once: nobody looks at it, and there may be many in a log. */
static enum paramd_status replay_drop(struct pd_replay *replay)
{
    struct pd_shard *shard = replay->shard;
    pd_shard_drop_model(shard, replay->model);
    pd_link_remove(&replay->model->dropped_link);
    shard->memory_bytes -= replay->model->bytes;
    pd_model_free(replay->model, &shard->options.memory);
    return PARAMD_OK;
}

/* ---- any record ---- */

static enum paramd_status replay_kind(struct pd_replay *replay, unsigned kind,
                                      const ProtobufCMessage *header,
                                      const struct pd_definition *definition)
{
    const Paramd__RecordTold *told = (const Paramd__RecordTold *)header;
    switch (kind) {
    case PD_RECORD_MODEL:
        return replay_model(replay, told, definition);
    case PD_RECORD_RESTART_INIT:
        return replay_restart(replay, told);
    case PD_RECORD_INIT:
        return pd_replay_init(replay, (const Paramd__RecordInit *)header);
    case PD_RECORD_INITIALISED:
        return pd_replay_initialised(replay, (const Paramd__RecordInitialised *)header);
    case PD_RECORD_READY:
        return replay_ready(replay, told);
    case PD_RECORD_PUSH:
        return pd_replay_push(replay, (const Paramd__RecordPush *)header);
    case PD_RECORD_SKIP:
        return pd_replay_skip(replay, (const Paramd__RecordSkip *)header);
    case PD_RECORD_SET_HYPERS:
        return replay_set(replay, told);
    case PD_RECORD_SESSION_OPENED:
        return replay_opened(replay, told);
    case PD_RECORD_SESSION_ENDED:
        return replay_ended(replay, told);
    default:
        return replay_drop(replay);
    }
}

enum paramd_status pd_shard_replay(struct pd_shard *shard, const struct pd_logged *record,
                                   const struct pd_definitions *definitions, struct pd_arena *arena,
                                   const char **ret_text)
{
    struct pd_replay replay = {.shard = shard,
                               .arena = arena,
                               .lsn = record->lsn,
                               .payload = record->payload,
                               .payload_count = record->payload_count,
                               .text = pd_replay_no_memory};
    const ProtobufCMessageDescriptor *descriptor =
        record->kind <= PD_RECORD_DROP ? pd_record_descriptor(record->kind) : NULL;
    if (descriptor == NULL) {
        *ret_text = "a record of a kind that this version does not know in a shard's log";
        return PARAMD_UNSUPPORTED;
    }
    pd_arena_reset(arena);
    const ProtobufCMessage *header =
        pd_decode(descriptor, arena, record->header, record->header_count);
    if (header == NULL) {
        *ret_text = "the header of a record is not a message of its kind";
        return PARAMD_INVALID;
    }
    /* Every message of a shard's records begins with the time and the number of the model. */
    uint64_t number = ((const Paramd__RecordSkip *)header)->model;
    const struct pd_definition *definition = definitions->find(definitions->context, number);
    if (definition == NULL) {
        return PARAMD_OK;
    }
    replay.model = pd_shard_model(shard, number);
    enum paramd_status status =
        replay.model != NULL || record->kind == PD_RECORD_MODEL
            ? replay_kind(&replay, record->kind, header, definition)
            : pd_replay_refuse(&replay, "a record of a model that is not on this shard");
    if (status != PARAMD_OK) {
        *ret_text = replay.text;
    }
    return status;
}
