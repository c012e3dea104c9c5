/* The raw limit of a byte stream on this machine: two processes, 256 KiB writes from 1 GiB of
 * memory, reads into one buffer of 256 KiB; and iperf3 beside it, to know when it is measured weak.
 */
#ifndef PARAMD_TESTS_BENCH_RAW_H
#define PARAMD_TESTS_BENCH_RAW_H

#include "tests/bench/base.h"
#include "tests/bench/peer.h"

struct pd_raw;

/* Both with the kernel's own socket buffers and with 4 MiB. */
struct pd_raw *pd_raw_create(enum pd_transport transport);
void pd_raw_destroy(struct pd_raw *raw);

/* One more sample of each, in GB/s. */
void pd_raw_measure(struct pd_raw *raw);
/* Of the buffers with the better median. */
const struct pd_samples *pd_raw_best(const struct pd_raw *raw);
const struct pd_samples *pd_raw_default_buffers(const struct pd_raw *raw);
const struct pd_samples *pd_raw_large_buffers(const struct pd_raw *raw);

/* CPU seconds for each GB of those streams. */
const struct pd_samples *pd_raw_sender_cpu(const struct pd_raw *raw);
const struct pd_samples *pd_raw_receiver_cpu(const struct pd_raw *raw);

/* One sample in GB/s: 1 GiB by iperf3, whose sender reads a small buffer that stays in cache. Where
 * iperf3 is not installed a word on stderr says so, once. */
struct pd_iperf;
struct pd_iperf *pd_iperf_create(void);
void pd_iperf_destroy(struct pd_iperf *iperf);
void pd_iperf_measure(struct pd_iperf *iperf);
/* NULL without iperf3. */
const struct pd_samples *pd_iperf_samples(const struct pd_iperf *iperf);

/* Declares the run void if raw TCP is below 0.6 of iperf3. */
void pd_raw_check(const struct pd_raw *raw, const struct pd_iperf *iperf);

#endif
