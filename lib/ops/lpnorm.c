/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/* LpNormalization: x / |x| along an axis, by the sum of magnitudes or the root of the sum of squares; where that is 0, 0. */

typedef struct lp_norm {
    int64_t outer, n, inner;
    bool first; /* p = 1 */
} lp_norm;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    const int64_t order = fa_node_int(s->node, "p", 2);
    int32_t axis;
    if (order != 1 && order != 2) return fa_fail(FA_ERR_FORMAT, "p is %lld; 1 and 2 are known", (long long)order);
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", -1), x->ndim, &axis));
    lp_norm *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    FA_R(fa_op_around)(x, axis, &p->outer, &p->n, &p->inner);
    p->first = order == 1;
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

/* Of the row that begins at x. */
static double norm(const lp_norm *p, const fa_real *x)
{
    double sum = 0;
    for (int64_t k = 0; k < p->n; k++) sum += p->first ? fabs((double)x[k * p->inner]) : (double)x[k * p->inner] * (double)x[k * p->inner];
    return p->first ? sum : sqrt(sum);
}

static void forward(const fa_op_call *c)
{
    const lp_norm *p = c->params;
    for (int64_t r = 0; r < p->outer * p->inner; r++) {
        const int64_t at = r / p->inner * p->n * p->inner + r % p->inner;
        const fa_real *x = (const fa_real *)c->in[0]->data + at;
        fa_real *y = (fa_real *)c->out[0]->data + at;
        const double length = norm(p, x);
        for (int64_t k = 0; k < p->n; k++) y[k * p->inner] = length == 0 ? 0 : (fa_real)((double)x[k * p->inner] / length);
    }
}

/* dx = (g - slope of the norm at x times <g, y>) / norm. */
static void backward(const fa_op_call *c)
{
    const lp_norm *p = c->params;
    for (int64_t r = 0; r < p->outer * p->inner; r++) {
        const int64_t at = r / p->inner * p->n * p->inner + r % p->inner;
        const fa_real *x = (const fa_real *)c->in[0]->data + at, *g = (const fa_real *)c->grad_out[0] + at;
        fa_real *to = (fa_real *)c->grad_in[0] + at;
        const double length = norm(p, x);
        double along = 0;
        if (length == 0) continue;
        for (int64_t k = 0; k < p->n; k++) along += (double)g[k * p->inner] * (double)x[k * p->inner] / length;
        for (int64_t k = 0; k < p->n; k++) {
            const double v = (double)x[k * p->inner], slope = p->first ? (v > 0) - (v < 0) : v / length;
            to[k * p->inner] += (fa_real)(((double)g[k * p->inner] - slope * along) / length);
        }
    }
}

const fa_op FA_R(fa_ops_lpnorm)[] = {
    {"LpNormalization", "", 1, FA_OPSET_ANY, 0, 1, 0, prepare, forward, backward},
    {NULL},
};
