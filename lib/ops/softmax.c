/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/* Softmax, LogSoftmax, Hardmax. Up to operator set 12 everything from `axis` on is one row; from 13 on a row is the axis alone. */

typedef struct rows {
    int64_t outer, n, inner; /* the input as [outer, n, inner] */
} rows;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_view *x = s->in[0];
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "input 0 is %s, not a real type", fa_dtype_name(x->dtype));
    rows *r = fa_arena_new(s->arena, sizeof *r);
    if (!r) return FA_ERR_MEMORY;
    bool flat = s->node->opset < 13;
    int64_t asked = fa_node_int(s->node, "axis", flat ? 1 : -1);
    int32_t axis = x->ndim;
    if (!flat || asked != x->ndim) FA_TRY(FA_R(fa_op_axis)(asked, x->ndim, &axis));
    r->outer = r->n = r->inner = 1;
    for (int32_t d = 0; d < x->ndim; d++) {
        if (d < axis) r->outer *= x->dim[d];
        else if (d == axis || flat) r->n *= x->dim[d];
        else r->inner *= x->dim[d];
    }
    s->params = r;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

#define EACH_ROW(r)                                                                                                                                      \
    for (int64_t o = 0; o < (r)->outer; o++)                                                                                                             \
        for (int64_t k = 0, at = o * (r)->n * (r)->inner; k < (r)->inner; k++, at++)

static fa_real largest(const fa_real *x, int64_t n, int64_t step)
{
    fa_real top = -INFINITY;
    for (int64_t i = 0; i < n; i++) top = x[i * step] > top ? x[i * step] : top;
    return top;
}

static void softmax_forward(const fa_op_call *c)
{
    const rows *r = c->params;
    const int64_t step = r->inner;
    EACH_ROW(r) {
        const fa_real *x = (const fa_real *)c->in[0]->data + at;
        fa_real *y = (fa_real *)c->out[0]->data + at, top = largest(x, r->n, step);
        double sum = 0;
        for (int64_t i = 0; i < r->n; i++) sum += y[i * step] = FA_MATH(exp)(x[i * step] - top);
        for (int64_t i = 0; i < r->n; i++) y[i * step] = (fa_real)(y[i * step] / sum);
    }
}

static void softmax_backward(const fa_op_call *c)
{
    const rows *r = c->params;
    const int64_t step = r->inner;
    EACH_ROW(r) {
        const fa_real *y = (const fa_real *)c->out[0]->data + at, *g = (const fa_real *)c->grad_out[0] + at;
        fa_real *t = (fa_real *)c->grad_in[0] + at;
        double mean = 0;
        for (int64_t i = 0; i < r->n; i++) mean += (double)g[i * step] * y[i * step];
        for (int64_t i = 0; i < r->n; i++) t[i * step] += (fa_real)(y[i * step] * (g[i * step] - mean));
    }
}

static void log_softmax_forward(const fa_op_call *c)
{
    const rows *r = c->params;
    const int64_t step = r->inner;
    EACH_ROW(r) {
        const fa_real *x = (const fa_real *)c->in[0]->data + at;
        fa_real *y = (fa_real *)c->out[0]->data + at, top = largest(x, r->n, step);
        double sum = 0;
        for (int64_t i = 0; i < r->n; i++) sum += FA_MATH(exp)(x[i * step] - top);
        const fa_real log_sum = (fa_real)log(sum);
        for (int64_t i = 0; i < r->n; i++) y[i * step] = x[i * step] - top - log_sum;
    }
}

static void log_softmax_backward(const fa_op_call *c)
{
    const rows *r = c->params;
    const int64_t step = r->inner;
    EACH_ROW(r) {
        const fa_real *y = (const fa_real *)c->out[0]->data + at, *g = (const fa_real *)c->grad_out[0] + at;
        fa_real *t = (fa_real *)c->grad_in[0] + at;
        double sum = 0;
        for (int64_t i = 0; i < r->n; i++) sum += g[i * step];
        for (int64_t i = 0; i < r->n; i++) t[i * step] += (fa_real)(g[i * step] - FA_MATH(exp)(y[i * step]) * sum);
    }
}

static void hardmax_forward(const fa_op_call *c)
{
    const rows *r = c->params;
    const int64_t step = r->inner;
    EACH_ROW(r) {
        const fa_real *x = (const fa_real *)c->in[0]->data + at;
        fa_real *y = (fa_real *)c->out[0]->data + at;
        int64_t best = 0;
        for (int64_t i = 0; i < r->n; i++) {
            if (x[i * step] > x[best * step]) best = i;
            y[i * step] = 0;
        }
        if (r->n) y[best * step] = 1;
    }
}

const fa_op FA_R(fa_ops_softmax)[] = {
    {"Softmax", "", 1, FA_OPSET_ANY, 0, 0, 1, prepare, softmax_forward, softmax_backward},
    {"LogSoftmax", "", 1, FA_OPSET_ANY, 0, 0, 1, prepare, log_softmax_forward, log_softmax_backward},
    {"Hardmax", "", 1, FA_OPSET_ANY, 0, 0, 0, prepare, hardmax_forward, NULL},
    {NULL},
};
