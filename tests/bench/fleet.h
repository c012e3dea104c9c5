/* Worker processes that push and pull one model of a daemon on command. */
#ifndef PARAMD_TESTS_BENCH_FLEET_H
#define PARAMD_TESTS_BENCH_FLEET_H

#include "tests/bench/bare.h"
#include "tests/bench/member.h"

struct pd_fleet_task {
    struct pd_member_way way;
    const char *model;
    unsigned workers;
    size_t tensor_count;
    size_t tensor_bytes; /* as pushed and pulled, in dtype */
    enum paramd_dtype dtype;
    enum paramd_ack_level ack_level;
    bool call_each; /* one call for each tensor, issued back to back; else one for all */
};

struct pd_fleet;

/* Returns when all workers have joined the model. The task is copied. */
struct pd_fleet *pd_fleet_create(const struct pd_fleet_task *task);
void pd_fleet_destroy(struct pd_fleet *fleet);

/* Every worker does the operation on the whole model repeats times, waiting for each. GB/s of all
 * workers together, one way, from the first one's begin to the last one's end. */
double pd_fleet_measure(struct pd_fleet *fleet, enum pd_operation operation, unsigned repeats);

/* The process of one of its workers. */
pid_t pd_fleet_worker(const struct pd_fleet *fleet, unsigned index);

/* CPU seconds of all workers so far. */
double pd_fleet_cpu_s(const struct pd_fleet *fleet);

/* Every worker repeats the operation from begin to end, as a load for other measurements. */
void pd_fleet_begin(struct pd_fleet *fleet, enum pd_operation operation);
void pd_fleet_end(struct pd_fleet *fleet);

#endif
