/* SPDX-License-Identifier: Apache-2.0 */
/* Body of winograd_block.c, included once per instruction set with NAME, TARGET, FLOATS (per vector, a divisor of FA_TILE), ROWS (of FA_TILE sums that fit
 * the registers), SUM_ROWS (the same, at most FA_TILE), FMA_F, SPLAT_F, RELU_F and, for vectors of which the first n floats exist, MASK, MASK_OF(n) and MASK_LOAD(p, mask) defined; undefines them. */

#define vf NAME(vf)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
#define LOAD_F(p) (*(const vf *)(p))
#define VECTORS (FA_TILE / FLOATS)

/* B' times a line of six. */
WINOGRAD_INLINE TARGET void NAME(in_line)(const vf *d, vf *t)
{
    const vf pp = SPLAT_F(-P * P), qq = SPLAT_F(-Q * Q), sum = SPLAT_F(-(P * P + Q * Q)), product = SPLAT_F(P * P * Q * Q), p = SPLAT_F(P), q = SPLAT_F(Q);
    const vf even_p = FMA_F(qq, d[2], d[4]), odd_p = FMA_F(qq, d[1], d[3]), even_q = FMA_F(pp, d[2], d[4]), odd_q = FMA_F(pp, d[1], d[3]);
    t[0] = FMA_F(product, d[0], FMA_F(sum, d[2], d[4]));
    t[1] = FMA_F(p, odd_p, even_p);
    t[2] = FMA_F(-p, odd_p, even_p);
    t[3] = FMA_F(q, odd_q, even_q);
    t[4] = FMA_F(-q, odd_q, even_q);
    t[5] = FMA_F(product, d[1], FMA_F(sum, d[3], d[5]));
}

/* A' times a line of six. */
WINOGRAD_INLINE TARGET void NAME(out_line)(const vf *u, vf *y)
{
    const vf p = SPLAT_F(P), q = SPLAT_F(Q), pp = SPLAT_F(P * P), qq = SPLAT_F(Q * Q), ppp = SPLAT_F(P * P * P), qqq = SPLAT_F(Q * Q * Q);
    const vf even_p = u[1] + u[2], odd_p = u[1] - u[2], even_q = u[3] + u[4], odd_q = u[3] - u[4];
    y[0] = u[0] + even_p + even_q;
    y[1] = FMA_F(p, odd_p, q * odd_q);
    y[2] = FMA_F(pp, even_p, qq * even_q);
    y[3] = FMA_F(ppp, odd_p, FMA_F(qqq, odd_q, u[5]));
}

/* FLOATS channels of a tile, whose rows and pixels are `row` and `col` floats apart; positions of the result are `step` floats apart. With `cut`, pixel (y, x) has
 * the channels rows[y] & cols[x], the others are 0. Columns first, then rows, one at a time: unrolled further they would leave the registers and their addresses, too. */
WINOGRAD_INLINE TARGET void NAME(in_tile)(const float *from, int64_t row, int64_t col, const bool cut, const MASK *rows, const MASK *cols, float *to, int64_t step)
{
    ALIGNED vf half[SIDE][SIDE], line[SIDE], t[SIDE];
    for (int x = 0; x < SIDE; x++, from += col) {
        const float *at = from;
        WINOGRAD_UNROLL
        for (int y = 0; y < SIDE; y++, at += row) line[y] = cut ? MASK_LOAD(at, rows[y] & cols[x]) : LOAD_F(at);
        NAME(in_line)(line, half[x]);
    }
    for (int y = 0; y < SIDE; y++) {
        WINOGRAD_UNROLL
        for (int x = 0; x < SIDE; x++) line[x] = half[x][y];
        NAME(in_line)(line, t);
        WINOGRAD_UNROLL
        for (int x = 0; x < SIDE; x++, to += step) *(vf *)to = t[x];
    }
}

TARGET static __attribute__((noinline)) void NAME(in_whole)(const float *from, int64_t row, int64_t col, float *to, int64_t step)
{
    NAME(in_tile)(from, row, col, false, NULL, NULL, to, step);
}

