/* Where the blocks of a model live: the same arithmetic on both sides of the wire. */
#ifndef PARAMD_PROTO_SLOT_H
#define PARAMD_PROTO_SLOT_H

#include <stdint.h>

#include "proto/limits.h"

/* The slot of a model's first block: XXH3_64(name) mod 4096. name is NUL-terminated. */
uint32_t pd_slot_first(const char *model_name);

/* Blocks, counted through all tensors in definition order, take consecutive slots. */
static inline uint32_t pd_slot_of_block(uint32_t first_slot, uint64_t block_in_model)
{
    return (uint32_t)((first_slot + block_in_model) % PD_SLOTS);
}

/* On one node slot s belongs to shard s mod shards. */
static inline uint32_t pd_slot_shard(uint32_t slot, uint32_t shards)
{
    return slot % shards;
}

/* How many blocks of block_elements a tensor of that many elements has; the last one may be
 * shorter. */
static inline uint64_t pd_tensor_blocks(uint64_t elements, uint32_t block_elements)
{
    return (elements + block_elements - 1) / block_elements;
}

/* Elements of one block of a tensor; block counts from 0 and exists. */
static inline uint32_t pd_block_elements(uint64_t elements, uint32_t block_elements, uint64_t block)
{
    uint64_t left = elements - block * block_elements;
    return left < block_elements ? (uint32_t)left : block_elements;
}

#endif
