/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grids by tiles of AVX-512. Included by a file that says
 *   TARGET                    the instruction sets
 *   ADD_PRODUCT(acc, x, w)    sixteen sums, and what a word of the input times a word of the weights of each output adds to them
 * A word is one float, or two bfloat16 numbers whose products are added up together; depth, offsets into the input and weights count words.
 */

/* Positions (rows of a matrix) by two blocks of outputs: 28 accumulators, two vectors of weights and the number that multiplies them fill the 32 registers.
 * Up to six positions take four blocks, so that enough sums run beside each other. */
#define POSITIONS 14
#define FEW 6

/* Parts of the sums: the weights of DEPTH terms and two blocks stay in the first-level cache, that many terms of ROWS positions in the second-level one. */
#define DEPTH 256
#define ROWS 280

/* Numbers that ROWS positions may read for all of their sums, where that is to stay in the second-level cache. */
#define WHOLE 160000

typedef struct tile {
    const float *in, *w, *bias, *residual, *mask;
    const float *ahead; /* weights that are wanted soon: those of the blocks that come next, once per block, so that no tile waits for memory */
    float *out;
    const int64_t *tap;
    int64_t taps, depth, in_col, out_col, block; /* block: from one block's weights to the next one's */
    int64_t width;                               /* of a block's weights in memory */
    int64_t valid;                               /* outputs of the one block of tiles that take one */
    bool relu;
} tile;

/* `p` positions by `v` blocks; constants after inlining. A single block may be cut off. */
FA_INLINE TARGET void body(const tile *t, const int p, const int v)
{
    __m512 acc[POSITIONS][4];
    const __mmask16 held = v > 1 ? 0xffff : (__mmask16)((1u << t->width) - 1), valid = v > 1 ? 0xffff : (__mmask16)((1u << t->valid) - 1);
    const int64_t step = t->in_col;
    const float *w = t->w;
    FA_UNROLL
    for (int k = 0; k < v; k++) {
        const __m512 b = t->bias ? _mm512_maskz_loadu_ps(valid, t->bias + 16 * k) : _mm512_setzero_ps();
        FA_UNROLL
        for (int i = 0; i < p; i++) acc[i][k] = t->residual ? _mm512_add_ps(b, _mm512_maskz_loadu_ps(valid, t->residual + i * t->out_col + 16 * k)) : b;
    }
    const int64_t block = t->block, width = v > 1 ? 16 : t->width;
    const int64_t ahead = t->ahead - t->w;
    for (int64_t s = 0; s < t->taps; s++) {
        const float *x0 = t->in + t->tap[s], *x3 = x0 + 3 * step, *x6 = x3 + 3 * step, *x9 = x6 + 3 * step, *x12 = x9 + 3 * step;
        for (int64_t at = 0; at < t->depth; at++, w += width) {
            __m512 y[4];
            FA_UNROLL
            for (int k = 0; k < v; k++) _mm_prefetch((const char *)(w + ahead + k * block), _MM_HINT_T1);
            FA_UNROLL
            for (int k = 0; k < v; k++) y[k] = v > 1 ? _mm512_loadu_ps(w + k * block) : _mm512_maskz_loadu_ps(held, w);
#define STEP(i, x)                                                                                                                                       \
    if (p > (i)) {                                                                                                                                       \
        const __m512 b = _mm512_set1_ps((x)[at]);                                                                                                        \
        FA_UNROLL                                                                                                                                        \
        for (int k = 0; k < v; k++) acc[i][k] = ADD_PRODUCT(acc[i][k], b, y[k]);                                                                         \
    }
            STEP(0, x0) STEP(1, x0 + step) STEP(2, x0 + 2 * step) STEP(3, x3) STEP(4, x3 + step) STEP(5, x3 + 2 * step) STEP(6, x6) STEP(7, x6 + step)
            STEP(8, x6 + 2 * step) STEP(9, x9) STEP(10, x9 + step) STEP(11, x9 + 2 * step) STEP(12, x12) STEP(13, x12 + step)
#undef STEP
        }
    }
    FA_UNROLL
    for (int i = 0; i < p; i++) {
        FA_UNROLL
        for (int k = 0; k < v; k++) {
            __m512 y = t->relu ? _mm512_max_ps(acc[i][k], _mm512_setzero_ps()) : acc[i][k];
            if (t->mask) y = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(_mm512_maskz_loadu_ps(valid, t->mask + i * t->out_col + 16 * k), _mm512_setzero_ps(), _CMP_GT_OQ), y);
            float *to = t->out + i * t->out_col + 16 * k;
            if (v > 1) _mm512_storeu_ps(to, y);
            else _mm512_mask_storeu_ps(to, valid, y);
        }
    }
}

