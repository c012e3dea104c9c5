/* Some clients in one thread, each of which pushes 64 bytes, waits for the acknowledgement, and
 * pushes again. */
#ifndef PARAMD_TESTS_BENCH_CROWD_H
#define PARAMD_TESTS_BENCH_CROWD_H

#include "tests/bench/disk.h"
#include "tests/bench/member.h"

struct pd_crowd;

/* Each has a tensor of its own in a model that is made for them. */
struct pd_crowd *pd_crowd_create(const struct pd_member_way *way, const char *model,
                                 unsigned clients, enum paramd_ack_level ack_level);
void pd_crowd_destroy(struct pd_crowd *crowd);

/* Adds one sample, of so many pushes (up to 100,000) by all of them together. */
void pd_crowd_measure(struct pd_crowd *crowd, unsigned pushes, struct pd_pace *pace);

#endif
