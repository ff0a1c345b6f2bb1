/* SPDX-License-Identifier: Apache-2.0 */
#include "score/space.h"

#include "base/error.h"

#include <fattr/sketch.h>

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define TILE 64 /* rows of a Gram tile */

int64_t fa_space_signature_length(const fa_space *s)
{
    return s->offset[s->n_layer] * (s->blocks == FA_BLOCKS_BOTH ? 2 : 1);
}

int32_t fa_space_normalise(const fa_space *s, const fa_dot_kernels *k, float *block, float *share)
{
    double whole = 0;
    for (int32_t l = 0; l < s->n_layer; l++) whole += k->squares(s->offset[l + 1] - s->offset[l], block + s->offset[l]);
    if (!(whole <= DBL_MAX)) return FA_ROW_NOT_FINITE;
    whole = sqrt(whole);
    for (int32_t l = 0; l < s->n_layer; l++) {
        const int64_t first = s->offset[l], n = s->offset[l + 1] - first;
        const double norm = sqrt(k->squares(n, block + first));
        share[l] = 0;
        if (!(norm > 0)) continue;
        /* A share too small for a float still says that the layer has a block. */
        share[l] = fmaxf((float)(norm / whole), FLT_MIN);
        k->scale(n, 1 / norm, block + first);
    }
    return whole > 0 ? FA_ROW_SIGNAL : FA_ROW_ZERO;
}

void fa_space_tau(const fa_space *s, int64_t n, const float *share, float *tau)
{
    for (int64_t i = 0; i < n; i++) {
        int32_t count = 0;
        for (int32_t l = 0; l < s->n_layer; l++) count += share[i * s->n_layer + l] > 0;
        tau[i] = count ? (float)(1 / sqrt(count)) : 0;
    }
}

typedef struct gram_work {
    const fa_space *space;
    const fa_dot_kernels *kernels;
    const fa_rows *rows;
    float *gram, *scratch;
    size_t scratch_floats;
    atomic_llong next; /* tile of the lower triangle, row by row */
} gram_work;

static fa_rows some(const fa_space *s, const fa_rows *r, int64_t first)
{
    int64_t n = r->n - first < TILE ? r->n - first : TILE;
    return (fa_rows){n, r->block + first * s->offset[s->n_layer], r->share + first * s->n_layer, r->tau + first, NULL};
}

static void gram_thread(void *user, int32_t thread)
{
    gram_work *w = user;
    const fa_rows *r = w->rows;
    int64_t tiles = (r->n + TILE - 1) / TILE, row = 0, before = 0;
    for (;;) {
        int64_t t = atomic_fetch_add(&w->next, 1);
        while (row < tiles && t > before + row) before += ++row;
        if (row >= tiles) return;
        int64_t i0 = row * TILE, j0 = (t - before) * TILE;
        fa_rows a = some(w->space, r, i0), b = some(w->space, r, j0);
        float *tile = w->gram + i0 * r->n + j0;
        fa_space_couplings(w->space, w->kernels, &a, &b, tile, r->n, w->scratch + (size_t)thread * w->scratch_floats);
        for (int64_t i = 0; i < a.n; i++) {
            if (i0 == j0) tile[i * r->n + i] = a.tau[i] > 0;
            for (int64_t j = 0; j < (i0 == j0 ? i : b.n); j++) w->gram[(j0 + j) * r->n + i0 + i] = tile[i * r->n + j];
        }
    }
}

fa_status fa_space_gram(fa_context *context, const fa_space *space, const fa_dot_kernels *kernels, const fa_rows *rows, fa_pool *pool, float *gram)
{
    int32_t threads = pool ? fa_pool_threads(pool) : 1;
    size_t floats = (fa_space_scratch(space) / sizeof(float) + 15) / 16 * 16;
    gram_work w = {.space = space, .kernels = kernels, .rows = rows, .gram = gram, .scratch_floats = floats};
    w.scratch = fa_new_array(context, (size_t)threads, floats * sizeof(float));
    if (!w.scratch) return FA_ERR_MEMORY;
    if (pool) fa_pool_run(pool, gram_thread, &w);
    else gram_thread(&w, 0);
    fa_delete(context, w.scratch);
    return FA_OK;
}

void fa_space_sum(const fa_space *s, const fa_rows *rows, const int64_t *which, const float *weight, int64_t n, float *sum)
{
    int64_t length = s->offset[s->n_layer];
    float *plain = sum, *unit = sum + length;
    memset(sum, 0, 2 * (size_t)length * sizeof *sum);
    for (int64_t j = 0; j < n; j++) {
        const float *block = rows->block + which[j] * length, *share = rows->share + which[j] * s->n_layer;
        for (int32_t l = 0; l < s->n_layer; l++) {
            float a = weight[j] * share[l], b = weight[j] * rows->tau[which[j]];
            for (int64_t e = s->offset[l]; e < s->offset[l + 1]; e++) {
                plain[e] += a * block[e];
                unit[e] += b * block[e];
            }
        }
    }
}

void fa_space_residual(const fa_space *s, const fa_rows *x, int64_t i, const fa_rows *r, const float *weight, float *out)
{
    int64_t length = s->offset[s->n_layer], half = s->blocks == FA_BLOCKS_BOTH ? length : 0;
    float scale = s->blocks == FA_BLOCKS_BOTH ? 0.70710678f : 1;
    memset(out, 0, (size_t)fa_space_signature_length(s) * sizeof *out);
    for (int64_t j = -1; j < r->n; j++) { /* -1: the input itself */
        float w = scale * (j < 0 ? 1 : -weight[j]);
        if (w == 0) continue;
        const fa_rows *from = j < 0 ? x : r;
        int64_t row = j < 0 ? i : j;
        const float *block = from->block + row * length, *share = from->share + row * s->n_layer;
        for (int32_t l = 0; l < s->n_layer; l++) {
            float a = w * share[l], b = w * from->tau[row];
            int64_t e = s->offset[l], end = s->offset[l + 1];
            if (s->blocks != FA_BLOCKS_LAYER_UNIT)
                for (int64_t k = e; k < end; k++) out[k] += a * block[k];
            if (s->blocks != FA_BLOCKS_PLAIN)
                for (int64_t k = e; k < end; k++) out[half + k] += b * block[k];
        }
    }
}
