/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

void FA_R(fa_walk_stretch)(fa_walk *w, int32_t k, int32_t ndim, const int64_t *dim)
{
    int64_t step = 1;
    for (int32_t d = w->ndim - 1, i = ndim - 1; d >= 0; d--, i--) {
        w->step[k][d] = i < 0 || dim[i] == 1 ? 0 : step;
        if (i >= 0) step *= dim[i];
    }
}

fa_walk FA_R(fa_walk_swap)(const fa_walk *w)
{
    fa_walk r = *w;
    for (int k = 0; k < 2; k++) {
        memcpy(r.step[k], w->step[1 - k], sizeof r.step[k]);
        r.start[k] = w->start[1 - k];
        r.row_step[k] = w->row_step[1 - k];
    }
    return r;
}

#define COPY_ROWS(type)                                                                                                                                  \
    FA_WALK_ROWS(w, p) {                                                                                                                                 \
        type *t = (type *)to + p.at[0];                                                                                                                  \
        const type *f = (const type *)from + p.at[1];                                                                                                    \
        if (st == 1 && sf == 1) memcpy(t, f, (size_t)n * sizeof *t);                                                                                     \
        else if (st == 1) for (int64_t i = 0; i < n; i++) t[i] = f[i * sf];                                                                              \
        else for (int64_t i = 0; i < n; i++) t[i * st] = f[i * sf];                                                                                      \
    }

void FA_R(fa_walk_copy)(const fa_walk *w, int32_t dtype, void *to, const void *from)
{
    const int64_t n = w->row, st = w->row_step[0], sf = w->row_step[1];
    fa_walk_place p;
    if (fa_dtype_is_real(dtype)) {
        COPY_ROWS(fa_real)
    } else {
        COPY_ROWS(int64_t)
    }
}

void FA_R(fa_walk_add)(const fa_walk *w, fa_real *to, const fa_real *from)
{
    const int64_t n = w->row, st = w->row_step[0], sf = w->row_step[1];
    fa_walk_place p;
    FA_WALK_ROWS(w, p) {
        fa_real *t = to + p.at[0];
        const fa_real *f = from + p.at[1];
        if (st == 0) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++) sum += f[i * sf];
            *t += (fa_real)sum;
        } else if (st == 1 && sf == 1) {
            for (int64_t i = 0; i < n; i++) t[i] += f[i];
        } else {
            for (int64_t i = 0; i < n; i++) t[i * st] += f[i * sf];
        }
    }
}

fa_status FA_R(fa_op_broadcast)(int32_t *ndim, int64_t *dim, const fa_view *v)
{
    int64_t wide[FA_MAX_DIMS];
    int32_t n = v->ndim > *ndim ? v->ndim : *ndim;
    for (int32_t d = 1; d <= n; d++) {
        int64_t a = d <= *ndim ? dim[*ndim - d] : 1, b = d <= v->ndim ? v->dim[v->ndim - d] : 1;
        if (a != b && a != 1 && b != 1) {
            char x[FA_SHAPE_TEXT], y[FA_SHAPE_TEXT];
            return fa_fail(FA_ERR_SHAPE, "shapes %s and %s cannot be broadcast together", fa_shape_text(*ndim, dim, x, sizeof x),
                           fa_shape_text(v->ndim, v->dim, y, sizeof y));
        }
        wide[n - d] = a == 1 ? b : a;
    }
    memcpy(dim, wide, sizeof *dim * (size_t)n);
    *ndim = n;
    return FA_OK;
}

fa_status FA_R(fa_op_pair)(fa_op_setup *s, int32_t dtype)
{
    const fa_view *a = s->in[0];
    fa_view b = *s->in[1];
    if (fa_dtype_is_real(a->dtype) != fa_dtype_is_real(b.dtype))
        return fa_fail(FA_ERR_DTYPE, "inputs of type %s and %s", fa_dtype_name(a->dtype), fa_dtype_name(b.dtype));
    if (s->node->opset < 7 && fa_node_attr(s->node, "axis") && b.ndim < a->ndim) {
        int32_t axis;
        FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 0), a->ndim, &axis));
        if (axis > a->ndim - b.ndim) return fa_fail(FA_ERR_SHAPE, "axis %d leaves no room for the %d dimensions of input 1", axis, b.ndim);
        for (; b.ndim < a->ndim - axis; b.ndim++) b.dim[b.ndim] = 1;
    }
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    w->operands = 3;
    w->ndim = a->ndim;
    memcpy(w->dim, a->dim, sizeof a->dim);
    FA_TRY(FA_R(fa_op_broadcast)(&w->ndim, w->dim, &b));
    FA_TRY(FA_R(fa_op_set)(&s->out[0], dtype, w->ndim, w->dim));
    FA_R(fa_walk_stretch)(w, 0, w->ndim, s->out[0].dim);
    FA_R(fa_walk_stretch)(w, 1, a->ndim, a->dim);
    FA_R(fa_walk_stretch)(w, 2, b.ndim, b.dim);
    fa_walk_pack(w);
    s->params = w;
    return FA_OK;
}

fa_status FA_R(fa_op_set)(fa_view *out, int32_t dtype, int32_t ndim, const int64_t *dim)
{
    if (ndim < 0 || ndim > FA_MAX_DIMS) return fa_fail(FA_ERR_LIMIT, "a result with %d dimensions; at most %d are supported", ndim, FA_MAX_DIMS);
    if (!fa_view_set_shape(out, ndim, dim)) {
        char text[FA_SHAPE_TEXT];
        fa_shape_text(ndim, dim, text, sizeof text);
        for (int32_t d = 0; d < ndim; d++)
            if (dim[d] < 0) return fa_fail(FA_ERR_SHAPE, "a result of shape %s", text);
        return fa_fail(FA_ERR_LIMIT, "a result of shape %s is too large", text);
    }
    out->dtype = dtype;
    return FA_OK;
}

int64_t FA_R(fa_op_wrap)(int64_t v, int32_t dtype)
{
    switch (dtype) {
    case FA_UINT8: return (uint8_t)v;
    case FA_INT8: return (int8_t)v;
    case FA_UINT16: return (uint16_t)v;
    case FA_INT16: return (int16_t)v;
    case FA_INT32: return (int32_t)v;
    case FA_UINT32: return (uint32_t)v;
    case FA_BOOL: return v != 0;
    default: return v;
    }
}

void FA_R(fa_op_pass)(int64_t n, fa_real *to, const fa_real *from, bool add)
{
    if (add) {
        for (int64_t i = 0; i < n; i++) to[i] += from[i];
    } else if (to != from && n) {
        memcpy(to, from, (size_t)n * sizeof *to);
    }
}
