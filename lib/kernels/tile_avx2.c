/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/tile.h"

#if FA_HAVE_AVX2
#include <immintrin.h>
#include <string.h>

/* Twelve accumulators of eight floats keep both FMA units of the CPUs with AVX2 busy: 6 positions x 16 outputs. */
#define POSITIONS 6

typedef struct tile {
    const fa_grid *grid;
    const float *in[POSITIONS], *residual[POSITIONS], *mask[POSITIONS];
    float *out[POSITIONS];
    const float *w, *bias;
    bool relu;
} tile;

FA_INLINE FA_AVX2 __m256 where_above(const float *mask, __m256 x)
{
    return _mm256_and_ps(_mm256_cmp_ps(_mm256_loadu_ps(mask), _mm256_setzero_ps(), _CMP_GT_OQ), x);
}

/* `p` positions by 8 `v` outputs; constants after inlining. The chain of ifs (not a loop) keeps the pointers in registers. */
FA_INLINE FA_AVX2 void tile_body(const tile *t, const int p, const int v)
{
    __m256 acc[POSITIONS][2];
    const float *w = t->w;
    const float *p0 = t->in[0], *p1 = t->in[p > 1 ? 1 : 0], *p2 = t->in[p > 2 ? 2 : 0], *p3 = t->in[p > 3 ? 3 : 0], *p4 = t->in[p > 4 ? 4 : 0],
                *p5 = t->in[p > 5 ? 5 : 0];
    const int64_t taps = t->grid->taps, depth = t->grid->depth;
    const int64_t *tap = t->grid->tap;
    FA_UNROLL
    for (int i = 0; i < p; i++) {
        FA_UNROLL
        for (int k = 0; k < v; k++) acc[i][k] = _mm256_loadu_ps(t->bias + 8 * k);
    }
    for (int64_t s = 0; s < taps; s++) {
        const int64_t end = tap[s] + depth;
        for (int64_t at = tap[s]; at < end; at++, w += 8 * v) {
            const __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + (v > 1 ? 8 : 0));
#define STEP(i)                                                                                                                                          \
    if (p > (i)) {                                                                                                                                       \
        const __m256 x = _mm256_broadcast_ss(p##i + at);                                                                                                 \
        acc[i][0] = _mm256_fmadd_ps(x, w0, acc[i][0]);                                                                                                   \
        if (v > 1) acc[i][1] = _mm256_fmadd_ps(x, w1, acc[i][1]);                                                                                        \
    }
            STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5)
#undef STEP
        }
    }
    if (t->residual[0]) {
        FA_UNROLL
        for (int i = 0; i < p; i++) {
            FA_UNROLL
            for (int k = 0; k < v; k++) acc[i][k] = _mm256_add_ps(acc[i][k], _mm256_loadu_ps(t->residual[i] + 8 * k));
        }
    }
    if (t->relu) {
        FA_UNROLL
        for (int i = 0; i < p; i++) {
            FA_UNROLL
            for (int k = 0; k < v; k++) acc[i][k] = _mm256_max_ps(acc[i][k], _mm256_setzero_ps());
        }
    }
    if (t->mask[0]) {
        FA_UNROLL
        for (int i = 0; i < p; i++) {
            FA_UNROLL
            for (int k = 0; k < v; k++) acc[i][k] = where_above(t->mask[i] + 8 * k, acc[i][k]);
        }
    }
    FA_UNROLL
    for (int i = 0; i < p; i++) {
        FA_UNROLL
        for (int k = 0; k < v; k++) _mm256_storeu_ps(t->out[i] + 8 * k, acc[i][k]);
    }
}

#define TILE(p, v)                                                                                                                                       \
    static FA_AVX2 void tile_##p##_##v(const tile *t)                                                                                                    \
    {                                                                                                                                                    \
        tile_body(t, p, v);                                                                                                                              \
    }
TILE(1, 1)
TILE(2, 1)
TILE(3, 1)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)
TILE(4, 2)
TILE(5, 2)
TILE(6, 2)

typedef void (*tile_fn)(const tile *t);
static const tile_fn tiles[2][POSITIONS + 1] = {
    {NULL, tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1},
    {NULL, tile_1_2, tile_2_2, tile_3_2, tile_4_2, tile_5_2, tile_6_2},
};

static const float *widened(const float *from, int64_t valid, float to[FA_TILE])
{
    memset(to, 0, FA_TILE * sizeof *to);
    memcpy(to, from, (size_t)valid * sizeof *to);
    return to;
}

