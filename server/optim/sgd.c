/* Plain gradient descent, as torch.optim.SGD without momentum.
 *     p <- p - lr g */
#include "server/optim/rule.h"

static const struct pd_hyper_default own[] = {
    {PD_LR, 1e-3}, {PD_WEIGHT_DECAY, 0}, {PD_DECOUPLED_WEIGHT_DECAY, 0}, {PD_HYPER_KEYS, 0}};

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    (void)hyper;
    (void)t;
    (void)carry;
    ret->rate = (float)lr;
}

static void update(const struct pd_constants *constants, float *restrict p, float *restrict unused0,
                   float *restrict unused1, float *restrict unused2, const float *restrict g,
                   size_t n)
{
    const struct pd_constants k = *constants;
    (void)unused0;
    (void)unused1;
    (void)unused2;
    for (size_t i = 0; i < n; i++) {
        float gi = k.scale * g[i] + k.l2 * p[i];
        p[i] = pd_fused(-k.rate, gi, k.decay * p[i]);
    }
}

const struct pd_rule PD_FORM(pd_sgd) = {
    .name = "sgd",
    .own = own,
    .prepare = prepare,
    .update = update,
};
