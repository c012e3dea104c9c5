/* Blocks and loops of kernel.h. */
#include <err.h>
#include <string.h>

#include "server/optim/rule.h"
#include "tests/bench/add.h"
#include "tests/bench/base.h"
#include "tests/bench/kernel.h"

/* Late enough that no schedule or bias correction is in its first steps. */
enum { STEP = 1000 };

static size_t memory_bytes(const struct pd_kernel *kernel)
{
    return pd_kernel_blocks(kernel) * PD_BLOCK_BYTES * (1 + kernel->moments);
}

void pd_kernel_init(struct pd_kernel *kernel, const char *optimizer, size_t elements)
{
    kernel->optimizer = pd_optimizer_find(optimizer);
    if (kernel->optimizer == NULL) {
        errx(1, "no optimizer is called \"%s\"", optimizer);
    }
    pd_hyper_defaults(kernel->optimizer, &kernel->hyper);
    kernel->moments = pd_optimizer_moments(kernel->optimizer, &kernel->hyper);
    kernel->elements = elements;
    kernel->memory = pd_memory_take(memory_bytes(kernel));
    memset(kernel->memory, 0, memory_bytes(kernel));
    pd_optim_enter_thread();
}

void pd_kernel_deinit(struct pd_kernel *kernel)
{
    pd_memory_give(kernel->memory, memory_bytes(kernel));
}

size_t pd_kernel_blocks(const struct pd_kernel *kernel)
{
    return (kernel->elements + PD_BLOCK_ELEMENTS - 1) / PD_BLOCK_ELEMENTS;
}

uint32_t pd_kernel_block_elements(const struct pd_kernel *kernel, size_t block)
{
    size_t rest = kernel->elements - block * PD_BLOCK_ELEMENTS;
    return (uint32_t)(rest < PD_BLOCK_ELEMENTS ? rest : PD_BLOCK_ELEMENTS);
}

float *pd_kernel_weights(const struct pd_kernel *kernel, size_t block)
{
    return kernel->memory + block * PD_BLOCK_ELEMENTS * (1 + kernel->moments);
}

/* A short block's moments follow its weights directly, so that all of it can fit into a cache. */
static struct pd_optim_block block_of(const struct pd_kernel *kernel, size_t block)
{
    uint32_t elements = pd_kernel_block_elements(kernel, block);
    struct pd_optim_block result = {
        .p = pd_kernel_weights(kernel, block), .elements = elements, .step = STEP, .carry = 0.5};
    for (unsigned m = 0; m < kernel->moments; m++) {
        result.moments[m] = result.p + (size_t)(m + 1) * elements;
    }
    return result;
}

void pd_kernel_apply(struct pd_kernel *kernel, size_t block, const void *gradient,
                     enum pd_dtype dtype)
{
    struct pd_optim_block state = block_of(kernel, block);
    const struct pd_optim_push push = {.gradient = gradient, .dtype = dtype, .scale = 1.0F};
    if (pd_optim_apply(kernel->optimizer, &kernel->hyper, &state, &push) != PARAMD_OK) {
        errx(1, "the optimizer refused a sound gradient");
    }
}

void pd_kernel_update(struct pd_kernel *kernel, size_t block, const void *gradient,
                      enum pd_dtype dtype)
{
    const struct pd_rule *rule = pd_optimizer_rule(kernel->optimizer);
    struct pd_optim_block state = block_of(kernel, block);
    struct pd_constants constants = {.scale = 1.0F, .decay = 1.0F};
    rule->prepare(&kernel->hyper, pd_hyper_get(&kernel->hyper, PD_LR), state.step + 1, &state.carry,
                  &constants);
    struct pd_update update = {&constants, state.p, {NULL}, gradient, dtype, state.elements};
    memcpy(update.moments, state.moments, sizeof update.moments);
    rule->update(&update);
}

static void add(struct pd_kernel *kernel, size_t block, const float *gradient, pd_add *loop)
{
    struct pd_optim_block state = block_of(kernel, block);
    float *arrays[1 + PD_MOMENTS_MAX] = {state.p, state.moments[0], state.moments[1],
                                         state.moments[2]};
    loop(arrays, 1 + kernel->moments, gradient, state.elements);
}

static const struct pd_add_form *add_form(void)
{
    const char *isa = pd_optim_isa();
    const struct pd_add_form *other =
        strcmp(isa, "v3") == 0 ? &pd_add_form_v3 : &pd_add_form_baseline;
    return strcmp(isa, "v4") == 0 ? &pd_add_form_v4 : other;
}

void pd_kernel_add(struct pd_kernel *kernel, size_t block, const float *gradient)
{
    add(kernel, block, gradient, add_form()->plain);
}

void pd_kernel_add_prefetched(struct pd_kernel *kernel, size_t block, const float *gradient)
{
    add(kernel, block, gradient, add_form()->prefetched);
}
