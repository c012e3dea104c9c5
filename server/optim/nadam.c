/* NAdam, as torch.optim.NAdam (Dozat 2016). carry is mu_1 mu_2 ... mu_t.
 *     mu_t = beta1 (1 - 0.5 * 0.96^(t momentum_decay))
 *     m <- beta1 m + (1 - beta1) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     p <- p - lr * ((1 - mu_t) / (1 - mu_1..mu_t) g + mu_{t+1} / (1 - mu_1..mu_{t+1}) m)
 *                 / (sqrt(v / (1 - beta2^t)) + eps)
 * The two terms are subtracted one after the other, as torch does: p is then rounded where torch
 * rounds it. torch before 2.0 has a mu_t too many in the last product unless foreach=True
 * (pytorch/pytorch#92699). */
#include <math.h>

#include "server/optim/loop.h"
#include "server/optim/portable_math.h"

static const struct pd_hyper_default own[] = {{PD_LR, 2e-3},
                                              {PD_BETA1, 0.9},
                                              {PD_BETA2, 0.999},
                                              {PD_EPS, 1e-8},
                                              {PD_MOMENTUM_DECAY, 4e-3},
                                              {PD_WEIGHT_DECAY, 0},
                                              {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

static double mu_at(const struct pd_hyper *hyper, uint64_t t)
{
    static const double LOG_096 = -0x1.4e69ed6d80eaep-5;
    double exponent = (double)t * pd_hyper_get(hyper, PD_MOMENTUM_DECAY);
    return pd_hyper_get(hyper, PD_BETA1) * (1.0 - 0.5 * pd_exp(exponent * LOG_096));
}

/* A product this small no longer changes 1 - product; as 0 it ends carry_after's loop early. */
static double times(double product, double mu)
{
    double next = product * mu;
    return next < 0x1p-60 ? 0.0 : next;
}

static double carry_after(const struct pd_hyper *hyper, uint64_t step)
{
    double product = 1.0;
    for (uint64_t t = 1; t <= step && product > 0.0; t++) {
        product = times(product, mu_at(hyper, t));
    }
    return product;
}

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    double beta1 = pd_hyper_get(hyper, PD_BETA1);
    double beta2 = pd_hyper_get(hyper, PD_BETA2);
    double root = sqrt(1.0 - pd_pow_int(beta2, t));
    double mu = mu_at(hyper, t);
    double mu_next = mu_at(hyper, t + 1);
    *carry = times(*carry, mu);
    ret->ahead = (float)(lr * root * (1.0 - mu) / (1.0 - *carry));
    ret->rate = (float)(lr * root * mu_next / (1.0 - *carry * mu_next));
    ret->eps = (float)(pd_hyper_get(hyper, PD_EPS) * root);
    ret->keep1 = (float)beta1;
    ret->gain1 = (float)(1.0 - beta1);
    ret->keep2 = (float)beta2;
    ret->gain2 = (float)(1.0 - beta2);
}

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    float gi = k->scale * g + k->l2 * p;
    s[0] = k->keep1 * s[0] + k->gain1 * gi;
    s[1] = k->keep2 * s[1] + k->gain2 * gi * gi;
    float root = sqrtf(s[1]) + k->eps;
    return (k->decay * p - k->ahead * gi / root) - k->rate * s[0] / root;
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 2, element);
}

const struct pd_rule PD_FORM(pd_nadam) = {
    .name = "nadam",
    .own = own,
    .squares = true,
    .moments = 2,
    .moment_names = {"exp_avg", "exp_avg_sq"},
    .carry_after = carry_after,
    .prepare = prepare,
    .update = update,
};
