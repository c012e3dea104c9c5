/* What a gradient goes through before an optimizer's loop: the check and clipping. Compiled
 * once for each vector form, as the optimizers are. */
#include <math.h>

#include "proto/dtype_bits.h"
#include "server/optim/loop.h"

/* Of sums and maxima, so that an element does not wait for the one before it. */
enum { LANES = 16 };

/* Without their sign the bits of a float grow with it, infinity and NaN included. */
static inline int32_t larger(int32_t most, int32_t bits)
{
    int32_t magnitude = bits & 0x7fffffff;
    return magnitude > most ? magnitude : most;
}

/* In lanes, since x86-64 as such has no instruction for it and each maximum takes four cycles. */
static float largest_f32(const int32_t *g, size_t n)
{
    int32_t lane[LANES] = {0};
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] = larger(lane[j], g[i + j]);
        }
    }
    for (size_t i = whole; i < n; i++) {
        lane[0] = larger(lane[0], g[i]);
    }
    for (size_t j = 1; j < LANES; j++) {
        lane[0] = larger(lane[0], lane[j]);
    }
    union pd_float_bits most = {.word = (uint32_t)lane[0]};
    return most.number;
}

static uint16_t largest_16_bits(const int16_t *g, size_t n)
{
    int16_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int16_t magnitude = g[i] & 0x7fff;
        most = magnitude > most ? magnitude : most;
    }
    return (uint16_t)most;
}

static float largest(enum pd_dtype dtype, const void *g, size_t n)
{
    if (dtype == PD_F32) {
        return largest_f32(g, n);
    }
    uint16_t most = largest_16_bits(g, n);
    return pd_gradient_at(&most, dtype, 0);
}

PD_INLINE void clip_dtype(enum pd_dtype dtype, const void *restrict g, float *restrict dst,
                          size_t n, float scale, float limit)
{
    for (size_t i = 0; i < n; i++) {
        float x = scale * pd_gradient_at(g, dtype, i);
        x = x > limit ? limit : x;
        dst[i] = x < -limit ? -limit : x;
    }
}

static void clip(enum pd_dtype dtype, const void *restrict g, float *restrict dst, size_t n,
                 float scale, float limit)
{
    switch (dtype) {
    case PD_F32:
        clip_dtype(PD_F32, g, dst, n, scale, limit);
        break;
    case PD_BF16:
        clip_dtype(PD_BF16, g, dst, n, scale, limit);
        break;
    case PD_F16:
        clip_dtype(PD_F16, g, dst, n, scale, limit);
        break;
    }
}

static void add_squares(const float *g, size_t n, double lane[LANES])
{
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] += (double)g[i + j] * (double)g[i + j];
        }
    }
    for (size_t i = whole; i < n; i++) {
        lane[i - whole] += (double)g[i] * (double)g[i];
    }
}

const struct pd_gradient_form PD_FORM(pd_gradient) = {
    .largest = largest,
    .clip = clip,
    .add_squares = add_squares,
};
