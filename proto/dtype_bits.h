/* One 16-bit float to f32 and back, as expressions without branches that a compiler turns into
 * vector code. Right also where denormals are flushed to zero: no f32 denormal is ever an operand
 * that matters. Used by dtype.c and by the optimizers' own loops; everyone else calls dtype.h. */
#ifndef PARAMD_PROTO_DTYPE_BITS_H
#define PARAMD_PROTO_DTYPE_BITS_H

#include <stdint.h>

union pd_float_bits {
    float number;
    uint32_t word;
};

static inline float pd_bf16_widen(uint16_t h)
{
    union pd_float_bits b = {.word = (uint32_t)h << 16};
    return b.number;
}

static inline float pd_f16_widen(uint16_t h)
{
    uint32_t magnitude = h & 0x7fffu;
    /* The exponent moves from bias 15 to 127; that of infinity and NaN goes all the way up. */
    uint32_t large = (magnitude << 13) + (magnitude >= 0x7c00u ? 224u << 23 : 112u << 23);
    union pd_float_bits small = {.number = (float)(int32_t)magnitude * 0x1p-24f};
    union pd_float_bits b = {.word = magnitude < 0x400u ? small.word : large};
    b.word |= (uint32_t)(h & 0x8000u) << 16;
    return b.number;
}

static inline uint16_t pd_bf16_narrow(float f)
{
    union pd_float_bits b = {.number = f};
    uint32_t rounded = (b.word + 0x7fffu + ((b.word >> 16) & 1u)) >> 16;
    uint32_t nan = (b.word >> 16) | 0x40u;
    return (uint16_t)((b.word & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

static inline uint16_t pd_f16_narrow(float f)
{
    union pd_float_bits b = {.number = f};
    uint32_t magnitude = b.word & 0x7fffffffu;
    uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    /* The last bit of 0.5f weighs what the last bit of an f16 denormal weighs: the addition rounds
     * for us. */
    union pd_float_bits half = {.number = 0.5f};
    union pd_float_bits small = {.word = magnitude};
    small.number += half.number;
    uint32_t denormal = small.word - half.word;
    uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    uint32_t h = magnitude < 0x38800000u ? denormal : normal;
    h = magnitude >= 0x477ff000u ? 0x7c00u : h;
    h = magnitude > 0x7f800000u ? nan : h;
    return (uint16_t)(h | ((b.word >> 16) & 0x8000u));
}

#endif
