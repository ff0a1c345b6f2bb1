/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/tile.h"

#include "kernels/cpu.h"

/* Plain loops: what the others are tested against on any CPU. */
static void plain(const fa_grid *g, const fa_grid_data *d)
{
    const int64_t depth = g->depth;
    for (int64_t row = 0; row < g->rows; row++)
        for (int64_t col = 0; col < g->cols; col++) {
            const float *in = d->in + row * g->in_row + col * g->in_col;
            const int64_t at = row * g->out_row + col * g->out_col;
            for (int64_t m = 0; m < g->m; m++) {
                const int64_t m0 = m / FA_TILE * FA_TILE, width = g->depthwise ? g->m : fa_tile_width(g->m, m0);
                const float *w = g->depthwise ? d->w + m : d->w + m0 * g->taps * depth + (m - m0);
                double sum = (d->bias ? d->bias[m] : 0) + (d->residual ? d->residual[at + m] : 0);
                for (int64_t t = 0; t < g->taps; t++)
                    for (int64_t c = 0; c < depth; c++, w += width) sum += (double)in[g->tap[t] + (g->depthwise ? m : c)] * *w;
                const bool none = (d->relu && !(sum > 0)) || (d->mask && !(d->mask[at + m] > 0));
                d->out[at + m] = none ? 0.0f : (float)sum;
            }
        }
}

void fa_grid_run(const fa_grid *g, const fa_grid_data *d)
{
    if (!g->rows || !g->cols) return; /* phases that an image is too small for */
#if FA_HAVE_AVX2
    if (g->pairs) {
        fa_grid_bf16(g, d);
        return;
    }
    if (g->isa == FA_ISA_XSMM && g->rows * g->cols > 1 && fa_cpu_avx512()) {
        fa_grid_avx512(g, d);
        return;
    }
#endif
#if FA_HAVE_XSMM
    if (g->xsmm && g->rows * g->cols > 1) { /* one position alone is bound by the weights' way from memory */
        fa_xsmm_grid_run(g, d);
        return;
    }
#endif
#if FA_HAVE_AVX2
    if (g->isa != FA_ISA_NONE) {
        fa_grid_avx2(g, d);
        return;
    }
#endif
    plain(g, d);
}