TARGET static __attribute__((noinline)) void NAME(in_cut)(const float *from, int64_t row, int64_t col, const MASK *rows, const MASK *cols, float *to, int64_t step)
{
    NAME(in_tile)(from, row, col, true, rows, cols, to, step);
}

/* All channels of a tile. */
TARGET static void NAME(in_channels)(const fa_winograd *w, const fa_winograd_tile *t, float *to, int64_t block, int64_t step)
{
    const int64_t row = w->in_w * w->in_c, col = w->in_c;
    const float *from = t->image + t->y * row + t->x * col;
    const bool inside = t->y >= 0 && t->x >= 0 && t->y + SIDE <= w->in_h && t->x + SIDE <= w->in_w;
    MASK rows[SIDE], cols[SIDE];
    for (int i = 0; i < SIDE; i++) cols[i] = MASK_OF(t->x + i >= 0 && t->x + i < w->in_w ? FLOATS : 0);
    for (int64_t c = 0; c < w->in_c; c += FLOATS) {
        float *at = to + c / FA_TILE * block + c % FA_TILE;
        const int64_t left = w->in_c - c < FLOATS ? w->in_c - c : FLOATS;
        if (inside && left == FLOATS) {
            NAME(in_whole)(from + c, row, col, at, step);
            continue;
        }
        for (int i = 0; i < SIDE; i++) rows[i] = MASK_OF(t->y + i >= 0 && t->y + i < w->in_h ? left : 0);
        NAME(in_cut)(from + c, row, col, rows, cols, at, step);
    }
}

TARGET void NAME(fa_winograd_in)(const fa_winograd_block *b, int64_t first, int64_t end)
{
    for (int64_t i = first; i < end; i++) NAME(in_channels)(b->w, &b->tile[i], b->in + i * FA_TILE, b->n * FA_TILE, b->in_step);
}

/* Sums beside each other, so that those of few tiles fill the registers, too: additions to the same sum wait for each other. */
#define TOGETHER(r) (4 * (r) <= ROWS ? 4 : 2 * (r) <= ROWS ? 2 : 1)

/* Products of `r` tiles with FA_TILE outputs of each of `n` blocks (`wide`), which share the numbers that are multiplied, or of one block at `n` positions. */
WINOGRAD_INLINE TARGET void NAME(products)(const int r, const int n, const bool wide, const fa_winograd_block *b, const float *in, const float *kernels, float *product)
{
    const int64_t channels = b->w->in_c, block = b->n * FA_TILE, kernel = channels * FA_TILE, step = wide ? 1 : n;
    const int64_t in_next = wide ? 0 : b->in_step, kernel_next = wide ? POSITIONS * kernel : kernel, product_next = wide ? block : b->product_step;
    for (int64_t position = 0; position < POSITIONS; position += step, in += step * b->in_step, kernels += (step - 1) * kernel, product += step * b->product_step) {
        vf acc[4][ROWS][VECTORS];
        WINOGRAD_UNROLL
        for (int g = 0; g < n; g++) {
            WINOGRAD_UNROLL
            for (int i = 0; i < r; i++) {
                WINOGRAD_UNROLL
                for (int v = 0; v < VECTORS; v++) acc[g][i][v] = (vf){0};
            }
        }
        const float *from = in;
        for (int64_t c0 = 0; c0 < channels; c0 += FA_TILE, from += block) {
            const float *x = from, *end = from + (channels - c0 < FA_TILE ? channels - c0 : FA_TILE);
            for (; x < end; x++, kernels += FA_TILE) {
                vf k[4][VECTORS];
                WINOGRAD_UNROLL
                for (int g = 0; g < n; g++) {
                    WINOGRAD_UNROLL
                    for (int v = 0; v < VECTORS; v++) k[g][v] = LOAD_F(kernels + g * kernel_next + v * FLOATS);
                    WINOGRAD_UNROLL
                    for (int i = 0; i < r && !wide; i++) {
                        const vf a = SPLAT_F(x[g * in_next + i * FA_TILE]);
                        WINOGRAD_UNROLL
                        for (int v = 0; v < VECTORS; v++) acc[g][i][v] = FMA_F(a, k[g][v], acc[g][i][v]);
                    }
                }
                WINOGRAD_UNROLL
                for (int i = 0; i < r && wide; i++) {
                    const vf a = SPLAT_F(x[i * FA_TILE]);
                    WINOGRAD_UNROLL
                    for (int g = 0; g < n; g++) {
                        WINOGRAD_UNROLL
                        for (int v = 0; v < VECTORS; v++) acc[g][i][v] = FMA_F(a, k[g][v], acc[g][i][v]);
                    }
                }
            }
        }
        WINOGRAD_UNROLL
        for (int g = 0; g < n; g++) {
            WINOGRAD_UNROLL
            for (int i = 0; i < r; i++) {
                WINOGRAD_UNROLL
                for (int v = 0; v < VECTORS; v++) *(vf *)(product + g * product_next + i * FA_TILE + v * FLOATS) = acc[g][i][v];
            }
        }
    }
}

