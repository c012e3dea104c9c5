/* Writing a snapshot: the blocks of a slot are found by counting, since a model's blocks take
 * consecutive slots; models and sessions made later are in the log whole. */
#include "server/core/shard_snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "proto/plant.h"
#include "proto/slot.h"
#include "server/base/assert.h"
#include "server/core/shard_state.h"

enum {
    PIECE_BYTES =
        PD_PIECE_OVERHEAD_BYTES + 64, /* with the fields of its header that are not lists */
    BLOCK_BYTES = 4 * 10 + 2,         /* of the header, for each block at most */
    ID_BYTES = PD_SESSION_BYTES + 3 * 10,
    SESSION_BYTES = PD_SESSION_BYTES + 2 * 10,
    MODEL_BYTES = PD_HEADER_BYTES_MAX
};

/* The arrays of the piece in hand. */
struct pd_shard_snapshot {
    uint32_t next_slot;
    bool spoilt;
    pd_piece_sink *emit;
    void *context;

    uint8_t sessions[PD_PIECE_ITEMS_MAX * PD_SESSION_BYTES];
    uint64_t a[PD_PIECE_ITEMS_MAX];
    uint64_t b[PD_PIECE_ITEMS_MAX];
    uint64_t c[PD_PIECE_ITEMS_MAX];
    double carry[PD_PIECE_ITEMS_MAX];
    uint8_t started[PD_PIECE_ITEMS_MAX];
    struct pd_span spans[PD_PIECE_ITEMS_MAX * PD_PARTS_MAX];
    size_t count;
    size_t span_count;
    size_t payload_bytes;

    struct pd_group_hypers hypers[PD_GROUPS_MAX];
    Paramd__GroupHypers *groups[PD_GROUPS_MAX];
};

static void emit(struct pd_shard_snapshot *snapshot, enum pd_piece_kind kind,
                 const ProtobufCMessage *header)
{
    struct pd_piece piece = {kind, header, snapshot->spans, snapshot->span_count};
    snapshot->emit(snapshot->context, &piece);
    snapshot->count = 0;
    snapshot->span_count = 0;
    snapshot->payload_bytes = 0;
}

static void add_session(struct pd_shard_snapshot *snapshot, const struct pd_session *session)
{
    memcpy(snapshot->sessions + snapshot->count * PD_SESSION_BYTES, session->key.bits,
           PD_SESSION_BYTES);
}

static ProtobufCBinaryData sessions_of(struct pd_shard_snapshot *snapshot)
{
    return (ProtobufCBinaryData){snapshot->count * PD_SESSION_BYTES, snapshot->sessions};
}

/* ---- what the shard knows ---- */

static void emit_model(struct pd_shard_snapshot *snapshot, const struct pd_model *model)
{
    Paramd__SnapshotModel header = PARAMD__SNAPSHOT_MODEL__INIT;
    struct pd_session_key initialiser = model->initialiser;
    header.model = model->number;
    header.generation = model->generation;
    header.attempt = model->attempt;
    header.initialiser = (ProtobufCBinaryData){PD_SESSION_BYTES, initialiser.bits};
    header.nonce = initialiser.nonce;
    header.ready = model->ready;
    for (size_t i = 0; i < model->group_count; i++) {
        pd_group_hypers_fill(&snapshot->hypers[i], model->definition->groups[i].name,
                             model->groups[i].optimizer, &model->groups[i].hyper);
        snapshot->groups[i] = &snapshot->hypers[i].message;
    }
    header.groups = snapshot->groups;
    header.n_groups = model->group_count;
    emit(snapshot, PD_PIECE_MODEL, &header.base);
}

static void emit_sessions(struct pd_shard_snapshot *snapshot, uint64_t number)
{
    Paramd__SnapshotSessions header = PARAMD__SNAPSHOT_SESSIONS__INIT;
    header.model = number;
    header.sessions = sessions_of(snapshot);
    header.nonce = snapshot->a;
    header.opening = snapshot->b;
    header.n_nonce = header.n_opening = snapshot->count;
    if (snapshot->count > 0) {
        emit(snapshot, PD_PIECE_SESSIONS, &header.base);
    }
}

