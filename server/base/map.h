/* uthash as this project uses it: without memory an element is simply not added (its handle's tbl
 * stays NULL), and the caller looks. Iteration is in the order of insertion, the same on every
 * machine. */
#ifndef PARAMD_SERVER_BASE_MAP_H
#define PARAMD_SERVER_BASE_MAP_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#endif
