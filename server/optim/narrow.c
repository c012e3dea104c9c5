/* Values on their way out in 16 bits. Compiled once for each vector form, as the optimizers are. */
#include <string.h>

#include "server/optim/loop.h"

/* 4 KiB: here nothing but reading takes time. */
enum { NARROW_AHEAD = 1024 };

PD_INLINE void narrow_run(enum pd_dtype dtype, const float *restrict src, uint16_t *restrict dst,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = dtype == PD_BF16 ? pd_bf16_narrow(src[i]) : pd_f16_narrow(src[i]);
    }
}

PD_INLINE void narrow(enum pd_dtype dtype, const float *src, uint16_t *dst, size_t n)
{
    size_t whole = n - n % PD_RUN_ELEMENTS;
    for (size_t i = 0; i < whole; i += PD_RUN_ELEMENTS) {
        pd_prefetch(src, NULL, 0, i + NARROW_AHEAD, PD_RUN_ELEMENTS);
        narrow_run(dtype, src + i, dst + i, PD_RUN_ELEMENTS);
    }
    narrow_run(dtype, src + whole, dst + whole, n - whole);
}

static void narrow_values(enum pd_dtype dtype, const float *src, void *dst, size_t n)
{
    switch (dtype) {
    case PD_F32:
        memcpy(dst, src, n * sizeof(float));
        break;
    case PD_BF16:
        narrow(PD_BF16, src, dst, n);
        break;
    case PD_F16:
        narrow(PD_F16, src, dst, n);
        break;
    }
}

const struct pd_narrow_form PD_FORM(pd_narrow) = {.narrow = narrow_values};
