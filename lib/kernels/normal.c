/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/normal.h"

#include "kernels/cpu.h"

#include <math.h>
#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>
#endif

#define RUN 64 /* numbers made together: 16 blocks of Philox */

/* Of an even and an odd word per 64-bit lane, alternately. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define JOIN(even, odd) ((even) << 32 | ((odd) & 0xffffffffu))
#else
#define JOIN(even, odd) (((even) & 0xffffffffu) | (odd) << 32)
#endif

/* Every set runs the same sequence of correctly rounded operations, hence no fused ones and nothing from the C library. */
#define NAME(f) f##_plain
#define TARGET
#define FLOATS 4
#if FA_HAVE_AVX2
#define MULTIPLY(a, b) ((vq)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#define SQRT(x) ((vf)_mm_sqrt_ps((__m128)(x)))
#else
#define MULTIPLY(a, b) (((a) & 0xffffffffu) * ((b) & 0xffffffffu))
#define SQRT(x) ((vf){sqrtf((x)[0]), sqrtf((x)[1]), sqrtf((x)[2]), sqrtf((x)[3])})
#endif
#include "kernels/normal_body.h"

#if FA_HAVE_AVX2

#define NAME(f) f##_avx2
#define TARGET FA_AVX2
#define FLOATS 8
#define MULTIPLY(a, b) ((vq)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#define SQRT(x) ((vf)_mm256_sqrt_ps((__m256)(x)))
#include "kernels/normal_body.h"

#define NAME(f) f##_avx512
#define TARGET __attribute__((target("avx512f,fma")))
#define FLOATS 16
#define MULTIPLY(a, b) ((vq)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#define SQRT(x) ((vf)_mm512_sqrt_ps((__m512)(x)))
#include "kernels/normal_body.h"

#endif

fa_normal_function fa_normal_for(int32_t set)
{
#if FA_HAVE_AVX2
    if (set == 2) return fa_cpu_avx512() ? normal_avx512 : NULL;
    if (set == 1) return fa_cpu_avx2() ? normal_avx2 : NULL;
#endif
    return set == 0 ? normal_plain : NULL;
}

void fa_normal(uint64_t key, uint64_t stream, uint64_t first, int64_t n, float *out)
{
    fa_normal_function best = NULL;
    for (int32_t set = FA_NORMAL_SETS - 1; !best; set--) best = fa_normal_for(set);
    best(key, stream, first, n, out);
}
