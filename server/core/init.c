/* First values: INIT frames from the initialiser, and the server's own initialisers, which work in
 * steps between other events, each step a record. When no block of the shard is without values any
 * more, control is told. */
#include <math.h>
#include <string.h>

#include "proto/slot.h"
#include "server/core/shard_state.h"

/* Of the server's own initialisers between two looks at the connections: one or two milliseconds. A
 * normal number takes as long as some thirty others. */
enum { STEP_COST = 1024 * 1024, NORMAL_COST = 32 };
enum { LOG_BUSY_US = 1000 };

#define PD_STEP_MAX ((uint64_t)1 << 53)

void pd_shard_tell_initialised(struct pd_shard *shard, struct pd_model *model,
                               struct pd_effects *effects)
{
    /* After a start control asks first: twice told would be another shard's turn. */
    if (model->incomplete > 0 || !model->kept || model->told_attempt == model->attempt) {
        return;
    }
    struct pd_message *message = pd_tell(shard, effects, PD_MESSAGE_INITIALISED);
    if (message != NULL) {
        message->model = model->number;
        message->attempt = model->attempt;
        model->told_attempt = model->attempt;
        /* Control believes the values to be there for good. */
        effects->wait = effects->wait || shard->options.records;
    }
}

/* What the block costs of a step; makes its first values unless a client does. */
static uint64_t initialise_block(struct pd_block *block)
{
    Paramd__Initialiser init = block->model->definition->tensors[block->tensor].init;
    if (init == PARAMD__INITIALISER__CLIENT) {
        return 0;
    }
    pd_block_initialise(block);
    return (uint64_t)block->elements * (init == PARAMD__INITIALISER__NORMAL ? NORMAL_COST : 1);
}

/* Goes on with one model; adds the cost to done. False: not without a record, for which there is no
 * room. */
static bool initialise_model(struct pd_shard *shard, struct pd_model *model,
                             const struct pd_event *event, struct pd_effects *effects,
                             uint64_t *done)
{
    uint64_t before = *done;
    uint32_t from = model->next_start;
    Paramd__RecordInitialised *record = NULL;
    if (shard->options.records) {
        record = pd_shard_record_room(shard, event, effects, 0)
                     ? pd_arena_take(effects->arena, sizeof *record)
                     : NULL;
        if (record == NULL) {
            return false;
        }
    }
    while (model->next_start < model->block_count && *done < STEP_COST) {
        *done += initialise_block(&model->blocks[model->next_start++]);
    }
    if (record != NULL && *done > before) {
        paramd__record_initialised__init(record);
        record->time_us = event->now_us;
        record->model = model->number;
        record->from = from;
        record->to = model->next_start;
        pd_shard_record(shard, PD_RECORD_INITIALISED, &record->base, effects);
    }
    return true;
}

uint64_t pd_shard_initialise_step(struct pd_shard *shard, const struct pd_event *event,
                                  struct pd_effects *effects)
{
    uint64_t done = 0;
    for (struct pd_model *model = shard->models; model != NULL; model = model->by_number.next) {
        if (model->next_start < model->block_count) {
            if (!initialise_model(shard, model, event, effects, &done)) {
                if (effects->record_count == PD_RECORDS_MAX) {
                    return 0;
                }
                return event->log_busy ? LOG_BUSY_US : UINT64_MAX;
            }
            if (model->next_start < model->block_count) {
                return 0;
            }
        }
        pd_shard_tell_initialised(shard, model, effects);
    }
    return UINT64_MAX;
}

static bool shape_right(const struct pd_model *model, const Paramd__Init *init,
                        size_t payload_count)
{
    size_t count = init->n_tensor;
    size_t bytes = 0;
    if (count == 0 || count > PD_ENTRIES_MAX || init->n_block != count ||
        (init->n_step != 0 && init->n_step != count) || (int)init->part < 0 ||
        (int)init->part >= PD_PARTS_MAX) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t in_model;
        if (!pd_model_locate(model, init->tensor[i], init->block[i], &in_model)) {
            return false;
        }
        bytes += (size_t)4 * pd_block_elements(model->definition->tensors[init->tensor[i]].elements,
                                               model->definition->block_elements, init->block[i]);
        if (bytes > payload_count) {
            return false;
        }
    }
    return bytes == payload_count;
}

static bool is_initialiser(const struct pd_session *session, uint64_t attempt)
{
    const struct pd_model *model = session->model;
    return attempt == model->attempt && session->key.nonce == model->initialiser.nonce &&
           memcmp(session->key.bits, model->initialiser.bits, PD_SESSION_BYTES) == 0;
}

/* What is wrong with the values as a whole, or NULL. Looks all blocks up. */
static const char *find_fault(struct pd_shard *shard, const struct pd_model *model,
                              const Paramd__Init *init, const uint8_t *payload,
                              size_t payload_count, bool *ret_moved)
{
    const float *values = (const float *)(const void *)payload;
    for (size_t i = 0; i < payload_count / sizeof *values; i++) {
        if (!isfinite(values[i])) {
            return "a first value is not finite";
        }
    }
    for (size_t i = 0; i < init->n_tensor; i++) {
        uint64_t in_model = 0;
        (void)pd_model_locate(model, init->tensor[i], init->block[i], &in_model);
        struct pd_block *block = pd_model_block(model, in_model);
        shard->entries[i].block = block;
        if (block == NULL) {
            *ret_moved = true;
            continue;
        }
        if (model->definition->tensors[block->tensor].init != PARAMD__INITIALISER__CLIENT) {
            return "a tensor that the server initialises by itself";
        }
        if ((unsigned)init->part >= block->part_count) {
            return "a part that a block does not have: its optimizer keeps fewer moments";
        }
        if (init->n_step != 0 && init->step[i] > PD_STEP_MAX) {
            return "a step above 2^53";
        }
    }
    return NULL;
}