static void emit_all_sessions(struct pd_shard_snapshot *snapshot, const struct pd_model *model)
{
    const struct pd_session *session = model->sessions;
    for (; session != NULL; session = session->by_bits.next) {
        add_session(snapshot, session);
        snapshot->a[snapshot->count] = session->key.nonce;
        snapshot->b[snapshot->count++] = session->opening;
        if (snapshot->count == PD_PIECE_ITEMS_MAX) {
            emit_sessions(snapshot, model->number);
        }
    }
    emit_sessions(snapshot, model->number);
}

static size_t sessions_bytes(size_t count, size_t bytes)
{
    return count * bytes + (count / PD_PIECE_ITEMS_MAX + 1) * PIECE_BYTES;
}

size_t pd_shard_snapshot_begin_bytes(const struct pd_shard *shard)
{
    size_t bytes = 0;
    const struct pd_model *model = shard->models;
    for (; model != NULL; model = model->by_number.next) {
        bytes += MODEL_BYTES + PIECE_BYTES +
                 sessions_bytes(HASH_CNT(by_bits, model->sessions), SESSION_BYTES);
    }
    return bytes;
}

enum paramd_status pd_shard_snapshot_begin(struct pd_shard *shard, pd_piece_sink *sink,
                                           void *context)
{
    PD_ASSERT(shard->snapshot == NULL);
    struct pd_shard_snapshot *snapshot = malloc(sizeof *snapshot);
    if (snapshot == NULL) {
        return PARAMD_NO_MEMORY;
    }
    shard->snapshot = snapshot;
    snapshot->next_slot = shard->options.shard;
    snapshot->spoilt = false;
    snapshot->emit = sink;
    snapshot->context = context;
    snapshot->count = 0;
    snapshot->span_count = 0;
    snapshot->payload_bytes = 0;
    for (struct pd_model *model = shard->models; model != NULL; model = model->by_number.next) {
        model->in_snapshot = true;
        emit_model(snapshot, model);
        emit_all_sessions(snapshot, model);
    }
    return PARAMD_OK;
}

void pd_shard_snapshot_end(struct pd_shard *shard)
{
    struct pd_model *model = shard->models;
    for (; model != NULL; model = model->by_number.next) {
        model->in_snapshot = false;
    }
    free(shard->snapshot);
    shard->snapshot = NULL;
}

void pd_shard_snapshot_spoil(struct pd_shard *shard, const struct pd_model *model)
{
    if (shard->snapshot != NULL && model->in_snapshot) {
        shard->snapshot->spoilt = true;
    }
}

bool pd_shard_snapshot_spoilt(const struct pd_shard *shard)
{
    return shard->snapshot != NULL && shard->snapshot->spoilt;
}

/* ---- a slot ---- */

/* The first of the model's blocks in the slot; the others follow every PD_SLOTS. */
static uint64_t first_in_slot(const struct pd_model *model, uint32_t slot)
{
    return (slot + PD_SLOTS - model->definition->first_slot) % PD_SLOTS;
}

static bool has_ids(const struct pd_session *session, uint32_t slot)
{
    const struct pd_slot_ids *ids = pd_session_ids(session, slot);
    return ids != NULL && ids->last > 0 && !pd_plant(ids_not_in_snapshot);
}

size_t pd_shard_snapshot_next_bytes(const struct pd_shard *shard)
{
    uint32_t slot = shard->snapshot->next_slot;
    if (slot >= PD_SLOTS) {
        return 0;
    }
    size_t bytes = PIECE_BYTES;
    const struct pd_model *model = shard->models;
    for (; model != NULL; model = model->by_number.next) {
        if (!model->in_snapshot) {
            continue;
        }
        uint64_t i = first_in_slot(model, slot);
        for (; i < model->definition->block_count; i += PD_SLOTS) {
            bytes += pd_block_bytes(pd_model_block(model, i)) + BLOCK_BYTES + PIECE_BYTES;
        }
        size_t count = 0;
        const struct pd_session *session = model->sessions;
        for (; session != NULL; session = session->by_bits.next) {
            count += has_ids(session, slot);
        }
        bytes += sessions_bytes(count, ID_BYTES);
    }
    return bytes;
}