#define PRODUCTS(r)                                                                                                                                      \
    static TARGET void NAME(products_##r)(const fa_winograd_block *b, const float *in, const float *kernels, float *product)                             \
    {                                                                                                                                                    \
        NAME(products)(r, TOGETHER(r), false, b, in, kernels, product);                                                                                  \
    }
#define WIDE(r)                                                                                                                                          \
    static TARGET void NAME(wide_##r)(const fa_winograd_block *b, const float *in, const float *kernels, float *product)                                 \
    {                                                                                                                                                    \
        NAME(products)(r, TOGETHER(r), true, b, in, kernels, product);                                                                                   \
    }
PRODUCTS(1) PRODUCTS(2) PRODUCTS(3) PRODUCTS(4) PRODUCTS(5) PRODUCTS(6)
WIDE(1) WIDE(2) WIDE(3)
#if ROWS > 6
PRODUCTS(7) PRODUCTS(8) PRODUCTS(9) PRODUCTS(10) PRODUCTS(11) PRODUCTS(12) PRODUCTS(13) PRODUCTS(14) PRODUCTS(15) PRODUCTS(16) PRODUCTS(17)
PRODUCTS(18) PRODUCTS(19) PRODUCTS(20) PRODUCTS(21) PRODUCTS(22) PRODUCTS(23) PRODUCTS(24) PRODUCTS(25) PRODUCTS(26) PRODUCTS(27) PRODUCTS(28)
WIDE(4) WIDE(5) WIDE(6) WIDE(7) WIDE(8) WIDE(9) WIDE(10) WIDE(11) WIDE(12) WIDE(13) WIDE(14)
#endif
#define ENTRY(r) NAME(products_##r)
static const products_fn NAME(all_products)[ROWS + 1] = {
    NULL, ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6),
#if ROWS > 6
    ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13), ENTRY(14), ENTRY(15), ENTRY(16), ENTRY(17),
    ENTRY(18), ENTRY(19), ENTRY(20), ENTRY(21), ENTRY(22), ENTRY(23), ENTRY(24), ENTRY(25), ENTRY(26), ENTRY(27), ENTRY(28),
#endif
};
#undef ENTRY
#define ENTRY(r) NAME(wide_##r)
static const products_fn NAME(all_wide)[ROWS / 2 + 1] = {
    NULL, ENTRY(1), ENTRY(2), ENTRY(3),
#if ROWS > 6
    ENTRY(4), ENTRY(5), ENTRY(6), ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13), ENTRY(14),
#endif
};

WINOGRAD_INLINE TARGET vf NAME(where_above)(vf mask, vf x)
{
    return (vf)((mask > (vf){0}) & (__typeof__(mask > (vf){0}))x);
}