/* Whether any block took something: those that have their values do not. replay: NULL if this is
 * none. */
static bool take_values(struct pd_shard *shard, const Paramd__Init *init, const uint8_t *payload,
                        const struct pd_replay *replay)
{
    const uint8_t *from = payload;
    bool changed = false;
    for (size_t i = 0; i < init->n_tensor; i++) {
        struct pd_block *block = shard->entries[i].block;
        size_t bytes = block->elements * sizeof(float);
        if (block->version == 0 && (replay == NULL || pd_replay_takes(replay, block->slot))) {
            if (!block->started) {
                pd_block_start(block);
            }
            memcpy(block->parts + (size_t)(unsigned)init->part * block->stride, from, bytes);
            if (init->part == PARAMD__PART__WEIGHTS) {
                pd_block_complete(block, init->n_step != 0 ? init->step[i] : 0);
            }
            changed = true;
        }
        from += bytes;
    }
    return changed;
}

/* The record of the frame, to be logged when its values are taken. NULL: there is no room, and the
 * request waits or was refused. */
static Paramd__RecordInit *make_record(struct pd_shard *shard, const struct pd_event *event,
                                       const Paramd__Init *init, struct pd_effects *effects)
{
    static const char no_room[] = "the log has no room for these values: send them again later";
    if (!pd_shard_record_room(shard, event, effects, event->header_count + event->payload_count)) {
        pd_shard_no_record_room(event, effects, no_room);
        return NULL;
    }
    Paramd__RecordInit *record = pd_arena_take(effects->arena, sizeof *record);
    if (record == NULL) {
        pd_reply_error(effects, init->request_id, PARAMD_RESOURCE_EXHAUSTED, no_room);
        return NULL;
    }
    paramd__record_init__init(record);
    record->time_us = event->now_us;
    record->model = init->model;
    record->frame =
        (ProtobufCBinaryData){event->header_count, (uint8_t *)(uintptr_t)event->header_bytes};
    return record;
}

void pd_shard_init(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    const Paramd__Init *init = (const Paramd__Init *)event->header;
    struct pd_attachment *attachment = pd_attachment_for(shard, event, init->model, effects);
    if (attachment == NULL) {
        return;
    }
    struct pd_model *model = attachment->session->model;
    if (!shape_right(model, init, event->payload_count)) {
        pd_close(effects, PARAMD_PROTOCOL,
                 "an INIT whose arrays, blocks, part or payload do not fit together");
        return;
    }
    if (!is_initialiser(attachment->session, init->attempt)) {
        pd_reply_error(effects, init->request_id, PARAMD_NOT_INITIALISER,
                       "another session initialises this model, or the attempt is over: CREATE "
                       "again and see who does");
        return;
    }
    bool moved = false;
    const char *fault =
        find_fault(shard, model, init, event->payload, event->payload_count, &moved);
    if (fault != NULL) {
        pd_reply_error(effects, init->request_id, PARAMD_INVALID, fault);
        return;
    }
    if (moved) {
        pd_reply_moved(shard, effects, init->request_id);
        return;
    }
    Paramd__RecordInit *record = NULL;
    if (shard->options.records && (record = make_record(shard, event, init, effects)) == NULL) {
        return;
    }
    bool changed = take_values(shard, init, event->payload, NULL);
    if (record != NULL) {
        effects->wait = true; /* for the record of the first of its kind too */
        if (changed) {
            pd_shard_record_frame(shard, event, PD_RECORD_INIT, &record->base, effects);
        }
    }
    pd_shard_tell_initialised(shard, model, effects);
    pd_reply_done(effects, init->request_id);
}

/* ---- replay ---- */

enum paramd_status pd_replay_init(struct pd_replay *replay, const Paramd__RecordInit *record)
{
    const Paramd__Init *init = (const Paramd__Init *)pd_decode(
        &paramd__init__descriptor, replay->arena, record->frame.data, record->frame.len);
    bool moved = false;
    if (init == NULL || init->model != replay->model->number ||
        init->attempt != replay->model->attempt ||
        !shape_right(replay->model, init, replay->payload_count)) {
        return pd_replay_refuse(replay, "an INIT whose frame does not fit the model");
    }
    if (find_fault(replay->shard, replay->model, init, replay->payload, replay->payload_count,
                   &moved) != NULL ||
        moved) {
        return pd_replay_refuse(replay, "an INIT that this shard cannot have taken");
    }
    (void)take_values(replay->shard, init, replay->payload, replay);
    return PARAMD_OK;
}

enum paramd_status pd_replay_initialised(struct pd_replay *replay,
                                         const Paramd__RecordInitialised *record)
{
    struct pd_model *model = replay->model;
    if (record->from < model->next_start || record->to <= record->from ||
        record->to > model->block_count) {
        return pd_replay_refuse(replay, "first values of blocks that the model does not have");
    }
    for (uint32_t i = record->from; i < record->to; i++) {
        if (pd_replay_takes(replay, model->blocks[i].slot)) {
            (void)initialise_block(&model->blocks[i]);
        }
    }
    model->next_start = record->to;
    return PARAMD_OK;
}
