/* The optimizers: a registry of them, their hyper-parameters, and the one call that applies a
 * gradient to a block. Pure arithmetic on memory the caller owns: no allocation, no I/O, no clock,
 * no state of its own after start. */
#ifndef PARAMD_SERVER_OPTIM_OPTIM_H
#define PARAMD_SERVER_OPTIM_OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/dtype.h"
#include "proto/paramd_status.h"

enum { PD_MOMENTS_MAX = 3, PD_HYPER_TEXT_BYTES = 24, PD_HYPERS_OF_GROUP = 48 };

/* One optimizer of the registry. Opaque; lives as long as the program. */
struct pd_optimizer;

/* All hyper-parameters of a group: plain values, copied by assignment. Only those its optimizer
 * knows have a meaning. */
struct pd_hyper {
    double value[PD_HYPERS_OF_GROUP]; /* by enum pd_hyper_key of hyper.c; choices are held as their
                                         index */
};

/* One hyper-parameter for showing or sending: text is "" unless it is a choice (such as
 * schedule=linear). */
struct pd_hyper_item {
    const char *name;
    double number;
    char text[PD_HYPER_TEXT_BYTES];
};

/* NULL if there is none of that name. */
const struct pd_optimizer *pd_optimizer_find(const char *name);
/* In the order of the documentation; NULL from pd_optimizer_at(count) on. */
const struct pd_optimizer *pd_optimizer_at(size_t i);
const char *pd_optimizer_name(const struct pd_optimizer *optimizer);

/* The defaults of torch.optim where it has the optimizer, the paper's elsewhere. */
void pd_hyper_defaults(const struct pd_optimizer *optimizer, struct pd_hyper *ret_hyper);

/* Sets one by name; text is NULL or "" for a number. On failure hyper is unchanged and error holds
 * one sentence that names the hyper-parameter, the value and what is allowed. PARAMD_OK or
 * PARAMD_INVALID. */
enum paramd_status pd_hyper_set(const struct pd_optimizer *optimizer, struct pd_hyper *hyper,
                                const char *name, double number, const char *text, char *error,
                                size_t error_bytes) __attribute__((warn_unused_result));

/* Whether the hyper-parameters fit together: call after the last of several pd_hyper_set (CREATE,
 * SET). PARAMD_OK, or PARAMD_INVALID with a sentence in error. */
enum paramd_status pd_hyper_check(const struct pd_optimizer *optimizer,
                                  const struct pd_hyper *hyper, char *error, size_t error_bytes)
    __attribute__((warn_unused_result));

/* The i-th hyper-parameter this optimizer knows; false from their number on. */
bool pd_hyper_item(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper, size_t i,
                   struct pd_hyper_item *ret_item);

/* f32 arrays of per-element state beside the weights (adam: 2). Fixed when the model is created: a
 * SET that would change it (as rmsprop's momentum from 0) must be refused, so compare before and
 * after. */
unsigned pd_optimizer_moments(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper);

/* What state.<name>.<this> is called in an exported checkpoint: "exp_avg", "exp_avg_sq", ... */
const char *pd_optimizer_moment_name(const struct pd_optimizer *optimizer,
                                     const struct pd_hyper *hyper, unsigned i);

/* One block in memory, as the caller holds it. p and the used moments are 64-byte aligned and do
 * not overlap. */
struct pd_optim_block {
    float *p;
    float *moments[PD_MOMENTS_MAX];
    uint32_t elements;
    uint64_t step; /* updates so far */
    double carry;  /* scalar state some optimizers keep per block (nadam: the product of its
                      mu's); 1.0 at the start */
};

/* Sets moments and carry to what they are before the first update. */
void pd_optim_start(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper,
                    struct pd_optim_block *block);

/* Recomputes carry for a block whose step was given from outside (INIT with a step, import). */
void pd_optim_resume(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper,
                     struct pd_optim_block *block);

struct pd_optim_push {
    const void *gradient; /* elements of dtype, 4-byte aligned */
    enum pd_dtype dtype;
    float scale;        /* the gradient is multiplied by it first */
    uint64_t staleness; /* versions between the values it was computed from and now */
};

/* Applies one push: all of it or nothing. On PARAMD_OK step has grown by one; on PARAMD_NOT_FINITE
 * and PARAMD_TOO_STALE the block is untouched. Same bits for every PARAMD_ISA. */
enum paramd_status pd_optim_apply(const struct pd_optimizer *optimizer,
                                  const struct pd_hyper *hyper, struct pd_optim_block *block,
                                  const struct pd_optim_push *push)
    __attribute__((warn_unused_result));

/* pd_dtype_narrow for whole blocks: the same bits, at the speed of memory. src and dst do not
 * overlap. */
void pd_optim_narrow(enum pd_dtype dtype, const float *src, void *dst, size_t n);

/* Chooses the vector form: "baseline", "v3", "v4", or NULL for the best this CPU has. Call once
 * before any thread starts. PARAMD_UNSUPPORTED (nothing changed) if the CPU lacks it,
 * PARAMD_INVALID for another word. */
enum paramd_status pd_optim_choose_isa(const char *isa) __attribute__((warn_unused_result));
const char *pd_optim_isa(void);

/* Makes this thread take denormals for zero and write zeros for them: moments that fade away become
 * denormal, and many CPUs need a hundred cycles for each. To be called by every thread that calls
 * pd_optim_apply, before it does, since the bits of the result depend on it. */
void pd_optim_enter_thread(void);

#endif
