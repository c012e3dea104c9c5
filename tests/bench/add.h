/* The loop an optimizer is held against, compiled for each vector form as the optimizers are. */
#ifndef PARAMD_TESTS_BENCH_ADD_H
#define PARAMD_TESTS_BENCH_ADD_H

#include <stddef.h>

/* Adds g to each of arrays 0 to count - 1 (1 to 4). */
typedef void pd_add(float *const *arrays, unsigned count, const float *g, size_t n);

/* The loop in one vector form, as it is and with prefetch. */
struct pd_add_form {
    pd_add *plain;
    pd_add *prefetched;
};

extern const struct pd_add_form pd_add_form_baseline, pd_add_form_v3, pd_add_form_v4;

#endif
