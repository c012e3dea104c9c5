/* What shards hold goes to another number of shards: every slot with its blocks and push ids to the
 * shard that owns it now. A model's memory is in chunks of one shard's blocks, so it is copied,
 * block by block through the whole model, while chunks behind are given back. */
#include <string.h>

#include "proto/plant.h"
#include "proto/slot.h"
#include "server/base/assert.h"
#include "server/core/shard_state.h"

/* A model on one of the shards that it comes from, or goes to. */
struct part {
    struct pd_shard *shard;
    struct pd_model *model; /* NULL: it is not there */
    size_t chunk;           /* in use; those before are given back */
};

struct move {
    struct part from[PD_SHARDS_MAX];
    struct part to[PD_SHARDS_MAX];
    uint32_t from_count;
    uint32_t to_count;
};

/* ---- as many shards as before ---- */

/* Where the server's own initialisers go on, however the shard came here: records of the next epoch
 * begin there. */
static uint32_t find_start(const struct pd_model *model)
{
    uint32_t place = 0;
    while (place < model->block_count &&
           (model->blocks[place].version > 0 ||
            model->definition->tensors[model->blocks[place].tensor].init ==
                PARAMD__INITIALISER__CLIENT)) {
        place++;
    }
    return place;
}

static enum paramd_status hand_over(struct pd_shard *from, struct pd_shard *to)
{
    uint64_t used = from->options.push_ids_max - from->push_ids_room;
    if (used > to->push_ids_room) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    from->push_ids_room += used;
    to->push_ids_room -= used;
    to->memory_bytes = from->memory_bytes;
    from->memory_bytes = 0;
    to->models = from->models;
    from->models = NULL;
    for (struct pd_model *model = to->models; model != NULL; model = model->by_number.next) {
        model->logged = pd_shard_logs(to, model);
        model->next_start = find_start(model);
        struct pd_session *session = model->sessions;
        for (; session != NULL; session = session->by_bits.next) {
            session->room = &to->push_ids_room;
        }
    }
    return PARAMD_OK;
}

/* ---- one model ---- */

/* The part whose attempt is the last, or the first of those. */
static const struct pd_model *newest_of(const struct move *move)
{
    const struct pd_model *newest = NULL;
    for (uint32_t i = 0; i < move->from_count; i++) {
        const struct pd_model *model = move->from[i].model;
        if (model != NULL && (newest == NULL || model->attempt > newest->attempt)) {
            newest = model;
        }
    }
    return newest;
}

/* Whether all parts can be of one model; those of an attempt that is over drop their values. */
static bool agree(const struct move *move, const struct pd_model *newest)
{
    struct pd_message last = {.attempt = newest->attempt, .session = newest->initialiser};
    for (uint32_t i = 0; i < move->from_count; i++) {
        struct pd_model *model = move->from[i].model;
        for (size_t j = 0; model != NULL && j < model->group_count; j++) {
            if (model->groups[j].moments != newest->groups[j].moments) {
                return false;
            }
        }
        if (model != NULL && model->attempt < newest->attempt) {
            pd_model_restart(model, &last);
        }
    }
    return true;
}

/* The model on all its new shards, without memory for the blocks. */
static enum paramd_status make(struct move *move, const struct pd_model *newest)
{
    struct pd_hyper hypers[PD_GROUPS_MAX];
    struct pd_message message = {.model = newest->number,
                                 .generation = newest->generation,
                                 .attempt = newest->attempt,
                                 .session = newest->initialiser,
                                 .definition = newest->definition,
                                 .hypers = hypers,
                                 .hyper_count = newest->group_count};
    for (size_t i = 0; i < newest->group_count; i++) {
        hypers[i] = newest->groups[i].hyper;
    }
    for (uint32_t i = 0; i < move->to_count; i++) {
        struct part *to = &move->to[i];
        struct pd_model *model;
        enum paramd_status status = pd_model_create_empty(&message, i, move->to_count, &model);
        if (status != PARAMD_OK || !pd_shard_enter_model(to->shard, model)) {
            return PARAMD_RESOURCE_EXHAUSTED;
        }
        to->model = model;
    }
    return PARAMD_OK;
}