/* FLOATS outputs of the rows x cols pixels of a tile that exist. `out`, `residual` and `mask` are at the first one, its neighbours `row` and `col` floats away. */
WINOGRAD_INLINE TARGET void NAME(out_tile)(const float *product, int64_t step, vf bias, bool relu, int64_t rows, int64_t cols, const float *residual,
                                           const float *mask, float *out, int64_t row, int64_t col)
{
    ALIGNED vf half[OUT][SIDE], line[SIDE], y[OUT];
    for (int x = 0; x < SIDE; x++) {
        WINOGRAD_UNROLL
        for (int k = 0; k < SIDE; k++) line[k] = LOAD_F(product + (k * SIDE + x) * step);
        NAME(out_line)(line, y);
        WINOGRAD_UNROLL
        for (int k = 0; k < OUT; k++) half[k][x] = y[k];
    }
    for (int64_t k = 0; k < rows; k++, out += row) {
        WINOGRAD_UNROLL
        for (int x = 0; x < SIDE; x++) line[x] = half[k][x];
        NAME(out_line)(line, y);
        float *at = out;
        WINOGRAD_UNROLL
        for (int x = 0; x < OUT; x++, at += col) {
            if (x >= cols) break;
            vf sum = y[x] + bias;
            if (residual) sum += LOAD_F(residual + (at - out));
            if (relu) sum = RELU_F(sum);
            if (mask) sum = NAME(where_above)(LOAD_F(mask + (at - out)), sum);
            *(vf *)at = sum;
        }
        if (residual) residual += row;
        if (mask) mask += row;
    }
}

WINOGRAD_INLINE TARGET void NAME(out_channels)(const fa_winograd_block *b, const fa_conv_data *d, int64_t m0, const float *product)
{
    const fa_winograd *w = b->w;
    const int64_t channels = w->out_c - m0 < FA_TILE ? w->out_c - m0 : FA_TILE, pixel = fa_winograd_pixel(w);
    float bias[FA_TILE] = {0}, in[OUT * OUT * FA_TILE], above[OUT * OUT * FA_TILE], out[OUT * OUT * FA_TILE];
    const float *where = fa_slope_mask(&d->slope);
    if (d->bias) memcpy(bias, d->bias + m0, (size_t)channels * sizeof *bias);
    for (int64_t i = 0; i < b->n; i++, product += FA_TILE) {
        const fa_winograd_tile *t = &b->tile[i];
        int64_t col = pixel, row = w->out_w * pixel;
        const float *residual = d->residual ? d->residual + t->out + m0 : NULL, *mask = where ? where + t->out + m0 : NULL;
        float *to = d->out + t->out + m0;
        const bool whole = channels == FA_TILE, entire = t->rows == OUT && t->cols == OUT;
        if (!whole) {
            if (residual) move(t, channels, residual, row, col, in, OUT * FA_TILE, FA_TILE);
            if (mask) move(t, channels, mask, row, col, above, OUT * FA_TILE, FA_TILE);
            residual = residual ? in : NULL;
            mask = mask ? above : NULL;
            to = out;
            col = FA_TILE;
            row = OUT * FA_TILE;
        }
        WINOGRAD_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const int at = v * FLOATS;
            const vf add = LOAD_F(bias + at);
            const float *r = residual ? residual + at : NULL, *k = mask ? mask + at : NULL;
            if (entire && !k) NAME(out_tile)(product + at, b->product_step, add, d->relu, OUT, OUT, r, NULL, to + at, row, col);
            else if (entire) NAME(out_tile)(product + at, b->product_step, add, d->relu, OUT, OUT, r, k, to + at, row, col);
            else NAME(out_tile)(product + at, b->product_step, add, d->relu, t->rows, t->cols, r, k, to + at, row, col);
        }
        if (!whole) move(t, channels, out, row, col, d->out + t->out + m0, w->out_w * pixel, pixel);
    }
}

