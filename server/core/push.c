/* PUSH and PUSH_PULL: a frame is checked whole, reserves all it may need, and then its entries are
 * taken in order: is the slot ours, is the push id new, apply, use the id up. SKIP uses ids up
 * without a push. What a record says of either is done again here. */
#include <math.h>

#include "proto/plant.h"
#include "proto/slot.h"
#include "server/core/shard_state.h"

static const char no_log_room[] =
    "the log has no room now: send this again later; if it goes on, the disk is full";
static const char no_room[] = "no room for what has to be kept with a push: send this again later; "
                              "if it goes on, end sessions that are over, or raise --memory-max";

/* The arrays of an ACK while it is made. */
struct answer {
    Paramd__Ack *ack;
    bool moved;   /* one entry at least belongs to another shard */
    bool applied; /* one at least was applied now, not when it first came */
    uint32_t final_count;
};

static bool lengths_agree(const Paramd__Push *push)
{
    size_t count = push->n_tensor;
    return count > 0 && count <= PD_ENTRIES_MAX && push->n_block == count &&
           push->n_push_id == count && push->n_base_version == count;
}

/* Looks every entry up; false if one does not exist or the payload has another length. */
static bool look_up(struct pd_shard *shard, const struct pd_model *model, const Paramd__Push *push,
                    size_t payload_count)
{
    size_t element_bytes = pd_dtype_bytes((enum pd_dtype)push->dtype);
    size_t offset = 0;
    for (size_t i = 0; i < push->n_tensor; i++) {
        struct pd_entry *entry = &shard->entries[i];
        uint64_t in_model;
        if (push->push_id[i] == 0 ||
            !pd_model_locate(model, push->tensor[i], push->block[i], &in_model)) {
            return false;
        }
        const struct pd_definition *definition = model->definition;
        entry->block = pd_model_block(model, in_model);
        entry->slot = pd_slot_of_block(definition->first_slot, in_model);
        entry->elements = pd_block_elements(definition->tensors[push->tensor[i]].elements,
                                            definition->block_elements, push->block[i]);
        entry->offset = offset;
        offset += entry->elements * element_bytes;
        if (offset > payload_count) {
            return false;
        }
    }
    return offset == payload_count;
}

/* Whether all copies and places for ids that the frame may need are there. PARAMD_BUSY: copies will
 * be free again; PARAMD_RESOURCE_EXHAUSTED. What was done stays and does no harm. */
static enum paramd_status reserve(struct pd_shard *shard, struct pd_session *session, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct pd_block *block = shard->entries[i].block;
        if (block == NULL) {
            continue;
        }
        if (!pd_session_reserve(session, shard->entries[i].slot)) {
            return PARAMD_RESOURCE_EXHAUSTED;
        }
        if (block->view != NULL && !pd_plant(torn_view)) {
            if (!pd_block_unshare(block, &shard->copies)) {
                return shard->copies.in_use > 0 ? PARAMD_BUSY : PARAMD_RESOURCE_EXHAUSTED;
            }
            shard->copied++;
        }
    }
    return PARAMD_OK;
}

static bool answer_create(struct pd_effects *effects, const Paramd__Push *push,
                          struct answer *ret_answer)
{
    size_t count = push->n_tensor;
    Paramd__Ack *ack = pd_arena_take(effects->arena, sizeof *ack);
    if (ack == NULL) {
        return false;
    }
    paramd__ack__init(ack);
    ack->request_id = push->request_id;
    ack->model = push->model;
    ack->slot = pd_arena_take(effects->arena, count * sizeof *ack->slot);
    ack->push_id = push->push_id;
    ack->status = pd_arena_take(effects->arena, count * sizeof *ack->status);
    ack->version = pd_arena_take(effects->arena, count * sizeof *ack->version);
    if (ack->slot == NULL || ack->status == NULL || ack->version == NULL) {
        return false;
    }
    ack->n_slot = ack->n_push_id = ack->n_status = ack->n_version = count;
    *ret_answer = (struct answer){.ack = ack};
    return true;
}

