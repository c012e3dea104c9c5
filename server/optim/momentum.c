/* Heavy ball, as torch.optim.SGD with momentum (Polyak 1964; Sutskever et al. 2013).
 *     b <- momentum b + (1 - dampening) g        (the first update: b <- g)
 *     p <- p - lr b */
#include "server/optim/loop.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1e-3},
                                              {PD_MOMENTUM, 0.9},
                                              {PD_DAMPENING, 0},
                                              {PD_WEIGHT_DECAY, 0},
                                              {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    (void)carry;
    ret->rate = (float)lr;
    ret->keep1 = (float)pd_hyper_get(hyper, PD_MOMENTUM);
    ret->gain1 = t == 1 ? 1.0f : (float)(1.0 - pd_hyper_get(hyper, PD_DAMPENING));
}

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    float gi = k->scale * g + k->l2 * p;
    s[0] = k->keep1 * s[0] + k->gain1 * gi;
    return pd_fused(-k->rate, s[0], k->decay * p);
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 1, element);
}

const struct pd_rule PD_FORM(pd_momentum) = {
    .name = "momentum",
    .own = own,
    .moments = 1,
    .moment_names = {"momentum_buffer"},
    .prepare = prepare,
    .update = update,
};
