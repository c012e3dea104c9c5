/* Chunks of memory in a list, handed out from the front and given back together. */
#include "proto/arena.h"

#include <stdint.h>
#include <stdlib.h>

enum { FIRST_CHUNK_BYTES = 64 * 1024, ALIGNMENT = 16 };

struct pd_arena_chunk {
    struct pd_arena_chunk *next;
    size_t bytes;
    size_t used;
    size_t unused_; /* keeps data 16-byte aligned */
    uint8_t data[];
};

static void *allocator_alloc(void *arena, size_t bytes)
{
    return pd_arena_take(arena, bytes);
}

static void allocator_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

void pd_arena_init(struct pd_arena *arena, size_t quota_bytes)
{
    *arena = (struct pd_arena){._quota = quota_bytes};
    arena->allocator.alloc = allocator_alloc;
    arena->allocator.free = allocator_free;
    arena->allocator.allocator_data = arena;
}

static void free_chunks(struct pd_arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct pd_arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void pd_arena_deinit(struct pd_arena *arena)
{
    free_chunks(arena->_first);
    arena->_first = NULL;
    arena->_current = NULL;
}

static struct pd_arena_chunk *add_chunk(struct pd_arena *arena, size_t bytes)
{
    size_t size = bytes > FIRST_CHUNK_BYTES ? bytes : FIRST_CHUNK_BYTES;
    struct pd_arena_chunk *chunk = malloc(sizeof *chunk + size);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->next = NULL;
    chunk->bytes = size;
    chunk->used = 0;
    if (arena->_current == NULL) {
        arena->_first = chunk;
    } else {
        arena->_current->next = chunk;
    }
    arena->_current = chunk;
    return chunk;
}

void *pd_arena_take(struct pd_arena *arena, size_t bytes)
{
    if (bytes > arena->_quota - arena->_used) {
        return NULL;
    }
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (rounded > arena->_quota - arena->_used) {
        return NULL;
    }
    struct pd_arena_chunk *chunk = arena->_current;
    if (chunk == NULL || rounded > chunk->bytes - chunk->used) {
        chunk = add_chunk(arena, rounded);
        if (chunk == NULL) {
            return NULL;
        }
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += rounded;
    arena->_used += rounded;
    return memory;
}

void pd_arena_reset(struct pd_arena *arena)
{
    arena->_used = 0;
    if (arena->_first == NULL) {
        return;
    }
    free_chunks(arena->_first->next);
    arena->_first->next = NULL;
    arena->_first->used = 0;
    arena->_current = arena->_first;
}
