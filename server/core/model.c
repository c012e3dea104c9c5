/* Making a model's blocks and their memory, finding them, and keeping readers apart from writers.
 */
#include "server/core/model.h"

#include <stdlib.h>
#include <string.h>

#include "proto/plant.h"
#include "proto/slot.h"
#include "server/base/assert.h"
#include "server/core/initialiser.h"

enum {
    STRIDE_FLOATS = 16, /* 64 bytes: every part begins on a cache line */
    CHUNK_BYTES = 32 * 1024 * 1024
};

static uint64_t stride_of(uint64_t elements)
{
    return (elements + STRIDE_FLOATS - 1) / STRIDE_FLOATS * STRIDE_FLOATS;
}

uint64_t pd_model_bytes(const struct pd_definition *definition, const unsigned *moments)
{
    uint64_t total = 0;
    for (size_t i = 0; i < definition->tensor_count; i++) {
        const struct pd_tensor_def *tensor = &definition->tensors[i];
        uint32_t last =
            pd_block_elements(tensor->elements, definition->block_elements, tensor->blocks - 1);
        uint64_t floats = (tensor->blocks - 1) * definition->block_elements +
                          stride_of(last); /* at most 2^40 + 16 */
        total += floats * sizeof(float) * (1 + moments[tensor->group]);
        if (total > UINT64_MAX / 2) {
            return UINT64_MAX;
        }
    }
    return total;
}

bool pd_model_locate(const struct pd_model *model, uint32_t tensor, uint64_t block,
                     uint64_t *ret_block_in_model)
{
    if (tensor >= model->definition->tensor_count ||
        block >= model->definition->tensors[tensor].blocks) {
        return false;
    }
    *ret_block_in_model = model->definition->tensors[tensor].first_block + block;
    return true;
}

struct pd_block *pd_model_block(const struct pd_model *model, uint64_t block_in_model)
{
    uint32_t place = model->places[block_in_model];
    return place != UINT32_MAX ? &model->blocks[place] : NULL;
}

/* Fills in what does not depend on memory. */
static void describe_blocks(struct pd_model *model, uint32_t shard, uint32_t shards)
{
    const struct pd_definition *definition = model->definition;
    uint32_t place = 0;
    for (uint32_t i = 0; i < definition->tensor_count; i++) {
        const struct pd_tensor_def *tensor = &definition->tensors[i];
        for (uint64_t j = 0; j < tensor->blocks; j++) {
            uint64_t in_model = tensor->first_block + j;
            uint32_t slot = pd_slot_of_block(definition->first_slot, in_model);
            model->places[in_model] = UINT32_MAX;
            if (pd_slot_shard(slot, shards) != shard) {
                continue;
            }
            struct pd_block *block = &model->blocks[place];
            block->model = model;
            block->elements = pd_block_elements(tensor->elements, definition->block_elements, j);
            block->stride = (uint32_t)stride_of(block->elements);
            block->tensor = i;
            block->block = j;
            block->slot = slot;
            block->carry = 1.0;
            block->part_count = (uint8_t)(1 + model->groups[tensor->group].moments);
            model->places[in_model] = place++;
        }
    }
}

bool pd_model_take_chunk(struct pd_model *model, uint32_t first, const struct pd_memory *memory)
{
    size_t bytes = 0;
    uint32_t end = first;
    while (end < model->block_count && bytes < CHUNK_BYTES) {
        bytes += pd_block_bytes(&model->blocks[end]);
        end++;
    }
    char *chunk = memory->take(memory->context, bytes);
    if (chunk == NULL) {
        return false;
    }
    model->chunks[model->chunk_count++] = (struct pd_chunk){chunk, bytes};
    model->bytes += bytes;
    for (; first < end; first++) {
        model->blocks[first].parts = (float *)(void *)chunk;
        chunk += pd_block_bytes(&model->blocks[first]);
    }
    return true;
}

static bool take_chunks(struct pd_model *model, const struct pd_memory *memory)
{
    for (uint32_t i = 0; i < model->block_count; i++) {
        if (model->blocks[i].parts == NULL && !pd_model_take_chunk(model, i, memory)) {
            return false;
        }
    }
    return true;
}