static void copy_block(struct pd_block *to, const struct pd_block *from)
{
    PD_ASSERT(to->parts != NULL);
    if (from->started) {
        memcpy(to->parts, from->parts, pd_block_bytes(from));
    }
    to->version = from->version;
    to->step = from->step;
    to->carry = from->carry;
    to->started = from->started;
    to->model->incomplete -= from->version > 0;
}

/* The block was moved: if it was the last one of its chunk, gives that back. */
static void pass(struct part *from, const struct pd_block *block)
{
    const struct pd_model *model = from->model;
    const struct pd_chunk *chunk = &model->chunks[from->chunk];
    uint32_t next = (uint32_t)(block - model->blocks) + 1;
    if (next == model->block_count || model->blocks[next].parts == chunk[1].memory) {
        const struct pd_memory *memory = &from->shard->options.memory;
        memory->give(memory->context, chunk->memory, chunk->bytes);
        from->chunk++;
    }
}

static enum paramd_status copy_blocks(struct move *move, const struct pd_definition *definition)
{
    for (uint64_t i = 0; i < definition->block_count; i++) {
        uint32_t slot = pd_slot_of_block(definition->first_slot, i);
        struct part *from = &move->from[pd_slot_shard(slot, move->from_count)];
        const struct part *to = &move->to[pd_slot_shard(slot, move->to_count)];
        PD_ASSERT(to->model != NULL);
        struct pd_block *block = pd_model_block(to->model, i);
        if (block->parts == NULL &&
            !pd_model_take_chunk(to->model, (uint32_t)(block - to->model->blocks),
                                 &to->shard->options.memory)) {
            return PARAMD_RESOURCE_EXHAUSTED;
        }
        if (from->model != NULL) {
            const struct pd_block *before = pd_model_block(from->model, i);
            copy_block(block, before);
            pass(from, before);
        }
    }
    return PARAMD_OK;
}

/* The ids of one session on one shard, to those that own their slots now. An opening that is not
 * the last has none: the session was ended. */
static enum paramd_status copy_ids(struct move *move, uint32_t shard, const struct pd_session *from)
{
    for (uint32_t slot = shard; slot < PD_SLOTS; slot += move->from_count) {
        const struct pd_slot_ids *ids = pd_session_ids(from, slot);
        if (ids == NULL || ids->last == 0 || pd_plant(ids_not_moved)) {
            continue;
        }
        const struct part *to = &move->to[pd_slot_shard(slot, move->to_count)];
        struct pd_session *session = pd_session_find(to->model, from->key.bits);
        if (session != NULL && session->opening > from->opening) {
            continue;
        }
        session = pd_session_open(to->shard, to->model, &from->key, from->opening);
        if (session == NULL || !pd_session_reserve(session, slot)) {
            return PARAMD_RESOURCE_EXHAUSTED;
        }
        *pd_session_ids(session, slot) = *ids;
    }
    return PARAMD_OK;
}

static enum paramd_status copy_sessions(struct move *move)
{
    for (uint32_t i = 0; i < move->from_count; i++) {
        const struct pd_model *model = move->from[i].model;
        const struct pd_session *session = model != NULL ? model->sessions : NULL;
        for (; session != NULL; session = session->by_bits.next) {
            enum paramd_status status = copy_ids(move, i, session);
            if (status != PARAMD_OK) {
                return status;
            }
        }
    }
    return PARAMD_OK;
}

