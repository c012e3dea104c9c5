/* AMSGrad, as torch.optim.Adam with amsgrad=True (Reddi, Kale, Kumar 2018): adam.c with the largest
 * v so far. x <- max(x, v) p <- p - lr * (m / (1 - beta1^t)) / (sqrt(x / (1 - beta2^t)) + eps) */
#include "server/optim/adam.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1e-3},        {PD_BETA1, 0.9},
                                              {PD_BETA2, 0.999},    {PD_EPS, 1e-8},
                                              {PD_WEIGHT_DECAY, 0}, {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

static void update(const struct pd_constants *constants, float *restrict p, float *restrict m,
                   float *restrict v, float *restrict x, const float *restrict g, size_t n)
{
    const struct pd_constants k = *constants;
    for (size_t i = 0; i < n; i++) {
        float gi = k.scale * g[i] + k.l2 * p[i];
        float mi = k.keep1 * m[i] + k.gain1 * gi;
        float vi = k.keep2 * v[i] + k.gain2 * gi * gi;
        float xi = vi > x[i] ? vi : x[i];
        m[i] = mi;
        v[i] = vi;
        x[i] = xi;
        p[i] = k.decay * p[i] - k.rate * mi / (sqrtf(xi) + k.eps);
    }
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