static uint64_t count_own_blocks(const struct pd_definition *definition, uint32_t shard,
                                 uint32_t shards)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < definition->block_count; i++) {
        uint32_t slot = pd_slot_of_block(definition->first_slot, i);
        count += pd_slot_shard(slot, shards) == shard ? 1 : 0;
    }
    return count;
}

static bool take_tables(struct pd_model *model, const struct pd_message *message, uint32_t shard,
                        uint32_t shards)
{
    const struct pd_definition *definition = message->definition;
    uint64_t own = count_own_blocks(definition, shard, shards);
    if (own >= UINT32_MAX) {
        return false;
    }
    model->block_count = (uint32_t)own;
    model->incomplete = (uint32_t)own;
    model->group_count = definition->group_count;
    model->blocks = calloc(own + 1, sizeof *model->blocks);
    model->chunks = calloc(own + 1, sizeof *model->chunks);
    model->places = calloc(definition->block_count, sizeof *model->places);
    model->groups = calloc(definition->group_count, sizeof *model->groups);
    if (model->blocks == NULL || model->chunks == NULL || model->places == NULL ||
        model->groups == NULL) {
        return false;
    }
    for (size_t i = 0; i < definition->group_count; i++) {
        struct pd_group *group = &model->groups[i];
        group->optimizer = pd_optimizer_find(definition->groups[i].optimizer);
        group->hyper = message->hypers[i];
        group->moments = pd_optimizer_moments(group->optimizer, &group->hyper);
    }
    return true;
}

static void free_tables(struct pd_model *model)
{
    while (model->spare_views != NULL) {
        struct pd_view *view = model->spare_views;
        model->spare_views = view->next_spare;
        free(view);
    }
    free(model->blocks);
    free(model->chunks);
    free(model->places);
    free(model->groups);
    free(model);
}

