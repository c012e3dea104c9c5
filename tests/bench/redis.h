/* redis-server with `appendfsync always` and redis-benchmark: somebody else's 64 bytes that are
 * acknowledged when they are on the disk. */
#ifndef PARAMD_TESTS_BENCH_REDIS_H
#define PARAMD_TESTS_BENCH_REDIS_H

#include "tests/bench/disk.h"
#include "tests/bench/peer.h"

struct pd_redis;

/* A server that keeps its file in a new folder in parent, until destroy. NULL, with a word on
 * stderr: it is not installed. */
struct pd_redis *pd_redis_create(const char *parent, enum pd_transport transport);
/* NULL is fine. */
void pd_redis_destroy(struct pd_redis *redis);

/* Adds one sample, of so many SETs of 64 bytes by so many connections, each of which waits for its
 * answer before the next one. */
void pd_redis_measure(struct pd_redis *redis, unsigned connections, unsigned requests,
                      struct pd_pace *pace);

#endif
