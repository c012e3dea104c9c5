/* Plain gradient descent, as torch.optim.SGD without momentum.
 *     p <- p - lr g */
#include "server/optim/loop.h"

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

PD_INLINE float element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    (void)s;
    float gi = k->scale * g + k->l2 * p;
    return pd_fused(-k->rate, gi, k->decay * p);
}

static void update(const struct pd_update *u)
{
    pd_loop(u, 0, element);
}

const struct pd_rule PD_FORM(pd_sgd) = {
    .name = "sgd",
    .own = own,
    .prepare = prepare,
    .update = update,
};
