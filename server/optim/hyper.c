/* The hyper-parameters: their names, what each may be, and their defaults. It knows no formula. */
#include "server/optim/hyper.h"

#include <stdio.h>
#include <string.h>

#include "server/optim/rule.h"

enum kind { NUMBER, WHOLE, FLAG, CHOICE, POWER };

/* Both ends are allowed. What must be below 1 ends at BELOW_ONE, what must be above 0 begins at
 * ABOVE_ZERO: nearer to the bound a bias correction or a quotient would not fit into f32. */
#define BELOW_ONE 0.999999999
#define ABOVE_ZERO 1e-30
#define COUNT_MAX 1e15

struct spec {
    const char *name;
    enum kind kind;
    double low, high;
    const char *const *choices; /* ends with NULL */
};

static const char *const schedules[] = {"constant", "step",         "linear",
                                        "cosine",   "inverse_sqrt", NULL};
static const char *const stalenesses[] = {"none", "inverse", "exponential", NULL};

static const struct spec specs[PD_HYPER_KEYS] = {
    [PD_LR] = {"lr", NUMBER, 0, 1e6, NULL},
    [PD_WEIGHT_DECAY] = {"weight_decay", NUMBER, 0, 1e3, NULL},
    [PD_DECOUPLED_WEIGHT_DECAY] = {"decoupled_weight_decay", NUMBER, 0, 1e3, NULL},
    [PD_MAXIMIZE] = {"maximize", FLAG, 0, 1, NULL},
    [PD_MOMENTUM] = {"momentum", NUMBER, 0, BELOW_ONE, NULL},
    [PD_DAMPENING] = {"dampening", NUMBER, 0, 1, NULL},
    [PD_LR_DECAY] = {"lr_decay", NUMBER, 0, 1e6, NULL},
    [PD_INITIAL_ACCUMULATOR_VALUE] = {"initial_accumulator_value", NUMBER, 0, 1e30, NULL},
    [PD_ALPHA] = {"alpha", NUMBER, 0, BELOW_ONE, NULL},
    [PD_CENTERED] = {"centered", FLAG, 0, 1, NULL},
    [PD_RHO] = {"rho", NUMBER, 0, BELOW_ONE, NULL},
    [PD_BETA1] = {"beta1", NUMBER, 0, BELOW_ONE, NULL},
    [PD_BETA2] = {"beta2", NUMBER, 0, BELOW_ONE, NULL},
    [PD_MOMENTUM_DECAY] = {"momentum_decay", NUMBER, 0, 1e6, NULL},
    [PD_BETA] = {"beta", NUMBER, ABOVE_ZERO, 1e6, NULL},
    [PD_L1] = {"l1", NUMBER, 0, 1e6, NULL},
    [PD_L2] = {"l2", NUMBER, 0, 1e6, NULL},
    [PD_EPS] = {"eps", NUMBER, ABOVE_ZERO, 1e6, NULL},
    [PD_CLIP_VALUE] = {"clip_value", NUMBER, 0, 1e30, NULL},
    [PD_CLIP_NORM] = {"clip_norm", NUMBER, 0, 1e30, NULL},
    [PD_SCHEDULE] = {"schedule", CHOICE, 0, 4, schedules},
    [PD_WARMUP] = {"warmup", WHOLE, 0, COUNT_MAX, NULL},
    [PD_HOLD] = {"hold", WHOLE, 0, COUNT_MAX, NULL},
    [PD_TOTAL] = {"total", WHOLE, 0, COUNT_MAX, NULL},
    [PD_FINAL_RATIO] = {"final_ratio", NUMBER, 0, 1, NULL},
    [PD_DECAY_EVERY] = {"decay_every", WHOLE, 1, COUNT_MAX, NULL},
    [PD_DECAY_RATIO] = {"decay_ratio", NUMBER, 0, 1, NULL},
    [PD_STALENESS] = {"staleness", CHOICE, 0, 2, stalenesses},
    [PD_STALENESS_POWER] = {"staleness_power", POWER, 0.5, 2, NULL},
    [PD_STALENESS_RATE] = {"staleness_rate", NUMBER, 0, 1e3, NULL},
    [PD_STALENESS_CUTOFF] = {"staleness_cutoff", WHOLE, 0, COUNT_MAX, NULL},
    [PD_STALENESS_MAX] = {"staleness_max", WHOLE, 0, COUNT_MAX, NULL},
};

/* What every optimizer has beside its own. */
static const struct pd_hyper_default common[] = {
    {PD_MAXIMIZE, 0},
    {PD_CLIP_VALUE, 0},
    {PD_CLIP_NORM, 0},
    {PD_SCHEDULE, PD_SCHEDULE_CONSTANT},
    {PD_WARMUP, 0},
    {PD_HOLD, 0},
    {PD_TOTAL, 0},
    {PD_FINAL_RATIO, 0},
    {PD_DECAY_EVERY, 1000},
    {PD_DECAY_RATIO, 0.1},
    {PD_STALENESS, PD_STALENESS_NONE},
    {PD_STALENESS_POWER, 1},
    {PD_STALENESS_RATE, 0.1},
    {PD_STALENESS_CUTOFF, 0},
    {PD_STALENESS_MAX, 0},
    {PD_HYPER_KEYS, 0},
};

/* The i-th hyper-parameter of an optimizer, its own first; NULL from their number on. */
static const struct pd_hyper_default *known_at(const struct pd_optimizer *optimizer, size_t i)
{
    const struct pd_hyper_default *own = optimizer->forms[0]->own;
    for (; own->key != PD_HYPER_KEYS; own++, i--) {
        if (i == 0) {
            return own;
        }
    }
    return i < sizeof common / sizeof common[0] - 1 ? &common[i] : NULL;
}

