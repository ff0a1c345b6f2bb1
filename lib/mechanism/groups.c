/* SPDX-License-Identifier: Apache-2.0 */
#include "mechanism/groups.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static const float ones[4] = {1, 1, 1, 1};

/* A larger copy of an array in place of it. */
static bool grow(fa_context *context, void **block, size_t size, int64_t used, int64_t room)
{
    void *p = fa_new_array(context, (size_t)room, size);
    if (!p) return false;
    if (used) memcpy(p, *block, (size_t)used * size);
    fa_delete(context, *block);
    *block = p;
    return true;
}

fa_status fa_groups_reserve(fa_groups *g, int64_t more)
{
    if (g->n + more <= g->room) return FA_OK;
    int64_t room = g->n + more + g->n / 2;
    void *sum = g->sum, *count = g->count, *name = g->name, *weight = g->weight;
    bool fits = grow(g->context, &sum, (size_t)g->length * sizeof *g->sum, g->n, room);
    g->sum = sum;
    fits = fits && grow(g->context, &count, sizeof *g->count, g->n, room);
    g->count = count;
    fits = fits && grow(g->context, &name, sizeof *g->name, g->n, room);
    g->name = name;
    fits = fits && grow(g->context, &weight, sizeof *g->weight, g->n, room);
    g->weight = weight;
    if (fits) g->room = room;
    return fits ? FA_OK : FA_ERR_MEMORY;
}

void fa_groups_clear(fa_groups *g)
{
    fa_delete(g->context, g->sum);
    fa_delete(g->context, g->count);
    fa_delete(g->context, g->name);
    fa_delete(g->context, g->weight);
    *g = (fa_groups){.context = g->context, .length = g->length};
}

fa_status fa_groups_copy(const fa_groups *from, fa_groups *to)
{
    size_t n = (size_t)from->n;
    *to = (fa_groups){.context = from->context, .length = from->length};
    if (!n) return FA_OK;
    fa_status status = fa_groups_reserve(to, from->n);
    if (status != FA_OK) {
        fa_groups_clear(to);
        return status;
    }
    memcpy(to->sum, from->sum, n * (size_t)from->length * sizeof *to->sum);
    memcpy(to->count, from->count, n * sizeof *to->count);
    memcpy(to->name, from->name, n * sizeof *to->name);
    memcpy(to->weight, from->weight, n * sizeof *to->weight);
    to->n = from->n;
    return FA_OK;
}

static double within(double squares, double n)
{
    double w = ((squares - n) / 2 + FA_WITHIN_PAIRS * FA_WITHIN_PRIOR) / (n * (n - 1) / 2 + FA_WITHIN_PAIRS);
    return w > 1e-3 ? w : 1e-3; /* members that have nothing in common, which linkage does not put together but a file may */
}

double fa_groups_within(const fa_groups *g, int64_t i)
{
    const float *s = g->sum + i * g->length;
    double squares = 0;
    for (int64_t k = 0; k < g->length; k++) squares += (double)s[k] * s[k];
    return within(squares, (double)g->count[i]);
}

void fa_groups_weigh(fa_groups *g, int64_t i)
{
    g->weight[i] = 1 / ((double)g->count[i] * sqrt(fa_groups_within(g, i)));
}

double fa_single_weight(void)
{
    return 1 / sqrt(FA_WITHIN_PRIOR);
}

double fa_groups_dot(const fa_dot_kernels *kernels, const float *x, const float *y, int64_t length)
{
    const float *four[4] = {y, y, y, y};
    const int64_t offset[2] = {0, length};
    float out[4] = {0, 0, 0, 0};
    kernels->weighted(1, &x, four, four, offset, 1, ones, out, 4);
    return out[0];
}

int64_t fa_groups_nearest(const fa_groups *g, const fa_dot_kernels *kernels, const float *x, double weight, int64_t first, int64_t besides,
                          double *likeness)
{
    const int64_t offset[2] = {0, g->length};
    int64_t best = -1;
    *likeness = -INFINITY;
    for (int64_t i = first; i < g->n; i += 4) {
        const float *four[4];
        float out[4] = {0, 0, 0, 0};
        for (int64_t q = 0; q < 4; q++) four[q] = g->sum + (i + q < g->n ? i + q : i) * g->length;
        kernels->weighted(1, &x, four, four, offset, 1, ones, out, 4);
        for (int64_t q = 0; q < 4 && i + q < g->n; q++) {
            double v = out[q] * (weight * g->weight[i + q]);
            if (!g->count[i + q] || i + q == besides || !(v > *likeness)) continue;
            *likeness = v;
            best = i + q;
        }
    }
    return best;
}
