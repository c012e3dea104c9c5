/* Folders of the bench's own, gone with it whatever happens: when it is interrupted, too, and then
 * together with the processes that use them. */
#ifndef PARAMD_TESTS_BENCH_SCRATCH_H
#define PARAMD_TESTS_BENCH_SCRATCH_H

#include <sys/types.h>

enum { PD_SCRATCH_PATH_BYTES = 256 };

struct pd_scratch {
    char path[PD_SCRATCH_PATH_BYTES];
    pid_t user; /* a child that works in there, or 0: an interrupted run ends it first */
};

/* A new folder in parent; NULL: in $TMPDIR or /tmp. Ends the program if there is none to be had. At
 * most 16 at a time. */
struct pd_scratch *pd_scratch_create(const char *parent);
/* With all that is in it. */
void pd_scratch_destroy(struct pd_scratch *scratch);

/* Returns when a file, named by its path, is in there. Ends the program if the user ends first. */
void pd_scratch_wait(const struct pd_scratch *scratch, const char *file);

#endif