/* Few tiles are multiplied by the kernels of several blocks of outputs at a time, whose products lie beside each other at every position. */
TARGET void NAME(fa_winograd_out)(const fa_winograd_block *given, const fa_conv_data *d, int64_t first, int64_t end)
{
    fa_winograd_block b = *given;
    const int64_t kernels = POSITIONS * b.w->in_c * FA_TILE, together = TOGETHER(b.n);
    for (int64_t block = first, blocks; block < end; block += blocks) {
        const float *packed = d->packed + block * kernels;
        blocks = block + together <= end ? together : 1;
        b.product_step = fa_winograd_step(blocks * b.n);
        if (blocks > 1) NAME(all_wide)[b.n](&b, b.in, packed, b.product);
        else {
            const int64_t parts = (b.n + ROWS - 1) / ROWS;
            for (int64_t part = 0, i = 0, r; part < parts; part++, i += r) {
                r = (b.n - i + parts - part - 1) / (parts - part);
                NAME(all_products)[r](&b, b.in + i * FA_TILE, packed, b.product + i * FA_TILE);
            }
        }
        for (int64_t k = 0; k < blocks; k++) NAME(out_channels)(&b, d, (block + k) * FA_TILE, b.product + k * b.n * FA_TILE);
    }
}

/* A times a line of four: the transpose of what becomes of products. */
WINOGRAD_INLINE TARGET void NAME(gradient_line)(const vf *y, vf *u)
{
    const vf p = SPLAT_F(P), q = SPLAT_F(Q), pp = SPLAT_F(P * P), qq = SPLAT_F(Q * Q);
    const vf even_p = FMA_F(pp, y[2], y[0]), odd_p = FMA_F(pp, y[3], y[1]), even_q = FMA_F(qq, y[2], y[0]), odd_q = FMA_F(qq, y[3], y[1]);
    u[0] = y[0];
    u[1] = FMA_F(p, odd_p, even_p);
    u[2] = FMA_F(-p, odd_p, even_p);
    u[3] = FMA_F(q, odd_q, even_q);
    u[4] = FMA_F(-q, odd_q, even_q);
    u[5] = y[3];
}

/* FLOATS channels of the gradient at a tile's outputs, of which rows[y] & cols[x] exist. */
TARGET static __attribute__((noinline)) void NAME(gradient_tile)(const float *from, int64_t row, int64_t col, const MASK *rows, const MASK *cols, float *to, int64_t step)
{
    ALIGNED vf half[OUT][SIDE], line[SIDE], u[SIDE];
    for (int x = 0; x < OUT; x++, from += col) {
        const float *at = from;
        WINOGRAD_UNROLL
        for (int y = 0; y < OUT; y++, at += row) line[y] = MASK_LOAD(at, rows[y] & cols[x]);
        NAME(gradient_line)(line, half[x]);
    }
    for (int y = 0; y < SIDE; y++) {
        WINOGRAD_UNROLL
        for (int x = 0; x < OUT; x++) line[x] = half[x][y];
        NAME(gradient_line)(line, u);
        WINOGRAD_UNROLL
        for (int x = 0; x < SIDE; x++, to += step) *(vf *)to = u[x];
    }
}

/* FA_TILE channels of all tiles, from `m0` on, in the place of products. */
TARGET static void NAME(gradients)(const fa_winograd_block *b, const float *d, int64_t m0)
{
    const fa_winograd *w = b->w;
    for (int64_t i = 0; i < b->n; i++) {
        const fa_winograd_tile *t = &b->tile[i];
        MASK rows[OUT], cols[OUT];
        for (int x = 0; x < OUT; x++) cols[x] = MASK_OF(x < t->cols ? FLOATS : 0);
        for (int64_t v = 0; v < FA_TILE; v += FLOATS) {
            const int64_t left = w->out_c - m0 - v, channels = left < 0 ? 0 : left < FLOATS ? left : FLOATS;
            for (int y = 0; y < OUT; y++) rows[y] = MASK_OF(y < t->rows ? channels : 0);
            NAME(gradient_tile)(d + t->out + m0 + v, w->out_w * w->out_c, w->out_c, rows, cols, b->product + i * FA_TILE + v, b->product_step);
        }
    }
}