void pd_hyper_defaults(const struct pd_optimizer *optimizer, struct pd_hyper *ret_hyper)
{
    const struct pd_hyper_default *known;
    memset(ret_hyper, 0, sizeof *ret_hyper);
    for (size_t i = 0; (known = known_at(optimizer, i)) != NULL; i++) {
        ret_hyper->value[known->key] = known->value;
    }
}

static enum paramd_status unknown(const struct pd_optimizer *optimizer, const char *name,
                                  char *error, size_t error_bytes)
{
    const struct pd_hyper_default *known;
    char list[512] = "";
    size_t used = 0;
    for (size_t i = 0; (known = known_at(optimizer, i)) != NULL && used < sizeof list; i++) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                 specs[known->key].name);
    }
    snprintf(error, error_bytes, "%s has no hyper-parameter \"%.40s\": it has %s",
             pd_optimizer_name(optimizer), name, list);
    return PARAMD_INVALID;
}

/* What a hyper-parameter may be, in words. */
static void describe(const struct spec *spec, char *ret_text, size_t bytes)
{
    size_t used = 0;
    switch (spec->kind) {
    case NUMBER:
        snprintf(ret_text, bytes, "a number from %.10g to %.10g", spec->low, spec->high);
        break;
    case WHOLE:
        snprintf(ret_text, bytes, "a whole number from %.10g to %.10g", spec->low, spec->high);
        break;
    case FLAG:
        snprintf(ret_text, bytes, "0 or 1");
        break;
    case POWER:
        snprintf(ret_text, bytes, "0.5, 1 or 2");
        break;
    case CHOICE:
        for (size_t i = 0; spec->choices[i] != NULL && used < bytes; i++) {
            used += (size_t)snprintf(ret_text + used, bytes - used, "%s%s", i ? ", " : "one of ",
                                     spec->choices[i]);
        }
        break;
    }
}

static bool number_allowed(const struct spec *spec, double number)
{
    if (!(number >= spec->low && number <= spec->high)) {
        return false;
    }
    switch (spec->kind) {
    case WHOLE:
    case FLAG:
        return number == (double)(uint64_t)number;
    case POWER:
        return number == 0.5 || number == 1.0 || number == 2.0;
    default:
        return spec->kind == NUMBER;
    }
}

static bool choice_index(const struct spec *spec, const char *text, double *ret_index)
{
    for (size_t i = 0; spec->kind == CHOICE && spec->choices[i] != NULL; i++) {
        if (strcmp(spec->choices[i], text) == 0) {
            *ret_index = (double)i;
            return true;
        }
    }
    return false;
}

enum paramd_status pd_hyper_set(const struct pd_optimizer *optimizer, struct pd_hyper *hyper,
                                const char *name, double number, const char *text, char *error,
                                size_t error_bytes)
{
    const struct pd_hyper_default *known;
    bool has_text = text != NULL && text[0] != '\0';
    char allowed[128];
    for (size_t i = 0; (known = known_at(optimizer, i)) != NULL; i++) {
        if (strcmp(specs[known->key].name, name) == 0) {
            break;
        }
    }
    if (known == NULL) {
        return unknown(optimizer, name, error, error_bytes);
    }
    const struct spec *spec = &specs[known->key];
    if (has_text ? choice_index(spec, text, &number) : number_allowed(spec, number)) {
        /* -0 becomes 0, as which protobuf-c would write it down: the same bits after that. */
        hyper->value[known->key] = number + 0.0;
        return PARAMD_OK;
    }
    describe(spec, allowed, sizeof allowed);
    if (has_text) {
        snprintf(error, error_bytes, "%s=%.40s is not allowed: it is %s", name, text, allowed);
    } else {
        snprintf(error, error_bytes, "%s=%.17g is not allowed: it is %s", name, number, allowed);
    }
    return PARAMD_INVALID;
}

enum paramd_status pd_hyper_check(const struct pd_optimizer *optimizer,
                                  const struct pd_hyper *hyper, char *error, size_t error_bytes)
{
    double schedule = pd_hyper_get(hyper, PD_SCHEDULE);
    double total = pd_hyper_get(hyper, PD_TOTAL);
    double hold = pd_hyper_get(hyper, PD_HOLD);
    double warmup = pd_hyper_get(hyper, PD_WARMUP);
    double begin = hold > warmup ? hold : warmup;
    (void)optimizer;
    if ((schedule == PD_SCHEDULE_LINEAR || schedule == PD_SCHEDULE_COSINE) && total <= begin) {
        snprintf(error, error_bytes,
                 "schedule=%s needs total above hold and warmup: total=%.17g, %.17g updates "
                 "come before the decay",
                 schedules[(size_t)schedule], total, begin);
        return PARAMD_INVALID;
    }
    return PARAMD_OK;
}

bool pd_hyper_item(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper, size_t i,
                   struct pd_hyper_item *ret_item)
{
    const struct pd_hyper_default *known = known_at(optimizer, i);
    if (known == NULL) {
        return false;
    }
    const struct spec *spec = &specs[known->key];
    ret_item->name = spec->name;
    ret_item->number = hyper->value[known->key];
    ret_item->text[0] = '\0';
    if (spec->kind == CHOICE) {
        snprintf(ret_item->text, sizeof ret_item->text, "%s",
                 spec->choices[(size_t)ret_item->number]);
    }
    return true;
}
