/* What the learning rate is multiplied by: the schedule, by a block's own count of updates, and the
 * staleness rule. Computed once for each push of a block, in double, without libm. */
#include <math.h>

#include "server/optim/hyper.h"
#include "server/optim/portable_math.h"

/* From 1 at begin to final at total and after it, along a line or half a cosine. */
static double decline(const struct pd_hyper *hyper, double done, double begin)
{
    double total = pd_hyper_get(hyper, PD_TOTAL);
    double final = pd_hyper_get(hyper, PD_FINAL_RATIO);
    /* pd_hyper_check refuses a total that is not above begin; a caller that did not ask decays
     * nothing. */
    if (done <= begin || total <= begin) {
        return 1.0;
    }
    if (done >= total) {
        return final;
    }
    double x = (done - begin) / (total - begin);
    if (pd_hyper_get(hyper, PD_SCHEDULE) == PD_SCHEDULE_COSINE) {
        x = 0.5 - 0.5 * pd_cos(0x1.921fb54442d18p+1 * x);
    }
    return 1.0 + (final - 1.0) * x;
}

double pd_schedule_factor(const struct pd_hyper *hyper, uint64_t step)
{
    double done = (double)step;
    double warmup = pd_hyper_get(hyper, PD_WARMUP);
    double hold = pd_hyper_get(hyper, PD_HOLD);
    double begin = hold > warmup ? hold : warmup;
    if (done < warmup) {
        return (done + 1.0) / warmup;
    }
    switch ((enum pd_schedule)pd_hyper_get(hyper, PD_SCHEDULE)) {
    case PD_SCHEDULE_STEP:
        return pd_pow_int(pd_hyper_get(hyper, PD_DECAY_RATIO),
                          step / (uint64_t)pd_hyper_get(hyper, PD_DECAY_EVERY));
    case PD_SCHEDULE_LINEAR:
    case PD_SCHEDULE_COSINE:
        return decline(hyper, done, begin);
    case PD_SCHEDULE_INVERSE_SQRT:
        begin = begin > 1.0 ? begin : 1.0;
        return done + 1.0 > begin ? sqrt(begin / (done + 1.0)) : 1.0;
    default:
        return 1.0;
    }
}

double pd_staleness_factor(const struct pd_hyper *hyper, uint64_t staleness)
{
    double s = (double)staleness;
    double power = pd_hyper_get(hyper, PD_STALENESS_POWER);
    double cutoff = pd_hyper_get(hyper, PD_STALENESS_CUTOFF);
    switch ((enum pd_staleness)pd_hyper_get(hyper, PD_STALENESS)) {
    case PD_STALENESS_INVERSE:
        if (power == 0.5) {
            return 1.0 / sqrt(1.0 + s);
        }
        return power == 1.0 ? 1.0 / (1.0 + s) : 1.0 / ((1.0 + s) * (1.0 + s));
    case PD_STALENESS_EXPONENTIAL:
        if (cutoff > 0 && s > cutoff) {
            return 0.0;
        }
        return pd_exp(-pd_hyper_get(hyper, PD_STALENESS_RATE) * s);
    default:
        return 1.0;
    }
}
