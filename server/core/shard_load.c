/* Loading a snapshot: each piece is checked as if a peer had sent it. The slots are of different
 * moments, so replay passes over what a slot has in it already; push ids of a session that was
 * opened after the snapshot began wait until replay opens it. */
#include <stdlib.h>
#include <string.h>

#include "proto/slot.h"
#include "server/base/assert.h"
#include "server/core/shard_snapshot.h"
#include "server/core/shard_state.h"

/* A snapshot that was loaded into a shard, until its log is replayed. */
struct pd_shard_loaded {
    bool begun; /* a slot has come */
    uint32_t slot;
    uint64_t last_position; /* the highest */
    uint64_t positions[PD_SLOTS];
};

static const ProtobufCMessageDescriptor *descriptor_of(unsigned kind)
{
    switch (kind) {
#define PIECE_DESCRIPTOR(NAME, number, message)                                                    \
    case PD_PIECE_##NAME:                                                                          \
        return &paramd__##message##__descriptor;
        PD_PIECE_LIST(PIECE_DESCRIPTOR)
#undef PIECE_DESCRIPTOR
    default:
        return NULL;
    }
}

/* ---- what the shard knew ---- */

static enum paramd_status load_model(struct pd_replay *load, const Paramd__SnapshotModel *header,
                                     const struct pd_definition *definition)
{
    struct pd_message message = {.kind = PD_MESSAGE_CREATE_MODEL,
                                 .model = header->model,
                                 .generation = header->generation,
                                 .attempt = header->attempt,
                                 .session.nonce = header->nonce,
                                 .definition = definition,
                                 .hyper_count = header->n_groups};
    if (load->model != NULL || header->initialiser.len != PD_SESSION_BYTES) {
        return pd_replay_refuse(load, "a model that is there already, or without an initialiser");
    }
    message.hypers = pd_replay_groups(load, header->groups, header->n_groups, definition);
    if (message.hypers == NULL) {
        return pd_replay_refuse(load, "a model whose groups are not those of its definition");
    }
    memcpy(message.session.bits, header->initialiser.data, PD_SESSION_BYTES);
    enum paramd_status status = pd_shard_make_model(load->shard, &message);
    if (status != PARAMD_OK) {
        return status;
    }
    struct pd_model *model = pd_shard_model(load->shard, header->model);
    model->in_snapshot = true;
    model->ready = header->ready;
    return PARAMD_OK;
}

static enum paramd_status load_sessions(struct pd_replay *load,
                                        const Paramd__SnapshotSessions *header)
{
    size_t count = header->n_nonce;
    if (header->n_opening != count || header->sessions.len != count * PD_SESSION_BYTES) {
        return pd_replay_refuse(load, "sessions whose lists do not fit together");
    }
    for (size_t i = 0; i < count; i++) {
        struct pd_session_key key = {.nonce = header->nonce[i]};
        memcpy(key.bits, header->sessions.data + i * PD_SESSION_BYTES, PD_SESSION_BYTES);
        if (pd_session_find(load->model, key.bits) != NULL) {
            return pd_replay_refuse(load, "a session that is there already");
        }
        if (pd_session_open(load->shard, load->model, &key, header->opening[i]) == NULL) {
            return PARAMD_RESOURCE_EXHAUSTED;
        }
    }
    return PARAMD_OK;
}

/* ---- slots ---- */

static uint32_t next_slot(const struct pd_shard *shard)
{
    const struct pd_shard_loaded *loaded = shard->loaded;
    return loaded->begun ? loaded->slot + shard->options.shards : shard->options.shard;
}

static enum paramd_status load_slot(struct pd_replay *load, const Paramd__SnapshotSlot *header)
{
    struct pd_shard_loaded *loaded = load->shard->loaded;
    if (header->slot != next_slot(load->shard) || header->slot >= PD_SLOTS) {
        return pd_replay_refuse(load, "a slot that is not the next one of its shard");
    }
    loaded->begun = true;
    loaded->slot = header->slot;
    loaded->positions[header->slot] = header->position;
    if (header->position > loaded->last_position) {
        loaded->last_position = header->position;
    }
    return PARAMD_OK;
}

