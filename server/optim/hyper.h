/* The hyper-parameters by number, inside this folder: which there are, and how the optimizers read
 * them. */
#ifndef PARAMD_SERVER_OPTIM_HYPER_H
#define PARAMD_SERVER_OPTIM_HYPER_H

#include <stdbool.h>

#include "server/optim/optim.h"

/* Positions in pd_hyper.value. Not on the wire: names are. */
enum pd_hyper_key {
    PD_LR,
    PD_WEIGHT_DECAY,
    PD_DECOUPLED_WEIGHT_DECAY,
    PD_MAXIMIZE,
    PD_MOMENTUM,
    PD_DAMPENING,
    PD_LR_DECAY,
    PD_INITIAL_ACCUMULATOR_VALUE,
    PD_ALPHA,
    PD_CENTERED,
    PD_RHO,
    PD_BETA1,
    PD_BETA2,
    PD_MOMENTUM_DECAY,
    PD_BETA,
    PD_L1,
    PD_L2,
    PD_EPS,
    PD_CLIP_VALUE,
    PD_CLIP_NORM,
    PD_SCHEDULE,
    PD_WARMUP,
    PD_HOLD,
    PD_TOTAL,
    PD_FINAL_RATIO,
    PD_DECAY_EVERY,
    PD_DECAY_RATIO,
    PD_STALENESS,
    PD_STALENESS_POWER,
    PD_STALENESS_RATE,
    PD_STALENESS_CUTOFF,
    PD_STALENESS_MAX,
    PD_HYPER_KEYS
};

_Static_assert((int)PD_HYPER_KEYS <= (int)PD_HYPERS_OF_GROUP, "pd_hyper is too small");

enum pd_schedule {
    PD_SCHEDULE_CONSTANT,
    PD_SCHEDULE_STEP,
    PD_SCHEDULE_LINEAR,
    PD_SCHEDULE_COSINE,
    PD_SCHEDULE_INVERSE_SQRT
};

enum pd_staleness { PD_STALENESS_NONE, PD_STALENESS_INVERSE, PD_STALENESS_EXPONENTIAL };

struct pd_hyper_default {
    enum pd_hyper_key key;
    double value;
};

static inline double pd_hyper_get(const struct pd_hyper *hyper, enum pd_hyper_key key)
{
    return hyper->value[key];
}

/* What lr is multiplied by for a block that has had step updates. */
double pd_schedule_factor(const struct pd_hyper *hyper, uint64_t step);

/* What lr is multiplied by for a gradient that is that many versions old. */
double pd_staleness_factor(const struct pd_hyper *hyper, uint64_t staleness);

#endif
