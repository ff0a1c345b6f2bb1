/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/winograd_block.h"

#include "kernels/cpu.h"

#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>
#endif

#define P FA_WINOGRAD_P
#define Q FA_WINOGRAD_Q
#define OUT FA_WINOGRAD_OUT
#define SIDE FA_WINOGRAD_SIDE
#define POSITIONS FA_WINOGRAD_POSITIONS
/* Every loop over registers of sums must go. */
#if defined(__clang__)
#define WINOGRAD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define WINOGRAD_UNROLL _Pragma("GCC unroll 36")
#endif
#define ALIGNED __attribute__((aligned(64))) /* a vector across two cache lines costs two accesses */
#define WINOGRAD_INLINE static inline __attribute__((always_inline))

typedef void (*products_fn)(const fa_winograd_block *b, const float *in, const float *kernels, float *product);

/* Some channels of the outputs that exist. */
static void move(const fa_winograd_tile *t, int64_t channels, const float *from, int64_t from_row, int64_t from_pixel, float *to, int64_t to_row,
                             int64_t to_pixel)
{
    for (int64_t y = 0; y < t->rows; y++)
        for (int64_t x = 0; x < t->cols; x++) memcpy(to + y * to_row + x * to_pixel, from + y * from_row + x * from_pixel, (size_t)channels * sizeof *to);
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

static four load_some(const float *p, uint32_t mask)
{
    four v = {0};
    for (int i = 0; i < 4; i++)
        if (mask >> i & 1) v[i] = p[i];
    return v;
}

#define NAME(f) f##_plain
#define TARGET
#define FLOATS 4
#define ROWS 6
#define SUM_ROWS 6
#define FMA_F(a, b, c) ((a) * (b) + (c))
#define SPLAT_F(x) ((vf){x, x, x, x})
#define RELU_F(a) ((vf)(((a) > (vf){0}) & (__typeof__((a) > (vf){0}))(a)))
#define MASK uint32_t
#define MASK_OF(n) (uint32_t)((1u << (n)) - 1)
#define MASK_LOAD(p, mask) ((vf)load_some(p, mask))
#include "kernels/winograd_body.h"

#if FA_HAVE_AVX2
#include "kernels/vectors_avx2.h"
#define ROWS 6
#define SUM_ROWS 6
#define RELU_F(a) MAX_F(a, SPLAT_F(0.0f))
#include "kernels/winograd_body.h"

#include "kernels/vectors_avx512.h"
#define ROWS 28
#define SUM_ROWS 16
#define RELU_F(a) MAX_F(a, SPLAT_F(0.0f))
#include "kernels/winograd_body.h"
#endif
