/* What the counting library and the command that reads it have in common: a table in a file that
 * the environment names, with a row for each process. */
#ifndef PARAMD_TESTS_BENCH_CALLS_H
#define PARAMD_TESTS_BENCH_CALLS_H

#include <stdatomic.h>
#include <stdint.h>

#define PD_CALLS_ENVIRONMENT "PARAMD_BENCH_CALLS"
#define PD_CALLS_LIBRARY "paramd-bench-calls.so"

enum pd_call { PD_CALL_READ, PD_CALL_WRITE, PD_CALL_POLL, PD_CALL_SETSOCKOPT, PD_CALLS };

enum { PD_CALLS_ROWS = 64 };

struct pd_calls_row {
    _Atomic int pid; /* 0: free */
    _Atomic uint64_t counts[PD_CALLS];
};

struct pd_calls_table {
    struct pd_calls_row rows[PD_CALLS_ROWS];
};

#endif
