/* Pieces of 2 MiB and more are mapped, aligned so that the kernel can use huge pages, and given
 * back to it as soon as they are free; their pages are first touched by whoever uses them. */
#include "server/block_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 * 1024 * 1024, ALIGNMENT = 64, PAGE_BYTES = 4096 };

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Maps more than is asked for and gives back what lies outside the aligned part. */
static void *map_aligned(size_t bytes)
{
    size_t mapped_bytes = bytes + HUGE_BYTES;
    uint8_t *mapped =
        mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        return NULL;
    }
    uint8_t *aligned = mapped + (HUGE_BYTES - (uintptr_t)mapped % HUGE_BYTES) % HUGE_BYTES;
    uint8_t *end = aligned + bytes;
    if (aligned > mapped) {
        (void)munmap(mapped, (size_t)(aligned - mapped));
    }
    if (end < mapped + mapped_bytes) {
        (void)munmap(end, (size_t)(mapped + mapped_bytes - end));
    }
    (void)madvise(aligned, bytes, MADV_HUGEPAGE);
    return aligned;
}

static void *take(void *context, size_t bytes)
{
    (void)context;
    if (bytes > SIZE_MAX - 2 * (size_t)HUGE_BYTES) {
        return NULL;
    }
    if (bytes >= HUGE_BYTES) {
        return map_aligned(round_up(bytes, PAGE_BYTES));
    }
    size_t rounded = round_up(bytes > 0 ? bytes : 1, ALIGNMENT);
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    if (memory != NULL) {
        memset(memory, 0, rounded);
    }
    return memory;
}

static void give(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (memory != NULL && bytes >= HUGE_BYTES) {
        (void)munmap(memory, round_up(bytes, PAGE_BYTES));
    } else {
        free(memory);
    }
}

struct pd_memory pd_block_memory(void)
{
    return (struct pd_memory){.take = take, .give = give, .context = NULL};
}