#define TILE(p, v)                                                                                                                                       \
    static TARGET void tile_##p##_##v(const tile *t)                                                                                                     \
    {                                                                                                                                                    \
        body(t, p, v);                                                                                                                                   \
    }
#define TILES(p) TILE(p, 1) TILE(p, 2)
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6) TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12) TILES(13) TILES(14)
TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4)

typedef void (*tile_fn)(const tile *t);
#define ENTRY(p) {tile_##p##_1, tile_##p##_2, NULL}
#define ENTRY_FEW(p) {tile_##p##_1, tile_##p##_2, tile_##p##_4}
static const tile_fn tiles[POSITIONS + 1][3] = {{NULL}, ENTRY_FEW(1), ENTRY_FEW(2), ENTRY_FEW(3), ENTRY_FEW(4), ENTRY_FEW(5), ENTRY_FEW(6), ENTRY(7),
                                                ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13), ENTRY(14)};

/* `n` positions by the blocks that `t` begins at, in bands as equal as can be; the weights that come next lie `ahead` of these. */
static void bands(tile t, int64_t n, int kind, int64_t ahead)
{
    const int64_t count = (n + POSITIONS - 1) / POSITIONS;
    for (int64_t band = 0, p, left = n; band < count; band++, left -= p) {
        p = (left + count - band - 1) / (count - band);
        t.ahead = band == count - 1 ? t.w + ahead : t.w;
        tiles[p][kind](&t);
        t.in += p * t.in_col;
        t.out += p * t.out_col;
        if (t.residual) t.residual += p * t.out_col;
        if (t.mask) t.mask += p * t.out_col;
    }
}

/* Outputs that one group of blocks makes, and the kind of its tiles. */
static int64_t group_at(const fa_grid *g, int64_t m0, int64_t n, int *kind)
{
    const int64_t left = g->m - m0;
    *kind = left >= 64 && n <= FEW ? 2 : left >= 32 ? 1 : 0;
    return FA_TILE << *kind;
}

/* Words [c, c + depth) of outputs m0 ... of `n` positions; of several taps all of them. `ahead`: from these weights to the next ones that are wanted. */
static void terms(const fa_grid *g, const fa_grid_data *d, int64_t i, int64_t n, int64_t m0, int kind, int64_t c, int64_t depth, int64_t ahead)
{
    const bool first = c == 0, last = c + depth == g->depth;
    const int64_t left = g->m - m0, at = i * g->out_col + m0;
    tile t = {.in = d->in + i * g->in_col + c, .tap = g->tap, .taps = g->taps, .out = d->out + at, .depth = depth, .in_col = g->in_col, .out_col = g->out_col, .block = g->taps * g->depth * FA_TILE,
              .width = fa_tile_width(g->m, m0), .valid = left < FA_TILE ? left : FA_TILE, .relu = last && d->relu};
    t.w = d->w + m0 * g->taps * g->depth + c * t.width;
    t.bias = first && d->bias ? d->bias + m0 : NULL;
    t.residual = !first ? t.out : d->residual ? d->residual + at : NULL;
    t.mask = last && d->mask ? d->mask + at : NULL;
    bands(t, n, kind, ahead);
}

/* All outputs of positions i ... i + n - 1. Where what the positions read stays in the second-level cache as a whole, the sums of a group of blocks are finished before the
 * next one begins, so that outputs go to memory once; otherwise its parts stay there one after the other. */
static void rows(const fa_grid *g, const fa_grid_data *d, int64_t i, int64_t n)
{
    const int64_t parts = (g->depth + DEPTH - 1) / DEPTH;
    const bool whole = n * g->depth <= WHOLE;
    for (int64_t k = 0; k < (whole ? 1 : parts); k++)
        for (int64_t m0 = 0, m; m0 < g->m; m0 += m) {
            int kind;
            m = group_at(g, m0, n, &kind);
            for (int64_t part = whole ? 0 : k; part < (whole ? parts : k + 1); part++) {
                const int64_t c = part * g->depth / parts, end = (part + 1) * g->depth / parts;
                const bool more = whole && part + 1 < parts;
                terms(g, d, i, n, m0, kind, c, end - c, more ? (end - c) * FA_TILE : m * g->depth - (whole ? c * FA_TILE : 0));
            }
        }
}

/* Positions evenly spaced under one tap. */
static void run_rows(const fa_grid *g, const fa_grid_data *d)
{
    const int64_t total = g->rows * g->cols, blocks = (total + ROWS - 1) / ROWS;
    for (int64_t b = 0; b < blocks; b++) rows(g, d, b * total / blocks, (b + 1) * total / blocks - b * total / blocks);
}
