/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"
#include "ops/window.h"

/*
 * MaxUnpool: each element goes back to the place MaxPool took it from. Indices (input 1) count the elements of the tensor that kernel, strides and
 * pads imply; with output_shape (input 2) that tensor is the first corner of a larger one of zeros. Of two elements for one place the later stays;
 * an index outside is left out.
 */
typedef struct unpool {
    int32_t ndim;
    int64_t implied[FA_MAX_DIMS], stride[FA_MAX_DIMS]; /* dimensions that indices count; strides of the output */
    int64_t count;
} unpool;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 3, 1));
    const fa_view *x = s->in[0], *index = s->in[1], *asked = s->n_in > 2 ? s->in[2] : NULL;
    if (!fa_dtype_is_real(x->dtype) || fa_dtype_is_real(index->dtype))
        return fa_fail(FA_ERR_DTYPE, "elements of %s with indices of %s", fa_dtype_name(x->dtype), fa_dtype_name(index->dtype));
    FA_TRY(FA_R(fa_op_need_count)(s, 1, x->count));
    fa_window w;
    FA_TRY(FA_R(fa_window_read)(s->node, x, NULL, &w));
    unpool *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    int64_t dim[FA_MAX_DIMS], n = x->ndim;
    const int64_t *given = NULL;
    if (asked) FA_TRY(FA_R(fa_op_constant_ints)(s, 2, "output_shape", &given, &n));
    if (n != x->ndim) return fa_fail(FA_ERR_SHAPE, "output_shape has %lld dimensions, input 0 %d", (long long)n, x->ndim);
    fa_view implied;
    for (int32_t d = 0; d < x->ndim; d++) {
        int32_t a = 3 - w.rank + d - 2;
        p->implied[d] = d < 2 ? x->dim[d] : x->dim[d] ? (x->dim[d] - 1) * w.stride[a] + w.kernel[a] - w.pad[a] - w.pad_end[a] : 0;
        dim[d] = given ? given[d] : p->implied[d];
        if (p->implied[d] < 0 || dim[d] < p->implied[d])
            return fa_fail(FA_ERR_SHAPE, "axis %d has %lld elements, its windows reach over %lld", d, (long long)dim[d], (long long)p->implied[d]);
    }
    FA_TRY(FA_R(fa_op_set)(&implied, x->dtype, x->ndim, p->implied));
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim));
    FA_R(fa_op_strides)(&s->out[0], p->stride);
    p->ndim = x->ndim;
    p->count = implied.count;
    s->params = p;
    s->scratch = (size_t)s->out[0].count * sizeof(bool);
    return FA_OK;
}

static int64_t place(const unpool *p, int64_t index)
{
    int64_t at = 0;
    if (index < 0 || index >= p->count) return -1;
    for (int32_t d = p->ndim - 1; d >= 0; d--) {
        at += index % p->implied[d] * p->stride[d];
        index /= p->implied[d];
    }
    return at;
}

static void forward(const fa_op_call *c)
{
    const fa_real *x = c->in[0]->data;
    fa_real *y = c->out[0]->data;
    for (int64_t i = 0; i < c->out[0]->count; i++) y[i] = 0;
    for (int64_t i = 0; i < c->in[0]->count; i++) {
        int64_t at = place(c->params, ((const int64_t *)c->in[1]->data)[i]);
        if (at >= 0) y[at] = x[i];
    }
}

static void backward(const fa_op_call *c)
{
    bool *taken = c->scratch;
    for (int64_t i = 0; i < c->out[0]->count; i++) taken[i] = false;
    for (int64_t i = c->in[0]->count - 1; i >= 0; i--) {
        int64_t at = place(c->params, ((const int64_t *)c->in[1]->data)[i]);
        if (at < 0 || taken[at]) continue;
        taken[at] = true;
        ((fa_real *)c->grad_in[0])[i] += ((const fa_real *)c->grad_out[0])[at];
    }
}

const fa_op FA_R(fa_ops_unpool)[] = {
    {"MaxUnpool", "", 9, FA_OPSET_ANY, 0, 2, 0, prepare, forward, backward},
    {NULL},
};
