/* AdamW, as torch.optim.AdamW (Loshchilov, Hutter 2019): adam.c's loop, and weight_decay is the
 * decoupled one. p <- (1 - lr weight_decay) p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t))
 * + eps) */
#include "server/optim/adam.h"

static const struct pd_hyper_default own[] = {{PD_LR, 1e-3},           {PD_BETA1, 0.9},
                                              {PD_BETA2, 0.999},       {PD_EPS, 1e-8},
                                              {PD_WEIGHT_DECAY, 1e-2}, {PD_HYPER_KEYS, 0}};

const struct pd_rule PD_FORM(pd_adamw) = {
    .name = "adamw",
    .own = own,
    .squares = true,
    .weight_decay_apart = true,
    .moments = 2,
    .moment_names = {"exp_avg", "exp_avg_sq"},
    .prepare = pd_adam_prepare,
    .update = pd_adam_update,
};
