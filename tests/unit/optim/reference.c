/* The formulas of papers and documentation, in double. The defaults are written down here a second
 * time on purpose. */
#include "tests/unit/optim/reference.h"

#include <math.h>
#include <string.h>

static void sgd(const struct reference *r, struct element *e, double g, int t)
{
    (void)t;
    e->p -= r->lr * g;
}

static void momentum(const struct reference *r, struct element *e, double g, int t)
{
    double mu = r->momentum;
    e->a = t == 1 ? g : mu * e->a + (1 - r->dampening) * g;
    e->p -= r->lr * e->a;
}

static void nag(const struct reference *r, struct element *e, double g, int t)
{
    double mu = r->momentum;
    (void)t;
    e->a = mu * e->a + g;
    e->p -= r->lr * (g + mu * e->a);
}

static void adagrad(const struct reference *r, struct element *e, double g, int t)
{
    e->a = (t == 1 ? r->initial_accumulator_value : e->a) + g * g;
    double lr = r->lr / (1 + (t - 1) * r->lr_decay);
    e->p -= lr * g / (sqrt(e->a) + r->eps);
}

static void rmsprop(const struct reference *r, struct element *e, double g, int t)
{
    double alpha = r->alpha, mu = r->momentum;
    (void)t;
    e->a = alpha * e->a + (1 - alpha) * g * g;
    e->b = alpha * e->b + (1 - alpha) * g;
    double spread = r->centered != 0 ? e->a - e->b * e->b : e->a;
    e->c = mu * e->c + g / (sqrt(spread) + r->eps);
    e->p -= r->lr * e->c;
}

static void adadelta(const struct reference *r, struct element *e, double g, int t)
{
    double rho = r->rho, eps = r->eps;
    (void)t;
    e->a = rho * e->a + (1 - rho) * g * g;
    double delta = sqrt(e->b + eps) / sqrt(e->a + eps) * g;
    e->b = rho * e->b + (1 - rho) * delta * delta;
    e->p -= r->lr * delta;
}

static void adam(const struct reference *r, struct element *e, double g, int t)
{
    double b1 = r->beta1, b2 = r->beta2;
    e->a = b1 * e->a + (1 - b1) * g;
    e->b = b2 * e->b + (1 - b2) * g * g;
    double v = e->b;
    if (r->largest_v) {
        v = e->c = fmax(e->c, e->b);
    }
    double m_hat = e->a / (1 - pow(b1, t));
    double v_hat = v / (1 - pow(b2, t));
    e->p -= r->lr * m_hat / (sqrt(v_hat) + r->eps);
}

static void nadam(const struct reference *r, struct element *e, double g, int t)
{
    double b1 = r->beta1, b2 = r->beta2, psi = r->momentum_decay;
    double mu = b1 * (1 - 0.5 * pow(0.96, t * psi));
    double mu_next = b1 * (1 - 0.5 * pow(0.96, (t + 1) * psi));
    e->c = (t == 1 ? 1 : e->c) * mu;
    e->a = b1 * e->a + (1 - b1) * g;
    e->b = b2 * e->b + (1 - b2) * g * g;
    double m_hat = mu_next * e->a / (1 - e->c * mu_next) + (1 - mu) * g / (1 - e->c);
    e->p -= r->lr * m_hat / (sqrt(e->b / (1 - pow(b2, t))) + r->eps);
}

static void lion(const struct reference *r, struct element *e, double g, int t)
{
    double b1 = r->beta1, b2 = r->beta2;
    double c = b1 * e->a + (1 - b1) * g;
    (void)t;
    e->p -= r->lr * ((c > 0) - (c < 0));
    e->a = b2 * e->a + (1 - b2) * g;
}

static void ftrl(const struct reference *r, struct element *e, double g, int t)
{
    double alpha = r->lr, beta = r->beta, l1 = r->l1, l2 = r->l2;
    if (t == 1) {
        e->a = r->initial_accumulator_value;
        e->b = -((beta + sqrt(e->a)) / alpha + l2) * e->p - copysign(l1, e->p);
    }
    double sigma = (sqrt(e->a + g * g) - sqrt(e->a)) / alpha;
    e->b += g - sigma * e->p;
    e->a += g * g;
    double shrunk = e->b - copysign(l1, e->b);
    e->p = fabs(e->b) <= l1 ? 0 : -shrunk / ((beta + sqrt(e->a)) / alpha + l2);
}

static const struct rule {
    const char *name;
    double lr, eps, weight_decay;
    void (*update)(const struct reference *, struct element *, double, int);
} rules[] = {
    {"sgd", 1e-3, 0, 0, sgd},
    {"momentum", 1e-3, 0, 0, momentum},
    {"nag", 1e-3, 0, 0, nag},
    {"adagrad", 1e-2, 1e-10, 0, adagrad},
    {"rmsprop", 1e-2, 1e-8, 0, rmsprop},
    {"adadelta", 1, 1e-6, 0, adadelta},
    {"adam", 1e-3, 1e-8, 0, adam},
    {"adamw", 1e-3, 1e-8, 1e-2, adam},
    {"amsgrad", 1e-3, 1e-8, 0, adam},
    {"nadam", 2e-3, 1e-8, 0, nadam},
    {"lion", 1e-4, 0, 0, lion},
    {"ftrl", 0.1, 0, 0, ftrl},
};

struct reference reference_of(const struct setting *setting)
{
    struct reference r = {.rule = rules};
    const char *name = setting->optimizer;
    while (strcmp(r.rule->name, name) != 0) {
        r.rule++;
    }
    r.largest_v = strcmp(name, "amsgrad") == 0;
    r.decoupled = strcmp(name, "adamw") == 0 || strcmp(name, "lion") == 0;
    r.lr = setting_number(setting, "lr", r.rule->lr);
    r.eps = setting_number(setting, "eps", r.rule->eps);
    r.weight_decay = setting_number(setting, "weight_decay", r.rule->weight_decay);
    r.decoupled_weight_decay = setting_number(setting, "decoupled_weight_decay", 0);
    r.maximize = setting_number(setting, "maximize", 0) != 0;
    r.momentum = setting_number(setting, "momentum", strcmp(name, "rmsprop") == 0 ? 0 : 0.9);
    r.dampening = setting_number(setting, "dampening", 0);
    r.initial_accumulator_value = setting_number(setting, "initial_accumulator_value", 0);
    r.lr_decay = setting_number(setting, "lr_decay", 0);
    r.alpha = setting_number(setting, "alpha", 0.99);
    r.centered = setting_number(setting, "centered", 0);
    r.rho = setting_number(setting, "rho", 0.9);
    r.beta1 = setting_number(setting, "beta1", 0.9);
    r.beta2 = setting_number(setting, "beta2", strcmp(name, "lion") == 0 ? 0.99 : 0.999);
    r.momentum_decay = setting_number(setting, "momentum_decay", 4e-3);
    r.beta = setting_number(setting, "beta", 1);
    r.l1 = setting_number(setting, "l1", 0);
    r.l2 = setting_number(setting, "l2", 0);
    return r;
}

void reference_update(const struct reference *r, struct element *e, double g, int t)
{
    g = r->maximize ? -g : g;
    if (r->decoupled) {
        e->p *= 1 - r->lr * r->weight_decay;
    } else {
        g += r->weight_decay * e->p;
        e->p *= 1 - r->lr * r->decoupled_weight_decay;
    }
    r->rule->update(r, e, g, t);
    e->reach = fmax(e->reach, fabs(e->p));
}
