/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

/* OneHot: a new axis of `depth` elements, values[1] at the index and values[0] elsewhere; an index outside [-depth, depth) has no place on it. */

typedef struct onehot {
    int64_t outer, depth, inner;
} onehot;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    const fa_view *index = s->in[0], *depth = s->in[1], *values = s->in[2];
    FA_TRY(FA_R(fa_op_need_count)(s, 1, 1));
    FA_TRY(FA_R(fa_op_need_count)(s, 2, 2));
    if (!depth->data) return fa_fail(FA_ERR_UNSUPPORTED, "the depth (input 1) is computed from the data; it must be known beforehand");
    double n = fa_dtype_is_real(depth->dtype) ? (double)*(const fa_real *)depth->data : (double)*(const int64_t *)depth->data;
    if (!(n >= 0 && n <= (double)FA_MAX_ELEMENTS)) return fa_fail(FA_ERR_SHAPE, "depth %g", n);
    int64_t dim[FA_MAX_DIMS + 1];
    int32_t axis, ndim = index->ndim + 1;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", -1), ndim, &axis));
    onehot *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (onehot){1, (int64_t)n, 1};
    for (int32_t d = 0, from = 0; d < ndim; d++) {
        dim[d] = d == axis ? p->depth : index->dim[from++];
        if (d != axis) *(d < axis ? &p->outer : &p->inner) *= dim[d];
    }
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], values->dtype, ndim, dim);
}

/* Where index `i` has its place in the output, or -1. */
static int64_t place(const fa_op_call *c, int64_t i)
{
    const onehot *p = c->params;
    int64_t at;
    if (fa_dtype_is_real(c->in[0]->dtype)) {
        double v = (double)((const fa_real *)c->in[0]->data)[i];
        if (!(v >= -(double)p->depth && v < (double)p->depth)) return -1;
        at = (int64_t)v;
    } else {
        at = ((const int64_t *)c->in[0]->data)[i];
    }
    if (at < 0) at += p->depth;
    return at < 0 || at >= p->depth ? -1 : (i / p->inner * p->depth + at) * p->inner + i % p->inner;
}

static void forward(const fa_op_call *c)
{
    const onehot *p = c->params;
    fa_real *reals = c->out[0]->data;
    int64_t *ints = c->out[0]->data;
    const bool real = fa_dtype_is_real(c->out[0]->dtype);
    for (int64_t i = 0; i < c->out[0]->count; i++) {
        if (real) reals[i] = *(const fa_real *)c->in[2]->data;
        else ints[i] = *(const int64_t *)c->in[2]->data;
    }
    for (int64_t i = 0; i < p->outer * p->inner && p->depth; i++) {
        int64_t at = place(c, i);
        if (at < 0) continue;
        if (real) reals[at] = ((const fa_real *)c->in[2]->data)[1];
        else ints[at] = ((const int64_t *)c->in[2]->data)[1];
    }
}

static void backward(const fa_op_call *c)
{
    const onehot *p = c->params;
    const fa_real *g = c->grad_out[0];
    fa_real *t = c->grad_in[2];
    double on = 0, all = 0;
    if (!t) return;
    for (int64_t i = 0; i < c->out[0]->count; i++) all += (double)g[i];
    for (int64_t i = 0; i < p->outer * p->inner && p->depth; i++) {
        int64_t at = place(c, i);
        if (at >= 0) on += (double)g[at];
    }
    t[0] += (fa_real)(all - on);
    t[1] += (fa_real)on;
}

const fa_op FA_R(fa_ops_onehot)[] = {
    {"OneHot", "", 9, FA_OPSET_ANY, 0, 1, 0, prepare, forward, backward},
    {NULL},
};
