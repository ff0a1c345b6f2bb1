/* SPDX-License-Identifier: Apache-2.0 */
#include "score/space.h"

#include <fattr/score.h>
#include <string.h>

#define REFERENCES 32 /* that all rows go through together, a few layers at a time */
#define PIECE 800     /* elements of those layers: what a band of rows has of them stays in the first-level cache */

/* Floats of scratch for each layer: shares and scales of four references, and their weights with FA_DOT_ROWS rows. */
#define SCRATCH (8 + 4 * FA_DOT_ROWS)

typedef float floats4 __attribute__((vector_size(16), aligned(4), may_alias));

/* Rows of four references, or of two that are wanted next, in their format. */
typedef union blocks {
    const float *f32[4];
    const uint16_t *bf16[4];
    const int8_t *i8[4];
} blocks;

/* Four references, and what their weights take of them. */
typedef struct quad {
    int n; /* of which there are so many; the others are the first again */
    int32_t format;
    blocks block, ahead;
    floats4 *share, *scale; /* [n_layer] */
    floats4 tau;
} quad;

/* Layers [begin, end). */
typedef struct layers {
    int32_t begin, end;
} layers;

size_t fa_space_scratch(const fa_space *s)
{
    return SCRATCH * (size_t)s->n_layer * sizeof(float);
}

static int64_t number(const fa_rows *r, int64_t i)
{
    return r->pick ? r->pick[i] : i;
}

static int32_t format_of(const fa_rows *r)
{
    return r->compact ? r->compact->format : FA_SIGNATURES_F32;
}

static void set_block(const fa_space *s, const fa_rows *r, int64_t i, blocks *out, int q)
{
    const int64_t at = number(r, i < r->n ? i : r->n - 1) * s->offset[s->n_layer];
    switch (format_of(r)) {
    case FA_SIGNATURES_BF16: out->bf16[q] = r->compact->bf16 + at; break;
    case FA_SIGNATURES_INT8: out->i8[q] = r->compact->i8 + at; break;
    default: out->f32[q] = r->block + at; break;
    }
}

static void set_quad(const fa_space *s, const fa_rows *r, int64_t j, layers l, quad *out)
{
    const float *scale = r->compact ? r->compact->scale : NULL;
    out->n = r->n - j < 4 ? (int)(r->n - j) : 4;
    out->format = format_of(r);
    for (int q = 0; q < 4; q++) {
        const int64_t at = j + (q < out->n ? q : 0), row = number(r, at);
        set_block(s, r, at, &out->block, q);
        out->tau[q] = r->tau[row];
        for (int32_t i = l.begin; i < l.end; i++) out->share[i][q] = r->share[row * s->n_layer + i];
        for (int32_t i = l.begin; scale && i < l.end; i++) out->scale[i][q] = scale[row * s->n_layer + i];
    }
}

/* How much plain and layer-unit blocks count. */
static void mixture(const fa_space *s, float *plain, float *unit)
{
    *plain = s->blocks == FA_BLOCKS_BOTH ? 0.5f : s->blocks == FA_BLOCKS_PLAIN ? 1 : 0;
    *unit = 1 - *plain;
}

static void weighted(const fa_dot_kernels *k, int n, const float *const *one, const quad *four, const int64_t *offset, int32_t n_layer, const float *weight, float *out, int64_t out_ld)
{
    switch (four->format) {
    case FA_SIGNATURES_BF16: k->weighted_bf16(n, one, four->block.bf16, four->ahead.bf16, offset, n_layer, weight, out, out_ld); break;
    case FA_SIGNATURES_INT8: k->weighted_i8(n, one, four->block.i8, four->ahead.i8, offset, n_layer, weight, out, out_ld); break;
    default: k->weighted(n, one, four->block.f32, four->ahead.f32, offset, n_layer, weight, out, out_ld); break;
    }
}

