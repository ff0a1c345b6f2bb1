/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/chain.h"

#include "kernels/cpu.h"

#include <math.h>
#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>
#else
#define FA_INLINE static inline
#endif

/* Elements that are taken through all steps before the next: few enough to stay in the first-level cache. */
#define PIECE 512

typedef float plain_f __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t plain_i __attribute__((vector_size(16)));

/* As the instructions: the second operand where one is NaN. */
static inline plain_f smaller(plain_f a, plain_f b)
{
    const plain_i m = a < b;
    return (plain_f)(((plain_i)a & m) | ((plain_i)b & ~m));
}

static inline plain_f larger(plain_f a, plain_f b)
{
    const plain_i m = a > b;
    return (plain_f)(((plain_i)a & m) | ((plain_i)b & ~m));
}

#define NAME(f) f##_plain
#define LABEL "plain"
#define TARGET
#define FLOATS 4
#define FMA_F(a, b, c) ((a) * (b) + (c))
#define SPLAT_F(x) ((vf){(x), (x), (x), (x)})
#define MIN_F(a, b) smaller(a, b)
#define MAX_F(a, b) larger(a, b)
#define SQRT_F(x) ((vf){sqrtf((x)[0]), sqrtf((x)[1]), sqrtf((x)[2]), sqrtf((x)[3])})
#define SELECT(mask, a, b) ((vf)(((vi)(mask) & (vi)(a)) | (~(vi)(mask) & (vi)(b))))
#include "kernels/chain_body.h"

#if FA_HAVE_AVX2

#include "kernels/vectors_avx2.h"
#include "kernels/chain_body.h"

#include "kernels/vectors_avx512.h"
#include "kernels/chain_body.h"

#endif

const fa_chain_kernels *fa_chain_kernels_for(int32_t set)
{
#if FA_HAVE_AVX2
    if (set == 2) return fa_cpu_avx512() ? &table_avx512 : NULL;
    if (set == 1) return fa_cpu_avx2() ? &table_avx2 : NULL;
#endif
    return set == 0 ? &table_plain : NULL;
}

const fa_chain_kernels *fa_chain_kernels_best(void)
{
    const fa_chain_kernels *best = NULL;
    for (int32_t set = FA_CHAIN_SETS - 1; !best; set--) best = fa_chain_kernels_for(set);
    return best;
}

void fa_slope_apply(const fa_slope *s, int64_t at, int64_t n, float *g)
{
    if (s->n_step) fa_chain_kernels_best()->gradient(s->step, s->n_step, n, s->before + at, g, g, false);
}
