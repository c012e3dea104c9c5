/* A model on one shard: its groups, the blocks whose slots the shard owns, their memory, and the
 * views that readers have of them. A block changes as a whole or not at all, and a reader never
 * sees it change: before a block with a view is written, the view moves to a copy. */
#ifndef PARAMD_SERVER_CORE_MODEL_H
#define PARAMD_SERVER_CORE_MODEL_H

#include "server/base/map.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/definition.h"
#include "server/base/list.h"
#include "server/base/pool.h"
#include "server/core/memory.h"
#include "server/core/message.h"
#include "server/core/session.h"
#include "server/optim/optim.h"

enum { PD_PARTS_MAX = 1 + PD_MOMENTS_MAX };

struct pd_block;

/* What readers are looking at: one block as it is, or the copy of it as it was. */
struct pd_view {
    struct pd_block *block;
    const float *parts; /* the block's memory, or the copy's */
    float *copy;        /* NULL while the block itself is looked at */
    uint32_t readers;
    struct pd_view *next_spare;
};

struct pd_block {
    float *parts; /* weights, then moments, each `stride` floats */
    struct pd_model *model;
    struct pd_view *view; /* of the present values; NULL: nobody is looking */
    uint64_t version;
    uint64_t step;
    double carry;
    uint32_t elements;
    uint32_t stride; /* floats from one part to the next: elements rounded up to 16 */
    uint32_t tensor;
    uint32_t slot;
    uint64_t block; /* of the tensor */
    uint8_t part_count;
    bool started; /* moments are set */
};

struct pd_group {
    const struct pd_optimizer *optimizer;
    struct pd_hyper hyper;
    unsigned moments;
};

struct pd_chunk {
    void *memory;
    size_t bytes;
};

struct pd_model {
    uint64_t number;
    uint64_t generation;
    uint64_t attempt;
    uint64_t told_attempt; /* control knows that all blocks of this shard have its values */
    struct pd_session_key initialiser;
    bool ready;
    bool kept; /* control knows it: CREATE_MODEL came since the start */
    bool dropped;
    bool logged;      /* its pushes are recorded, and acknowledged when that is durable */
    bool in_snapshot; /* the one that is being written, or was loaded, began when it was there */
    const struct pd_definition *definition; /* control's; not to be touched once dropped */

    struct pd_group *groups;
    size_t group_count;
    struct pd_block *blocks; /* those of this shard, in definition order */
    uint32_t block_count;
    uint32_t *places;    /* block of the model -> place in blocks, or UINT32_MAX */
    uint32_t incomplete; /* blocks without values */
    uint32_t next_start; /* the server's own initialisers have come so far */

    struct pd_chunk *chunks;
    size_t chunk_count;
    uint64_t bytes; /* of all chunks */

    struct pd_session *sessions; /* uthash by bits */
    struct pd_session *waiting;  /* by opening: of a snapshot, to be opened by its log */
    uint32_t
        users; /* attachments, cursors and views that point here: freed when dropped and none */
    struct pd_view *spare_views; /* ended, for the next readers: as many as there were at once */
    struct pd_model_count count;
    UT_hash_handle by_number;
    struct pd_link dropped_link;
};

/* The bytes of weights and moments of a whole model, or those of one shard's blocks. UINT64_MAX if
 * it is beyond counting. moments: for each group. */
uint64_t pd_model_bytes(const struct pd_definition *definition, const unsigned *moments);

/* PARAMD_OK or PARAMD_RESOURCE_EXHAUSTED. The message is CREATE_MODEL. */
enum paramd_status pd_model_create(const struct pd_message *message, uint32_t shard,
                                   uint32_t shards, const struct pd_memory *memory,
                                   struct pd_model **ret_model) __attribute__((warn_unused_result));

/* The same without memory for its blocks. */
enum paramd_status pd_model_create_empty(const struct pd_message *message, uint32_t shard,
                                         uint32_t shards, struct pd_model **ret_model)
    __attribute__((warn_unused_result));

/* One more chunk, for the block at this place, which is the first without memory, and as many
 * behind it as fit: so that memory can be given back in steps. Only what a chunk has above 32 MiB,
 * part of a block, is on small pages. False: there is no memory. */
bool pd_model_take_chunk(struct pd_model *model, uint32_t first, const struct pd_memory *memory);

/* Frees one chunk of a dropped model that nobody uses; true when all is gone, and the model with
 * it. */
bool pd_model_free_step(struct pd_model *model, const struct pd_memory *memory);
/* All at once, of a model that is in no table any more. */
void pd_model_free(struct pd_model *model, const struct pd_memory *memory);

/* The place of (tensor, block) counted through the model; false if there is none. */
bool pd_model_locate(const struct pd_model *model, uint32_t tensor, uint64_t block,
                     uint64_t *ret_block_in_model);

/* The block at such a place; NULL if another shard owns it. */
struct pd_block *pd_model_block(const struct pd_model *model, uint64_t block_in_model);

/* Bytes of all parts of a block. */
static inline size_t pd_block_bytes(const struct pd_block *block)
{
    return (size_t)block->stride * block->part_count * sizeof(float);
}

/* Sets the moments to what they are before the first step. */
void pd_block_start(struct pd_block *block);

/* Makes the server's own first values for the block: weights, version 1, step 0. Nothing for
 * CLIENT. */
void pd_block_initialise(struct pd_block *block);

/* The weights are there: version 1, this step. */
void pd_block_complete(struct pd_block *block, uint64_t step);

/* Applies one gradient to a block without a view: all of it or nothing; on PARAMD_OK the version
 * grows. */
enum paramd_status pd_block_apply(struct pd_block *block, const struct pd_optim_push *push)
    __attribute__((warn_unused_result));

/* XXH3_64 over all that a block is: its place, version, step, carry, values and moments. */
uint64_t pd_block_hash(const struct pd_block *block);

/* All values are dropped: a new attempt to initialise begins. */
void pd_model_restart(struct pd_model *model, const struct pd_message *message);

/* Begins to look at a block. NULL without memory. The caller ends it with pd_view_end. */
struct pd_view *pd_view_begin(struct pd_block *block);
/* True if this was the last reader of a copy: room is back. */
bool pd_view_end(struct pd_view *view, struct pd_pool *copies);

/* Before a block is written: its view, if it has one, moves to a copy. False: the pool has no room
 * now. */
bool pd_block_unshare(struct pd_block *block, struct pd_pool *copies);

#endif
