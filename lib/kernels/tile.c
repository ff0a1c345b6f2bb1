/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/tile.h"

#include "base/pool.h"
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
    if (g->isa == FA_ISA_AVX512 && g->rows * g->cols > 1) { /* one position alone is bound by the weights' way from memory */
        fa_grid_avx512(g, d);
        return;
    }
    if (g->isa != FA_ISA_NONE) {
        fa_grid_avx2(g, d);
        return;
    }
#endif
    plain(g, d);
}

/* Positions of a band that fills the registers of the kernels for rows of matrices; no piece may be a single position, for which there is another kernel. */
#define BAND 14

/* Outputs of a single position that its kernel sums beside each other. */
#define ALONE (4 * FA_TILE)

typedef struct shared {
    const fa_grid *grid;
    const fa_grid_data *data;
    int64_t unit, units; /* items that one piece has at least; the last has what is left too */
} shared;

/* The items of pieces first ... end - 1, of `all`. */
static int64_t begin_of(const shared *s, int64_t piece, int64_t all)
{
    return piece < s->units ? piece * s->unit : all;
}

static const float *from(const float *data, int64_t offset)
{
    return data ? data + offset : NULL;
}

static void run_at(fa_grid *g, const fa_grid_data *d, int64_t in, int64_t out)
{
    fa_grid_data part = *d;
    part.in += in;
    part.out += out;
    part.residual = from(d->residual, out);
    part.mask = from(d->mask, out);
    fa_grid_run(g, &part);
}

static void some_positions(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    fa_grid g = *s->grid;
    const int64_t all = g.rows * g.cols, i = begin_of(s, first, all);
    (void)thread;
    g.cols = begin_of(s, end, all) - i;
    g.rows = 1;
    run_at(&g, s->data, i * g.in_col, i * g.out_col);
}

static void some_rows(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    fa_grid g = *s->grid;
    (void)thread;
    const int64_t row = begin_of(s, first, s->grid->rows);
    g.rows = begin_of(s, end, s->grid->rows) - row;
    run_at(&g, s->data, row * g.in_row, row * g.out_row);
}

static void some_outputs(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    fa_grid g = *s->grid;
    fa_grid_data part = *s->data;
    const int64_t m0 = begin_of(s, first, g.m);
    (void)thread;
    part.w += m0 * g.taps * g.depth;
    part.bias = from(part.bias, m0);
    g.m = begin_of(s, end, s->grid->m) - m0;
    run_at(&g, &part, 0, m0);
}

void fa_grid_share(fa_pool *pool, const fa_grid *g, const fa_grid_data *d)
{
    const int64_t positions = g->rows * g->cols, terms = g->taps * g->depth, threads = fa_pool_threads(pool);
    const double cost = 2.0 * (double)positions * (double)terms * (double)g->m * (g->pairs ? 0.5 : 1);
    if (threads < 2 || g->depthwise) {
        fa_grid_run(g, d);
        return;
    }
    const bool rows = fa_grid_is_rows(g);
    shared outputs = {g, d, positions == 1 ? ALONE : g->m >= 8 * FA_TILE ? 2 * FA_TILE : FA_TILE, 1}, places = {g, d, rows ? BAND : g->taps == 1 ? 2 : 1, 1}; /* a single row of one tap would be rows of a matrix */
    if (g->m > outputs.unit) outputs.units = g->m / outputs.unit;
    if (rows ? positions >= BAND : g->cols > 1 && g->rows >= places.unit) places.units = (rows ? positions : g->rows) / places.unit;
    const bool by_outputs = places.units < threads ? outputs.units >= places.units : outputs.units >= threads && terms * g->m > positions * g->depth;
    if (by_outputs) fa_pool_share(pool, outputs.units, cost, some_outputs, &outputs);
    else fa_pool_share(pool, places.units, cost, rows ? some_positions : some_rows, &places);
}
