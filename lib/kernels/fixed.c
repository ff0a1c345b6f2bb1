/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/fixed.h"

#include "kernels/cpu.h"

#include <fattr/context.h>

#include <math.h>
#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>
#else
#define FA_INLINE static inline
#endif

typedef float plain_f __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t plain_i __attribute__((vector_size(16), aligned(4), may_alias));

#define LENGTH 46340.0f /* its square is below 2^31 */

#define LEAST 1e-15f    /* of a unit block's elements; pieces below it are zeros */

/* From sixteen sums of squares and sixteen sizes. */
static float scale_for(int64_t n, float sum[16], float size[16], float most)
{
    for (int h = 8; h > 0; h /= 2)
        for (int e = 0; e < h; e++) {
            sum[e] += sum[e + h];
            size[e] = size[e] > size[e + h] ? size[e] : size[e + h];
        }
    if (!(size[0] > LEAST)) return 1;
    const float whole = (LENGTH - 1 - 0.5f * sqrtf((float)n)) / (sqrtf(sum[0]) * 1.00001f); /* sums of floats may be a little short */
    return size[0] * whole > most ? most / size[0] : whole;
}

static inline plain_i dot(plain_i sum, plain_i a, plain_i b)
{
#if defined(__SSE2__)
    typedef int16_t pairs __attribute__((vector_size(16)));
    return sum + (plain_i)__builtin_ia32_pmaddwd128((pairs)a, (pairs)b); /* which a compiler does not find */
#endif
    for (int e = 0; e < 4; e++) sum[e] += (int16_t)(a[e] & 0xffff) * (int16_t)(b[e] & 0xffff) + (a[e] >> 16) * (b[e] >> 16);
    return sum;
}

static inline plain_i sum4(plain_i a, plain_i b, plain_i c, plain_i d)
{
    return (plain_i){a[0] + a[1] + a[2] + a[3], b[0] + b[1] + b[2] + b[3], c[0] + c[1] + c[2] + c[3], d[0] + d[1] + d[2] + d[3]};
}

static inline plain_i pairs_of(const int8_t *p)
{
    const int16_t all[8] = {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]};
    plain_i v;
    memcpy(&v, all, sizeof v);
    return v;
}

static inline plain_i larger(plain_i a, plain_i b)
{
    const plain_i m = a > b;
    return (a & m) | (b & ~m);
}

static inline plain_i nearest(plain_f x)
{
    return (plain_i){(int32_t)lrintf(x[0]), (int32_t)lrintf(x[1]), (int32_t)lrintf(x[2]), (int32_t)lrintf(x[3])};
}

#define NAME(f) f##_plain
#define LABEL "plain"
#define TARGET
#define FLOATS 4
#define ROWS 2
#define REFERENCES 3
#define SPLAT_I(x) ((vi){(x), (x), (x), (x)})
#define SPLAT_F(x) ((vf){(x), (x), (x), (x)})
#define DOT(sum, a, b) dot(sum, a, b)
#define SUM4(a, b, c, d) sum4(a, b, c, d)
#define PAIRS_OF(p) pairs_of(p)
#define NEAREST(x) nearest(x)
#define MAX_I(a, b) larger(a, b)
#include "kernels/fixed_body.h"

#if FA_HAVE_AVX2

FA_INLINE FA_AVX2 plain_i sum4_avx2(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return (plain_i)_mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

#define NAME(f) f##_avx2
#define LABEL "avx2"
#define TARGET FA_AVX2
#define FLOATS 8
#define ROWS 2
#define REFERENCES 6
#define SPLAT_I(x) ((vi)_mm256_set1_epi32(x))
#define SPLAT_F(x) ((vf)_mm256_set1_ps(x))
#define DOT(sum, a, b) ((vi)_mm256_add_epi32((__m256i)(sum), _mm256_madd_epi16((__m256i)(a), (__m256i)(b))))
#define SUM4(a, b, c, d) sum4_avx2((__m256i)(a), (__m256i)(b), (__m256i)(c), (__m256i)(d))
#define PAIRS_OF(p) ((vi)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(p))))
#define NEAREST(x) ((vi)_mm256_cvtps_epi32((__m256)(x)))
#define MAX_I(a, b) ((vi)_mm256_max_epi32((__m256i)(a), (__m256i)(b)))
#include "kernels/fixed_body.h"

#define NAME(f) f##_vnni
#define LABEL "avx512 vnni"
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vnni,fma")))
FA_INLINE TARGET __m256i halves(__m512i x)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
}
#define FLOATS 16
#define ROWS FA_FIXED_ROWS
#define REFERENCES 14
#define SPLAT_I(x) ((vi)_mm512_set1_epi32(x))
#define SPLAT_F(x) ((vf)_mm512_set1_ps(x))
#define DOT(sum, a, b) ((vi)_mm512_dpwssd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#define SUM4(a, b, c, d) sum4_avx2(halves((__m512i)(a)), halves((__m512i)(b)), halves((__m512i)(c)), halves((__m512i)(d)))
#define PAIRS_OF(p) ((vi)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(p))))
#define NEAREST(x) ((vi)_mm512_cvtps_epi32((__m512)(x)))
#define MAX_I(a, b) ((vi)_mm512_max_epi32((__m512i)(a), (__m512i)(b)))
#include "kernels/fixed_body.h"

#endif

const fa_fixed_kernels *fa_fixed_kernels_for(int32_t kernels)
{
#if FA_HAVE_AVX2
    if (kernels != FA_KERNELS_REFERENCE && fa_cpu_vnni()) return &table_vnni;
    if (kernels != FA_KERNELS_REFERENCE && fa_cpu_avx2()) return &table_avx2;
#else
    (void)kernels;
#endif
    return &table_plain;
}
