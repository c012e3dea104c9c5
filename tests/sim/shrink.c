/* Delta debugging over the mask of faults: halves, quarters and so on are left out as long as the
 * run still violates. Where much is left, it begins again with a random part of all. */
#include <stdio.h>

#include "tests/sim/shrink.h"

enum { FEW = 4, ATTEMPTS = 24, PARTS = 6 };

static bool violates(struct sim *sim, const struct sim_options *options, uint64_t mask)
{
    struct sim_options with = *options;
    with.fault_mask = mask;
    with.verbose = false;
    sim_run(sim, &with);
    return sim->violated;
}

/* The mask without the faults [first, first + count) of those it has. */
static uint64_t without(uint64_t mask, unsigned first, unsigned count)
{
    unsigned place = 0;
    uint64_t rest = mask;
    for (unsigned i = 0; i < SIM_FAULTS_MAX; i++) {
        if ((mask >> i & 1) != 0) {
            if (place >= first && place < first + count) {
                rest &= ~(UINT64_C(1) << i);
            }
            place++;
        }
    }
    return rest;
}

/* None of what is left can be left out alone. */
static uint64_t reduce(struct sim *sim, const struct sim_options *options, uint64_t mask)
{
    unsigned left = (unsigned)__builtin_popcountll(mask);
    for (unsigned step = (left + 1) / 2; step > 0;) {
        bool fewer = false;
        for (unsigned first = 0; first < left;) {
            uint64_t rest = without(mask, first, step);
            if (violates(sim, options, rest)) {
                mask = rest;
                left = (unsigned)__builtin_popcountll(mask);
                fewer = true;
            } else {
                first += step;
            }
        }
        step = step == 1 && fewer ? 1 : step / 2;
    }
    return mask;
}

static uint64_t random_part(struct sim *sim, const struct sim_options *options, uint64_t mask,
                            struct sim_random *random)
{
    for (unsigned i = 0; i < PARTS; i++) {
        uint64_t half = sim_random_next(random);
        uint64_t rest = mask & (half | sim_random_next(random));
        if (rest != mask && violates(sim, options, rest)) {
            mask = rest;
        }
    }
    return mask;
}

uint64_t sim_shrink(struct sim *sim, const struct sim_options *options)
{
    uint64_t all = options->fault_mask & ((UINT64_C(1) << sim->fault_count) - 1);
    struct sim_random random = sim_random_stream(options->seed, 0);
    uint64_t best = reduce(sim, options, all);
    for (unsigned i = 0; i < ATTEMPTS && __builtin_popcountll(best) > FEW; i++) {
        uint64_t other = reduce(sim, options, random_part(sim, options, all, &random));
        best = __builtin_popcountll(other) < __builtin_popcountll(best) ? other : best;
    }
    (void)violates(sim, options, best);
    return best;
}

void sim_faults_text(uint64_t mask, char *text, size_t bytes)
{
    size_t used = 0;
    (void)snprintf(text, bytes, "%s", mask == 0 ? "none" : "all");
    for (unsigned i = 0; mask != UINT64_MAX && i < SIM_FAULTS_MAX; i++) {
        if ((mask >> i & 1) != 0) {
            used += (size_t)snprintf(text + used, bytes - used, used == 0 ? "%u" : ",%u", i);
        }
    }
}
