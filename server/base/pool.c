/* Free lists by power of two. The budget covers what is handed out and what is cached together. */
#include "server/base/pool.h"

#include <stdlib.h>

#include "server/base/assert.h"

enum { ALIGNMENT = 64 };

struct pd_pool_buffer {
    struct pd_pool_buffer *next;
};

static unsigned class_of(size_t bytes)
{
    unsigned class = 0;
    while (((size_t)PD_POOL_BYTES_MIN << class) < bytes) {
        class ++;
    }
    PD_ASSERT(class < PD_POOL_CLASSES);
    return class;
}

void pd_pool_init(struct pd_pool *pool, size_t budget_bytes)
{
    *pool = (struct pd_pool){.budget = budget_bytes};
}

void pd_pool_deinit(struct pd_pool *pool)
{
    PD_ASSERT(pool->in_use == 0);
    pd_pool_trim(pool);
}

void pd_pool_trim(struct pd_pool *pool)
{
    for (unsigned i = 0; i < PD_POOL_CLASSES; i++) {
        while (pool->_free[i] != NULL) {
            struct pd_pool_buffer *buffer = pool->_free[i];
            pool->_free[i] = buffer->next;
            free(buffer);
        }
    }
    pool->_cached = 0;
}

void *pd_pool_take(struct pd_pool *pool, size_t bytes)
{
    unsigned class = class_of(bytes);
    size_t rounded = (size_t)PD_POOL_BYTES_MIN << class;
    struct pd_pool_buffer *buffer = pool->_free[class];
    if (buffer != NULL) {
        pool->_free[class] = buffer->next;
        pool->_cached -= rounded;
        pool->in_use += rounded;
        return buffer;
    }
    if (pool->in_use > pool->budget || rounded > pool->budget - pool->in_use) {
        return NULL;
    }
    if (pool->_cached > pool->budget - pool->in_use - rounded) {
        pd_pool_trim(pool);
    }
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    if (memory != NULL) {
        pool->in_use += rounded;
    }
    return memory;
}

void pd_pool_give(struct pd_pool *pool, void *buffer, size_t bytes)
{
    if (buffer == NULL) {
        return;
    }
    unsigned class = class_of(bytes);
    size_t rounded = (size_t)PD_POOL_BYTES_MIN << class;
    struct pd_pool_buffer *head = buffer;
    head->next = pool->_free[class];
    pool->_free[class] = head;
    pool->in_use -= rounded;
    pool->_cached += rounded;
}
