/* The loop an optimizer is held against, compiled for each vector form as the optimizers are. */
#ifndef PARAMD_TESTS_BENCH_ADD_H
#define PARAMD_TESTS_BENCH_ADD_H

#include <stddef.h>

/* Adds g to each of arrays 0 to count - 1 (1 to 4). */
typedef void pd_add(float *const *arrays, unsigned count, const float *g, size_t n);

extern pd_add pd_add_baseline, pd_add_v3, pd_add_v4;
extern pd_add pd_add_prefetched_baseline, pd_add_prefetched_v3, pd_add_prefetched_v4;

#endif
