/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

/* Slice: starts, ends and axes by attribute; by input, with steps, from operator set 10 on. */

typedef struct spec {
    const int64_t *starts, *ends, *axes, *steps;
    int64_t n, n_end, n_axis, n_step;
} spec;

static fa_status read_spec(fa_op_setup *s, spec *p)
{
    *p = (spec){0};
    if (s->node->opset < 10) {
        FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
        p->starts = fa_node_ints(s->node, "starts", &p->n);
        p->ends = fa_node_ints(s->node, "ends", &p->n_end);
        p->axes = fa_node_ints(s->node, "axes", &p->n_axis);
    } else {
        FA_TRY(FA_R(fa_op_need)(s, 3, 5, 1));
        FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "starts", &p->starts, &p->n));
        FA_TRY(FA_R(fa_op_constant_ints)(s, 2, "ends", &p->ends, &p->n_end));
        if (s->n_in > 3 && s->in[3]) FA_TRY(FA_R(fa_op_constant_ints)(s, 3, "axes", &p->axes, &p->n_axis));
        if (s->n_in > 4 && s->in[4]) FA_TRY(FA_R(fa_op_constant_ints)(s, 4, "steps", &p->steps, &p->n_step));
    }
    if (p->n != p->n_end || (p->axes ? p->n_axis != p->n : p->n > s->in[0]->ndim) || (p->steps && p->n_step != p->n))
        return fa_fail(FA_ERR_FORMAT, "starts, ends, axes and steps hold %lld, %lld, %lld and %lld elements", (long long)p->n, (long long)p->n_end,
                       (long long)p->n_axis, (long long)p->n_step);
    return FA_OK;
}

static int64_t clamp(int64_t v, int64_t dim, int64_t low, int64_t high)
{
    if (v < 0) v += dim;
    return v < low ? low : v > high ? high : v;
}

static fa_status prepare(fa_op_setup *s)
{
    spec p;
    FA_TRY(read_spec(s, &p));
    const fa_view *x = s->in[0];
    int64_t stride[FA_MAX_DIMS];
    bool cut[FA_MAX_DIMS] = {false};
    FA_R(fa_op_strides)(x, stride);
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    w->operands = 2;
    w->ndim = x->ndim;
    for (int32_t d = 0; d < x->ndim; d++) {
        w->dim[d] = x->dim[d];
        w->step[1][d] = stride[d];
    }
    for (int64_t i = 0; i < p.n; i++) {
        int32_t d;
        FA_TRY(FA_R(fa_op_axis)(p.axes ? p.axes[i] : i, x->ndim, &d));
        if (cut[d]) return fa_fail(FA_ERR_FORMAT, "axis %d is named twice", d);
        cut[d] = true;
        int64_t dim = x->dim[d], step = p.steps ? p.steps[i] : 1;
        if (step == 0) return fa_fail(FA_ERR_FORMAT, "the step of axis %d is 0", d);
        /* A step as long as the axis takes one element, and none longer takes another. */
        step = step > dim ? dim + 1 : step < -dim ? -dim - 1 : step;
        int64_t start = step > 0 ? clamp(p.starts[i], dim, 0, dim) : clamp(p.starts[i], dim, 0, dim - 1);
        int64_t end = step > 0 ? clamp(p.ends[i], dim, 0, dim) : clamp(p.ends[i], dim, -1, dim - 1);
        int64_t n = step > 0 ? (end - start + step - 1) / step : (start - end - step - 1) / -step;
        if (dim == 0 || n < 0) n = 0;
        w->dim[d] = n;
        w->step[1][d] = stride[d] * step;
        if (n > 0) w->start[1] += stride[d] * start;
    }
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, w->ndim, w->dim));
    FA_R(fa_walk_stretch)(w, 0, w->ndim, s->out[0].dim);
    fa_walk_pack(w);
    s->params = w;
    return FA_OK;
}

static void forward(const fa_op_call *c)
{
    FA_R(fa_walk_copy)(c->params, c->in[0]->dtype, c->out[0]->data, c->in[0]->data);
}

static void backward(const fa_op_call *c)
{
    fa_walk w = FA_R(fa_walk_swap)(c->params);
    FA_R(fa_walk_add)(&w, c->grad_in[0], c->grad_out[0]);
}

const fa_op FA_R(fa_ops_slice)[] = {
    {"Slice", "", 1, FA_OPSET_ANY, 0, 0, 0, prepare, forward, backward},
    {NULL},
};