/* The i-th block of the piece, whose values begin at offset; false if it does not fit. */
static bool load_block(struct pd_replay *load, const Paramd__SnapshotBlocks *header, size_t i,
                       size_t *offset)
{
    const struct pd_definition *definition = load->model->definition;
    if (header->block[i] >= definition->block_count ||
        pd_slot_of_block(definition->first_slot, header->block[i]) != load->shard->loaded->slot) {
        return false;
    }
    struct pd_block *block = pd_model_block(load->model, header->block[i]);
    bool started = header->started.data[i] != 0;
    if (block == NULL || block->started || (header->version[i] > 0 && !started)) {
        return false;
    }
    size_t bytes = block->elements * sizeof(float);
    if (started && load->payload_count - *offset < bytes * block->part_count) {
        return false;
    }
    for (unsigned part = 0; started && part < block->part_count; part++) {
        memcpy(block->parts + (size_t)part * block->stride, load->payload + *offset, bytes);
        *offset += bytes;
    }
    block->version = header->version[i];
    block->step = header->step[i];
    block->carry = header->carry[i];
    block->started = started;
    load->model->incomplete -= block->version > 0;
    return true;
}

static enum paramd_status load_blocks(struct pd_replay *load, const Paramd__SnapshotBlocks *header)
{
    size_t count = header->n_block;
    size_t offset = 0;
    if (header->n_version != count || header->n_step != count || header->n_carry != count ||
        header->started.len != count) {
        return pd_replay_refuse(load, "blocks whose lists do not fit together");
    }
    for (size_t i = 0; i < count; i++) {
        if (!load_block(load, header, i, &offset)) {
            return pd_replay_refuse(load, "a block that is not of this slot, or there already, or "
                                          "without its values");
        }
    }
    return offset == load->payload_count
               ? PARAMD_OK
               : pd_replay_refuse(load, "values that are of no block of the piece");
}

/* Where the session's ids go: one that was opened since the snapshot began waits with them. */
static enum paramd_status find_session(struct pd_replay *load, const uint8_t *bits,
                                       uint64_t opening, struct pd_session **ret_session)
{
    struct pd_model *model = load->model;
    struct pd_session *session = pd_session_find(model, bits);
    if (session != NULL && session->opening < opening) {
        session = NULL;
    }
    if (session == NULL) {
        HASH_FIND(by_bits, model->waiting, &opening, sizeof opening, session);
    }
    if (session == NULL) {
        struct pd_session_key key = {.nonce = 0};
        memcpy(key.bits, bits, PD_SESSION_BYTES);
        session = pd_session_create(model, &key, load->shard->options.shards,
                                    &load->shard->push_ids_room);
        if (session == NULL) {
            return PARAMD_RESOURCE_EXHAUSTED;
        }
        session->opening = opening;
        HASH_ADD(by_bits, model->waiting, opening, sizeof session->opening, session);
        if (session->by_bits.tbl == NULL) {
            pd_session_destroy(session);
            return PARAMD_RESOURCE_EXHAUSTED;
        }
    }
    if (session->opening != opening || memcmp(session->key.bits, bits, PD_SESSION_BYTES) != 0) {
        return pd_replay_refuse(load, "push ids of a session that was ended, or of another one");
    }
    *ret_session = session;
    return PARAMD_OK;
}

static enum paramd_status load_ids(struct pd_replay *load, const Paramd__SnapshotIds *header)
{
    size_t count = header->n_opening;
    uint32_t slot = load->shard->loaded->slot;
    if (header->n_last != count || header->n_refused != count ||
        header->sessions.len != count * PD_SESSION_BYTES) {
        return pd_replay_refuse(load, "push ids whose lists do not fit together");
    }
    for (size_t i = 0; i < count; i++) {
        struct pd_session *session = NULL;
        enum paramd_status status = find_session(load, header->sessions.data + i * PD_SESSION_BYTES,
                                                 header->opening[i], &session);
        if (status != PARAMD_OK) {
            return status;
        }
        if (!pd_session_reserve(session, slot)) {
            return PARAMD_RESOURCE_EXHAUSTED;
        }
        struct pd_slot_ids *ids = pd_session_ids(session, slot);
        if (ids->last != 0 || header->last[i] == 0 || header->last[i] == UINT64_MAX) {
            return pd_replay_refuse(load, "push ids that are there already, or none");
        }
        *ids = (struct pd_slot_ids){header->last[i], header->refused[i]};
    }
    return PARAMD_OK;
}

/* ---- any piece ---- */

static enum paramd_status load_kind(struct pd_replay *load, unsigned kind,
                                    const ProtobufCMessage *header,
                                    const struct pd_definition *definition)
{
    bool of_slot = kind == PD_PIECE_BLOCKS || kind == PD_PIECE_IDS;
    if (of_slot != load->shard->loaded->begun || (load->model == NULL && kind != PD_PIECE_MODEL)) {
        return pd_replay_refuse(load,
                                "a piece in the wrong place, or of a model that is not there");
    }
    switch (kind) {
    case PD_PIECE_MODEL:
        return load_model(load, (const Paramd__SnapshotModel *)header, definition);
    case PD_PIECE_SESSIONS:
        return load_sessions(load, (const Paramd__SnapshotSessions *)header);
    case PD_PIECE_BLOCKS:
        return load_blocks(load, (const Paramd__SnapshotBlocks *)header);
    default:
        return load_ids(load, (const Paramd__SnapshotIds *)header);
    }
}

