/* AMSGrad, as torch.optim.Adam with amsgrad=True (Reddi, Kale, Kumar 2018): adam.c with the largest
 * v so far. x <- max(x, v) p <- p - lr * (m / (1 - beta1^t)) / (sqrt(x / (1 - beta2^t)) + eps) */
#include "server/optim/adam.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1e-3},        {PD_BETA1, 0.9},
                                              {PD_BETA2, 0.999},    {PD_EPS, 1e-8},
                                              {PD_WEIGHT_DECAY, 0}, {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    float gi = k->scale * g + k->l2 * p;
    s[0] = k->keep1 * s[0] + k->gain1 * gi;
    s[1] = k->keep2 * s[1] + k->gain2 * gi * gi;
    s[2] = s[1] > s[2] ? s[1] : s[2];
    return k->decay * p - k->rate * s[0] / (sqrtf(s[2]) + k->eps);
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 3, element);
}

const struct pd_rule PD_FORM(pd_amsgrad) = {
    .name = "amsgrad",
    .own = own,
    .squares = true,
    .moments = 3,
    .moment_names = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    .prepare = pd_adam_prepare,
    .update = update,
};
