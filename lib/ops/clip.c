/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/* Clip: bounds are attributes up to operator set 10 and optional scalars from 11 on. */

static fa_status prepare(fa_op_setup *s)
{
    bool inputs = s->node->opset >= 11;
    FA_TRY(FA_R(fa_op_need)(s, 1, inputs ? 3 : 1, 1));
    const fa_view *x = s->in[0];
    for (int32_t i = 1; i < s->n_in; i++) {
        if (!s->in[i]) continue;
        if (s->in[i]->count != 1) return fa_fail(FA_ERR_SHAPE, "input %d holds %lld elements, not one", i, (long long)s->in[i]->count);
        if (fa_dtype_is_real(s->in[i]->dtype) != fa_dtype_is_real(x->dtype))
            return fa_fail(FA_ERR_DTYPE, "input %d is %s beside %s", i, fa_dtype_name(s->in[i]->dtype), fa_dtype_name(x->dtype));
    }
    if (!inputs && !fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "input 0 is %s, not a real type", fa_dtype_name(x->dtype));
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

static fa_real bound(const fa_op_call *c, int32_t i)
{
    if (c->node->opset < 11) return fa_node_float(c->node, i == 1 ? "min" : "max", i == 1 ? -INFINITY : INFINITY);
    if (i < c->n_in && c->in[i]) return *(const fa_real *)c->in[i]->data;
    return i == 1 ? -INFINITY : INFINITY;
}

static void forward(const fa_op_call *c)
{
    int64_t n = c->out[0]->count;
    if (!fa_dtype_is_real(c->in[0]->dtype)) {
        int64_t low = c->n_in > 1 && c->in[1] ? *(const int64_t *)c->in[1]->data : INT64_MIN;
        int64_t high = c->n_in > 2 && c->in[2] ? *(const int64_t *)c->in[2]->data : INT64_MAX;
        const int64_t *x = c->in[0]->data;
        int64_t *y = c->out[0]->data;
        for (int64_t i = 0; i < n; i++) {
            int64_t v = x[i] < low ? low : x[i];
            y[i] = v > high ? high : v;
        }
        return;
    }
    fa_real low = bound(c, 1), high = bound(c, 2);
    const fa_real *x = c->in[0]->data;
    fa_real *y = c->out[0]->data;
    for (int64_t i = 0; i < n; i++) {
        fa_real v = x[i] < low ? low : x[i];
        y[i] = v > high ? high : v;
    }
}

static void backward(const fa_op_call *c)
{
    const fa_real *x = c->in[0]->data, *g = c->grad_out[0];
    int64_t n = c->in[0]->count;
    fa_real low = bound(c, 1), high = bound(c, 2);
    fa_real *t = c->grad_in[0];
    if (t) {
        if (!c->accumulate[0]) for (int64_t i = 0; i < n; i++) t[i] = x[i] >= low && x[i] <= high ? g[i] : 0;
        else for (int64_t i = 0; i < n; i++) t[i] += x[i] >= low && x[i] <= high ? g[i] : 0;
    }
    for (int32_t k = 1; k < c->n_in; k++) {
        if (!c->grad_in[k]) continue;
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            bool above = x[i] > high || low > high;
            if (k == 2 ? above : x[i] < low && !above) sum += g[i];
        }
        fa_real *to = c->grad_in[k];
        *to = (c->accumulate[k] ? *to : 0) + (fa_real)sum;
    }
}

const fa_op FA_R(fa_ops_clip)[] = {
    {"Clip", "", 1, 10, FA_OP_OVERWRITES, 1, 0, prepare, forward, backward},
    {"Clip", "", 11, FA_OPSET_ANY, FA_OP_OVERWRITES, 7, 0, prepare, forward, backward},
    {NULL},
};