static void count_result(struct pd_model_count *count, enum paramd_status status,
                         uint64_t staleness)
{
    if (status == PARAMD_OK) {
        uint64_t bucket =
            staleness < PD_STALENESS_BUCKETS - 1 ? staleness : PD_STALENESS_BUCKETS - 1;
        count->pushes_applied++;
        count->staleness[bucket]++;
    } else if (status == PARAMD_TOO_STALE) {
        count->pushes_refused_stale++;
    } else {
        count->pushes_refused_not_finite++;
    }
}

static enum pd_record_result result_of(enum paramd_status status)
{
    if (status == PARAMD_OK) {
        return PD_RESULT_APPLIED;
    }
    return status == PARAMD_TOO_STALE ? PD_RESULT_TOO_STALE : PD_RESULT_NOT_FINITE;
}

/* The gradient of one entry; generation is the model's when the push came. */
static struct pd_optim_push gradient_of(const struct pd_entry *entry, const Paramd__Push *push,
                                        size_t i, uint64_t generation, const uint8_t *payload)
{
    const struct pd_block *block = entry->block;
    uint64_t base = push->generation == generation ? push->base_version[i] : 0;
    return (struct pd_optim_push){
        .gradient = payload + entry->offset,
        .dtype = (enum pd_dtype)push->dtype,
        .scale = push->scale == 0 ? 1.0F : push->scale,
        .staleness = base != 0 && base < block->version ? block->version - base : 0,
    };
}

/* Applies one entry whose id is the next one; the id is used up whatever comes of it. */
static enum paramd_status apply(struct pd_entry *entry, struct pd_slot_ids *ids,
                                const Paramd__Push *push, size_t i, const uint8_t *payload)
{
    struct pd_model *model = entry->block->model;
    struct pd_optim_push gradient = gradient_of(entry, push, i, model->generation, payload);
    enum paramd_status status = pd_block_apply(entry->block, &gradient);
    pd_slot_ids_use(ids, status != PARAMD_OK);
    count_result(&model->count, status, gradient.staleness);
    entry->result = result_of(status);
    return status;
}

/* One entry: its result and version go to place i of the answer. */
static void take_entry(struct pd_shard *shard, struct pd_session *session, const Paramd__Push *push,
                       size_t i, const uint8_t *payload, struct answer *answer)
{
    struct pd_entry *entry = &shard->entries[i];
    Paramd__Ack *ack = answer->ack;
    entry->result = PD_RESULT_NOT_TAKEN;
    ack->slot[i] = entry->slot;
    if (entry->block == NULL) {
        ack->status[i] = PARAMD_MOVED;
        ack->version[i] = 0;
        answer->moved = true;
        return;
    }
    struct pd_slot_ids *ids = pd_session_ids(session, entry->slot);
    enum paramd_status status = pd_slot_ids_look(ids, push->push_id[i]);
    struct pd_model_count *count = &session->model->count;
    if (status == PARAMD_EXPECTED) {
        ack->status[i] = PARAMD_EXPECTED;
        ack->version[i] = ids->last + 1;
        count->pushes_expected++;
        return;
    }
    if (status == PARAMD_OK) {
        status = apply(entry, ids, push, i, payload);
        answer->applied = answer->applied || status == PARAMD_OK;
        shard->applied_count += status == PARAMD_OK;
    } else {
        count->pushes_duplicate++;
        status = status == PARAMD_ALREADY ? PARAMD_OK : status;
    }
    ack->status[i] = status;
    ack->version[i] = entry->block->version;
    answer->final_count++;
}

/* Memory for the record of a frame: nothing may fail once an entry was taken. */
static Paramd__RecordPush *make_record(const struct pd_event *event, size_t count,
                                       struct pd_effects *effects)
{
    Paramd__RecordPush *record = pd_arena_take(effects->arena, sizeof *record);
    uint8_t *results = pd_arena_take(effects->arena, count);
    if (record == NULL || results == NULL) {
        return NULL;
    }
    paramd__record_push__init(record);
    record->time_us = event->now_us;
    record->frame =
        (ProtobufCBinaryData){event->header_count, (uint8_t *)(uintptr_t)event->header_bytes};
    record->results = (ProtobufCBinaryData){count, results};
    return record;
}