/* Adds to `r` rows of each position, of FA_TILE numbers, the sums over tiles of inputs times gradients. */
WINOGRAD_INLINE TARGET void NAME(sums)(const int r, const fa_winograd_block *b, const float *in, const float *gradient, float *sum)
{
    const int64_t block = b->n * FA_TILE;
    for (int64_t position = 0; position < POSITIONS; position++, in += b->in_step, gradient += b->product_step, sum += b->w->in_c * FA_TILE) {
        vf acc[SUM_ROWS][VECTORS];
        WINOGRAD_UNROLL
        for (int i = 0; i < r; i++) {
            WINOGRAD_UNROLL
            for (int v = 0; v < VECTORS; v++) acc[i][v] = (vf){0};
        }
        for (int64_t t = 0; t < block; t += FA_TILE) {
            vf y[VECTORS];
            WINOGRAD_UNROLL
            for (int v = 0; v < VECTORS; v++) y[v] = LOAD_F(gradient + t + v * FLOATS);
            WINOGRAD_UNROLL
            for (int i = 0; i < r; i++) {
                const vf x = SPLAT_F(in[t + i]);
                WINOGRAD_UNROLL
                for (int v = 0; v < VECTORS; v++) acc[i][v] = FMA_F(x, y[v], acc[i][v]);
            }
        }
        WINOGRAD_UNROLL
        for (int i = 0; i < r; i++) {
            WINOGRAD_UNROLL
            for (int v = 0; v < VECTORS; v++) *(vf *)(sum + i * FA_TILE + v * FLOATS) = LOAD_F(sum + i * FA_TILE + v * FLOATS) + acc[i][v];
        }
    }
}

#define SUMS(r)                                                                                                                                          \
    static TARGET void NAME(sums_##r)(const fa_winograd_block *b, const float *in, const float *gradient, float *sum)                                    \
    {                                                                                                                                                    \
        NAME(sums)(r, b, in, gradient, sum);                                                                                                             \
    }
SUMS(1) SUMS(2) SUMS(3) SUMS(4) SUMS(5) SUMS(6)
#if SUM_ROWS > 6
SUMS(7) SUMS(8) SUMS(9) SUMS(10) SUMS(11) SUMS(12) SUMS(13) SUMS(14) SUMS(15) SUMS(16)
#endif
#undef ENTRY
#define ENTRY(r) NAME(sums_##r)
static const products_fn NAME(all_sums)[SUM_ROWS + 1] = {
    NULL, ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6),
#if SUM_ROWS > 6
    ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13), ENTRY(14), ENTRY(15), ENTRY(16),
#endif
};

TARGET void NAME(fa_winograd_sums)(const fa_winograd_block *b, const float *d, float *sums)
{
    const fa_winograd *w = b->w;
    NAME(fa_winograd_in)(b, 0, b->n);
    for (int64_t m0 = 0; m0 < w->out_c; m0 += FA_TILE, sums += POSITIONS * w->in_c * FA_TILE) {
        NAME(gradients)(b, d, m0);
        for (int64_t c = 0, r; c < w->in_c; c += r) {
            const int64_t left = w->in_c - c, in_block = FA_TILE - c % FA_TILE, most = left < in_block ? left : in_block, parts = (most + SUM_ROWS - 1) / SUM_ROWS;
            r = (most + parts - 1) / parts;
            NAME(all_sums)[r](b, b->in + c / FA_TILE * b->n * FA_TILE + c % FA_TILE, b->product, sums + c * FA_TILE);
        }
    }
}

#undef vf
#undef LOAD_F
#undef VECTORS
#undef PRODUCTS
#undef WIDE
#undef TOGETHER
#undef SUMS
#undef ENTRY
#undef ROWS
#undef SUM_ROWS
#undef RELU_F
#include "kernels/vectors_end.h"
