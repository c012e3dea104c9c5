/* What the optimizer tests share: hyper-parameters written as text, blocks in memory, numbers from
 * a seed. */
#ifndef PARAMD_TESTS_UNIT_OPTIM_SUPPORT_H
#define PARAMD_TESTS_UNIT_OPTIM_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/optim/optim.h"

/* An optimizer and settings such as "beta1=0.5 schedule=linear"; what is not named has its default.
 */
struct setting {
    const char *optimizer;
    const char *text;
};

/* At least two of each optimizer; ends with a NULL name. */
extern const struct setting settings[];

/* The value a setting gives a numeric hyper-parameter, read from the text alone. */
double setting_number(const struct setting *setting, const char *name, double otherwise);

struct group {
    const struct pd_optimizer *optimizer;
    struct pd_hyper hyper;
};

/* Fails the test if the product refuses the setting. */
struct group group_of(const char *optimizer, const char *text);

/* Weights and all three moments of n elements, 64-byte aligned, in one allocation. */
struct pd_optim_block block_create(uint32_t n);
void block_destroy(struct pd_optim_block *block);
/* Deep copy of values, step and carry; both have the same number of elements. */
void block_copy(struct pd_optim_block *to, const struct pd_optim_block *from);
/* The same bits in weights, the moments in use, step and carry. */
bool block_equal(const struct group *group, const struct pd_optim_block *a,
                 const struct pd_optim_block *b);

enum paramd_status push_f32(const struct group *group, struct pd_optim_block *block, const float *g,
                            float scale);

/* splitmix64: the same numbers everywhere. */
uint64_t random_word(uint64_t *state);
/* Roughly normal: mean 0, variance 1, within +-3.5. */
double random_normal(uint64_t *state);
/* From a list of what is hard: zeros of both signs, denormals, 1e+-30, up to 1e17; with random
 * signs. */
float random_extreme(uint64_t *state);

/* Sets each vector form this CPU has in turn; false after the last. i begins at 0. */
bool next_form(unsigned *i, const char **ret_name);

#endif
