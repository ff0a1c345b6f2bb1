/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

/* CumSum: running sums along an axis known at plan time. Its gradient is the running sum from the other end. */

typedef struct sums {
    int64_t outer, n, inner;
    bool exclusive, reverse;
} sums;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *x = s->in[0];
    const int64_t *asked;
    int64_t count;
    int32_t axis;
    FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "the axis", &asked, &count));
    FA_TRY(FA_R(fa_op_need_count)(s, 1, 1));
    FA_TRY(FA_R(fa_op_axis)(asked[0], x->ndim, &axis));
    sums *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->exclusive = fa_node_int(s->node, "exclusive", 0) != 0;
    p->reverse = fa_node_int(s->node, "reverse", 0) != 0;
    FA_R(fa_op_around)(x, axis, &p->outer, &p->n, &p->inner);
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

/* For each row, from one end to the other: `sum` takes element `i`, and `statement` stores it. */
#define RUNNING(type, from, backwards, statement)                                                                                                        \
    for (int64_t row = 0; row < p->outer * p->inner; row++) {                                                                                            \
        type sum = 0;                                                                                                                                    \
        for (int64_t k = 0; k < p->n; k++) {                                                                                                             \
            const int64_t i = (row / p->inner * p->n + ((backwards) ? p->n - 1 - k : k)) * p->inner + row % p->inner;                                    \
            if (p->exclusive) statement;                                                                                                                 \
            sum += (type)(from)[i];                                                                                                                      \
            if (!p->exclusive) statement;                                                                                                                \
        }                                                                                                                                                \
    }

static void forward(const fa_op_call *c)
{
    const sums *p = c->params;
    if (fa_dtype_is_real(c->in[0]->dtype)) {
        const fa_real *x = c->in[0]->data;
        fa_real *y = c->out[0]->data;
        RUNNING(double, x, p->reverse, y[i] = (fa_real)sum)
    } else {
        const int64_t *x = c->in[0]->data;
        int64_t *y = c->out[0]->data;
        RUNNING(uint64_t, x, p->reverse, y[i] = FA_R(fa_op_wrap)((int64_t)sum, c->out[0]->dtype))
    }
}

static void backward(const fa_op_call *c)
{
    const sums *p = c->params;
    const fa_real *g = c->grad_out[0];
    fa_real *t = c->grad_in[0];
    RUNNING(double, g, !p->reverse, t[i] += (fa_real)sum)
}

const fa_op FA_R(fa_ops_cumsum)[] = {
    {"CumSum", "", 11, FA_OPSET_ANY, 0, 0, 0, prepare, forward, backward},
    {NULL},
};
