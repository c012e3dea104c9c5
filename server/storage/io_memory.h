/* Memory that the disk writes from and reads into, past the page cache. */
#ifndef PARAMD_SERVER_STORAGE_IO_MEMORY_H
#define PARAMD_SERVER_STORAGE_IO_MEMORY_H

#include <stddef.h>

enum { PD_IO_PAGE_BYTES = 4096 };

/* At least so many bytes, from the beginning of a page on; free gives them back. NULL: no memory.
 * Any thread. */
void *pd_io_memory_take(size_t bytes) __attribute__((warn_unused_result));

#endif
