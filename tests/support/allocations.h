/* Counts and fails allocations of the code under test. A program that uses it is linked with
 * pd_wrap_allocations() of tests/unit/host, so that calls from its objects come here first. */
#ifndef PARAMD_TESTS_SUPPORT_ALLOCATIONS_H
#define PARAMD_TESTS_SUPPORT_ALLOCATIONS_H

#include <stdbool.h>
#include <stddef.h>

/* Allocations that were not freed yet. */
long pd_allocations_live(void);

/* The k-th allocation from now on that is made inside fails, and only that; 0: none does. */
void pd_allocations_fail(unsigned k);
/* Whether it was reached. */
bool pd_allocations_failed(void);

/* Between true and false the code under test runs; allocations outside never fail. */
void pd_allocations_inside(bool inside);

#endif
