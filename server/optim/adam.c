/* Adam, as torch.optim.Adam (Kingma, Ba 2015, with the order of section 2's last paragraph).
 *     m <- beta1 m + (1 - beta1) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     p <- p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) */
#include "server/optim/adam.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1e-3},        {PD_BETA1, 0.9},
                                              {PD_BETA2, 0.999},    {PD_EPS, 1e-8},
                                              {PD_WEIGHT_DECAY, 0}, {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

void pd_adam_update(const struct pd_constants *constants, float *restrict p, float *restrict m,
                    float *restrict v, float *restrict unused2, const float *restrict g, size_t n)
{
    const struct pd_constants k = *constants;
    (void)unused2;
    for (size_t i = 0; i < n; i++) {
        float gi = k.scale * g[i] + k.l2 * p[i];
        float mi = k.keep1 * m[i] + k.gain1 * gi;
        float vi = k.keep2 * v[i] + k.gain2 * gi * gi;
        m[i] = mi;
        v[i] = vi;
        p[i] = k.decay * p[i] - k.rate * mi / (sqrtf(vi) + k.eps);
    }
}

const struct pd_rule PD_FORM(pd_adam) = {
    .name = "adam",
    .own = own,
    .squares = true,
    .moments = 2,
    .moment_names = {"exp_avg", "exp_avg_sq"},
    .prepare = pd_adam_prepare,
    .update = pd_adam_update,
};