/* The answer waits for the record, and without one for those before it: of what a duplicate was
 * told when it first came. */
static void log_push(struct pd_shard *shard, const struct pd_event *event,
                     struct pd_session *session, Paramd__RecordPush *record,
                     struct pd_effects *effects)
{
    size_t taken = 0;
    size_t applied = 0;
    for (size_t i = 0; i < record->results.len; i++) {
        enum pd_record_result result = shard->entries[i].result;
        record->results.data[i] = (uint8_t)result;
        taken += result != PD_RESULT_NOT_TAKEN;
        applied += result == PD_RESULT_APPLIED;
    }
    effects->wait = true;
    if (taken == 0) {
        return;
    }
    record->model = session->model->number;
    record->generation = session->model->generation;
    record->session = (ProtobufCBinaryData){PD_SESSION_BYTES, session->key.bits};
    record->results.len = applied == record->results.len ? 0 : record->results.len;
    pd_shard_record_frame(shard, event, PD_RECORD_PUSH, &record->base, effects);
}

/* The values after a PUSH_PULL: a cursor over the entries with a final result. They wait for what
 * the answer waits for, be it only answers before it, and leave behind it. */
static bool queue_values(struct pd_shard *shard, const struct pd_event *event,
                         struct pd_model *model, const struct answer *answer,
                         const struct pd_effects *effects)
{
    const Paramd__Push *push = (const Paramd__Push *)event->header;
    struct pd_cursor *cursor = pd_cursor_create(shard, event->peer, model, answer->final_count);
    if (cursor == NULL) {
        return false;
    }
    cursor->request_id = push->request_id;
    cursor->after_lsn = effects->wait ? event->log_lsn + effects->record_count : event->answers_lsn;
    cursor->dtype = (enum pd_dtype)push->dtype;
    cursor->parts = 1U << PARAMD__PART__WEIGHTS;
    uint32_t next = 0;
    for (size_t i = 0; i < push->n_tensor; i++) {
        if (answer->ack->status[i] != PARAMD_MOVED && answer->ack->status[i] != PARAMD_EXPECTED) {
            cursor->entries[next++] = (struct pd_cursor_entry){.block = shard->entries[i].block};
        }
    }
    return true;
}

/* Checks that end the request as a whole; true if its entries may be taken. */
static bool admit(struct pd_shard *shard, const struct pd_event *event, const Paramd__Push *push,
                  struct pd_session *session, struct pd_effects *effects)
{
    if (!lengths_agree(push) || !pd_dtype_valid(push->dtype) ||
        !look_up(shard, session->model, push, event->payload_count)) {
        pd_close(effects, PARAMD_PROTOCOL,
                 "a PUSH whose arrays, blocks, push ids or payload do not fit together");
        return false;
    }
    if (!session->model->ready) {
        pd_reply_error(effects, push->request_id, PARAMD_NOT_READY,
                       "the model has no values yet: send this again later");
        return false;
    }
    if (session->model->logged &&
        !pd_shard_record_room(shard, event, effects,
                              event->header_count + push->n_tensor + event->payload_count)) {
        pd_shard_no_record_room(event, effects, no_log_room);
        return false;
    }
    enum paramd_status status = reserve(shard, session, push->n_tensor);
    if (status == PARAMD_BUSY) {
        effects->verdict = PD_VERDICT_HOLD;
        return false;
    }
    if (status != PARAMD_OK) {
        pd_reply_error(effects, push->request_id, status, no_room);
        return false;
    }
    return true;
}

