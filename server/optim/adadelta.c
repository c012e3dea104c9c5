/* Adadelta, as torch.optim.Adadelta (Zeiler 2012).
 *     v <- rho v + (1 - rho) g^2
 *     u <- sqrt(d + eps) / sqrt(v + eps) * g
 *     d <- rho d + (1 - rho) u^2
 *     p <- p - lr u */
#include <math.h>

#include "server/optim/loop.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1.0},
                                              {PD_RHO, 0.9},
                                              {PD_EPS, 1e-6},
                                              {PD_WEIGHT_DECAY, 0},
                                              {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    double rho = pd_hyper_get(hyper, PD_RHO);
    (void)t;
    (void)carry;
    ret->rate = (float)lr;
    ret->eps = (float)pd_hyper_get(hyper, PD_EPS);
    ret->keep2 = (float)rho;
    ret->gain2 = (float)(1.0 - rho);
}

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    float gi = k->scale * g + k->l2 * p;
    s[0] = k->keep2 * s[0] + k->gain2 * gi * gi;
    float ui = sqrtf(s[1] + k->eps) / sqrtf(s[0] + k->eps) * gi;
    s[1] = k->keep2 * s[1] + k->gain2 * ui * ui;
    return k->decay * p - k->rate * ui;
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 2, element);
}

const struct pd_rule PD_FORM(pd_adadelta) = {
    .name = "adadelta",
    .own = own,
    .squares = true,
    .moments = 2,
    .moment_names = {"square_avg", "acc_delta"},
    .prepare = prepare,
    .update = update,
};
