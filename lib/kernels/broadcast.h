/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_BROADCAST_H
#define FA_KERNELS_BROADCAST_H

#include "kernels/kernels.h"

#include <stdint.h>

/*
 * Arithmetic of two tensors of which either may be stretched: a block of `rows` rows of n numbers, in which an operand moves on by `row` from row to row and by `col`,
 * 0 or 1, within a row. Nothing needs alignment. Results are correctly rounded; sums are of at most 128 terms at a time.
 */
enum { FA_PAIR_ADD, FA_PAIR_SUB, FA_PAIR_MUL, FA_PAIR_DIV };

typedef struct fa_operand {
    const float *data;
    int64_t row, col;
} fa_operand;

typedef struct fa_broadcast_kernels {
    /* z = x op y; z [rows, n] is dense, and may be a dense operand. */
    void (*pair)(int32_t op, int64_t rows, int64_t n, fa_operand x, fa_operand y, float *z);
    /* t = g a, or g / a with `divide`, or += with `add`; g and t [rows, n] are dense. */
    void (*product)(bool divide, int64_t rows, int64_t n, const float *g, fa_operand a, float *t, bool add);
    /* The same products added up where t is stretched: t[i col] += sum over rows (t.row 0), t[r row] += sum along row r (t.col 0), or both. */
    void (*reduce)(bool divide, int64_t rows, int64_t n, const float *g, fa_operand a, float *t, int64_t t_row, int64_t t_col);
} fa_broadcast_kernels;

/* NULL for FA_ISA_NONE: the reference operators serve then. */
const fa_broadcast_kernels *fa_broadcast_kernels_for(fa_isa isa);

#endif
