/* What a gradient goes through before an optimizer's loop: widening, the check, clipping. Compiled
 * once for each vector form, as the optimizers are. */
#include <math.h>

#include "proto/dtype_bits.h"
#include "server/optim/rule.h"

static bool within(const float *g, size_t n, float scale, float limit)
{
    uint32_t beyond = 0;
    for (size_t i = 0; i < n; i++) {
        beyond |= (uint32_t) !(fabsf(scale * g[i]) <= limit);
    }
    return beyond == 0;
}

static void widen_bf16(const uint16_t *restrict src, float *restrict dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = pd_bf16_widen(src[i]);
    }
}

static void widen_f16(const uint16_t *restrict src, float *restrict dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = pd_f16_widen(src[i]);
    }
}

static void widen(enum pd_dtype dtype, const void *src, float *restrict dst, size_t n)
{
    if (dtype == PD_BF16) {
        widen_bf16(src, dst, n);
    } else {
        widen_f16(src, dst, n);
    }
}

static void clip(const float *g, float *dst, size_t n, float scale, float limit)
{
    for (size_t i = 0; i < n; i++) {
        float x = scale * g[i];
        x = x > limit ? limit : x;
        dst[i] = x < -limit ? -limit : x;
    }
}

static void add_squares(const float *g, size_t n, double lane[16])
{
    size_t whole = n - n % 16;
    for (size_t i = 0; i < whole; i += 16) {
        for (size_t j = 0; j < 16; j++) {
            lane[j] += (double)g[i + j] * (double)g[i + j];
        }
    }
    for (size_t i = whole; i < n; i++) {
        lane[i - whole] += (double)g[i] * (double)g[i];
    }
}

const struct pd_gradient_form PD_FORM(pd_gradient) = {
    .within = within,
    .widen = widen,
    .clip = clip,
    .add_squares = add_squares,
};
