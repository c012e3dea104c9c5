/* Where a shard's block memory comes from: the host gives the core these two functions, so that
 * huge pages and first touch stay outside of it. */
#ifndef PARAMD_SERVER_CORE_MEMORY_H
#define PARAMD_SERVER_CORE_MEMORY_H

#include <stddef.h>

struct pd_memory {
    /* Zeroed, 64-byte aligned, first touched by the thread that uses it; NULL if there is none. */
    void *(*take)(void *context, size_t bytes);
    void (*give)(void *context, void *memory, size_t bytes);
    void *context;
};

#endif