void pd_shard_push(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    const Paramd__Push *push = (const Paramd__Push *)event->header;
    struct pd_attachment *attachment = pd_attachment_for(shard, event, push->model, effects);
    if (attachment == NULL) {
        return;
    }
    struct pd_session *session = attachment->session;
    struct answer answer;
    if (!admit(shard, event, push, session, effects)) {
        return;
    }
    Paramd__RecordPush *record = NULL;
    if (!answer_create(effects, push, &answer) ||
        (session->model->logged &&
         (record = make_record(event, push->n_tensor, effects)) == NULL)) {
        pd_reply_error(effects, push->request_id, PARAMD_RESOURCE_EXHAUSTED,
                       "no memory for an answer: send this again later");
        return;
    }
    for (size_t i = 0; i < push->n_tensor; i++) {
        take_entry(shard, session, push, i, event->payload, &answer);
    }
    if (answer.applied && isfinite(push->weight) && push->weight > 0) {
        session->model->count.weight += push->weight;
    }
    session->model->count.bytes_pushed += event->payload_count;
    if (record != NULL) {
        log_push(shard, event, session, record, effects);
    }
    pd_reply(effects, PD_KIND_ACK, &answer.ack->base);
    if (answer.moved) {
        pd_reply_moved(shard, effects, 0);
    }
    if (event->frame_kind == PD_KIND_PUSH_PULL &&
        !queue_values(shard, event, session->model, &answer, effects)) {
        /* The pushes stand; the client comes back over a new connection and gets the values. */
        effects->verdict = PD_VERDICT_CLOSE;
        effects->reason = "no memory for the values of a PUSH_PULL";
    }
}

static void log_skip(struct pd_shard *shard, const struct pd_event *event,
                     struct pd_session *session, Paramd__RecordSkip *record,
                     struct pd_effects *effects)
{
    const Paramd__Skip *skip = (const Paramd__Skip *)event->header;
    paramd__record_skip__init(record);
    record->time_us = event->now_us;
    record->model = skip->model;
    record->session = (ProtobufCBinaryData){PD_SESSION_BYTES, session->key.bits};
    record->slot = skip->slot;
    record->after = skip->from - 1;
    record->to = skip->to;
    pd_shard_record(shard, PD_RECORD_SKIP, &record->base, effects);
}

void pd_shard_skip(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    const Paramd__Skip *skip = (const Paramd__Skip *)event->header;
    struct pd_attachment *attachment = pd_attachment_for(shard, event, skip->model, effects);
    if (attachment == NULL) {
        return;
    }
    if (skip->slot >= PD_SLOTS || skip->from == 0 || skip->to < skip->from ||
        skip->to == UINT64_MAX) {
        pd_close(effects, PARAMD_PROTOCOL, "a SKIP whose slot or range does not exist");
        return;
    }
    if (pd_slot_shard(skip->slot, shard->options.shards) != shard->options.shard) {
        pd_reply_moved(shard, effects, skip->request_id);
        return;
    }
    Paramd__Skipped *skipped = pd_arena_take(effects->arena, sizeof *skipped);
    Paramd__RecordSkip *record = pd_arena_take(effects->arena, sizeof *record);
    if (skipped == NULL || record == NULL || !pd_session_reserve(attachment->session, skip->slot)) {
        pd_reply_error(effects, skip->request_id, PARAMD_RESOURCE_EXHAUSTED, no_room);
        return;
    }
    bool logged = attachment->session->model->logged;
    if (logged && !pd_shard_record_room(shard, event, effects, 0)) {
        pd_shard_no_record_room(event, effects, no_log_room);
        return;
    }
    struct pd_slot_ids *ids = pd_session_ids(attachment->session, skip->slot);
    paramd__skipped__init(skipped);
    skipped->request_id = skip->request_id;
    if (skip->from <= ids->last) {
        skipped->status = PARAMD_ALREADY;
    } else if (skip->from > ids->last + 1 && !pd_plant(skip_jumps_unanswered)) {
        skipped->status = PARAMD_EXPECTED;
    } else {
        if (logged) {
            log_skip(shard, event, attachment->session, record, effects);
        }
        pd_slot_ids_skip(ids, skip->to);
        skipped->status = PARAMD_OK;
    }
    effects->wait = effects->wait || logged;
    skipped->last = ids->last;
    skipped->refused_mask = ids->refused;
    pd_reply(effects, PD_KIND_SKIPPED, &skipped->base);
}

