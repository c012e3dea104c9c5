/* What one optimizer is to the rest of this folder: its hyper-parameters, its moments, how a step's
 * constants are computed in double, and the loop. Each optimizer's file is compiled once for each
 * vector form and exports one rule. */
#ifndef PARAMD_SERVER_OPTIM_RULE_H
#define PARAMD_SERVER_OPTIM_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/optim/hyper.h"
#include "server/optim/optim.h"

/* The name in this vector form: pd_adam becomes pd_adam_v3. The build defines PD_OPTIM_FORM as
 * baseline, v3 or v4. */
#define PD_FORM_JOIN(name, form) name##_##form
#define PD_FORM_NAME(name, form) PD_FORM_JOIN(name, form)
#define PD_FORM(name) PD_FORM_NAME(name, PD_OPTIM_FORM)

/* The numbers one update of one block needs, computed in double and rounded to f32 once. Every loop
 * begins with g <- scale * g + l2 * p and ends with p <- decay * p - ...; the neutral values 1, 0
 * and 1 change no bit of finite numbers (but a gradient of -0), so no loop needs a second form
 * without them. */
struct pd_constants {
    float scale; /* of the gradient: the push's scale, the clipping of its norm, and -1 for maximize
                  */
    float l2;    /* weight decay added to the gradient */
    float decay; /* 1 - lr * decoupled weight decay */
    float rate;  /* what the update is multiplied by: lr, with bias corrections folded in */
    float eps;
    float keep1, gain1; /* first moment: beta and 1 - beta (momentum: 1 - dampening) */
    float keep2, gain2; /* second moment: beta and 1 - beta */
    float ahead;        /* nadam: what the gradient itself is multiplied by */
    /* ftrl: 1/lr_t, 1/lr_t - 1/lr_{t-1}, and the paper's beta, lambda1, lambda2 */
    float inverse_lr, inverse_change, beta, lambda1, lambda2;
    bool centered; /* rmsprop */
    bool momentum; /* rmsprop */
};

/* a * b + c rounded once, but for one case in 2^28: the product of two f32 is exact in double.
 * torch uses the fused instruction, which x86-64 itself has not. Where p changes by lr times a
 * number, an extra rounding now and then tips the rounding of p, and over 1,000 steps the two drift
 * apart by more than 5e-6 |p|; sgd, momentum and nag (v4) stay at the speed of DRAM. */
static inline float pd_fused(float a, float b, float c)
{
    return (float)((double)a * (double)b + (double)c);
}

/* What a loop goes over: n elements of a block, none of which overlap. Moments beyond those in use
 * are not looked at. */
struct pd_update {
    const struct pd_constants *constants;
    float *p;
    float *moments[PD_MOMENTS_MAX];
    const void *gradient; /* of dtype */
    enum pd_dtype dtype;
    size_t n;
};

/* One optimizer in one vector form. */
struct pd_rule {
    const char *name;
    const struct pd_hyper_default
        *own;     /* ends with a PD_HYPER_KEYS; those every optimizer has are not listed */
    bool squares; /* the gradient: beyond 1e18 it is refused */
    bool weight_decay_apart; /* weight_decay is the decoupled one, and there is no
                                decoupled_weight_decay */
    unsigned moments;
    const char *moment_names[PD_MOMENTS_MAX];
    /* NULL where moments and moment_names say it all: index of the i-th moment's name, or -1 from
     * their number on. */
    int (*moment)(const struct pd_hyper *hyper, unsigned i);
    /* NULL where all moments begin as zeros. */
    float (*moment_start)(const struct pd_hyper *hyper, unsigned i);
    /* NULL, or sets what depends on the weights, before the first update of a block. */
    void (*begin)(const struct pd_hyper *hyper, double lr, struct pd_optim_block *block);
    /* NULL, or carry as it is after that many updates. */
    double (*carry_after)(const struct pd_hyper *hyper, uint64_t step);
    /* All constants but scale, l2 and decay for update number t (from 1) at this learning rate;
     * moves carry on. */
    void (*prepare)(const struct pd_hyper *hyper, double lr, uint64_t t, double *carry,
                    struct pd_constants *ret);
    /* The loop over the elements. */
    void (*update)(const struct pd_update *u);
};

/* What a gradient goes through before the loop, in one vector form. */
struct pd_gradient_form {
    /* The largest magnitude; infinity is above all numbers, NaN above infinity. */
    float (*largest)(enum pd_dtype dtype, const void *g, size_t n);
    /* dst <- g * scale, cut to [-limit, limit]. */
    void (*clip)(enum pd_dtype dtype, const void *restrict g, float *restrict dst, size_t n,
                 float scale, float limit);
    /* Adds the squares of 16 * k elements and a rest to lane[i mod 16]. */
    void (*add_squares)(const float *g, size_t n, double lane[16]);
};

/* X(optimizer) in the order of the documentation. */
#define PD_OPTIMIZER_LIST(X)                                                                       \
    X(sgd)                                                                                         \
    X(momentum)                                                                                    \
    X(nag)                                                                                         \
    X(adagrad)                                                                                     \
    X(rmsprop)                                                                                     \
    X(adadelta)                                                                                    \
    X(adam)                                                                                        \
    X(adamw)                                                                                       \
    X(amsgrad)                                                                                     \
    X(nadam)                                                                                       \
    X(lion)                                                                                        \
    X(ftrl)

#define PD_RULE_DECLARE(name)                                                                      \
    extern const struct pd_rule pd_##name##_baseline;                                              \
    extern const struct pd_rule pd_##name##_v3;                                                    \
    extern const struct pd_rule pd_##name##_v4;
PD_OPTIMIZER_LIST(PD_RULE_DECLARE)
#undef PD_RULE_DECLARE

extern const struct pd_gradient_form pd_gradient_baseline;
extern const struct pd_gradient_form pd_gradient_v3;
extern const struct pd_gradient_form pd_gradient_v4;

/* pd_optim_narrow in one vector form. */
struct pd_narrow_form {
    void (*narrow)(enum pd_dtype dtype, const float *src, void *dst, size_t n);
};

extern const struct pd_narrow_form pd_narrow_baseline;
extern const struct pd_narrow_form pd_narrow_v3;
extern const struct pd_narrow_form pd_narrow_v4;

struct pd_optimizer {
    const struct pd_rule *forms[3]; /* baseline, v3, v4 */
};

/* In the form that was chosen. */
const struct pd_rule *pd_optimizer_rule(const struct pd_optimizer *optimizer);
const struct pd_gradient_form *pd_optim_gradient_form(void);

#endif
