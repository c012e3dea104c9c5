/* Nesterov's accelerated gradient, as torch.optim.SGD with nesterov=True (Sutskever et al. 2013).
 *     b <- momentum b + g
 *     p <- p - lr (g + momentum b) */
#include "server/optim/rule.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1e-3},
                                              {PD_MOMENTUM, 0.9},
                                              {PD_WEIGHT_DECAY, 0},
                                              {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    (void)t;
    (void)carry;
    ret->rate = (float)lr;
    ret->keep1 = (float)pd_hyper_get(hyper, PD_MOMENTUM);
}

static void update(const struct pd_constants *constants, float *restrict p, float *restrict b,
                   float *restrict unused1, float *restrict unused2, const float *restrict g,
                   size_t n)
{
    const struct pd_constants k = *constants;
    (void)unused1;
    (void)unused2;
    for (size_t i = 0; i < n; i++) {
        float gi = k.scale * g[i] + k.l2 * p[i];
        float bi = k.keep1 * b[i] + gi;
        b[i] = bi;
        p[i] = pd_fused(-k.rate, pd_fused(k.keep1, bi, gi), k.decay * p[i]);
    }
}

const struct pd_rule PD_FORM(pd_nag) = {
    .name = "nag",
    .own = own,
    .moments = 1,
    .moment_names = {"momentum_buffer"},
    .prepare = prepare,
    .update = update,
};
