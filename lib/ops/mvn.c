/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/* MeanVarianceNormalization: (x - mean) / (deviation + 1e-9) over the axes of an attribute. */

#define TINY 1e-9

typedef struct mvn {
    fa_walk kept, gone; /* operand 0 of both: elements of the input; `gone` from the place `kept` is at */
    double n;           /* elements that share a mean */
} mvn;

static fa_status prepare(fa_op_setup *s)
{
    static const int64_t usual[] = {0, 2, 3};
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    int64_t n, stride[FA_MAX_DIMS];
    const int64_t *axes = fa_node_ints(s->node, "axes", &n);
    bool gone[FA_MAX_DIMS] = {false};
    if (!axes) axes = usual, n = 3;
    for (int64_t i = 0; i < n; i++) {
        int32_t d;
        FA_TRY(FA_R(fa_op_axis)(axes[i], x->ndim, &d));
        gone[d] = true;
    }
    mvn *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->kept.operands = p->gone.operands = 1;
    p->n = 1;
    FA_R(fa_op_strides)(x, stride);
    for (int32_t d = 0; d < x->ndim; d++) {
        fa_walk *w = gone[d] ? &p->gone : &p->kept;
        w->dim[w->ndim] = x->dim[d];
        w->step[0][w->ndim++] = stride[d];
        if (gone[d]) p->n *= (double)x->dim[d];
    }
    fa_walk_pack(&p->kept);
    fa_walk_pack(&p->gone);
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

/* Sum over the elements that share the mean of element `first` of (a - mean_a) (b - mean_b); without b of a - mean_a. */
static double sum(const mvn *p, int64_t first, const fa_real *a, double mean_a, const fa_real *b, double mean_b)
{
    double total = 0;
    fa_walk_place q;
    FA_WALK_ROWS(&p->gone, q)
        for (int64_t k = 0, i = first + q.at[0]; k < p->gone.row; k++, i += p->gone.row_step[0])
            total += ((double)a[i] - mean_a) * (b ? (double)b[i] - mean_b : 1);
    return total;
}

/* to += factor (x - mean) for those elements. */
static void add(const mvn *p, int64_t first, const fa_real *x, double mean, double factor, fa_real *to)
{
    fa_walk_place q;
    FA_WALK_ROWS(&p->gone, q)
        for (int64_t k = 0, i = first + q.at[0]; k < p->gone.row; k++, i += p->gone.row_step[0]) to[i] += (fa_real)(factor * ((double)x[i] - mean));
}

/* With s = deviation + 1e-9: y = (x - mean) / s, and dx = (g - mean(g)) / s - (x - mean) sum(g (x - mean)) / (n deviation s s). */
static void group(const mvn *p, int64_t first, const fa_real *x, const fa_real *g, fa_real *to)
{
    double mean = sum(p, first, x, 0, NULL, 0) / p->n, deviation = sqrt(sum(p, first, x, mean, x, mean) / p->n), s = deviation + TINY;
    if (!g) {
        add(p, first, x, mean, 1 / s, to);
        return;
    }
    double moment = sum(p, first, g, 0, x, mean);
    add(p, first, g, sum(p, first, g, 0, NULL, 0) / p->n, 1 / s, to);
    if (deviation > 0) add(p, first, x, mean, -moment / (p->n * deviation * s * s), to);
}

static void each_group(const mvn *p, const fa_real *x, const fa_real *g, fa_real *to)
{
    fa_walk_place q;
    FA_WALK_ROWS(&p->kept, q)
        for (int64_t k = 0; k < p->kept.row; k++) group(p, q.at[0] + k * p->kept.row_step[0], x, g, to);
}

static void forward(const fa_op_call *c)
{
    fa_real *y = c->out[0]->data;
    for (int64_t i = 0; i < c->out[0]->count; i++) y[i] = 0;
    each_group(c->params, c->in[0]->data, NULL, y);
}

static void backward(const fa_op_call *c)
{
    each_group(c->params, c->in[0]->data, c->grad_out[0], c->grad_in[0]);
}

const fa_op FA_R(fa_ops_mvn)[] = {
    {"MeanVarianceNormalization", "", 9, FA_OPSET_ANY, 0, 1, 0, prepare, forward, backward},
    {NULL},
};