enum paramd_status pd_shard_snapshot_load(struct pd_shard *shard, const struct pd_logged *piece,
                                          const struct pd_definitions *definitions,
                                          struct pd_arena *arena, const char **ret_text)
{
    struct pd_replay load = {.shard = shard,
                             .arena = arena,
                             .payload = piece->payload,
                             .payload_count = piece->payload_count,
                             .text = pd_replay_no_memory};
    const ProtobufCMessageDescriptor *descriptor = descriptor_of(piece->kind);
    if (descriptor == NULL) {
        *ret_text = "a piece of a kind that this version does not know in a snapshot";
        return PARAMD_UNSUPPORTED;
    }
    pd_arena_reset(arena);
    const ProtobufCMessage *header =
        pd_decode(descriptor, arena, piece->header, piece->header_count);
    if (header == NULL || (piece->payload_count > 0 && piece->kind != PD_PIECE_BLOCKS)) {
        *ret_text = "the header of a piece is not a message of its kind, or it has a payload";
        return PARAMD_INVALID;
    }
    if (shard->loaded == NULL) {
        shard->loaded = calloc(1, sizeof *shard->loaded);
    }
    enum paramd_status status = PARAMD_RESOURCE_EXHAUSTED;
    if (shard->loaded != NULL && piece->kind == PD_PIECE_SLOT) {
        status = load_slot(&load, (const Paramd__SnapshotSlot *)header);
    } else if (shard->loaded != NULL) {
        /* Every other message begins with the number of the model. */
        uint64_t number = ((const Paramd__SnapshotIds *)header)->model;
        const struct pd_definition *definition = definitions->find(definitions->context, number);
        load.model = pd_shard_model(shard, number);
        status = definition != NULL ? load_kind(&load, piece->kind, header, definition) : PARAMD_OK;
    }
    if (status != PARAMD_OK) {
        *ret_text = load.text;
    }
    return status;
}

/* ---- in replay ---- */

bool pd_replay_takes(const struct pd_replay *replay, uint32_t slot)
{
    /* A model that was made since is in the log whole. */
    return !replay->model->in_snapshot || replay->lsn > replay->shard->loaded->positions[slot];
}

bool pd_replay_within(const struct pd_replay *replay)
{
    return replay->model->in_snapshot && replay->lsn <= replay->shard->loaded->last_position;
}

bool pd_replay_open(const struct pd_replay *replay, struct pd_session *session)
{
    struct pd_model *model = replay->model;
    struct pd_session *waiting = NULL;
    HASH_FIND(by_bits, model->waiting, &session->opening, sizeof session->opening, waiting);
    if (waiting == NULL) {
        return true;
    }
    if (memcmp(waiting->key.bits, session->key.bits, PD_SESSION_BYTES) != 0) {
        return false;
    }
    HASH_DELETE(by_bits, model->waiting, waiting);
    for (uint32_t i = 0; i < PD_SESSION_PAGES; i++) {
        PD_ASSERT(session->pages[i] == NULL);
        session->pages[i] = waiting->pages[i];
        waiting->pages[i] = NULL;
    }
    pd_session_destroy(waiting);
    return true;
}

static const char *find_loss(const struct pd_shard *shard, uint64_t last_lsn)
{
    if (next_slot(shard) < PD_SLOTS) {
        return "the snapshot does not have all slots of its shard";
    }
    if (shard->loaded->last_position > last_lsn) {
        return "the log ends before the last record that the snapshot has in it";
    }
    const struct pd_model *model = shard->models;
    for (; model != NULL; model = model->by_number.next) {
        if (model->waiting != NULL) {
            return "the snapshot has push ids of a session that the log does not open";
        }
        if (model->ready && model->incomplete > 0) {
            return "the snapshot does not have all blocks of a model";
        }
    }
    return NULL;
}

enum paramd_status pd_shard_replay_end(struct pd_shard *shard, uint64_t last_lsn,
                                       const char **ret_text)
{
    const char *loss = shard->loaded != NULL ? find_loss(shard, last_lsn) : NULL;
    if (loss != NULL) {
        *ret_text = loss;
        return PARAMD_INVALID;
    }
    free(shard->loaded);
    shard->loaded = NULL;
    for (struct pd_model *model = shard->models; model != NULL; model = model->by_number.next) {
        model->in_snapshot = false;
    }
    return PARAMD_OK;
}
