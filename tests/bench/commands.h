/* The commands of paramd-bench. Each prints its table and returns the program's exit status. */
#ifndef PARAMD_TESTS_BENCH_COMMANDS_H
#define PARAMD_TESTS_BENCH_COMMANDS_H

#include "tests/bench/options.h"

int pd_bench_limits(const struct pd_options *options);
int pd_bench_kernels(const struct pd_options *options);
int pd_bench_dense(const struct pd_options *options);
int pd_bench_small(const struct pd_options *options);
int pd_bench_latency(const struct pd_options *options);
int pd_bench_rate(const struct pd_options *options);
int pd_bench_connections(const struct pd_options *options);
int pd_bench_scale(const struct pd_options *options);
int pd_bench_calls(const struct pd_options *options);
int pd_bench_durable(const struct pd_options *options);

/* The limits of kernels for adam, as rows of `limits`. */
void pd_bench_additions(const struct pd_options *options);

#endif
