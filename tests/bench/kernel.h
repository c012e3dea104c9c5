/* Optimizers at work on memory of the bench's own, as the daemon runs them and bare; and the limit
 * of such loops, which does as many loads and stores with one addition each. */
#ifndef PARAMD_TESTS_BENCH_KERNEL_H
#define PARAMD_TESTS_BENCH_KERNEL_H

#include "server/optim/optim.h"

enum { PD_BLOCK_ELEMENTS = 65536, PD_BLOCK_BYTES = PD_BLOCK_ELEMENTS * 4 };

/* Blocks of one tensor: weights and moments of a block lie together. */
struct pd_kernel {
    const struct pd_optimizer *optimizer;
    struct pd_hyper hyper;
    unsigned moments;
    size_t elements; /* of all blocks; the last one may be shorter */
    float *memory;
};

/* Takes the memory and touches it on this thread. The optimizer is known by name. */
void pd_kernel_init(struct pd_kernel *kernel, const char *optimizer, size_t elements);
void pd_kernel_deinit(struct pd_kernel *kernel);

size_t pd_kernel_blocks(const struct pd_kernel *kernel);
uint32_t pd_kernel_block_elements(const struct pd_kernel *kernel, size_t block);
/* The weights of a block, a run of pd_kernel_block_elements. */
float *pd_kernel_weights(const struct pd_kernel *kernel, size_t block);

/* One push: the check of the gradient and the update. */
void pd_kernel_apply(struct pd_kernel *kernel, size_t block, const void *gradient,
                     enum pd_dtype dtype);
/* The update alone. */
void pd_kernel_update(struct pd_kernel *kernel, size_t block, const void *gradient,
                      enum pd_dtype dtype);
/* The limit: p += g and each moment += g; with prefetch 512 bytes ahead, or without. */
void pd_kernel_add(struct pd_kernel *kernel, size_t block, const float *gradient);
void pd_kernel_add_prefetched(struct pd_kernel *kernel, size_t block, const float *gradient);

#endif
