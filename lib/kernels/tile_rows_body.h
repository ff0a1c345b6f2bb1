/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grids by tiles of AVX-512. Included by a file that says
 *   TARGET                    the instruction sets
 *   ADD_PRODUCT(acc, x, w)    sixteen sums, and what a word of the input times a word of the weights of each output adds to them
 * A word is one float, or two bfloat16 numbers whose products are added up together; depth, offsets into the input and weights count words.
 */

/* Positions (rows of a matrix) by two blocks of outputs: 28 accumulators, two vectors of weights and the number that multiplies them fill the 32 registers.
 * Up to six positions take four blocks, so that enough sums run beside each other, and a single block takes two runs of positions. */
#define POSITIONS 14
#define FEW 6

/* Parts of the sums: the weights of DEPTH terms and two blocks stay in the first-level cache, that many terms of ROWS positions in the second-level one. */
#define DEPTH 256
#define ROWS 280

/* Numbers that ROWS positions may read for all of their sums, where that is to stay in the second-level cache. */
#define WHOLE 160000

typedef struct tile {
    const float *in, *w, *bias, *residual, *mask;
    const float *next, *next_end; /* weights that are wanted soon, of one block: a tile fetches some of them for each of its terms, so that none waits for memory */
    int64_t next_step;
    float *out;
    const int64_t *tap;
    int64_t taps, depth, in_col, out_col, block; /* block: from one block's weights to the next one's */
    int64_t in_run, out_run;                     /* from the first run of positions to the second */
    int64_t width;                               /* of a block's weights in memory */
    int64_t valid;                               /* outputs of the one block of tiles that take one */
    bool relu;
} tile;

/* `q` runs of `p` positions by `v` blocks; constants after inlining. A single block may be cut off. */
FA_INLINE TARGET void body(const tile *t, const int p, const int q, const int v)
{
    __m512 acc[2 * POSITIONS][4];
    const __mmask16 held = v > 1 ? 0xffff : (__mmask16)((1u << t->width) - 1), valid = v > 1 ? 0xffff : (__mmask16)((1u << t->valid) - 1);
    const int64_t step = t->in_col, run = q > 1 ? t->in_run : 0;
    const float *w = t->w;
    FA_UNROLL
    for (int k = 0; k < v; k++) {
        const __m512 b = t->bias ? _mm512_maskz_loadu_ps(valid, t->bias + 16 * k) : _mm512_setzero_ps();
        FA_UNROLL
        for (int r = 0; r < q; r++) {
            const int64_t first = r ? t->out_run : 0;
            FA_UNROLL
            for (int i = 0; i < p; i++) acc[r * p + i][k] = t->residual ? _mm512_add_ps(b, _mm512_maskz_loadu_ps(valid, t->residual + first + i * t->out_col + 16 * k)) : b;
        }
    }
    const int64_t block = t->block, width = v > 1 || q > 1 ? 16 : t->width;
    const float *next = t->next;
    const int64_t next_step = t->next_step;
    for (int64_t s = 0; s < t->taps; s++) {
        const float *x0 = t->in + t->tap[s], *x5 = x0 + 5 * step, *x10 = x5 + 5 * step, *z0 = x0 + run, *z5 = x5 + run, *z10 = x10 + run;
        for (int64_t at = 0; at < t->depth; at++, w += width, next += next_step) {
            __m512 y[4];
            FA_UNROLL
            for (int k = 0; k < v && q == 1; k++) _mm_prefetch((const char *)(next + k * block), _MM_HINT_T1);
            FA_UNROLL
            for (int k = 0; k < v; k++) y[k] = v > 1 || q > 1 ? _mm512_loadu_ps(w + k * block) : _mm512_maskz_loadu_ps(held, w);
#define STEP(r, i, x)                                                                                                                                    \
    if (q > (r) && p > (i)) {                                                                                                                            \
        const __m512 b = _mm512_set1_ps((x)[at]);                                                                                                        \
        FA_UNROLL                                                                                                                                        \
        for (int k = 0; k < v; k++) acc[r * p + i][k] = ADD_PRODUCT(acc[r * p + i][k], b, y[k]);                                                         \
    }
#define RUN(r, x)                                                                                                                                        \
    STEP(r, 0, x##0) STEP(r, 1, x##0 + step) STEP(r, 2, x##0 + 2 * step) STEP(r, 3, x##0 + 3 * step) STEP(r, 4, x##0 + 4 * step)                         \
    STEP(r, 5, x##5) STEP(r, 6, x##5 + step) STEP(r, 7, x##5 + 2 * step) STEP(r, 8, x##5 + 3 * step) STEP(r, 9, x##5 + 4 * step)                         \
    STEP(r, 10, x##10) STEP(r, 11, x##10 + step) STEP(r, 12, x##10 + 2 * step) STEP(r, 13, x##10 + 3 * step)
            RUN(0, x)
            RUN(1, z)
#undef RUN
#undef STEP
        }
    }
    FA_UNROLL
    for (int r = 0; r < q; r++) {
        const int64_t first = r ? t->out_run : 0;
        FA_UNROLL
        for (int i = 0; i < p; i++) {
            FA_UNROLL
            for (int k = 0; k < v; k++) {
                const int64_t at = first + i * t->out_col + 16 * k;
                __m512 y = t->relu ? _mm512_max_ps(acc[r * p + i][k], _mm512_setzero_ps()) : acc[r * p + i][k];
                if (t->mask) y = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(_mm512_maskz_loadu_ps(valid, t->mask + at), _mm512_setzero_ps(), _CMP_GT_OQ), y);
                if (v > 1) _mm512_storeu_ps(t->out + at, y);
                else _mm512_mask_storeu_ps(t->out + at, valid, y);
            }
        }
    }
}

#define TILE(p, q, v)                                                                                                                                    \
    static TARGET void tile_##p##_##q##_##v(const tile *t)                                                                                               \
    {                                                                                                                                                    \
        body(t, p, q, v);                                                                                                                                \
    }
#define TILES(p) TILE(p, 1, 1) TILE(p, 2, 1) TILE(p, 1, 2)
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6) TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12) TILES(13) TILES(14)
TILE(1, 1, 4) TILE(2, 1, 4) TILE(3, 1, 4) TILE(4, 1, 4) TILE(5, 1, 4) TILE(6, 1, 4)

