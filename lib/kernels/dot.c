/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/dot.h"

#include "kernels/cpu.h"

#include <fattr/context.h>

#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>
#endif

typedef float plain_f __attribute__((vector_size(16)));
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
#include "kernels/dot_body.h"

#if FA_HAVE_AVX2

#include "kernels/vectors_avx2.h"
#define DOUBLES 4
#define FMA_D(a, b, c) ((vd)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define SPLAT_D(x) ((vd)_mm256_set1_pd(x))
#define MAX_I(a, b) ((vi)_mm256_max_epi32((__m256i)(a), (__m256i)(b)))
#include "kernels/dot_body.h"

#include "kernels/vectors_avx512.h"
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
