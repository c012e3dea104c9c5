/* A pool of buffers with a budget: sizes are rounded up to powers of two, given back buffers are
 * handed out again last in, first out, so that they are still warm in the cache. When the budget is
 * used up it says no. */
#ifndef PARAMD_SERVER_BASE_POOL_H
#define PARAMD_SERVER_BASE_POOL_H

#include <stddef.h>

enum { PD_POOL_CLASSES = 12, PD_POOL_BYTES_MIN = 4096 }; /* 4 KiB to 8 MiB */

struct pd_pool_buffer;

struct pd_pool {
    size_t budget;
    size_t in_use; /* bytes handed out, rounded */
    size_t _cached;
    struct pd_pool_buffer *_free[PD_POOL_CLASSES];
};

void pd_pool_init(struct pd_pool *pool, size_t budget_bytes);
/* All buffers must have come back. */
void pd_pool_deinit(struct pd_pool *pool);
/* 64-byte aligned, not zeroed; bytes at most 8 MiB. NULL: the budget is used up, or there is no
 * memory. */
void *pd_pool_take(struct pd_pool *pool, size_t bytes);
/* bytes as it was asked for. NULL is fine. */
void pd_pool_give(struct pd_pool *pool, void *buffer, size_t bytes);
/* Frees what nobody uses. */
void pd_pool_trim(struct pd_pool *pool);

#endif
