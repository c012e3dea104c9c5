/* Block memory from the kernel: large pieces on huge pages of their own, small ones from malloc. */
#ifndef PARAMD_SERVER_BLOCK_MEMORY_H
#define PARAMD_SERVER_BLOCK_MEMORY_H

#include "server/core/memory.h"

/* A provider without state: any thread may use it, and give what another has taken. */
struct pd_memory pd_block_memory(void);

#endif
