/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/dot.h"

#include "kernels/cpu.h"

#include <fattr/context.h>

#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>
#else
#define FA_INLINE static inline
#endif

typedef float plain_f __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t plain_i __attribute__((vector_size(16)));

static inline plain_i larger_i(plain_i a, plain_i b)
{
    plain_i m = a > b;
    return (a & m) | (b & ~m);
}

static inline plain_f larger_f(plain_f a, plain_f b)
{
    plain_i m = a > b;
    return (plain_f)(((plain_i)a & m) | ((plain_i)b & ~m));
}

static inline plain_f load_some(const float *p, int64_t n)
{
    plain_f v = {0};
    for (int e = 0; e < n; e++) v[e] = p[e];
    return v;
}

static inline plain_f sum4(plain_f a, plain_f b, plain_f c, plain_f d)
{
    return (plain_f){(a[0] + a[2]) + (a[1] + a[3]), (b[0] + b[2]) + (b[1] + b[3]), (c[0] + c[2]) + (c[1] + c[3]), (d[0] + d[2]) + (d[1] + d[3])};
}

/* The reference set: portable C that the compiler turns into whatever vectors the target has. Contraction is off for the whole library, hence
 * the fused forms by name in the others. */
#define NAME(f) f##_plain
#define LABEL "plain"
#define TARGET
#define FLOATS 4
#define DOUBLES 2
#define FMA_F(a, b, c) ((a) * (b) + (c))
#define FMA_D(a, b, c) ((a) * (b) + (c))
#define SPLAT_F(x) ((vf){(x), (x), (x), (x)})
#define SPLAT_D(x) ((vd){(x), (x)})
#define MAX_F(a, b) larger_f(a, b)
#define MAX_I(a, b) larger_i(a, b)
#define MASK int64_t
#define MASK_OF(n) (n)
#define MASK_LOAD(p, n) load_some(p, n)
#define ROWS 2
#define SUM4(a, b, c, d) sum4(a, b, c, d)
#include "kernels/dot_body.h"

#if FA_HAVE_AVX2

FA_INLINE FA_AVX2 plain_f sum4_avx2(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)), cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return (plain_f)_mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

#include "kernels/vectors_avx2.h"
#define ROWS 3
#define SUM4(a, b, c, d) sum4_avx2((__m256)(a), (__m256)(b), (__m256)(c), (__m256)(d))
#define DOUBLES 4
#define FMA_D(a, b, c) ((vd)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define SPLAT_D(x) ((vd)_mm256_set1_pd(x))
#define MAX_I(a, b) ((vi)_mm256_max_epi32((__m256i)(a), (__m256i)(b)))
#include "kernels/dot_body.h"

#include "kernels/vectors_avx512.h"
FA_INLINE TARGET __m256 halves(__m512 x)
{
    return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
}
#define ROWS FA_DOT_ROWS
#define SUM4(a, b, c, d) sum4_avx2(halves((__m512)(a)), halves((__m512)(b)), halves((__m512)(c)), halves((__m512)(d)))
#define DOUBLES 8
#define FMA_D(a, b, c) ((vd)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define SPLAT_D(x) ((vd)_mm512_set1_pd(x))
#define MAX_I(a, b) ((vi)_mm512_max_epi32((__m512i)(a), (__m512i)(b)))
#include "kernels/dot_body.h"

#endif

const fa_dot_kernels *fa_dot_kernels_for(int32_t kernels)
{
#if FA_HAVE_AVX2
    if (kernels != FA_KERNELS_REFERENCE && fa_cpu_avx512()) return &table_avx512;
    if (kernels != FA_KERNELS_REFERENCE && fa_cpu_avx2()) return &table_avx2;
#else
    (void)kernels;
#endif
    return &table_plain;
}
