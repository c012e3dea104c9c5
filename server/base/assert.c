/* The end of a program that found itself broken. */
#include "server/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void pd_assert_failed(const char *file, int line, const char *condition)
{
    (void)fprintf(stderr, "paramd is broken: %s:%d: %s\n", file, line, condition);
    abort();
}
