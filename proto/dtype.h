/* Element types on the wire, and their conversion from and to f32 (the type of all state). All
 * little-endian. */
#ifndef PARAMD_PROTO_DTYPE_H
#define PARAMD_PROTO_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values go to the wire and to the disk as they are in memory");

enum pd_dtype { PD_F32 = 0, PD_BF16 = 1, PD_F16 = 2 };

static inline bool pd_dtype_valid(uint32_t dtype)
{
    return dtype <= PD_F16;
}

static inline size_t pd_dtype_bytes(enum pd_dtype dtype)
{
    return dtype == PD_F32 ? 4 : 2;
}

/* Widening is exact. src holds n elements of dtype in any alignment of its element; src and dst do
 * not overlap. */
void pd_dtype_widen(enum pd_dtype dtype, const void *src, float *dst, size_t n);

/* Narrowing rounds to nearest, ties to even; what is too large becomes infinity, NaN stays NaN. */
void pd_dtype_narrow(enum pd_dtype dtype, const float *src, void *dst, size_t n);

#endif