static void emit_blocks(struct pd_shard_snapshot *snapshot, uint64_t number)
{
    Paramd__SnapshotBlocks header = PARAMD__SNAPSHOT_BLOCKS__INIT;
    size_t count = snapshot->count;
    header.model = number;
    header.block = snapshot->a;
    header.version = snapshot->b;
    header.step = snapshot->c;
    header.carry = snapshot->carry;
    header.started = (ProtobufCBinaryData){count, snapshot->started};
    header.n_block = header.n_version = header.n_step = header.n_carry = count;
    if (count > 0) {
        emit(snapshot, PD_PIECE_BLOCKS, &header.base);
    }
}

/* A block without values is nothing but its place. */
static void add_block(struct pd_shard_snapshot *snapshot, uint64_t place,
                      const struct pd_block *block)
{
    size_t i = snapshot->count++;
    snapshot->a[i] = place;
    snapshot->b[i] = block->version;
    snapshot->c[i] = pd_plant(step_not_restored) ? 0 : block->step;
    snapshot->carry[i] = block->carry;
    snapshot->started[i] = block->started;
    for (unsigned part = 0; block->started && part < block->part_count; part++) {
        snapshot->spans[snapshot->span_count++] =
            (struct pd_span){(uint8_t *)(block->parts + (size_t)part * block->stride),
                             block->elements * sizeof(float)};
    }
    snapshot->payload_bytes += pd_block_bytes(block);
}

static void emit_slot_blocks(struct pd_shard_snapshot *snapshot, const struct pd_model *model,
                             uint32_t slot)
{
    uint64_t i = first_in_slot(model, slot);
    for (; i < model->definition->block_count; i += PD_SLOTS) {
        const struct pd_block *block = pd_model_block(model, i);
        if (snapshot->count == PD_PIECE_ITEMS_MAX ||
            snapshot->payload_bytes + pd_block_bytes(block) > PD_PIECE_PAYLOAD_MAX) {
            emit_blocks(snapshot, model->number);
        }
        add_block(snapshot, i, block);
    }
    emit_blocks(snapshot, model->number);
}

static void emit_ids(struct pd_shard_snapshot *snapshot, uint64_t number)
{
    Paramd__SnapshotIds header = PARAMD__SNAPSHOT_IDS__INIT;
    header.model = number;
    header.sessions = sessions_of(snapshot);
    header.opening = snapshot->a;
    header.last = snapshot->b;
    header.refused = snapshot->c;
    header.n_opening = header.n_last = header.n_refused = snapshot->count;
    if (snapshot->count > 0) {
        emit(snapshot, PD_PIECE_IDS, &header.base);
    }
}

static void emit_slot_ids(struct pd_shard_snapshot *snapshot, const struct pd_model *model,
                          uint32_t slot)
{
    const struct pd_session *session = model->sessions;
    for (; session != NULL; session = session->by_bits.next) {
        if (!has_ids(session, slot)) {
            continue;
        }
        const struct pd_slot_ids *ids = pd_session_ids(session, slot);
        add_session(snapshot, session);
        snapshot->a[snapshot->count] = session->opening;
        snapshot->b[snapshot->count] = ids->last;
        snapshot->c[snapshot->count++] = ids->refused;
        if (snapshot->count == PD_PIECE_ITEMS_MAX) {
            emit_ids(snapshot, model->number);
        }
    }
    emit_ids(snapshot, model->number);
}

void pd_shard_snapshot_next(struct pd_shard *shard, uint64_t position, pd_piece_sink *sink,
                            void *context)
{
    struct pd_shard_snapshot *snapshot = shard->snapshot;
    uint32_t slot = snapshot->next_slot;
    PD_ASSERT(slot < PD_SLOTS);
    snapshot->next_slot += shard->options.shards;
    snapshot->emit = sink;
    snapshot->context = context;
    Paramd__SnapshotSlot header = PARAMD__SNAPSHOT_SLOT__INIT;
    header.slot = slot;
    header.position = pd_plant(torn_slot_in_snapshot) && position > 0 ? position - 1 : position;
    emit(snapshot, PD_PIECE_SLOT, &header.base);
    const struct pd_model *model = shard->models;
    for (; model != NULL; model = model->by_number.next) {
        if (model->in_snapshot) {
            emit_slot_blocks(snapshot, model, slot);
            emit_slot_ids(snapshot, model, slot);
        }
    }
}