typedef void (*tile_fn)(const tile *t);
/* ONE, TWO, FOUR blocks; a block of two RUNS. */
enum { ONE, TWO, FOUR, RUNS };
#define ENTRY(p) {tile_##p##_1_1, tile_##p##_1_2, NULL, tile_##p##_2_1}
#define ENTRY_FEW(p) {tile_##p##_1_1, tile_##p##_1_2, tile_##p##_1_4, tile_##p##_2_1}
static const tile_fn tiles[POSITIONS + 1][4] = {{NULL}, ENTRY_FEW(1), ENTRY_FEW(2), ENTRY_FEW(3), ENTRY_FEW(4), ENTRY_FEW(5), ENTRY_FEW(6), ENTRY(7),
                                                ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13), ENTRY(14)};

static void advance(tile *t, int64_t in, int64_t out)
{
    t->in += in;
    t->out += out;
    if (t->residual) t->residual += out;
    if (t->mask) t->mask += out;
}

static void run_tile(tile *t, int64_t p, int kind)
{
    tiles[p][kind](t);
    t->next += t->taps * t->depth * t->next_step;
    if (t->next < t->next_end) return;
    t->next = t->next_end = t->w;
    t->next_step = 0;
}

/* Whether tiles may take two runs: their weights are read as whole vectors. */
static inline bool pairs_up(const tile *t, int kind)
{
    return kind == ONE && t->width == FA_TILE;
}

/* The next of `n` positions beside each other, at most `most`, so that bands are as equal as can be. */
static inline int64_t band_of(int64_t n, const int64_t most)
{
    const int64_t bands = (n + most - 1) / most;
    return bands == 1 ? n : (n + bands - 1) / bands;
}

/* `n` positions by the blocks that `t` begins at. */
static void run_bands(tile *t, int64_t n, int kind)
{
    for (int64_t p; n; n -= p) {
        const bool runs = pairs_up(t, kind) && n > POSITIONS;
        p = runs ? band_of(n, 2 * POSITIONS) / 2 : band_of(n, POSITIONS);
        t->in_run = p * t->in_col;
        t->out_run = p * t->out_col;
        run_tile(t, p, runs ? RUNS : kind);
        if (runs) p *= 2;
        advance(t, p * t->in_col, p * t->out_col);
    }
}

/* Outputs that one group of blocks makes, and the kind of its tiles. */
static int64_t group_at(const fa_grid *g, int64_t m0, int64_t n, int *kind)
{
    const int64_t left = g->m - m0;
    *kind = left >= 64 && n <= FEW ? FOUR : left >= 32 ? TWO : ONE;
    return FA_TILE << *kind;
}