/* One that a shard had as ready has all its values: control waited for them. */
static void complete(struct move *move)
{
    bool ready = false;
    uint64_t generation = 0;
    for (uint32_t i = 0; i < move->from_count; i++) {
        const struct pd_model *model = move->from[i].model;
        ready = ready || (model != NULL && model->ready);
        if (model != NULL && model->generation > generation) {
            generation = model->generation;
        }
    }
    for (uint32_t i = 0; i < move->to_count; i++) {
        struct pd_model *model = move->to[i].model;
        model->ready = ready && model->incomplete == 0;
        model->generation = generation;
        move->to[i].shard->memory_bytes += model->bytes;
        model->next_start = find_start(model);
    }
}

/* What is left of a part: tables, and chunks if it failed. */
static void give_up(struct part *from)
{
    struct pd_model *model = from->model;
    if (model == NULL) {
        return;
    }
    pd_sessions_end(model);
    HASH_DELETE(by_number, from->shard->models, model);
    from->shard->memory_bytes -= model->bytes;
    model->chunk_count -= from->chunk;
    memmove(model->chunks, model->chunks + from->chunk, model->chunk_count * sizeof *model->chunks);
    pd_model_free(model, &from->shard->options.memory);
}

static enum paramd_status move_model(struct move *move, uint64_t number)
{
    for (uint32_t i = 0; i < move->from_count; i++) {
        move->from[i].model = pd_shard_model(move->from[i].shard, number);
        move->from[i].chunk = 0;
    }
    const struct pd_model *newest = newest_of(move);
    const struct pd_definition *definition = newest->definition;
    enum paramd_status status = agree(move, newest) ? make(move, newest) : PARAMD_INVALID;
    if (status == PARAMD_OK) {
        status = copy_blocks(move, definition);
    }
    if (status == PARAMD_OK) {
        status = copy_sessions(move);
    }
    if (status == PARAMD_OK) {
        complete(move);
    }
    for (uint32_t i = 0; i < move->from_count; i++) {
        give_up(&move->from[i]);
    }
    return status;
}

static bool same_model(const struct pd_model *a, const struct pd_model *b)
{
    bool same = a->attempt == b->attempt && a->ready == b->ready && a->generation == b->generation;
    for (size_t i = 0; i < a->group_count; i++) {
        same = same &&
               memcmp(&a->groups[i].hyper, &b->groups[i].hyper, sizeof a->groups[i].hyper) == 0;
    }
    return same;
}

/* Whether all shards know the same of every model. If not, they have to learn it, as with another
 * number of shards: what a start had on its way here must not depend on where that led through. */
static bool alike(struct pd_shard *const *shards, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        const struct pd_model *model = shards[0]->models;
        if (HASH_CNT(by_number, shards[i]->models) != HASH_CNT(by_number, shards[0]->models)) {
            return false;
        }
        for (; model != NULL; model = model->by_number.next) {
            const struct pd_model *other = pd_shard_model(shards[i], model->number);
            if (other == NULL || !same_model(model, other)) {
                return false;
            }
        }
    }
    return true;
}

enum paramd_status pd_shard_reshard(struct pd_shard *const *from, uint32_t from_count,
                                    struct pd_shard *const *to, uint32_t to_count)
{
    struct move move = {.from_count = from_count, .to_count = to_count};
    enum paramd_status status = PARAMD_OK;
    PD_ASSERT(from_count > 0 && from_count <= PD_SHARDS_MAX);
    PD_ASSERT(to_count > 0 && to_count <= PD_SHARDS_MAX);
    for (uint32_t i = 0; i < from_count; i++) {
        PD_ASSERT(from[i]->loaded == NULL);
        move.from[i].shard = from[i];
    }
    for (uint32_t i = 0; i < to_count; i++) {
        PD_ASSERT(to[i]->models == NULL && to[i]->loaded == NULL);
        move.to[i].shard = to[i];
    }
    bool handed_over = from_count == to_count && alike(from, from_count);
    for (uint32_t i = 0; i < from_count && status == PARAMD_OK; i++) {
        if (handed_over) {
            status = hand_over(from[i], to[i]);
        }
        while (from[i]->models != NULL && status == PARAMD_OK) {
            status = move_model(&move, from[i]->models->number);
        }
    }
    return status;
}
