/* FTRL-Proximal (McMahan et al. 2013, "Ad Click Prediction: a View from the Trenches", algorithm
 * 1), alpha = lr. n' = n + g^2,  sigma = (beta + sqrt(n')) / lr_t - (beta + sqrt(n)) / lr_{t-1} z
 * <- z + g - sigma p p <- 0 if |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt(n')) / lr_t + l2)
 * With a constant lr that is the paper's sigma; this one stays right under a schedule. carry is
 * lr_{t-1}. The paper begins with p = 0 and z = 0; for other first weights z begins as what makes p
 * its own solution. */
#include <math.h>

#include "server/optim/loop.h"

static const struct pd_hyper_default own[] = {{PD_LR, 0.1},
                                              {PD_BETA, 1},
                                              {PD_L1, 0},
                                              {PD_L2, 0},
                                              {PD_INITIAL_ACCUMULATOR_VALUE, 0},
                                              {PD_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

/* lr is divided by, so a schedule's 0 becomes a millionth of lr. */
static double lr_at_least(const struct pd_hyper *hyper, double lr)
{
    double least = pd_hyper_get(hyper, PD_LR) * 1e-6;
    least = least > 1e-12 ? least : 1e-12;
    return lr > least ? lr : least;
}

static float moment_start(const struct pd_hyper *hyper, unsigned i)
{
    return i == 0 ? (float)pd_hyper_get(hyper, PD_INITIAL_ACCUMULATOR_VALUE) : 0.0f;
}

static void begin(const struct pd_hyper *hyper, double lr, struct pd_optim_block *block)
{
    float inverse = (float)(1.0 / lr_at_least(hyper, lr));
    float beta = (float)pd_hyper_get(hyper, PD_BETA);
    float l1 = (float)pd_hyper_get(hyper, PD_L1);
    float l2 = (float)pd_hyper_get(hyper, PD_L2);
    for (uint32_t i = 0; i < block->elements; i++) {
        float p = block->p[i];
        float sign = (float)((p > 0.0f) - (p < 0.0f));
        block->moments[1][i] =
            -(((beta + sqrtf(block->moments[0][i])) * inverse + l2) * p + sign * l1);
    }
}

static double carry_after(const struct pd_hyper *hyper, uint64_t step)
{
    double factor = step == 0 ? 1.0 : pd_schedule_factor(hyper, step - 1);
    return lr_at_least(hyper, pd_hyper_get(hyper, PD_LR) * factor);
}

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    double now = lr_at_least(hyper, lr);
    double before = t == 1 ? now : *carry;
    *carry = now;
    ret->inverse_lr = (float)(1.0 / now);
    ret->inverse_change = (float)(1.0 / now - 1.0 / before);
    ret->beta = (float)pd_hyper_get(hyper, PD_BETA);
    ret->lambda1 = (float)pd_hyper_get(hyper, PD_L1);
    ret->lambda2 = (float)pd_hyper_get(hyper, PD_L2);
}

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    float gi = k->scale * g + k->l2 * p;
    float root_before = sqrtf(s[0]);
    s[0] = s[0] + gi * gi;
    float root = sqrtf(s[0]);
    float sigma =
        (root - root_before) * k->inverse_lr + (root_before + k->beta) * k->inverse_change;
    s[1] = s[1] + (gi - sigma * p);
    float within = (s[1] > 0.0f ? k->lambda1 : -k->lambda1) - s[1];
    float solution = within / ((k->beta + root) * k->inverse_lr + k->lambda2);
    return fabsf(s[1]) <= k->lambda1 ? 0.0f : solution;
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 2, element);
}

const struct pd_rule PD_FORM(pd_ftrl) = {
    .name = "ftrl",
    .own = own,
    .squares = true,
    .moments = 2,
    .moment_names = {"accumulator", "linear"},
    .moment_start = moment_start,
    .begin = begin,
    .carry_after = carry_after,
    .prepare = prepare,
    .update = update,
};
