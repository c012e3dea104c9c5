/* What paramd-bench can be told. Each command knows its own options; the others are refused. */
#ifndef PARAMD_TESTS_BENCH_OPTIONS_H
#define PARAMD_TESTS_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/bare.h"

struct pd_options {
    char **argv; /* of this program */
    bool json;
    bool full;        /* dense: the product of all that is not given */
    bool payload_sum; /* checksums over payloads */
    unsigned rounds;
    /* What follows is 0, -1 or NULL where it is not given. */
    const char *optimizer;
    unsigned threads;
    unsigned workers;
    unsigned shards;
    unsigned connections;
    uint64_t parameters;
    const char *plot;   /* folder for curves */
    const char *folder; /* for files on a disk */
    size_t size_bytes;
    int operation; /* enum pd_operation */
    int transport; /* enum pd_transport; pd_options_transport has TCP for -1 */
    int bf16;      /* 0 or 1 */
};

struct pd_command {
    const char *name;
    const char *summary;
    const char *options; /* letters of those it takes */
    int (*run)(const struct pd_options *options);
};

enum pd_transport pd_options_transport(const struct pd_options *options);

/* Reads the command line. Ends the program after --help (0) and for anything it cannot read (2). */
const struct pd_command *pd_options_read(int argc, char **argv, const struct pd_command *commands,
                                         size_t command_count, struct pd_options *ret_options);

#endif
