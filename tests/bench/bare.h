/* The bare loop: push, pull and push_pull between two processes with the daemon's kernel and
 * nothing else - no frames, no sums, no push ids, no check. What paramd loses against it is the
 * price of being a parameter server. */
#ifndef PARAMD_TESTS_BENCH_BARE_H
#define PARAMD_TESTS_BENCH_BARE_H

#include "proto/dtype.h"
#include "tests/bench/base.h"
#include "tests/bench/peer.h"

enum pd_operation { PD_PUSH, PD_PULL, PD_PUSH_PULL, PD_OPERATIONS };

const char *pd_operation_name(enum pd_operation operation);

struct pd_bare;

/* One tensor of so many bytes on the wire under adam in the other process, over one connection and,
 * if it is large enough to be cut in two, over two with a thread each at both ends. In bf16 the
 * gradient is widened in the daemon's loop, and weights are narrowed by the block. */
struct pd_bare *pd_bare_create(enum pd_transport transport, size_t tensor_bytes,
                               enum pd_dtype dtype);
void pd_bare_destroy(struct pd_bare *bare);

/* One more sample of each form, in GB/s one way; repeats operations in a row, each waited for. */
void pd_bare_measure(struct pd_bare *bare, enum pd_operation operation, unsigned repeats);
/* Of the form with the better median. */
const struct pd_samples *pd_bare_best(const struct pd_bare *bare, enum pd_operation operation);

/* Of the form with that many connections; NULL if there is none. */
const struct pd_samples *pd_bare_samples(const struct pd_bare *bare, enum pd_operation operation,
                                         unsigned connections);

/* Declares the run void if the bare loop of f32 and from 16 MiB on is below 0.5 (push_pull: 0.4) of
 * the raw stream. In bf16 the same bytes are twice the work, and small tensors are no stream. */
void pd_bare_check(const struct pd_bare *bare, enum pd_operation operation,
                   const struct pd_samples *raw);

#endif
