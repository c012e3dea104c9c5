/* One setting of the dense benchmark: a daemon, its workers, and the limits they are held against,
 * all measured in turns. */
#ifndef PARAMD_TESTS_BENCH_SETTING_H
#define PARAMD_TESTS_BENCH_SETTING_H

#include "tests/bench/options.h"
#include "tests/bench/raw.h"

struct pd_setting {
    enum pd_transport transport;
    unsigned workers;
    unsigned shards;
    size_t size_bytes; /* of the tensor as it travels */
    bool bf16;
    bool payload_sum;
    int operation; /* -1: all */
};

/* Memory that measuring it takes, about. */
size_t pd_setting_memory_bytes(const struct pd_setting *setting);

/* Measures it and prints its rows. Cases of f32 are held against the bare loop and the raw stream
 * of the same transport, those of bf16 against the raw stream only. */
void pd_setting_run(const struct pd_setting *setting, unsigned rounds, struct pd_iperf *iperf);

#endif
