/* Settings of the dense benchmark: each has a daemon and workers. Those of a group are measured in
 * turns with each other and with the limits they are held against. */
#ifndef PARAMD_TESTS_BENCH_SETTING_H
#define PARAMD_TESTS_BENCH_SETTING_H

#include "tests/bench/options.h"
#include "tests/bench/plot.h"
#include "tests/bench/raw.h"

enum { PD_GROUP_SETTINGS_MAX = 6 };

struct pd_setting {
    enum pd_transport transport;
    unsigned workers;
    unsigned shards;
    size_t size_bytes; /* of all tensors as they travel */
    size_t tensors;    /* of the same size */
    bool bf16;
    bool payload_sum;
};

/* All of one size_bytes. */
struct pd_group {
    struct pd_setting settings[PD_GROUP_SETTINGS_MAX];
    unsigned count;
    int operation; /* -1: all */
};

/* Measures a group and prints its rows: each case beside the bare loop and the raw stream of its
 * transport; and where the group has the other, shared memory beside TCP, one tensor beside many,
 * and the better number of shards beside the raw stream. Settings for which there is no memory are
 * left out from the end, with a word on stderr. */
void pd_group_run(const struct pd_group *group, unsigned rounds, struct pd_iperf *iperf,
                  struct pd_plot *plot);

#endif
