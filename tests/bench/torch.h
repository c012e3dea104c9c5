/* torch.optim.Adam in a process of its own, as the optimizer that people would use instead. */
#ifndef PARAMD_TESTS_BENCH_TORCH_H
#define PARAMD_TESTS_BENCH_TORCH_H

#include <stdbool.h>
#include <stddef.h>

struct pd_torch;

/* With so many parameters; NULL, and a word on stderr, where PyTorch is not installed. */
struct pd_torch *pd_torch_create(size_t parameters);
void pd_torch_destroy(struct pd_torch *torch);

/* One step: Gparam/s. */
double pd_torch_measure(struct pd_torch *torch, unsigned threads);

#endif