enum paramd_status pd_model_create_empty(const struct pd_message *message, uint32_t shard,
                                         uint32_t shards, struct pd_model **ret_model)
{
    struct pd_model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    pd_link_init(&model->dropped_link);
    model->number = message->model;
    model->generation = message->generation;
    model->attempt = message->attempt;
    model->initialiser = message->session;
    model->definition = message->definition;
    if (!take_tables(model, message, shard, shards)) {
        free_tables(model);
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    describe_blocks(model, shard, shards);
    *ret_model = model;
    return PARAMD_OK;
}

enum paramd_status pd_model_create(const struct pd_message *message, uint32_t shard,
                                   uint32_t shards, const struct pd_memory *memory,
                                   struct pd_model **ret_model)
{
    struct pd_model *model;
    enum paramd_status status = pd_model_create_empty(message, shard, shards, &model);
    if (status == PARAMD_OK && !take_chunks(model, memory)) {
        pd_model_free(model, memory);
        status = PARAMD_RESOURCE_EXHAUSTED;
    }
    if (status == PARAMD_OK) {
        *ret_model = model;
    }
    return status;
}

void pd_model_free(struct pd_model *model, const struct pd_memory *memory)
{
    model->dropped = true;
    while (!pd_model_free_step(model, memory)) {
    }
}

bool pd_model_free_step(struct pd_model *model, const struct pd_memory *memory)
{
    PD_ASSERT(model->dropped && model->users == 0);
    if (model->chunk_count > 0) {
        struct pd_chunk *chunk = &model->chunks[--model->chunk_count];
        memory->give(memory->context, chunk->memory, chunk->bytes);
        return false;
    }
    free_tables(model);
    return true;
}

static void optim_block(const struct pd_block *block, struct pd_optim_block *out)
{
    out->p = block->parts;
    for (unsigned i = 0; i < PD_MOMENTS_MAX; i++) {
        out->moments[i] =
            i + 1 < block->part_count ? block->parts + (size_t)(i + 1) * block->stride : NULL;
    }
    out->elements = block->elements;
    out->step = block->step;
    out->carry = block->carry;
}

static const struct pd_group *group_of(const struct pd_block *block)
{
    const struct pd_model *model = block->model;
    return &model->groups[model->definition->tensors[block->tensor].group];
}

void pd_block_start(struct pd_block *block)
{
    const struct pd_group *group = group_of(block);
    struct pd_optim_block view;
    block->step = 0;
    block->carry = 1.0;
    optim_block(block, &view);
    pd_optim_start(group->optimizer, &group->hyper, &view);
    block->carry = view.carry;
    block->started = true;
}

void pd_block_complete(struct pd_block *block, uint64_t step)
{
    const struct pd_group *group = group_of(block);
    struct pd_optim_block view;
    block->step = step;
    optim_block(block, &view);
    if (step > 0) {
        pd_optim_resume(group->optimizer, &group->hyper, &view);
        block->carry = view.carry;
    }
    block->version = 1;
    block->model->incomplete--;
}

enum paramd_status pd_block_apply(struct pd_block *block, const struct pd_optim_push *push)
{
    const struct pd_group *group = group_of(block);
    struct pd_optim_block view;
    optim_block(block, &view);
    enum paramd_status status = pd_optim_apply(group->optimizer, &group->hyper, &view, push);
    if (status == PARAMD_OK) {
        block->step = view.step;
        block->carry = view.carry;
        block->version++;
    }
    return status;
}

void pd_block_initialise(struct pd_block *block)
{
    const struct pd_model *model = block->model;
    const struct pd_tensor_def *tensor = &model->definition->tensors[block->tensor];
    if (tensor->init == PARAMD__INITIALISER__CLIENT || block->version != 0) {
        return;
    }
    pd_block_start(block);
    pd_initialise(tensor, block->block * model->definition->block_elements, block->parts,
                  block->elements);
    pd_block_complete(block, 0);
}

void pd_model_restart(struct pd_model *model, const struct pd_message *message)
{
    model->attempt = message->attempt;
    model->initialiser = message->session;
    for (uint32_t i = 0; i < model->block_count; i++) {
        struct pd_block *block = &model->blocks[i];
        const struct pd_tensor_def *tensor = &model->definition->tensors[block->tensor];
        if (tensor->init == PARAMD__INITIALISER__CLIENT && block->version != 0 &&
            !pd_plant(mixed_init)) {
            block->version = 0;
            model->incomplete++;
        }
        if (tensor->init == PARAMD__INITIALISER__CLIENT) {
            block->started = false;
        }
    }
}

static struct pd_view *take_view(struct pd_model *model)
{
    struct pd_view *view = model->spare_views;
    if (view == NULL) {
        return malloc(sizeof *view);
    }
    model->spare_views = view->next_spare;
    return view;
}

struct pd_view *pd_view_begin(struct pd_block *block)
{
    struct pd_view *view = block->view;
    if (view == NULL) {
        view = take_view(block->model);
        if (view == NULL) {
            return NULL;
        }
        *view = (struct pd_view){.block = block, .parts = block->parts};
        block->view = view;
        block->model->users++;
    }
    view->readers++;
    return view;
}

bool pd_view_end(struct pd_view *view, struct pd_pool *copies)
{
    if (--view->readers > 0) {
        return false;
    }
    bool room = view->copy != NULL;
    pd_pool_give(copies, view->copy, pd_block_bytes(view->block));
    if (view->block->view == view) {
        view->block->view = NULL;
    }
    struct pd_model *model = view->block->model;
    model->users--;
    view->next_spare = model->spare_views;
    model->spare_views = view;
    return room;
}

bool pd_block_unshare(struct pd_block *block, struct pd_pool *copies)
{
    struct pd_view *view = block->view;
    if (view == NULL) {
        return true;
    }
    size_t bytes = pd_block_bytes(block);
    view->copy = pd_pool_take(copies, bytes);
    if (view->copy == NULL) {
        return false;
    }
    memcpy(view->copy, block->parts, bytes);
    view->parts = view->copy;
    block->view = NULL;
    return true;
}
