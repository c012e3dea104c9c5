/* Finds out which of a run's faults a violation needs. */
#ifndef PARAMD_TESTS_SIM_SHRINK_H
#define PARAMD_TESTS_SIM_SHRINK_H

#include "tests/sim/sim.h"

/* options: of a run that violates. Runs it again with fewer and fewer faults; the mask of those
 * left. sim holds the run with them. */
uint64_t sim_shrink(struct sim *sim, const struct sim_options *options);

/* A mask as --faults takes it. */
void sim_faults_text(uint64_t mask, char *text, size_t bytes);

#endif
