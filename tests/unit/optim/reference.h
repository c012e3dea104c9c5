/* Every optimizer once more, one element at a time in double, written from the papers and torch's
 * documentation and sharing nothing with the product: what the loops are compared with. */
#ifndef PARAMD_TESTS_UNIT_OPTIM_REFERENCE_H
#define PARAMD_TESTS_UNIT_OPTIM_REFERENCE_H

#include "tests/unit/optim/support.h"

/* What a setting says, read once. */
struct reference {
    const struct rule *rule;
    bool largest_v, decoupled, maximize;
    double lr, eps, weight_decay, decoupled_weight_decay, momentum, dampening, lr_decay, alpha;
    double initial_accumulator_value, centered, rho, beta1, beta2, momentum_decay, beta, l1, l2;
};

struct reference reference_of(const struct setting *setting);

/* One element: its weight, whatever its optimizer remembers, and the largest |p| on its way, which
 * is what f32 rounds in proportion to. Begins as {p, all else 0}. */
struct element {
    double p, a, b, c, reach;
};

/* Update number t, from 1. */
void reference_update(const struct reference *reference, struct element *e, double g, int t);

#endif
