/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_HALF_H
#define FA_BASE_HALF_H

#include <stdint.h>
#include <string.h>

/* IEEE 754 binary16 and bfloat16 as bits. */
static inline float fa_float_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float fa_float_from_bfloat16(uint16_t h)
{
    return fa_float_from_bits((uint32_t)h << 16);
}

/* To nearest, ties to even; what is too large becomes infinite. Not for NaN. */
static inline uint16_t fa_bfloat16_from_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* The nearest bfloat16 number, ties to even, as a float; what is no number stays none. */
static inline float fa_bfloat16_nearest(float f)
{
    return f == f ? fa_float_from_bfloat16(fa_bfloat16_from_float(f)) : f;
}

static inline float fa_float_from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 31) return fa_float_from_bits(sign | 0x7F800000u | fraction << 13);
    if (exponent) return fa_float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float f = (float)fraction * 0x1p-24f; /* subnormal or zero */
    return sign ? -f : f;
}

#endif