/* A block whose width is not filled: nothing outside the arrays may be read or written. */
static void tile_partial(tile *t, int p, int64_t width, int64_t valid)
{
    float out[POSITIONS][FA_TILE], residual[POSITIONS][FA_TILE], mask[POSITIONS][FA_TILE];
    float *to[POSITIONS];
    const bool adds = t->residual[0] != NULL, masks = t->mask[0] != NULL;
    for (int i = 0; i < p; i++) {
        to[i] = t->out[i];
        t->out[i] = out[i];
        if (adds) t->residual[i] = widened(t->residual[i], valid, residual[i]);
        if (masks) t->mask[i] = widened(t->mask[i], valid, mask[i]);
    }
    tiles[width / 8 - 1][p](t);
    for (int i = 0; i < p; i++) memcpy(to[i], out[i], (size_t)valid * sizeof(float));
}

FA_INLINE FA_AVX2 bool zeros(const float *x)
{
    const __m256 v = _mm256_loadu_ps(x);
    return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ)) == 0xff;
}

/* One position: four blocks at a time, so that eight chains of additions overlap. */
FA_INLINE FA_AVX2 void column_body(const fa_grid *g, const float *in, const float *w, int64_t block, __m256 acc[8])
{
    FA_UNROLL
    for (int k = 0; k < 8; k++) acc[k] = _mm256_setzero_ps();
    for (int64_t s = 0; s < g->taps; s++) {
        const int64_t end = g->tap[s] + g->depth;
        for (int64_t at = g->tap[s]; at < end; at++, w += FA_TILE) {
            /* A margin's gradient is zero at all logits but two: their weights need not come from memory. */
            for (; at + 8 <= end && zeros(in + at); at += 8) w += 8 * FA_TILE;
            if (at == end) break;
            const __m256 x = _mm256_broadcast_ss(in + at);
            FA_UNROLL
            for (int k = 0; k < 8; k++) acc[k] = _mm256_fmadd_ps(x, _mm256_loadu_ps(w + k / 2 * block + 8 * (k & 1)), acc[k]);
        }
    }
}

static FA_AVX2 void column(const fa_grid *g, const fa_grid_data *d, int64_t m0, int64_t block)
{
    __m256 acc[8];
    column_body(g, d->in, d->w + m0 / FA_TILE * block, block, acc);
    FA_UNROLL
    for (int k = 0; k < 8; k++) {
        const int64_t m = m0 + 8 * k;
        if (d->bias) acc[k] = _mm256_add_ps(acc[k], _mm256_loadu_ps(d->bias + m));
        if (d->residual) acc[k] = _mm256_add_ps(acc[k], _mm256_loadu_ps(d->residual + m));
        if (d->relu) acc[k] = _mm256_max_ps(acc[k], _mm256_setzero_ps());
        if (d->mask) acc[k] = where_above(d->mask + m, acc[k]);
        _mm256_storeu_ps(d->out + m, acc[k]);
    }
}

void fa_grid_avx2(const fa_grid *g, const fa_grid_data *d)
{
    const int64_t total = g->rows * g->cols, block = g->taps * g->depth * FA_TILE;
    const float *w = d->w;
    int64_t m0 = 0;
    if (total == 1)
        for (; m0 + 4 * FA_TILE <= g->m; m0 += 4 * FA_TILE, w += 4 * block) column(g, d, m0, block);
    for (; m0 < g->m; m0 += FA_TILE, w += block) {
        const int64_t width = fa_tile_width(g->m, m0), valid = g->m - m0 < width ? g->m - m0 : width;
        float bias[FA_TILE] = {0};
        tile t = {.grid = g, .w = w, .bias = bias, .relu = d->relu};
        if (d->bias) memcpy(bias, d->bias + m0, (size_t)valid * sizeof(float));
        int64_t row = 0, col = 0;
        for (int64_t left = total; left;) {
            /* Ten positions are done sooner as 5 + 5 than as 6 + 4: few accumulators leave the units waiting. */
            int p = (int)(left >= 2 * POSITIONS || left == POSITIONS ? POSITIONS : left > POSITIONS ? (left + 1) / 2 : left);
            const float *in = d->in + row * g->in_row + col * g->in_col;
            int64_t at = row * g->out_row + col * g->out_col + m0;
            for (int i = 0; i < p; i++) {
                t.in[i] = in;
                t.out[i] = d->out + at;
                t.residual[i] = d->residual ? d->residual + at : NULL;
                t.mask[i] = d->mask ? d->mask + at : NULL;
                in += g->in_col;
                at += g->out_col;
                if (++col == g->cols) {
                    col = 0;
                    row++;
                    in = d->in + row * g->in_row;
                    at = row * g->out_row + m0;
                }
            }
            if (valid == width)
                tiles[width / 8 - 1][p](&t);
            else
                tile_partial(&t, p, width, valid);
            left -= p;
        }
    }
}
#endif
