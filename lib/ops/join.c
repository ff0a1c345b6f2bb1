/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* Concat, Split and Tile. A part of a tensor along an axis is `outer` runs of part->dim[axis] * inner elements. */

typedef struct runs {
    int64_t outer, inner;
    int32_t axis;
} runs;

static void runs_of(runs *r, const fa_view *v, int32_t axis)
{
    *r = (runs){1, 1, axis};
    for (int32_t d = 0; d < axis; d++) r->outer *= v->dim[d];
    for (int32_t d = axis + 1; d < v->ndim; d++) r->inner *= v->dim[d];
}

/* Copies runs of n elements of `size` bytes between places `step_to` and `step_from` elements apart. */
static void copy_runs(int64_t outer, int64_t n, size_t size, char *to, int64_t step_to, const char *from, int64_t step_from)
{
    for (int64_t o = 0; n && o < outer; o++) memcpy(to + (size_t)(o * step_to) * size, from + (size_t)(o * step_from) * size, (size_t)n * size);
}

static void pass_runs(int64_t outer, int64_t n, fa_real *to, int64_t step_to, const fa_real *from, int64_t step_from, bool add)
{
    for (int64_t o = 0; o < outer; o++) FA_R(fa_op_pass)(n, to + o * step_to, from + o * step_from, add);
}

/* Concat */

static fa_status concat_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, INT32_MAX, 1));
    fa_view sum = *s->in[0];
    int32_t axis;
    if (s->node->opset >= 4 && !fa_node_attr(s->node, "axis")) return fa_fail(FA_ERR_FORMAT, "attribute 'axis' is missing");
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 1), sum.ndim, &axis));
    for (int32_t i = 1; i < s->n_in; i++) {
        const fa_view *x = s->in[i];
        if (!x) return fa_fail(FA_ERR_FORMAT, "input %d is missing", i);
        if (fa_dtype_is_real(x->dtype) != fa_dtype_is_real(sum.dtype))
            return fa_fail(FA_ERR_DTYPE, "inputs of type %s and %s", fa_dtype_name(sum.dtype), fa_dtype_name(x->dtype));
        bool fits = x->ndim == sum.ndim;
        for (int32_t d = 0; d < sum.ndim && fits; d++) fits = d == axis || x->dim[d] == sum.dim[d];
        if (!fits) {
            char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
            return fa_fail(FA_ERR_SHAPE, "shapes %s and %s cannot be joined along axis %d", fa_shape_text(sum.ndim, s->in[0]->dim, a, sizeof a),
                           fa_shape_text(x->ndim, x->dim, b, sizeof b), axis);
        }
        sum.dim[axis] += x->dim[axis];
        if (sum.dim[axis] > FA_MAX_ELEMENTS) return fa_fail(FA_ERR_LIMIT, "axis %d of the result is too long", axis);
    }
    FA_TRY(FA_R(fa_op_set)(&s->out[0], sum.dtype, sum.ndim, sum.dim));
    runs *r = fa_arena_new(s->arena, sizeof *r);
    if (!r) return FA_ERR_MEMORY;
    runs_of(r, &s->out[0], axis);
    s->params = r;
    return FA_OK;
}

static void concat_forward(const fa_op_call *c)
{
    const runs *r = c->params;
    const size_t size = fa_op_size(c->out[0]->dtype);
    int64_t whole = c->out[0]->dim[r->axis] * r->inner, at = 0;
    for (int32_t i = 0; i < c->n_in; i++) {
        int64_t n = c->in[i]->dim[r->axis] * r->inner;
        copy_runs(r->outer, n, size, (char *)c->out[0]->data + (size_t)at * size, whole, c->in[i]->data, n);
        at += n;
    }
}

static void concat_backward(const fa_op_call *c)
{
    const runs *r = c->params;
    int64_t whole = c->out[0]->dim[r->axis] * r->inner, at = 0;
    for (int32_t i = 0; i < c->n_in; i++) {
        int64_t n = c->in[i]->dim[r->axis] * r->inner;
        if (c->grad_in[i]) pass_runs(r->outer, n, c->grad_in[i], n, (const fa_real *)c->grad_out[0] + at, whole, c->accumulate[i]);
        at += n;
    }
}

/* Split: sizes by attribute (input 1 in operator set 1 and from 13 on); else equal parts, the last one smaller from 18 on. */

typedef struct parts {
    runs runs;
    int64_t size[]; /* along the axis, of each output; an unwanted one has no view */
} parts;

