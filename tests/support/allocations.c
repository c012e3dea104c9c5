/* What the linker puts in the place of malloc and its kin (--wrap). */
#include "tests/support/allocations.h"

#include <stdint.h>
#include <string.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): --wrap makes these names */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *memory);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
void __wrap_free(void *memory);

static long live;
static unsigned countdown;
static bool failed;
static bool inside;

long pd_allocations_live(void)
{
    return live;
}

void pd_allocations_fail(unsigned k)
{
    countdown = k;
    failed = false;
}

bool pd_allocations_failed(void)
{
    return failed;
}

void pd_allocations_inside(bool now_inside)
{
    inside = now_inside;
}

static bool fails(void)
{
    if (!inside || countdown == 0 || --countdown > 0) {
        return false;
    }
    failed = true;
    return true;
}

static void *counted(void *memory)
{
    live += memory != NULL ? 1 : 0;
    return memory;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    if (fails()) {
        return NULL;
    }
    void *moved = __real_realloc(memory, bytes);
    return memory == NULL ? counted(moved) : moved;
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}

char *__wrap_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = __wrap_malloc(bytes);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

void __wrap_free(void *memory)
{
    live -= memory != NULL ? 1 : 0;
    __real_free(memory);
}
/* NOLINTEND(bugprone-reserved-identifier) */
