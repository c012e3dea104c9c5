/* 64 bytes there and back between two processes on two cores: what a push must cost at least. */
#ifndef PARAMD_TESTS_BENCH_ROUNDTRIP_H
#define PARAMD_TESTS_BENCH_ROUNDTRIP_H

#include "tests/bench/base.h"
#include "tests/bench/peer.h"

enum pd_waiting { PD_WAITING_EPOLL, PD_WAITING_LIBUV, PD_WAITING_POLLING, PD_WAITINGS };

/* "epoll", "libuv", "polling": how both sides wait for the other. */
const char *pd_waiting_name(enum pd_waiting waiting);

struct pd_roundtrip;

struct pd_roundtrip *pd_roundtrip_create(enum pd_transport transport, enum pd_waiting waiting);
void pd_roundtrip_destroy(struct pd_roundtrip *roundtrip);

/* One more sample: the median of some thousand round trips, in microseconds. */
void pd_roundtrip_measure(struct pd_roundtrip *roundtrip);
const struct pd_samples *pd_roundtrip_samples(const struct pd_roundtrip *roundtrip);

#endif