/* Adds some layers of the couplings of rows i ... i + n - 1 with four references. */
static void tile(const fa_space *s, const fa_dot_kernels *k, const fa_rows *x, int64_t i, int n, const quad *four, layers l, float *out, int64_t out_ld, floats4 *weight)
{
    const float *one[FA_DOT_ROWS];
    float plain, unit;
    mixture(s, &plain, &unit);
    for (int e = 0; e < n; e++) {
        const int64_t row = number(x, i + e);
        const float *share = x->share + row * s->n_layer;
        const floats4 tau = unit * x->tau[row] * four->tau;
        one[e] = x->block + row * s->offset[s->n_layer];
        for (int32_t p = l.begin; p < l.end; p++) weight[n * (p - l.begin) + e] = plain * share[p] * four->share[p] + tau;
        for (int32_t p = l.begin; four->format == FA_SIGNATURES_INT8 && p < l.end; p++) weight[n * (p - l.begin) + e] *= four->scale[p];
    }
    if (four->n == 4) {
        weighted(k, n, one, four, s->offset + l.begin, l.end - l.begin, (const float *)weight, out, out_ld);
        return;
    }
    float some[4 * FA_DOT_ROWS] = {0};
    for (int e = 0; e < n; e++) memcpy(some + 4 * e, out + e * out_ld, (size_t)four->n * sizeof *out);
    weighted(k, n, one, four, s->offset + l.begin, l.end - l.begin, (const float *)weight, some, 4);
    for (int e = 0; e < n; e++) memcpy(out + e * out_ld, some + 4 * e, (size_t)four->n * sizeof *out);
}

/* References j0 ... j1 - 1 by all rows, which are taken in bands as equal as can be. Pieces of references are too short for a CPU to look ahead by itself, so each band fetches a part of
 * the next four. A single band takes each reference from end to end. */
static void references(const fa_space *s, const fa_dot_kernels *k, const fa_rows *x, const fa_rows *r, int64_t j0, int64_t j1, float *out, int64_t out_ld, float *scratch)
{
    const int64_t bands = (x->n + k->rows - 1) / k->rows;
    quad four = {.share = (floats4 *)scratch, .scale = (floats4 *)scratch + s->n_layer};
    for (layers l = {0, 0}; l.begin < s->n_layer; l.begin = l.end) {
        l.end = l.begin + 1;
        while (l.end < s->n_layer && (bands == 1 || s->offset[l.end + 1] - s->offset[l.begin] <= PIECE)) l.end++;
        for (int64_t j = j0; j < j1; j += 4) {
            set_quad(s, r, j, l, &four);
            for (int64_t b = 0, i = 0, n; b < bands; b++, i += n) {
                set_block(s, r, j + 4 + 4 * b / bands, &four.ahead, 0);
                set_block(s, r, j + 4 + (4 * b + 3) / bands, &four.ahead, 1);
                n = (x->n - i + bands - b - 1) / (bands - b);
                tile(s, k, x, i, (int)n, &four, l, out + i * out_ld + j, out_ld, four.scale + s->n_layer);
            }
        }
    }
}

void fa_space_couplings(const fa_space *s, const fa_dot_kernels *k, const fa_rows *x, const fa_rows *r, float *out, int64_t out_ld, float *scratch)
{
    for (int64_t i = 0; i < x->n; i++) memset(out + i * out_ld, 0, (size_t)r->n * sizeof *out);
    for (int64_t j = 0; j < r->n; j += REFERENCES) references(s, k, x, r, j, r->n - j < REFERENCES ? r->n : j + REFERENCES, out, out_ld, scratch);
    /* Rounding may pass 1 by a few units in the last place; a cosine does not. */
    for (int64_t i = 0; i < x->n; i++)
        for (int64_t j = 0; j < r->n; j++) {
            const float c = out[i * out_ld + j];
            out[i * out_ld + j] = c > 1 ? 1 : c < -1 ? -1 : c;
        }
}
