/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/tile.h"

#if FA_HAVE_AVX2
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma")))
#define ADD_PRODUCT(acc, x, w) _mm512_dpbf16_ps(acc, (__m512bh)(x), (__m512bh)(w))
#include "kernels/tile_rows_body.h"

/* Row by row, all taps at once; the weights of a group of blocks stay in the cache for all rows. */
static void run_grid(const fa_grid *g, const fa_grid_data *d)
{
    for (int64_t m0 = 0, m; m0 < g->m; m0 += m) {
        int kind;
        m = group_at(g, m0, g->cols, &kind);
        fa_grid_data row = *d;
        for (int64_t i = 0; i < g->rows; i++) {
            terms(g, &row, 0, g->cols, m0, kind, 0, g->depth, i + 1 < g->rows ? 0 : m * g->taps * g->depth);
            row.in += g->in_row;
            row.out += g->out_row;
            if (row.residual) row.residual += g->out_row;
            if (row.mask) row.mask += g->out_row;
        }
    }
}

void fa_grid_bf16(const fa_grid *g, const fa_grid_data *d)
{
    if (fa_grid_is_rows(g)) run_rows(g, d);
    else run_grid(g, d);
}
#endif
