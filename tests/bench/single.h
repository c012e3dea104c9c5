/* One client in this process with one tensor or many small ones, for measurements of single calls.
 */
#ifndef PARAMD_TESTS_BENCH_SINGLE_H
#define PARAMD_TESTS_BENCH_SINGLE_H

#include "tests/bench/member.h"

struct pd_single;

/* Joins a model of tensors of that many bytes each. Ends the program on failure. */
struct pd_single *pd_single_create(const struct pd_member_way *way, const char *model,
                                   size_t tensors, size_t tensor_bytes);
void pd_single_destroy(struct pd_single *single);

/* One push of the first tensor, from the call to its acknowledgement, in microseconds. */
double pd_single_push_us(struct pd_single *single);

/* Pushes to the tensors in turns, each time the oldest is acknowledged the next one is issued, so
 * that so many are on their way. Pushes a second. */
double pd_single_push_rate(struct pd_single *single, unsigned outstanding, unsigned pushes);

#endif