static fa_status split_prepare(fa_op_setup *s)
{
    const int32_t opset = s->node->opset;
    bool by_input = opset >= 13 || opset == 1;
    FA_TRY(FA_R(fa_op_need)(s, 1, by_input ? 2 : 1, INT32_MAX));
    const fa_view *x = s->in[0];
    const int64_t *size = NULL;
    int64_t n = 0, at = 0, dim[FA_MAX_DIMS];
    int32_t axis;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 0), x->ndim, &axis));
    if (by_input && s->n_in > 1 && s->in[1]) FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "split", &size, &n));
    else if (opset < 13) size = fa_node_ints(s->node, "split", &n);
    if (size && n != s->n_out) return fa_fail(FA_ERR_FORMAT, "%lld sizes for %d outputs", (long long)n, s->n_out);
    int64_t whole = x->dim[axis], count = fa_node_int(s->node, "num_outputs", s->n_out);
    if (count != s->n_out) return fa_fail(FA_ERR_FORMAT, "attribute 'num_outputs' is %lld for %d outputs", (long long)count, s->n_out);
    if (!size && opset < 18 && whole % count)
        return fa_fail(FA_ERR_SHAPE, "%lld elements cannot be split into %lld equal parts", (long long)whole, (long long)count);
    const int64_t each = whole / count + (whole % count != 0);
    parts *p = fa_arena_new(s->arena, sizeof *p + sizeof p->size[0] * (size_t)s->n_out);
    if (!p) return FA_ERR_MEMORY;
    s->params = p;
    runs_of(&p->runs, x, axis);
    memcpy(dim, x->dim, sizeof dim);
    for (int32_t i = 0; i < s->n_out; i++) {
        dim[axis] = size ? size[i] : whole - at < each ? whole - at : each;
        if (dim[axis] < 0 || dim[axis] > whole - at)
            return fa_fail(FA_ERR_SHAPE, "part %d of %lld elements where %lld are left", i, (long long)dim[axis], (long long)(whole - at));
        at += p->size[i] = dim[axis];
        FA_TRY(FA_R(fa_op_set)(&s->out[i], x->dtype, x->ndim, dim));
    }
    if (at != whole) return fa_fail(FA_ERR_SHAPE, "parts of %lld elements in all where there are %lld", (long long)at, (long long)whole);
    return FA_OK;
}

static void split_forward(const fa_op_call *c)
{
    const parts *p = c->params;
    const fa_view *x = c->in[0];
    const size_t size = fa_op_size(x->dtype);
    int64_t whole = x->dim[p->runs.axis] * p->runs.inner, at = 0;
    for (int32_t i = 0; i < c->n_out; i++) {
        int64_t n = p->size[i] * p->runs.inner;
        if (c->out[i]) copy_runs(p->runs.outer, n, size, c->out[i]->data, n, (const char *)x->data + (size_t)at * size, whole);
        at += n;
    }
}

static void split_backward(const fa_op_call *c)
{
    const parts *p = c->params;
    int64_t whole = c->in[0]->dim[p->runs.axis] * p->runs.inner, at = 0;
    for (int32_t i = 0; i < c->n_out; i++) {
        int64_t n = p->size[i] * p->runs.inner;
        if (c->grad_out[i]) pass_runs(p->runs.outer, n, (fa_real *)c->grad_in[0] + at, whole, c->grad_out[i], n, true);
        at += n;
    }
}

/* Tile: each axis of the output is walked as [repeats, dimension]. */

static fa_status tile_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *x = s->in[0];
    const int64_t *repeats;
    int64_t n, dim[FA_MAX_DIMS], stride[FA_MAX_DIMS];
    FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "repeats", &repeats, &n));
    if (n != x->ndim) return fa_fail(FA_ERR_SHAPE, "%lld repeats for %d dimensions", (long long)n, x->ndim);
    for (int32_t d = 0; d < x->ndim; d++)
        if (repeats[d] < 0 || !fa_mul_i64(repeats[d], x->dim[d], &dim[d])) return fa_fail(FA_ERR_SHAPE, "repeats %lld of axis %d", (long long)repeats[d], d);
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim));
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    FA_R(fa_op_strides)(x, stride);
    w->operands = 2;
    for (int32_t d = 0; d < x->ndim; d++) {
        w->dim[w->ndim] = repeats[d];
        w->step[1][w->ndim++] = 0;
        w->dim[w->ndim] = x->dim[d];
        w->step[1][w->ndim++] = stride[d];
    }
    FA_R(fa_walk_stretch)(w, 0, w->ndim, w->dim);
    fa_walk_pack(w);
    s->params = w;
    return FA_OK;
}

static void tile_forward(const fa_op_call *c)
{
    FA_R(fa_walk_copy)(c->params, c->in[0]->dtype, c->out[0]->data, c->in[0]->data);
}

static void tile_backward(const fa_op_call *c)
{
    fa_walk w = FA_R(fa_walk_swap)(c->params);
    FA_R(fa_walk_add)(&w, c->grad_in[0], c->grad_out[0]);
}

const fa_op FA_R(fa_ops_join)[] = {
    {"Concat", "", 1, FA_OPSET_ANY, FA_OP_OVERWRITES, 0, 0, concat_prepare, concat_forward, concat_backward},
    {"Split", "", 1, FA_OPSET_ANY, 0, 0, 0, split_prepare, split_forward, split_backward},
    {"Tile", "", 6, FA_OPSET_ANY, 0, 0, 0, tile_prepare, tile_forward, tile_backward},
    {NULL},
};
