/* Arrays of 16-bit floats to f32 and back, one element after the other: what the vector forms in
 * server/optim are compared with, and what needs no speed. The arithmetic is in dtype_bits.h. */
#include "proto/dtype.h"

#include <string.h>

#include "proto/dtype_bits.h"

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

static void narrow_bf16(const float *restrict src, uint16_t *restrict dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = pd_bf16_narrow(src[i]);
    }
}

static void narrow_f16(const float *restrict src, uint16_t *restrict dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = pd_f16_narrow(src[i]);
    }
}

void pd_dtype_widen(enum pd_dtype dtype, const void *src, float *dst, size_t n)
{
    switch (dtype) {
    case PD_F32:
        memcpy(dst, src, n * sizeof(float));
        break;
    case PD_BF16:
        widen_bf16(src, dst, n);
        break;
    case PD_F16:
        widen_f16(src, dst, n);
        break;
    }
}

void pd_dtype_narrow(enum pd_dtype dtype, const float *src, void *dst, size_t n)
{
    switch (dtype) {
    case PD_F32:
        memcpy(dst, src, n * sizeof(float));
        break;
    case PD_BF16:
        narrow_bf16(src, dst, n);
        break;
    case PD_F16:
        narrow_f16(src, dst, n);
        break;
    }
}
