/* A daemon that is killed with a snapshot and a log behind it, and started again. */
#ifndef PARAMD_TESTS_BENCH_RESTART_H
#define PARAMD_TESTS_BENCH_RESTART_H

#include "tests/bench/base.h"

struct pd_restart;

/* Makes a snapshot of four times log_bytes and a log of log_bytes, in a new folder in parent, with
 * two shards. */
struct pd_restart *pd_restart_create(const char *parent, size_t log_bytes);
void pd_restart_destroy(struct pd_restart *restart);

/* One more sample in GB/s of both: from the start, with all of it on the disk only, until the
 * daemon is ready. Then it is killed again. */
void pd_restart_measure(struct pd_restart *restart);
const struct pd_samples *pd_restart_samples(const struct pd_restart *restart);

#endif
