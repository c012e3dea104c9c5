/* Integers as they stand in files: little-endian, of 1 to 8 bytes, at any address. */
#ifndef PARAMD_SERVER_STORAGE_LITTLE_ENDIAN_H
#define PARAMD_SERVER_STORAGE_LITTLE_ENDIAN_H

#include <stdint.h>

static inline uint64_t pd_load(const uint8_t *in, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}

static inline void pd_store(uint8_t *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

#endif
