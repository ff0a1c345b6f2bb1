/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_TILE_H
#define FA_KERNELS_TILE_H

#include "base/pool.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The one inner shape of convolutions and matrix products: for each output position (a grid of rows x cols),
 *     out[position][0..m) = act(bias + residual[position] + sum over taps t, depth c of in[position + tap[t] + c] * w[t][c][0..m)).
 * Weights come in blocks of FA_TILE outputs: [block][tap][depth][width], the last block FA_TILE or FA_TILE / 2 wide, filled with zeros.
 * All offsets count floats; with `pairs` those into the input, depth and the elements of weights count words of two bfloat16 numbers (kernels/bf16.h).
 */
#define FA_TILE 16

typedef struct fa_grid {
    int64_t rows, cols;
    int64_t in_row, in_col;
    int64_t out_row, out_col;
    int64_t taps, depth, m;
    const int64_t *tap; /* [taps] offsets into the input */
    fa_isa isa;
    bool pairs;     /* for fa_cpu_bf16() alone, whatever `isa` */
    bool depthwise; /* depth 1, input and output channels correspond, weights are [tap][m]; for plain loops alone, see depthwise.h */
} fa_grid;

typedef struct fa_grid_data {
    const float *in, *w;
    const float *bias;     /* [m] or NULL */
    const float *residual; /* laid out as `out`, may be `out` itself (accumulate), or NULL */
    const float *mask;     /* laid out as `out`, which is 0 where this is not above 0, behind everything else; or NULL */
    float *out;
    bool relu;
} fa_grid_data;

/* Width of the block of outputs that begins at `m0`. */
static inline int64_t fa_tile_width(int64_t m, int64_t m0)
{
    return m - m0 > FA_TILE / 2 ? FA_TILE : FA_TILE / 2;
}

/* Outputs with the padding of the last block. */
static inline int64_t fa_tile_round(int64_t m)
{
    return (m + FA_TILE / 2 - 1) / (FA_TILE / 2) * (FA_TILE / 2);
}

/* Positions evenly spaced under a single tap: rows times a matrix. */
static inline bool fa_grid_is_rows(const fa_grid *g)
{
    return g->taps == 1 && (g->rows == 1 || (g->in_row == g->cols * g->in_col && g->out_row == g->cols * g->out_col));
}

void fa_grid_run(const fa_grid *grid, const fa_grid_data *data);

/* The same by all threads of a pool (base/pool.h), by rows, positions or blocks of outputs. The same bits: every sum is whole, in the order and by the kernel that it has alone. */
void fa_grid_share(fa_pool *pool, const fa_grid *grid, const fa_grid_data *data);

/* The implementations behind it. */
void fa_grid_avx2(const fa_grid *grid, const fa_grid_data *data);
void fa_grid_avx512(const fa_grid *grid, const fa_grid_data *data);
void fa_grid_bf16(const fa_grid *grid, const fa_grid_data *data);   /* of pairs */

#endif
