/* Which optimizers there are, and which vector form of them this process uses. */
#include <string.h>
#include <xmmintrin.h>

#include "server/optim/rule.h"

enum form { BASELINE, V3, V4, FORMS };

static const char *const form_names[FORMS] = {"baseline", "v3", "v4"};

static const struct pd_optimizer optimizers[] = {
#define ENTRY(name) {{&pd_##name##_baseline, &pd_##name##_v3, &pd_##name##_v4}},
    PD_OPTIMIZER_LIST(ENTRY)
#undef ENTRY
};

static const struct pd_gradient_form *const gradient_forms[FORMS] = {
    &pd_gradient_baseline, &pd_gradient_v3, &pd_gradient_v4};

static const struct pd_narrow_form *const narrow_forms[FORMS] = {&pd_narrow_baseline, &pd_narrow_v3,
                                                                 &pd_narrow_v4};

/* Written once, before any thread starts. */
static enum form chosen = BASELINE;

const struct pd_optimizer *pd_optimizer_at(size_t i)
{
    return i < sizeof optimizers / sizeof optimizers[0] ? &optimizers[i] : NULL;
}

const struct pd_optimizer *pd_optimizer_find(const char *name)
{
    const struct pd_optimizer *optimizer;
    for (size_t i = 0; (optimizer = pd_optimizer_at(i)) != NULL; i++) {
        if (strcmp(pd_optimizer_name(optimizer), name) == 0) {
            break;
        }
    }
    return optimizer;
}

const char *pd_optimizer_name(const struct pd_optimizer *optimizer)
{
    return optimizer->forms[BASELINE]->name;
}

const struct pd_rule *pd_optimizer_rule(const struct pd_optimizer *optimizer)
{
    return optimizer->forms[chosen];
}

const struct pd_gradient_form *pd_optim_gradient_form(void)
{
    return gradient_forms[chosen];
}

void pd_optim_narrow(enum pd_dtype dtype, const float *src, void *dst, size_t n)
{
    narrow_forms[chosen]->narrow(dtype, src, dst, n);
}

/* The index of the i-th moment's name in the rule, or -1 from their number on. */
static int moment_index(const struct pd_rule *rule, const struct pd_hyper *hyper, unsigned i)
{
    if (rule->moment != NULL) {
        return i < PD_MOMENTS_MAX ? rule->moment(hyper, i) : -1;
    }
    return i < rule->moments ? (int)i : -1;
}

unsigned pd_optimizer_moments(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper)
{
    unsigned moments = 0;
    while (moment_index(optimizer->forms[BASELINE], hyper, moments) >= 0) {
        moments++;
    }
    return moments;
}

const char *pd_optimizer_moment_name(const struct pd_optimizer *optimizer,
                                     const struct pd_hyper *hyper, unsigned i)
{
    const struct pd_rule *rule = optimizer->forms[BASELINE];
    int index = moment_index(rule, hyper, i);
    return index >= 0 ? rule->moment_names[index] : NULL;
}

/* What the psABI's levels ask for, as far as the compiler may use it in a loop over floats. */
static bool cpu_has(enum form form)
{
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    return form == BASELINE || (form == V3 ? v3 : v4);
}

enum paramd_status pd_optim_choose_isa(const char *isa)
{
    for (enum form form = V4;; form--) {
        bool named = isa != NULL && strcmp(isa, form_names[form]) == 0;
        if (named && !cpu_has(form)) {
            return PARAMD_UNSUPPORTED;
        }
        if (named || (isa == NULL && cpu_has(form))) {
            chosen = form;
            return PARAMD_OK;
        }
        if (form == BASELINE) {
            return PARAMD_INVALID;
        }
    }
}

const char *pd_optim_isa(void)
{
    return form_names[chosen];
}

void pd_optim_enter_thread(void)
{
    const unsigned flush_to_zero = 0x8000, denormals_are_zero = 0x0040;
    _mm_setcsr(_mm_getcsr() | flush_to_zero | denormals_are_zero);
}
