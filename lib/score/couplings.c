/* SPDX-License-Identifier: Apache-2.0 */
#include "score/space.h"

#include <fattr/sketch.h>
#include <string.h>

#define REFERENCES 32 /* that all rows go through together, a few layers at a time */
#define PIECE 800     /* elements of those layers: what a band of rows has of them stays in the first-level cache */

/* Floats of scratch for each layer: shares of four references, and their weights with FA_DOT_ROWS rows. */
#define SCRATCH (4 + 4 * FA_DOT_ROWS)

typedef float floats4 __attribute__((vector_size(16), aligned(4), may_alias));

/* Four references, and what their weights take of them. */
typedef struct quad {
    int n; /* of which there are so many; the others are the first again */
    const float *block[4], *ahead[2]; /* of these and of two that are wanted next */
    floats4 *share; /* [n_layer] */
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

static const float *block_of(const fa_space *s, const fa_rows *r, int64_t i)
{
    return r->block + number(r, i < r->n ? i : r->n - 1) * s->offset[s->n_layer];
}

static void set_quad(const fa_space *s, const fa_rows *r, int64_t j, layers l, quad *out)
{
    out->n = r->n - j < 4 ? (int)(r->n - j) : 4;
    for (int q = 0; q < 4; q++) {
        const int64_t at = j + (q < out->n ? q : 0), row = number(r, at);
        out->block[q] = block_of(s, r, at);
        out->tau[q] = r->tau[row];
        for (int32_t i = l.begin; i < l.end; i++) out->share[i][q] = r->share[row * s->n_layer + i];
    }
}

void fa_space_mixture(const fa_space *s, float *plain, float *unit)
{
    *plain = s->blocks == FA_BLOCKS_BOTH ? 0.5f : s->blocks == FA_BLOCKS_PLAIN ? 1 : 0;
    *unit = 1 - *plain;
}

/* Adds some layers of the couplings of rows i ... i + n - 1 with four references. */
static void tile(const fa_space *s, const fa_dot_kernels *k, const fa_rows *x, int64_t i, int n, const quad *four, layers l, float *out, int64_t out_ld, floats4 *weight)
{
    const float *one[FA_DOT_ROWS];
    float plain, unit;
    fa_space_mixture(s, &plain, &unit);
    for (int e = 0; e < n; e++) {
        const int64_t row = number(x, i + e);
        const float *share = x->share + row * s->n_layer;
        const floats4 tau = unit * x->tau[row] * four->tau;
        one[e] = x->block + row * s->offset[s->n_layer];
        for (int32_t p = l.begin; p < l.end; p++) weight[n * (p - l.begin) + e] = plain * share[p] * four->share[p] + tau;
    }
    if (four->n == 4) {
        k->weighted(n, one, four->block, four->ahead, s->offset + l.begin, l.end - l.begin, (const float *)weight, out, out_ld);
        return;
    }
    float some[4 * FA_DOT_ROWS] = {0};
    for (int e = 0; e < n; e++) memcpy(some + 4 * e, out + e * out_ld, (size_t)four->n * sizeof *out);
    k->weighted(n, one, four->block, four->ahead, s->offset + l.begin, l.end - l.begin, (const float *)weight, some, 4);
    for (int e = 0; e < n; e++) memcpy(out + e * out_ld, some + 4 * e, (size_t)four->n * sizeof *out);
}

/* References j0 ... j1 - 1 by all rows, which are taken in bands as equal as can be. Pieces of references are too short for a CPU to look ahead by itself, so each band fetches a part of
 * the next four. A single band takes each reference from end to end. */
static void references(const fa_space *s, const fa_dot_kernels *k, const fa_rows *x, const fa_rows *r, int64_t j0, int64_t j1, float *out, int64_t out_ld, float *scratch)
{
    const int64_t bands = (x->n + k->rows - 1) / k->rows;
    quad four = {.share = (floats4 *)scratch};
    for (layers l = {0, 0}; l.begin < s->n_layer; l.begin = l.end) {
        l.end = l.begin + 1;
        while (l.end < s->n_layer && (bands == 1 || s->offset[l.end + 1] - s->offset[l.begin] <= PIECE)) l.end++;
        for (int64_t j = j0; j < j1; j += 4) {
            set_quad(s, r, j, l, &four);
            for (int64_t b = 0, i = 0, n; b < bands; b++, i += n) {
                four.ahead[0] = block_of(s, r, j + 4 + 4 * b / bands);
                four.ahead[1] = block_of(s, r, j + 4 + (4 * b + 3) / bands);
                n = (x->n - i + bands - b - 1) / (bands - b);
                tile(s, k, x, i, (int)n, &four, l, out + i * out_ld + j, out_ld, four.share + s->n_layer);
            }
        }
    }
}

void fa_space_bound(int64_t n, int64_t columns, float *couplings, int64_t ld)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < columns; j++) {
            const float c = couplings[i * ld + j];
            couplings[i * ld + j] = c > 1 ? 1 : c < -1 ? -1 : c;
        }
}

void fa_space_couplings(const fa_space *s, const fa_dot_kernels *k, const fa_rows *x, const fa_rows *r, float *out, int64_t out_ld, float *scratch)
{
    for (int64_t i = 0; i < x->n; i++) memset(out + i * out_ld, 0, (size_t)r->n * sizeof *out);
    for (int64_t j = 0; j < r->n; j += REFERENCES) references(s, k, x, r, j, r->n - j < REFERENCES ? r->n : j + REFERENCES, out, out_ld, scratch);
    fa_space_bound(x->n, r->n, out, out_ld);
}
