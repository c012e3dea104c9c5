/* As few pieces as can be: a request to a disk names so many at most (254 here), so that scattered
 * over small pages a large one becomes many, and the disk does half as much. */
#include "server/storage/io_memory.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 * 1024 * 1024 };

void *pd_io_memory_take(size_t bytes)
{
    size_t unit = bytes < HUGE_BYTES ? PD_IO_PAGE_BYTES : HUGE_BYTES;
    size_t rounded = (bytes + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, rounded);
    if (memory != NULL && unit == HUGE_BYTES) {
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* it does without, too */
    }
    return memory;
}
