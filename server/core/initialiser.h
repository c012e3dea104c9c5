/* The server's own first values: zeros, a constant, uniform or normal numbers from a seed. An
 * element's value depends on the seed and its place in the tensor only, so shards, replays and
 * machines agree to the bit. */
#ifndef PARAMD_SERVER_CORE_INITIALISER_H
#define PARAMD_SERVER_CORE_INITIALISER_H

#include <stdint.h>

#include "proto/definition.h"

/* Values for count elements of the tensor, the first of which stands at `first`. tensor->init is
 * not CLIENT. */
void pd_initialise(const struct pd_tensor_def *tensor, uint64_t first, float *out, uint32_t count);

#endif