/* ---- replay ---- */

/* One entry again: the next id of its slot, with the same result. */
static enum paramd_status replay_entry(struct pd_replay *replay, struct pd_session *session,
                                       const Paramd__RecordPush *record, const Paramd__Push *push,
                                       size_t i)
{
    const struct pd_entry *entry = &replay->shard->entries[i];
    unsigned result = record->results.len != 0 ? record->results.data[i] : PD_RESULT_APPLIED;
    if (result == PD_RESULT_NOT_TAKEN || !pd_replay_takes(replay, entry->slot)) {
        return PARAMD_OK;
    }
    if (result >= PD_RESULT_END || entry->block == NULL || entry->block->version == 0) {
        return pd_replay_refuse(replay, "a PUSH with a result that its entry cannot have");
    }
    if (!pd_session_reserve(session, entry->slot)) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    struct pd_slot_ids *ids = pd_session_ids(session, entry->slot);
    if (pd_slot_ids_look(ids, push->push_id[i]) != PARAMD_OK) {
        return pd_replay_refuse(replay, "a PUSH whose id is not the next one of its slot");
    }
    if (result == PD_RESULT_APPLIED) {
        struct pd_optim_push gradient =
            gradient_of(entry, push, i, record->generation, replay->payload);
        if (pd_block_apply(entry->block, &gradient) != PARAMD_OK) {
            return pd_replay_refuse(replay, "a PUSH that was applied and now would be refused");
        }
    }
    pd_slot_ids_use(ids, result != PD_RESULT_APPLIED);
    return PARAMD_OK;
}

enum paramd_status pd_replay_push(struct pd_replay *replay, const Paramd__RecordPush *record)
{
    struct pd_session *session = pd_replay_session(replay, record->session);
    const Paramd__Push *push = (const Paramd__Push *)pd_decode(
        &paramd__push__descriptor, replay->arena, record->frame.data, record->frame.len);
    if (session == NULL || !replay->model->ready) {
        return pd_replay_refuse(replay, "a PUSH of no session, or to a model without values");
    }
    if (push == NULL || push->model != record->model || !lengths_agree(push) ||
        (record->results.len != 0 && record->results.len != push->n_tensor) ||
        !pd_dtype_valid(push->dtype) ||
        !look_up(replay->shard, replay->model, push, replay->payload_count)) {
        return pd_replay_refuse(replay, "a PUSH whose frame does not fit the model");
    }
    enum paramd_status status = PARAMD_OK;
    for (size_t i = 0; i < push->n_tensor && status == PARAMD_OK; i++) {
        status = replay_entry(replay, session, record, push, i);
    }
    return status;
}

enum paramd_status pd_replay_skip(struct pd_replay *replay, const Paramd__RecordSkip *record)
{
    const struct pd_shard_options *options = &replay->shard->options;
    struct pd_session *session = pd_replay_session(replay, record->session);
    if (session == NULL || record->slot >= PD_SLOTS ||
        pd_slot_shard(record->slot, options->shards) != options->shard) {
        return pd_replay_refuse(replay, "a SKIP of no session, or of another shard's slot");
    }
    if (!pd_replay_takes(replay, record->slot)) {
        return PARAMD_OK;
    }
    if (!pd_session_reserve(session, record->slot)) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    struct pd_slot_ids *ids = pd_session_ids(session, record->slot);
    if (record->after != ids->last || record->to <= ids->last || record->to == UINT64_MAX) {
        return pd_replay_refuse(replay, "a SKIP that does not follow the slot's last id");
    }
    pd_slot_ids_skip(ids, record->to);
    return PARAMD_OK;
}
