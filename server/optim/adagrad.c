/* Adagrad, as torch.optim.Adagrad (Duchi, Hazan, Singer 2011).
 *     s <- s + g^2
 *     p <- p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps) */
#include <math.h>

#include "server/optim/loop.h"

static const struct pd_hyper_default own[] = {
    {PD_LR, 1e-2},     {PD_LR_DECAY, 0},     {PD_INITIAL_ACCUMULATOR_VALUE, 0},
    {PD_EPS, 1e-10},   {PD_WEIGHT_DECAY, 0}, {PD_DECOUPLED_WEIGHT_DECAY, 0},
    {PD_HYPER_KEYS, 0}};

static float moment_start(const struct pd_hyper *hyper, unsigned i)
{
    (void)i;
    return (float)pd_hyper_get(hyper, PD_INITIAL_ACCUMULATOR_VALUE);
}

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    (void)carry;
    ret->rate = (float)(lr / (1.0 + (double)(t - 1) * pd_hyper_get(hyper, PD_LR_DECAY)));
    ret->eps = (float)pd_hyper_get(hyper, PD_EPS);
}

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    float gi = k->scale * g + k->l2 * p;
    s[0] = s[0] + gi * gi;
    return k->decay * p - k->rate * gi / (sqrtf(s[0]) + k->eps);
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 1, element);
}

const struct pd_rule PD_FORM(pd_adagrad) = {
    .name = "adagrad",
    .own = own,
    .squares = true,
    .moments = 1,
    .moment_names = {"sum"},
    .moment_start = moment_start,
    .prepare = prepare,
    .update = update,
};
