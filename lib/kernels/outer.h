/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_OUTER_H
#define FA_KERNELS_OUTER_H

#include "base/pool.h"
#include "kernels/kernels.h"

#include <stdint.h>

/* Sums of outer products: c[i * ldc + j] += sum over p < n of x[p * ldx + i] * y[p * ldy + j], for i < ni and j < nj. */
typedef struct fa_outer {
    int64_t n, ni, nj;
    const float *x, *y;
    int64_t ldx, ldy;
    float *c;
    int64_t ldc;
    fa_pool *pool; /* whose threads share rows or columns of c; or NULL */
} fa_outer;

void fa_outer_run(fa_isa isa, const fa_outer *outer);

/*
 * The same over the positions of images: c[i * ldc + j] += sum over images, rows, columns of x[position + i] * y[position + j], for i < ni and j < nj.
 * With `run`, the numbers of x at a position are ni / run runs of that many, x_run apart; 0: they follow each other.
 */
typedef struct fa_outer_grid {
    int64_t images, rows, cols, ni, nj;
    const float *x, *y;
    int64_t x_image, x_row, x_col, y_image, y_row, y_col; /* strides in floats */
    int64_t run, x_run;
    float *c;
    int64_t ldc;
    fa_pool *pool; /* whose threads share it, by rows or columns of c, or NULL (base/pool.h); the same bits */
} fa_outer_grid;

static inline int64_t fa_outer_x(const fa_outer_grid *grid, int64_t i)
{
    return grid->run ? i / grid->run * grid->x_run + i % grid->run : i;
}

void fa_outer_grid_run(fa_isa isa, const fa_outer_grid *grid);

/* Of a square (ni = nj, no runs) the lower triangle, j <= i; up to 31 numbers right of the diagonal are written too. */
void fa_outer_grid_triangle(fa_isa isa, const fa_outer_grid *grid);

/* The lower triangle of c += x'x, for `k` columns of x; up to 31 numbers right of the diagonal are written too. */
void fa_outer_symmetric(fa_isa isa, int64_t n, int64_t k, const float *x, int64_t ldx, float *c, int64_t ldc);

#endif
