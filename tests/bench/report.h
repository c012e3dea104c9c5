/* Results as a table for people or one JSON object a line for programs. */
#ifndef PARAMD_TESTS_BENCH_REPORT_H
#define PARAMD_TESTS_BENCH_REPORT_H

#include <stdbool.h>

#include "tests/bench/base.h"

/* Begins the output: in a table the machine (CPU, caches, kernel, congestion control, load), the
 * number of rounds and the heads of the columns. */
void pd_report_begin(bool json, const char *bench, unsigned rounds);

/* One case beside one limit; both are medians. limit_name NULL: there is no limit, the case is one
 * itself. The ratio is value / limit. */
void pd_report_row(const char *name, const char *unit, const struct pd_samples *value,
                   const char *limit_name, const struct pd_samples *limit);

/* Says on stderr that this run proves nothing, and why. */
void pd_report_void(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The program's exit status: 0, or 3 after pd_report_void. */
int pd_report_end(void);

#endif
