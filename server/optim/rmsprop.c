/* RMSprop, as torch.optim.RMSprop (Hinton's lecture 6e; centered: Graves 2013).
 *     v <- alpha v + (1 - alpha) g^2
 *     a <- alpha a + (1 - alpha) g               (centered; else a = 0)
 *     u <- g / (sqrt(v - a^2) + eps)
 *     p <- p - lr u, or with momentum:  b <- momentum b + u,  p <- p - lr b
 * Rounding can make v - a^2 a little negative, where torch gives NaN: 0 is taken then. */
#include <math.h>

#include "server/optim/loop.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1e-2},
                                              {PD_ALPHA, 0.99},
                                              {PD_EPS, 1e-8},
                                              {PD_MOMENTUM, 0},
                                              {PD_CENTERED, 0},
                                              {PD_WEIGHT_DECAY, 0},
                                              {PD_DECOUPLED_WEIGHT_DECAY, 0},
                                              {PD_HYPER_KEYS, 0}};

/* v first, then b and a where they are used. */
static int moment(const struct pd_hyper *hyper, unsigned i)
{
    bool with_momentum = pd_hyper_get(hyper, PD_MOMENTUM) > 0;
    bool centered = pd_hyper_get(hyper, PD_CENTERED) != 0;
    if (i == 0) {
        return 0;
    }
    if (i == 1 && with_momentum) {
        return 1;
    }
    return centered && i == 1u + with_momentum ? 2 : -1;
}

static void prepare(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret)
{
    double alpha = pd_hyper_get(hyper, PD_ALPHA);
    (void)t;
    (void)carry;
    ret->rate = (float)lr;
    ret->eps = (float)pd_hyper_get(hyper, PD_EPS);
    ret->keep1 = (float)pd_hyper_get(hyper, PD_MOMENTUM);
    ret->keep2 = (float)alpha;
    ret->gain2 = (float)(1.0 - alpha);
    ret->momentum = pd_hyper_get(hyper, PD_MOMENTUM) > 0;
    ret->centered = pd_hyper_get(hyper, PD_CENTERED) != 0;
}

/* With constants for the last two arguments only what they ask for is left of it. */
PD_INLINE float general(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g,
                        bool with_momentum, bool centered)
{
    float gi = k->scale * g + k->l2 * p;
    s[0] = k->keep2 * s[0] + k->gain2 * gi * gi;
    float spread = s[0];
    if (centered) {
        float *a = &s[with_momentum ? 2 : 1];
        *a = k->keep2 * *a + k->gain2 * gi;
        spread = s[0] - *a * *a;
        spread = spread > 0.0f ? spread : 0.0f;
    }
    float root = sqrtf(spread) + k->eps;
    if (with_momentum) {
        s[1] = k->keep1 * s[1] + gi / root;
        return pd_fused(-k->rate, s[1], k->decay * p);
    }
    return k->decay * p - k->rate * gi / root;
}

PD_INLINE float plain(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    return general(k, p, s, g, false, false);
}

PD_INLINE float centred(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    return general(k, p, s, g, false, true);
}

PD_INLINE float heavy(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g)
{
    return general(k, p, s, g, true, false);
}

PD_INLINE float heavy_centred(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX],
                              float g)
{
    return general(k, p, s, g, true, true);
}

static void update(const struct pd_update *u)
{
    if (u->constants->momentum && u->constants->centered) {
        pd_loop(u, 3, heavy_centred);
    } else if (u->constants->momentum) {
        pd_loop(u, 2, heavy);
    } else if (u->constants->centered) {
        pd_loop(u, 2, centred);
    } else {
        pd_loop(u, 1, plain);
    }
}

const struct pd_rule PD_FORM(pd_rmsprop) = {
    .name = "rmsprop",
    .own = own,
    .squares = true,
    .moments = 1,
    .moment_names = {"square_avg", "momentum_buffer", "grad_avg"},
    .moment = moment,
    .prepare = prepare,
    .update = update,
};
