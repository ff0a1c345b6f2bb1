/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* TopK: the k largest (or smallest) elements along an axis and where they stood, in order; of equal ones the earlier comes first, NaN is above
 * everything. k is an attribute in operator set 1, an input known at plan time from 10 on. Scratch holds a row's places twice, for merging. */

typedef struct top {
    int64_t outer, n, inner, k;
    bool largest;
} top;

static fa_status prepare(fa_op_setup *s)
{
    bool by_input = s->node->opset >= 10;
    FA_TRY(FA_R(fa_op_need)(s, by_input ? 2 : 1, by_input ? 2 : 1, 2));
    const fa_view *x = s->in[0];
    const int64_t *given = NULL;
    int64_t count, k, dim[FA_MAX_DIMS];
    int32_t axis;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", -1), x->ndim, &axis));
    if (by_input) {
        FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "k", &given, &count));
        FA_TRY(FA_R(fa_op_need_count)(s, 1, 1));
    }
    k = given ? given[0] : fa_node_int(s->node, "k", -1);
    if (k < 0 || k > x->dim[axis]) return fa_fail(FA_ERR_SHAPE, "the first %lld of axis %d with %lld elements", (long long)k, axis, (long long)x->dim[axis]);
    top *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->k = k;
    p->largest = fa_node_int(s->node, "largest", 1) != 0;
    FA_R(fa_op_around)(x, axis, &p->outer, &p->n, &p->inner);
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = k;
    s->params = p;
    s->scratch = 2 * (size_t)p->n * sizeof(int64_t);
    if (s->n_out > 1) FA_TRY(FA_R(fa_op_set)(&s->out[1], FA_INT64, x->ndim, dim));
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim);
}

/* Whether element b, which stands behind a, comes before it. */
static bool passes(const fa_view *x, bool largest, int64_t b, int64_t a)
{
    if (fa_dtype_is_real(x->dtype)) {
        fa_real u = ((const fa_real *)x->data)[b], v = ((const fa_real *)x->data)[a];
        bool above = u > v || (u != u && v == v), below = u < v || (v != v && u == u);
        return largest ? above : below;
    }
    int64_t u = ((const int64_t *)x->data)[b], v = ((const int64_t *)x->data)[a];
    return largest ? u > v : u < v;
}

/* The elements of row `row` in order, as indices into the input: a merge sort, which keeps the order of equals. */
static const int64_t *sorted(const fa_op_call *c, int64_t row)
{
    const top *p = c->params;
    int64_t *from = c->scratch, *to = from + p->n;
    for (int64_t i = 0; i < p->n; i++) from[i] = (row / p->inner * p->n + i) * p->inner + row % p->inner;
    for (int64_t run = 1; run < p->n; run *= 2) {
        for (int64_t start = 0; start < p->n; start += 2 * run) {
            int64_t middle = start + run < p->n ? start + run : p->n, end = middle + run < p->n ? middle + run : p->n;
            for (int64_t i = start, j = middle, at = start; at < end; at++) {
                bool second = j < end && (i == middle || passes(c->in[0], p->largest, from[j], from[i]));
                to[at] = second ? from[j++] : from[i++];
            }
        }
        int64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static void forward(const fa_op_call *c)
{
    const top *p = c->params;
    const bool real = fa_dtype_is_real(c->in[0]->dtype);
    void *values = c->out[0] ? c->out[0]->data : NULL;
    int64_t *places = c->n_out > 1 && c->out[1] ? c->out[1]->data : NULL;
    for (int64_t row = 0; p->k && row < p->outer * p->inner; row++) {
        const int64_t *order = sorted(c, row);
        for (int64_t i = 0; i < p->k; i++) {
            int64_t at = (row / p->inner * p->k + i) * p->inner + row % p->inner;
            if (values && real) ((fa_real *)values)[at] = ((const fa_real *)c->in[0]->data)[order[i]];
            else if (values) ((int64_t *)values)[at] = ((const int64_t *)c->in[0]->data)[order[i]];
            if (places) places[at] = order[i] / p->inner % p->n;
        }
    }
}

static void backward(const fa_op_call *c)
{
    const top *p = c->params;
    const fa_real *g = c->grad_out[0];
    fa_real *t = c->grad_in[0];
    for (int64_t row = 0; g && t && p->k && row < p->outer * p->inner; row++) {
        const int64_t *order = sorted(c, row);
        for (int64_t i = 0; i < p->k; i++) t[order[i]] += g[(row / p->inner * p->k + i) * p->inner + row % p->inner];
    }
}

const fa_op FA_R(fa_ops_topk)[] = {
    {"TopK", "", 1, FA_OPSET_ANY, 0, 1, 0, prepare, forward, backward},
    {NULL},
};
