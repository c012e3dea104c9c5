/* The loop all optimizers share: once over the elements of a block or a tile, with the gradient
 * widened as it is read and the state fetched ahead. An optimizer says what one element becomes.
 * Everything is inlined into the optimizer's file, so that its vector form has loops of its own. */
#ifndef PARAMD_SERVER_OPTIM_LOOP_H
#define PARAMD_SERVER_OPTIM_LOOP_H

#include "proto/dtype_bits.h"
#include "server/optim/rule.h"

#define PD_INLINE static inline __attribute__((always_inline))

enum {
    PD_LINE_ELEMENTS = 16, /* of f32: 64 bytes */
    /* Elements between two prefetches. From 16 gcc makes straight code, not always of vectors. */
    PD_RUN_ELEMENTS = 32,
    /* 2 KiB. The CPU's own prefetchers stop at the end of a page (figures: README.md). */
    PD_AHEAD_ELEMENTS = 512
};

/* The new weight of an element with weight p and gradient g; its moments are in s and change there.
 * Begins with g <- scale * g + l2 * p. */
typedef float pd_element(const struct pd_constants *k, float p, float s[PD_MOMENTS_MAX], float g);

/* Element i of a gradient, as f32. */
PD_INLINE float pd_gradient_at(const void *gradient, enum pd_dtype dtype, size_t i)
{
    if (dtype == PD_F32) {
        return ((const float *)gradient)[i];
    }
    uint16_t h = ((const uint16_t *)gradient)[i];
    return dtype == PD_BF16 ? pd_bf16_widen(h) : pd_f16_widen(h);
}

/* Asks for n elements of weights and moments. Beyond the end of a part lies the next one, or
 * nothing, which does no harm. */
PD_INLINE void pd_prefetch(const float *p, float *const moments[PD_MOMENTS_MAX], unsigned count,
                           size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i += PD_LINE_ELEMENTS) {
        __builtin_prefetch(p + i, 1);
        for (unsigned m = 0; m < count; m++) {
            __builtin_prefetch(moments[m] + i, 1);
        }
    }
}

PD_INLINE void pd_loop_run(const struct pd_constants *k, float *restrict p, float *restrict m0,
                           float *restrict m1, float *restrict m2, const void *restrict g,
                           enum pd_dtype dtype, size_t first, size_t n, unsigned moments,
                           pd_element *element)
{
    for (size_t i = first; i < first + n; i++) {
        float s[PD_MOMENTS_MAX] = {moments > 0 ? m0[i] : 0.0f, moments > 1 ? m1[i] : 0.0f,
                                   moments > 2 ? m2[i] : 0.0f};
        p[i] = element(k, p[i], s, pd_gradient_at(g, dtype, i));
        if (moments > 0) {
            m0[i] = s[0];
        }
        if (moments > 1) {
            m1[i] = s[1];
        }
        if (moments > 2) {
            m2[i] = s[2];
        }
    }
}

PD_INLINE void pd_loop_of_dtype(const struct pd_update *u, enum pd_dtype dtype, unsigned moments,
                                pd_element *element)
{
    const struct pd_constants k = *u->constants;
    float *m0 = u->moments[0], *m1 = u->moments[1], *m2 = u->moments[2];
    size_t whole = u->n - u->n % PD_RUN_ELEMENTS;
    for (size_t i = 0; i < whole; i += PD_RUN_ELEMENTS) {
        pd_prefetch(u->p, u->moments, moments, i + PD_AHEAD_ELEMENTS, PD_RUN_ELEMENTS);
        pd_loop_run(&k, u->p, m0, m1, m2, u->gradient, dtype, i, PD_RUN_ELEMENTS, moments, element);
    }
    pd_loop_run(&k, u->p, m0, m1, m2, u->gradient, dtype, whole, u->n - whole, moments, element);
}

/* moments: how many the element has. */
PD_INLINE void pd_loop(const struct pd_update *u, unsigned moments, pd_element *element)
{
    switch (u->dtype) {
    case PD_F32:
        pd_loop_of_dtype(u, PD_F32, moments, element);
        break;
    case PD_BF16:
        pd_loop_of_dtype(u, PD_BF16, moments, element);
        break;
    case PD_F16:
        pd_loop_of_dtype(u, PD_F16, moments, element);
        break;
    }
}

#endif
