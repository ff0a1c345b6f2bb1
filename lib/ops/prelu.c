/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

/* PRelu: the slope is stretched to the input, and takes a gradient too. Up to operator set 6 a slope of C elements belongs to axis 1. */

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *x = s->in[0], *slope = s->in[1];
    if (!fa_dtype_is_real(x->dtype) || !fa_dtype_is_real(slope->dtype)) return fa_fail(FA_ERR_UNSUPPORTED, "slopes for %s", fa_dtype_name(x->dtype));
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    int64_t dim[FA_MAX_DIMS] = {0};
    int32_t ndim = slope->ndim;
    for (int32_t d = 0; d < ndim; d++) dim[d] = slope->dim[d];
    if (s->node->opset < 7 && ndim == 1 && dim[0] != 1 && x->ndim >= 2) {
        ndim = x->ndim - 1;
        for (int32_t d = 1; d < ndim; d++) dim[d] = 1;
    }
    bool fits = ndim <= x->ndim;
    for (int32_t d = 1; d <= ndim && fits; d++) fits = dim[ndim - d] == 1 || dim[ndim - d] == x->dim[x->ndim - d];
    if (!fits) {
        char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "slopes of shape %s do not fit an input of shape %s", fa_shape_text(slope->ndim, slope->dim, a, sizeof a),
                       fa_shape_text(x->ndim, x->dim, b, sizeof b));
    }
    w->operands = 2;
    w->ndim = x->ndim;
    for (int32_t d = 0; d < x->ndim; d++) w->dim[d] = x->dim[d];
    FA_R(fa_walk_stretch)(w, 0, x->ndim, x->dim);
    FA_R(fa_walk_stretch)(w, 1, ndim, dim);
    fa_walk_pack(w);
    s->params = w;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

static void forward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    fa_walk_place p;
    FA_WALK_ROWS(w, p) {
        const fa_real *x = (const fa_real *)c->in[0]->data + p.at[0], *a = (const fa_real *)c->in[1]->data + p.at[1];
        fa_real *y = (fa_real *)c->out[0]->data + p.at[0];
        for (int64_t i = 0; i < w->row; i++) y[i] = x[i] < 0 ? a[i * w->row_step[1]] * x[i] : x[i];
    }
}

static void backward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    const int64_t step = w->row_step[1];
    fa_walk_place p;
    FA_WALK_ROWS(w, p) {
        const fa_real *x = (const fa_real *)c->in[0]->data + p.at[0], *a = (const fa_real *)c->in[1]->data + p.at[1];
        const fa_real *g = (const fa_real *)c->grad_out[0] + p.at[0];
        if (c->grad_in[0]) {
            fa_real *t = (fa_real *)c->grad_in[0] + p.at[0];
            for (int64_t i = 0; i < w->row; i++) t[i] += x[i] < 0 ? a[i * step] * g[i] : g[i];
        }
        if (c->grad_in[1]) {
            fa_real *t = (fa_real *)c->grad_in[1] + p.at[1];
            for (int64_t i = 0; i < w->row; i++) t[i * step] += x[i] < 0 ? x[i] * g[i] : 0;
        }
    }
}

const fa_op FA_R(fa_ops_prelu)[] = {
    {"PRelu", "", 1, FA_OPSET_ANY, 0, 3, 0, prepare, forward, backward},
    {NULL},
};
