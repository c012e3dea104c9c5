/* How settings become hyper-parameters, blocks and numbers for the tests; support.h says what each
 * does. */
#include "tests/unit/optim/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct setting settings[] = {
    {"sgd", "lr=0.05"},
    {"sgd", "lr=0.02 weight_decay=0.1 maximize=1"},
    {"sgd", "lr=0.02 decoupled_weight_decay=0.1"},
    {"momentum", "lr=0.01"},
    {"momentum", "lr=0.01 momentum=0.8 dampening=0.3 weight_decay=0.05"},
    {"nag", "lr=0.01"},
    {"nag", "lr=0.01 momentum=0.7 weight_decay=0.05 maximize=1"},
    {"adagrad", ""},
    {"adagrad", "lr=0.1 lr_decay=0.02 initial_accumulator_value=0.5 weight_decay=0.01 eps=1e-6"},
    {"rmsprop", "lr=0.003"},
    {"rmsprop", "lr=0.001 momentum=0.9 alpha=0.9"},
    {"rmsprop", "lr=0.001 centered=1 eps=1e-3"},
    {"rmsprop", "lr=0.001 centered=1 momentum=0.5 eps=1e-3 weight_decay=0.01"},
    {"adadelta", ""},
    {"adadelta", "lr=0.5 rho=0.95 eps=1e-5 weight_decay=0.01 maximize=1"},
    {"adam", ""},
    {"adam", "lr=0.01 beta1=0.5 beta2=0.9 eps=1e-4 weight_decay=0.1 maximize=1"},
    {"adam", "lr=0.01 beta1=0 decoupled_weight_decay=0.1"},
    {"adamw", ""},
    {"adamw", "lr=0.01 weight_decay=0.5 beta2=0.99"},
    {"amsgrad", ""},
    {"amsgrad", "lr=0.01 beta2=0.9 weight_decay=0.1"},
    {"nadam", ""},
    {"nadam", "lr=0.01 momentum_decay=0.1 beta1=0.8 weight_decay=0.1"},
    {"lion", ""},
    {"lion", "lr=0.01 beta1=0.95 beta2=0.98 weight_decay=0.1"},
    {"ftrl", ""},
    {"ftrl", "lr=0.5 beta=0.5 l1=0.01 l2=0.1 initial_accumulator_value=0.1"},
    {NULL, NULL},
};

/* Splits "name=value" off the front of *text; false at its end. */
static bool next_pair(const char **text, char name[40], char value[40])
{
    int used = 0;
    if (sscanf(*text, " %39[^= ]=%39s%n", name, value, &used) != 2) {
        return false;
    }
    *text += used;
    return true;
}

double setting_number(const struct setting *setting, const char *name, double otherwise)
{
    const char *text = setting->text;
    char key[40], value[40];
    while (next_pair(&text, key, value)) {
        if (strcmp(key, name) == 0) {
            return strtod(value, NULL);
        }
    }
    return otherwise;
}

struct group group_of(const char *optimizer, const char *text)
{
    struct group group = {.optimizer = pd_optimizer_find(optimizer)};
    char key[40], value[40], error[200];
    ck_assert_msg(group.optimizer != NULL, "no optimizer %s", optimizer);
    pd_hyper_defaults(group.optimizer, &group.hyper);
    while (next_pair(&text, key, value)) {
        char *end = value;
        double number = strtod(value, &end);
        enum paramd_status status = pd_hyper_set(group.optimizer, &group.hyper, key, number,
                                                 *end ? value : "", error, sizeof error);
        ck_assert_msg(status == PARAMD_OK, "%s", error);
    }
    return group;
}

struct pd_optim_block block_create(uint32_t n)
{
    size_t stride = (n + 15u) / 16u * 16u;
    struct pd_optim_block block = {.elements = n, .carry = 1.0};
    block.p = aligned_alloc(64, (1 + PD_MOMENTS_MAX) * stride * sizeof(float));
    ck_assert(block.p != NULL);
    memset(block.p, 0, (1 + PD_MOMENTS_MAX) * stride * sizeof(float));
    for (unsigned i = 0; i < PD_MOMENTS_MAX; i++) {
        block.moments[i] = block.p + (i + 1) * stride;
    }
    return block;
}

void block_destroy(struct pd_optim_block *block)
{
    free(block->p);
}

void block_copy(struct pd_optim_block *to, const struct pd_optim_block *from)
{
    size_t bytes = from->elements * sizeof(float);
    memcpy(to->p, from->p, bytes);
    for (unsigned i = 0; i < PD_MOMENTS_MAX; i++) {
        memcpy(to->moments[i], from->moments[i], bytes);
    }
    to->step = from->step;
    to->carry = from->carry;
}

bool block_equal(const struct group *group, const struct pd_optim_block *a,
                 const struct pd_optim_block *b)
{
    size_t bytes = a->elements * sizeof(float);
    bool equal = memcmp(a->p, b->p, bytes) == 0 && a->step == b->step &&
                 memcmp(&a->carry, &b->carry, sizeof a->carry) == 0;
    unsigned moments = pd_optimizer_moments(group->optimizer, &group->hyper);
    for (unsigned i = 0; i < moments; i++) {
        equal = equal && memcmp(a->moments[i], b->moments[i], bytes) == 0;
    }
    return equal;
}

enum paramd_status push_f32(const struct group *group, struct pd_optim_block *block, const float *g,
                            float scale)
{
    struct pd_optim_push push = {.gradient = g, .dtype = PD_F32, .scale = scale};
    return pd_optim_apply(group->optimizer, &group->hyper, block, &push);
}

uint64_t random_word(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double random_normal(uint64_t *state)
{
    uint64_t word = random_word(state);
    double sum = 0;
    for (; word != 0; word >>= 16) {
        sum += (double)(word & 0xffffu) * 0x1p-16;
    }
    return (sum - 2.0) * sqrt(3.0);
}

float random_extreme(uint64_t *state)
{
    static const float hard[] = {0.0f,   1e-45f, 1e-40f, 1.1754942e-38f, 1.17549435e-38f,
                                 1e-30f, 1e-20f, 1e-8f,  0.5f,           1.0f,
                                 3.0f,   1e8f,   1e17f,  1e30f};
    uint64_t word = random_word(state);
    float x = hard[(word >> 1) % (sizeof hard / sizeof hard[0])];
    return word & 1 ? -x : x;
}

bool next_form(unsigned *i, const char **ret_name)
{
    static const char *const names[] = {"baseline", "v3", "v4"};
    while (*i < 3) {
        *ret_name = names[(*i)++];
        enum paramd_status status = pd_optim_choose_isa(*ret_name);
        ck_assert(status == PARAMD_OK || status == PARAMD_UNSUPPORTED);
        if (status == PARAMD_OK) {
            return true;
        }
    }
    return false;
}
