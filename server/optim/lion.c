/* Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2);
 * weight_decay is decoupled. c <- beta1 m + (1 - beta1) g p <- (1 - lr weight_decay) p - lr sign(c)
 *     m <- beta2 m + (1 - beta2) g */
#include "server/optim/loop.h"

static const struct pd_hyper_default own[] = {
    {PD_LR, 1e-4}, {PD_BETA1, 0.9}, {PD_BETA2, 0.99}, {PD_WEIGHT_DECAY, 0}, {PD_HYPER_KEYS, 0}};

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    double beta1 = pd_hyper_get(hyper, PD_BETA1);
    double beta2 = pd_hyper_get(hyper, PD_BETA2);
    (void)t;
    (void)carry;
    ret->rate = (float)lr;
    ret->keep1 = (float)beta1;
    ret->gain1 = (float)(1.0 - beta1);
    ret->keep2 = (float)beta2;
    ret->gain2 = (float)(1.0 - beta2);
}

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    float gi = k->scale * g + k->l2 * p;
    float ci = k->keep1 * s[0] + k->gain1 * gi;
    float up = ci > 0.0f ? k->rate : 0.0f;
    float down = ci < 0.0f ? k->rate : 0.0f;
    s[0] = k->keep2 * s[0] + k->gain2 * gi;
    return k->decay * p - (up - down);
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 1, element);
}

const struct pd_rule PD_FORM(pd_lion) = {
    .name = "lion",
    .own = own,
    .weight_decay_apart = true,
    .moments = 1,
    .moment_names = {"exp_avg"},
    .prepare = prepare,
    .update = update,
};
