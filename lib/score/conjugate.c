/* SPDX-License-Identifier: Apache-2.0 */
#include "score/conjugate.h"

#include <string.h>

#define MOST 48        /* steps of one descent */
#define CLIPS 8        /* descents that end in negative weights */
#define COARSE 1e-2f   /* of the first residual: enough to tell which weights become negative */

static int64_t padded(int64_t m)
{
    return (m + 15) / 16 * 16;
}

int64_t fa_conjugate_ld(int64_t capacity)
{
    return padded(capacity) + 16; /* rows must not lie a power of two apart */
}

uint64_t fa_conjugate_bytes(int64_t capacity)
{
    return 6 * (uint64_t)fa_conjugate_ld(capacity) * sizeof(float);
}

fa_status fa_conjugate_create(fa_arena *arena, const fa_dot_kernels *kernels, int64_t capacity, float *matrix, fa_conjugate *out)
{
    const int64_t ld = fa_conjugate_ld(capacity);
    float *at = fa_arena_array(arena, 6 * (size_t)ld, sizeof *at);
    if (!at) return FA_ERR_MEMORY;
    *out = (fa_conjugate){.kernels = kernels, .capacity = capacity, .ld = ld, .matrix = matrix, .c = at, .weight = at + ld, .residual = at + 2 * ld, .direction = at + 3 * ld,
                          .product = at + 4 * ld, .held = at + 5 * ld};
    return FA_OK;
}

void fa_conjugate_add(fa_conjugate *o, const float *gram, int64_t gram_ld, float ridge, const int64_t *set, int64_t m, const float *c)
{
    const int64_t ld = o->ld, old = padded(o->m), end = padded(m);
    for (int64_t k = 0; k < o->m; k++) memset(o->matrix + k * ld + old, 0, (size_t)(end - old) * sizeof *o->matrix);
    for (int64_t k = o->m; k < m; k++) {
        const float *row = gram + set[k] * gram_ld;
        float *to = o->matrix + k * ld;
        for (int64_t i = 0; i < k; i++) to[i] = o->matrix[i * ld + k] = row[set[i]];
        to[k] = row[set[k]] + ridge;
        memset(to + k + 1, 0, (size_t)(end - k - 1) * sizeof *to);
        o->c[k] = c[set[k]];
    }
    for (int64_t k = m; k < end; k++) o->c[k] = o->weight[k] = o->residual[k] = o->held[k] = 0;
    o->m = m;
}

static float dot(const fa_conjugate *o, const float *x, const float *y)
{
    static const float ones[4] = {1, 1, 1, 1};
    const int64_t offset[2] = {0, padded(o->m)};
    const float *const four[4] = {y, y, y, y};
    float out[4] = {0};
    o->kernels->weighted(1, &x, four, four, offset, 1, ones, out, 4);
    return out[0];
}

/* Until the residual is shorter than `least`. */
static bool descend(fa_conjugate *o, float least, int64_t *steps)
{
    const int64_t n = padded(o->m);
    float size = dot(o, o->residual, o->residual);
    memcpy(o->direction, o->residual, (size_t)n * sizeof *o->direction);
    for (int step = 0; !(size <= least * least); step++) {
        if (step == MOST) return false;
        (*steps)++;
        o->kernels->combine(n, o->m, o->matrix, o->ld, o->direction, o->product);
        const float curve = dot(o, o->direction, o->product), before = size;
        if (!(curve > 0)) return false;
        size = o->kernels->conjugate(n, before / curve, o->held, o->direction, o->product, o->weight, o->residual);
        const float b = size / before;
        for (int64_t k = 0; k < n; k++) o->direction[k] = o->residual[k] + b * o->direction[k];
    }
    return true;
}

/* Sets negative weights to zero and holds them there. Returns how many. */
static int64_t clip(fa_conjugate *o)
{
    int64_t count = 0;
    for (int64_t k = 0; k < o->m; k++) {
        if (!(o->weight[k] < 0)) continue;
        o->weight[k] = o->held[k] = 0;
        count++;
    }
    return count;
}

bool fa_conjugate_solve(fa_conjugate *o, float least, int64_t *steps)
{
    const int64_t n = padded(o->m);
    float largest = 0;
    for (int64_t k = 0; k < n; k++) {
        o->held[k] = o->weight[k] > 0;
        o->residual[k] *= o->held[k];
        const float size = o->residual[k] < 0 ? -o->residual[k] : o->residual[k];
        if (size > largest) largest = size;
    }
    bool coarse = largest * COARSE > least;
    for (int t = 0; t < CLIPS; t++) {
        if (!descend(o, coarse ? largest * COARSE : least, steps)) return false;
        if (clip(o)) {
            o->kernels->combine(n, o->m, o->matrix, o->ld, o->weight, o->product);
            for (int64_t k = 0; k < n; k++) o->residual[k] = (o->c[k] - o->product[k]) * o->held[k];
        } else if (!coarse) {
            return true;
        } else {
            coarse = false;
        }
    }
    return false;
}
