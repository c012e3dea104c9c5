/* What adam, adamw and amsgrad share: the constants of a step, and the loop of the first two. */
#ifndef PARAMD_SERVER_OPTIM_ADAM_H
#define PARAMD_SERVER_OPTIM_ADAM_H

#include <math.h>

#include "server/optim/loop.h"
#include "server/optim/portable_math.h"

#define pd_adam_update PD_FORM(pd_adam_update)

void pd_adam_update(const struct pd_update *u);

/* Both bias corrections go into two numbers:
 *     (m / c1) / (sqrt(v / c2) + eps) = (sqrt(c2) / c1) m / (sqrt(v) + sqrt(c2) eps),   ci = 1 -
 * betai^t which rounds less often per element than the form on the left. */
static inline void pd_adam_prepare(const struct pd_hyper *hyper, double lr, uint64_t t,
                                   double *carry, struct pd_constants *ret)
{
    double beta1 = pd_hyper_get(hyper, PD_BETA1);
    double beta2 = pd_hyper_get(hyper, PD_BETA2);
    double root = sqrt(1.0 - pd_pow_int(beta2, t));
    (void)carry;
    ret->rate = (float)(lr * root / (1.0 - pd_pow_int(beta1, t)));
    ret->eps = (float)(pd_hyper_get(hyper, PD_EPS) * root);
    ret->keep1 = (float)beta1;
    ret->gain1 = (float)(1.0 - beta1);
    ret->keep2 = (float)beta2;
    ret->gain2 = (float)(1.0 - beta2);
}

#endif