/* A part of the sums: words [c, c + depth) under one tap, or all words under some taps. */
typedef struct part {
    int64_t tap, taps, c, depth;
} part;

/* The tile of the first position and outputs m0 ...; `next` are the weights that are wanted after this part, of which each of `n` tiles fetches its share. */
static tile tile_of(const fa_grid *g, const fa_grid_data *d, int64_t m0, const part *a, const float *next, int64_t n)
{
    const bool first = a->tap + a->c == 0, last = a->tap + a->taps == g->taps && a->c + a->depth == g->depth;
    const int64_t left = g->m - m0;
    tile t = {.in = d->in + a->c, .tap = g->tap + a->tap, .taps = a->taps, .out = d->out + m0, .depth = a->depth, .in_col = g->in_col, .out_col = g->out_col, .block = g->taps * g->depth * FA_TILE,
              .width = fa_tile_width(g->m, m0), .valid = left < FA_TILE ? left : FA_TILE, .relu = last && d->relu};
    t.w = d->w + m0 * g->taps * g->depth + (a->tap * g->depth + a->c) * t.width;
    t.bias = first && d->bias ? d->bias + m0 : NULL;
    t.residual = !first ? t.out : d->residual ? d->residual + m0 : NULL;
    t.mask = last && d->mask ? d->mask + m0 : NULL;
    t.next = next;
    t.next_end = next + a->taps * a->depth * FA_TILE;
    t.next_step = n == 1 ? FA_TILE : n < FA_TILE ? (FA_TILE + n - 1) / n : 1;
    return t;
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
            for (int64_t at = whole ? 0 : k; at < (whole ? parts : k + 1); at++) {
                const int64_t c = at * g->depth / parts, end = (at + 1) * g->depth / parts;
                const bool more = whole && at + 1 < parts;
                const float *next = d->w + (more ? m0 * g->depth + end * FA_TILE : (m0 + m) * g->depth + (whole ? 0 : c * FA_TILE));
                tile t = tile_of(g, d, m0, &(part){0, 1, c, end - c}, next, (n + POSITIONS - 1) / POSITIONS);
                advance(&t, i * g->in_col, i * g->out_col);
                run_bands(&t, n, kind);
            }
        }
}

/* Positions evenly spaced under one tap. */
static void run_rows(const fa_grid *g, const fa_grid_data *d)
{
    const int64_t total = g->rows * g->cols, blocks = (total + ROWS - 1) / ROWS;
    for (int64_t b = 0; b < blocks; b++) rows(g, d, b * total / blocks, (b + 1) * total / blocks - b * total / blocks);
}

/* Terms whose weights stay in the second-level cache beside those that come next. */
#define TERMS 1024

/* Row by row, of a single block two rows at a time. */
static void run_part(const fa_grid *g, tile t, int kind)
{
    for (int64_t row = 0, n; row < g->rows; row += n) {
        const bool runs = pairs_up(&t, kind) && g->rows - row > 1;
        n = runs ? 2 : 1;
        t.in_run = g->in_row;
        t.out_run = g->out_row;
        for (int64_t left = g->cols, p; left; left -= p) {
            p = band_of(left, POSITIONS);
            run_tile(&t, p, runs ? RUNS : kind);
            advance(&t, p * g->in_col, p * g->out_col);
        }
        advance(&t, n * g->in_row - g->cols * g->in_col, n * g->out_row - g->cols * g->out_col);
    }
}

/* All positions by some taps and some outputs after the other. */
static void run_grid(const fa_grid *g, const fa_grid_data *d)
{
    const int64_t most = g->depth < TERMS ? TERMS / g->depth : 1, parts = (g->taps + most - 1) / most;
    for (int64_t m0 = 0, m; m0 < g->m; m0 += m) {
        int kind;
        m = group_at(g, m0, g->cols, &kind);
        for (int64_t k = 0; k < (parts ? parts : 1); k++) {
            const int64_t tap = parts ? k * g->taps / parts : 0, end = parts ? (k + 1) * g->taps / parts : 0;
            const float *next = d->w + (k + 1 < parts ? m0 * g->taps + end * FA_TILE : (m0 + m) * g->taps) * g->depth;
            run_part(g, tile_of(g, d, m0, &(part){tap, end - tap, 0, g->depth}, next, g->rows * ((g->cols + POSITIONS - 1) / POSITIONS)), kind);
        }
    }
}
