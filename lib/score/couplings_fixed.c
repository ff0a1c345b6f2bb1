/* SPDX-License-Identifier: Apache-2.0 */
#include "score/couplings_fixed.h"

#include "kernels/nhwc.h"

#include <string.h>

typedef float floats4 __attribute__((vector_size(16), aligned(4), may_alias));

/* Some inputs as integers, and what else their couplings need. Few lie in rows and are multiplied with four references at a time, many in columns with a tile of references. */
typedef struct group {
    const fa_fixed_kernels *kernels;
    const fa_space *space;
    bool many;
    int64_t columns;     /* room for inputs */
    int64_t pieces;
    int64_t length;      /* of a row, with the padding of pieces */
    int16_t *row;        /* few: [columns, length]; many: of one piece, [columns, FA_FIXED_PIECE] */
    int32_t *word;       /* many: [length / 2, columns] */
    int16_t *wide;       /* many: references of 8 bits, [references of a tile, length] */
    float *plain, *unit; /* few: [columns, pieces]; many: [pieces, columns] */
    float *out;          /* few: [columns, 4]; many: [references of a tile, columns] */
    floats4 *weight;     /* few: [pieces, rows that kernels take] */
    size_t used;
} group;

static void *take(char *scratch, size_t *used, int64_t bytes)
{
    void *at = scratch ? scratch + *used : NULL;
    *used += (size_t)(bytes + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
    return at;
}

/* Of up to `n` inputs, in `scratch`; NULL: to see how much is `used`. */
static group arrange(const fa_space *s, const fa_fixed_kernels *k, int64_t n, void *scratch)
{
    group g = {.kernels = k, .space = s, .many = n > FA_FIXED_FEW, .columns = n};
    if (g.many) g.columns = n > k->columns / 2 ? k->columns : k->columns / 2;
    fa_fixed_sizes(s->n_layer, s->offset, &g.pieces, &g.length);
    g.row = take(scratch, &g.used, 2 * g.columns * (g.many ? FA_FIXED_PIECE : g.length));
    g.plain = take(scratch, &g.used, 4 * g.columns * g.pieces);
    g.unit = take(scratch, &g.used, 4 * g.columns * g.pieces);
    g.out = take(scratch, &g.used, 4 * g.columns * (g.many ? k->references : 4));
    if (g.many) g.word = take(scratch, &g.used, 2 * g.columns * g.length);
    if (g.many) g.wide = take(scratch, &g.used, 2 * k->references * g.length);
    if (!g.many) g.weight = take(scratch, &g.used, 16 * k->rows * g.pieces);
    return g;
}

size_t fa_couplings_fixed_scratch(const fa_space *s, const fa_fixed_kernels *k, int64_t batch)
{
    const size_t few = arrange(s, k, batch < FA_FIXED_FEW ? batch : FA_FIXED_FEW, NULL).used, many = batch > FA_FIXED_FEW ? arrange(s, k, batch, NULL).used : 0;
    return few > many ? few : many;
}

static int64_t number(const fa_rows *r, int64_t i)
{
    return r->pick ? r->pick[i] : i;
}

/* Piece `p` of an input as integers. `plain`, `unit`: what its sums count. */
static void write_piece(const group *g, const fa_rows *x, int64_t i, const fa_fixed_piece *p, int16_t *to, float *plain, float *unit)
{
    const fa_space *s = g->space;
    const int64_t row = number(x, i);
    const float *block = x->block + row * s->offset[s->n_layer] + p->from;
    const float scale = g->kernels->scale(p->length, block, INT16_MAX);
    float a, b;
    fa_space_mixture(s, &a, &b);
    g->kernels->write(p->length, block, scale, to);
    *plain = a * x->share[row * s->n_layer + p->layer] / scale;
    *unit = b * x->tau[row] / scale;
}

/* Inputs [first, first + n) in rows. */
static void write_rows(const group *g, const fa_rows *x, int64_t first, int64_t n, const fa_fixed *f)
{
    for (int64_t i = 0; i < n; i++)
        for (int32_t p = 0; p < f->pieces; p++)
            write_piece(g, x, first + i, &f->piece[p], g->row + i * g->length + f->offset[p], g->plain + i * g->pieces + p, g->unit + i * g->pieces + p);
}

/* Inputs [first, first + n) in columns; the others are zeros. */
static void write_columns(const group *g, const fa_rows *x, int64_t first, int64_t n, const fa_fixed *f)
{
    const int64_t columns = g->columns;
    for (int32_t p = 0; p < f->pieces; p++) {
        const int64_t length = f->offset[p + 1] - f->offset[p];
        for (int64_t i = 0; i < n; i++) write_piece(g, x, first + i, &f->piece[p], g->row + i * length, g->plain + p * columns + i, g->unit + p * columns + i);
        memset(g->row + n * length, 0, (size_t)((columns - n) * length) * sizeof *g->row);
        for (int64_t i = n; i < columns; i++) g->plain[p * columns + i] = g->unit[p * columns + i] = 0;
        g->kernels->turn(columns, length / 2, (const int32_t *)(const void *)g->row, g->word + f->offset[p] / 2 * columns);
    }
}

/* Couplings of n inputs in rows with references j ... j + 3. */
static void four(const group *g, int64_t n, const fa_rows *r, int64_t j, float *out, int64_t out_ld)
{
    const fa_fixed *f = r->fixed;
    const int32_t pieces = f->pieces;
    const int16_t *one[FA_FIXED_ROWS], *i16[4];
    const int8_t *i8[4];
    const float *plain[4], *unit[4];
    const int valid = r->n - j < 4 ? (int)(r->n - j) : 4;
    for (int q = 0; q < 4; q++) {
        const int64_t row = number(r, j + (q < valid ? q : 0));
        if (f->i16) i16[q] = f->i16 + row * g->length;
        else i8[q] = f->i8 + row * g->length;
        plain[q] = f->plain + row * pieces;
        unit[q] = f->unit + row * pieces;
    }
    for (int64_t i = 0, some; i < n; i += some) {
        some = n - i < g->kernels->rows ? n - i : g->kernels->rows;
        for (int32_t p = 0; p < pieces; p++) {
            const floats4 a = {plain[0][p], plain[1][p], plain[2][p], plain[3][p]}, b = {unit[0][p], unit[1][p], unit[2][p], unit[3][p]};
            for (int64_t e = 0; e < some; e++) g->weight[p * some + e] = g->plain[(i + e) * pieces + p] * a + g->unit[(i + e) * pieces + p] * b;
        }
        for (int64_t e = 0; e < some; e++) one[e] = g->row + (i + e) * g->length;
        if (f->i16) g->kernels->few((int)some, one, i16, f->offset, pieces, (const float *)g->weight, g->out, 4);
        else g->kernels->few_i8((int)some, one, i8, f->offset, pieces, (const float *)g->weight, g->out, 4);
        for (int64_t e = 0; e < some; e++) memcpy(out + (i + e) * out_ld + j, g->out + 4 * e, (size_t)valid * sizeof *out);
    }
}

/* Couplings of n inputs in columns with a tile of references from j on. */
static void tile(const group *g, int64_t n, const fa_rows *r, int64_t j, float *out, int64_t out_ld)
{
    const fa_fixed *f = r->fixed;
    const int32_t pieces = f->pieces;
    const int64_t references = g->kernels->references;
    if (f->i8) g->kernels->widen(references * g->length, f->i8 + j * g->length, g->wide);
    g->kernels->many(&(fa_fixed_tile){.reference = f->i8 ? g->wide : f->i16 + j * g->length,
                                      .stride = g->length,
                                      .reference_plain = f->plain + j * pieces,
                                      .reference_unit = f->unit + j * pieces,
                                      .word = g->word,
                                      .plain = g->plain,
                                      .unit = g->unit,
                                      .offset = f->offset,
                                      .pieces = pieces,
                                      .out = g->out},
                     (int)g->columns);
    for (int64_t i = 0; i < n; i++)
        for (int64_t q = 0; q < references; q++) out[i * out_ld + j + q] = g->out[q * g->columns + i];
}

void fa_couplings_fixed(const fa_space *s, const fa_fixed_kernels *k, const fa_rows *x, const fa_rows *r, float *out, int64_t out_ld, void *scratch)
{
    for (int64_t i = 0, n; i < x->n; i += n) {
        n = x->n - i < k->columns ? x->n - i : k->columns;
        const bool few = n <= FA_FIXED_FEW || r->pick || r->n < k->references;
        if (few && n > FA_FIXED_FEW) n = FA_FIXED_FEW;
        const group g = arrange(s, k, n, scratch);
        float *to = out + i * out_ld;
        if (few) {
            write_rows(&g, x, i, n, r->fixed);
            for (int64_t j = 0; j < r->n; j += 4) four(&g, n, r, j, to, out_ld);
            continue;
        }
        write_columns(&g, x, i, n, r->fixed);
        for (int64_t j = 0; j < r->n; j += k->references) tile(&g, n, r, j + k->references <= r->n ? j : r->n - k->references, to, out_ld); /* the last tile repeats some */
    }
    fa_space_bound(x->n, r->n, out, out_ld);
}
