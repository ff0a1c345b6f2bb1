/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_MULTIPLY_H
#define FA_KERNELS_MULTIPLY_H

#include "base/pool.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Products of matrices that need not be known beforehand: c [m, n] = a [m, k] b [k, n], or += with `add`. `a` and `c` are row-major; element (p, j) of
 * `b` is at p * b_row + j * b_col, of which one is 1. `a` may be transposed, a_turned, where b_col is 1: then element (i, p) is at p * lda + i.
 */
typedef struct fa_multiply {
    int64_t m, n, k;
    const float *a, *b;
    int64_t lda, b_row, b_col;
    bool a_turned;
    float *c;
    int64_t ldc;
    bool add;
    const float *bias;   /* [n], added to every row, or NULL; not with `a_turned` */
    const float *packed; /* `b` as fa_multiply_pack() left it, which then is not read, or NULL. Not for FA_ISA_NONE */
    const float *packed_turned; /* the transpose of `b`, [n, k], as fa_multiply_pack() left it, or NULL: weights that are packed once serve both directions. Not for FA_ISA_NONE */
    fa_pool *pool; /* whose threads share it, or NULL (base/pool.h); the same bits */
    void *scratch;       /* FA_ALIGN-aligned: with `packed_turned` of FA_MULTIPLY_TURNED bytes for each thread; otherwise, where neither `packed` nor `a_turned`, of fa_multiply_scratch(n, k) */
} fa_multiply;

#define FA_MULTIPLY_TURNED 32768

size_t fa_multiply_scratch(int64_t n, int64_t k);
/* To `packed`, of fa_multiply_scratch(n, k) bytes. */
void fa_multiply_pack(const fa_multiply *multiply, float *packed);
/* Turns a block of at most 16 x 16 packed weights around: element (k, m) of rows of `width` numbers, k < rows and m < columns, goes to (m, k) of rows of to_width, zeros behind. */
void fa_multiply_turn(const float *from, int64_t width, int64_t rows, int64_t columns, float *to, int64_t to_width);
void fa_multiply_run(fa_isa isa, const fa_multiply *multiply);

#endif
