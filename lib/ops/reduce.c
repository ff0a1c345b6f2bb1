/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/* Reductions over axes: a walk over the axes that stay, and within it one over those that go. Sums are kept in double. */

typedef enum kind { SUM, MEAN, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP } kind;

typedef struct reduction {
    kind kind;
    fa_walk kept;    /* operand 0: result, 1: input */
    fa_walk reduced; /* operand 0: input, from the place `kept` is at */
    int64_t n;       /* elements that make one result */
} reduction;

/* The two walks and the output's shape for the axes marked in `gone`. */
static fa_status shape(fa_op_setup *s, const bool *gone, bool keep, int32_t dtype, fa_walk *kept, fa_walk *reduced)
{
    const fa_view *x = s->in[0];
    int64_t stride[FA_MAX_DIMS], dim[FA_MAX_DIMS];
    int32_t ndim = 0;
    FA_R(fa_op_strides)(x, stride);
    for (int32_t d = 0; d < x->ndim; d++) {
        if (!gone[d]) dim[ndim++] = x->dim[d];
        else if (keep) dim[ndim++] = 1;
    }
    FA_TRY(FA_R(fa_op_set)(&s->out[0], dtype, ndim, dim));
    int64_t step = s->out[0].count;
    *kept = (fa_walk){.operands = 2};
    *reduced = (fa_walk){.operands = 1};
    for (int32_t d = 0; d < x->ndim; d++) {
        if (gone[d]) {
            reduced->dim[reduced->ndim] = x->dim[d];
            reduced->step[0][reduced->ndim++] = stride[d];
        } else {
            step = x->dim[d] ? step / x->dim[d] : 0;
            kept->dim[kept->ndim] = x->dim[d];
            kept->step[0][kept->ndim] = step;
            kept->step[1][kept->ndim++] = stride[d];
        }
    }
    fa_walk_pack(kept);
    fa_walk_pack(reduced);
    return FA_OK;
}

/* Since `inputs` the axes are input 1; before, an attribute. */
static fa_status prepare(fa_op_setup *s, kind k, int32_t inputs)
{
    bool by_input = s->node->opset >= inputs, gone[FA_MAX_DIMS] = {false};
    FA_TRY(FA_R(fa_op_need)(s, 1, by_input ? 2 : 1, 1));
    const fa_view *x = s->in[0];
    if (k > PROD && !fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_UNSUPPORTED, "this reduction of %s", fa_dtype_name(x->dtype));
    int64_t n_axis = 0;
    const int64_t *axis = NULL;
    if (!by_input) axis = fa_node_ints(s->node, "axes", &n_axis);
    else if (s->n_in > 1 && s->in[1]) FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "axes", &axis, &n_axis));
    for (int64_t i = 0; i < n_axis; i++) {
        int32_t d;
        FA_TRY(FA_R(fa_op_axis)(axis[i], x->ndim, &d));
        gone[d] = true;
    }
    if (n_axis == 0 && !(by_input && fa_node_int(s->node, "noop_with_empty_axes", 0)))
        for (int32_t d = 0; d < x->ndim; d++) gone[d] = true;
    reduction *r = fa_arena_new(s->arena, sizeof *r);
    if (!r) return FA_ERR_MEMORY;
    FA_TRY(shape(s, gone, fa_node_int(s->node, "keepdims", 1) != 0, x->dtype, &r->kept, &r->reduced));
    r->kind = k;
    r->n = 1;
    for (int32_t d = 0; d < x->ndim; d++)
        if (gone[d]) r->n *= x->dim[d];
    s->params = r;
    return FA_OK;
}

/* `statement` for each reduced element `v` of type `type`, starting at `x`. */
#define EACH(type, x, statement)                                                                                                                         \
    FA_WALK_ROWS(w, q) {                                                                                                                                 \
        const type *row_ = (x) + q.at[0];                                                                                                                \
        for (int64_t i = 0; i < w->row; i++) {                                                                                                           \
            const type v = row_[i * w->row_step[0]];                                                                                                     \
            statement;                                                                                                                                   \
        }                                                                                                                                                \
    }

static double reduce_real(const reduction *r, const fa_real *x)
{
    const fa_walk *w = &r->reduced;
    fa_walk_place q;
    double t = 0, top = -INFINITY;
    switch (r->kind) {
    case SUM: EACH(fa_real, x, t += v) return t;
    case MEAN: EACH(fa_real, x, t += v) return t / (double)r->n;
    case MAX: EACH(fa_real, x, top = v > top || v != v ? v : top) return top;
    case MIN: EACH(fa_real, x, top = -v > top || v != v ? -v : top) return -top;
    case PROD: t = 1; EACH(fa_real, x, t *= v) return t;
    case L1: EACH(fa_real, x, t += fabs((double)v)) return t;
    case L2: EACH(fa_real, x, t += (double)v * v) return sqrt(t);
    case SUM_SQUARE: EACH(fa_real, x, t += (double)v * v) return t;
    case LOG_SUM: EACH(fa_real, x, t += v) return log(t);
    case LOG_SUM_EXP:
        EACH(fa_real, x, top = v > top || v != v ? v : top)
        if (isinf(top)) return top;
        EACH(fa_real, x, t += exp(v - top))
        return top + log(t);
    }
    return NAN;
}

static int64_t reduce_int(const reduction *r, const int64_t *x, int32_t dtype)
{
    const fa_walk *w = &r->reduced;
    const uint64_t flip = dtype == FA_UINT64 ? 0 : (uint64_t)1 << 63; /* makes signed numbers compare like unsigned ones */
    fa_walk_place q;
    uint64_t t = 0, top = 0;
    switch (r->kind) {
    case SUM: EACH(int64_t, x, t += (uint64_t)v) return (int64_t)t;
    case MEAN: EACH(int64_t, x, t += (uint64_t)v) return r->n ? (int64_t)t / r->n : 0;
    case MAX: EACH(int64_t, x, top = ((uint64_t)v ^ flip) > top ? (uint64_t)v ^ flip : top) return (int64_t)(top ^ flip);
    case MIN: EACH(int64_t, x, top = ~((uint64_t)v ^ flip) > top ? ~((uint64_t)v ^ flip) : top) return (int64_t)(~top ^ flip);
    case PROD: t = 1; EACH(int64_t, x, t *= (uint64_t)v) return (int64_t)t;
    default: return 0; /* refused by prepare */
    }
}

static void forward(const fa_op_call *c)
{
    const reduction *r = c->params;
    const int32_t dtype = c->in[0]->dtype;
    const bool real = fa_dtype_is_real(dtype);
    fa_walk_place p;
    FA_WALK_ROWS(&r->kept, p) {
        for (int64_t i = 0; i < r->kept.row; i++) {
            int64_t to = p.at[0] + i * r->kept.row_step[0], from = p.at[1] + i * r->kept.row_step[1];
            if (real) ((fa_real *)c->out[0]->data)[to] = (fa_real)reduce_real(r, (const fa_real *)c->in[0]->data + from);
            else ((int64_t *)c->out[0]->data)[to] = FA_R(fa_op_wrap)(reduce_int(r, (const int64_t *)c->in[0]->data + from, dtype), dtype);
        }
    }
}

/* Gradient of one result: `t` and `x` start where its elements do. x and y are read by the kinds that ask for them in the table below. */
static void share(const reduction *r, fa_real *t, const fa_real *x, const fa_real *y, double g)
{
    const fa_walk *w = &r->reduced;
    fa_walk_place q;
#define ADD(derivative)                                                                                                                                  \
    FA_WALK_ROWS(w, q) {                                                                                                                                 \
        for (int64_t i = 0; i < w->row; i++) {                                                                                                           \
            const int64_t at = q.at[0] + i * w->row_step[0];                                                                                             \
            t[at] += (fa_real)(derivative);                                                                                                              \
        }                                                                                                                                                \
    }
    switch (r->kind) {
    case SUM: ADD(g) break;
    case MEAN: g /= (double)r->n; ADD(g) break;
    case MAX:
    case MIN: { /* equal shares where several elements are the largest */
        int64_t ties = 0;
        EACH(fa_real, x, ties += v == *y)
        ADD(x[at] == *y ? g / (double)ties : 0)
        break;
    }
    case PROD: { /* the product of the other elements, zeros among them or not */
        double product = 1;
        int64_t zeros = 0;
        EACH(fa_real, x, if (v != 0) product *= v; else zeros++)
        if (zeros == 0) {
            ADD(g * product / x[at])
        } else if (zeros == 1) {
            ADD(x[at] == 0 ? g * product : 0)
        }
        break;
    }
    case L1: ADD(x[at] > 0 ? g : x[at] < 0 ? -g : 0) break;
    case L2: if (*y > 0) ADD(g * x[at] / *y) break;
    case SUM_SQUARE: ADD(2 * g * x[at]) break;
    case LOG_SUM: g *= exp(-(double)*y); ADD(g) break;
    case LOG_SUM_EXP: ADD(g * exp((double)x[at] - *y)) break;
    }
#undef ADD
}

static void backward(const fa_op_call *c)
{
    const reduction *r = c->params;
    fa_walk_place p;
    FA_WALK_ROWS(&r->kept, p) {
        for (int64_t i = 0; i < r->kept.row; i++) {
            int64_t to = p.at[0] + i * r->kept.row_step[0], from = p.at[1] + i * r->kept.row_step[1];
            share(r, (fa_real *)c->grad_in[0] + from, fa_real_at(c->in[0]->data, from), fa_real_at(c->out[0]->data, to),
                  ((const fa_real *)c->grad_out[0])[to]);
        }
    }
}

#define PREPARE(id, kind, inputs)                                                                                                                        \
    static fa_status id##_prepare(fa_op_setup *s)                                                                                                        \
    {                                                                                                                                                    \
        return prepare(s, kind, inputs);                                                                                                                 \
    }

PREPARE(sum, SUM, 13)
PREPARE(mean, MEAN, 18)
PREPARE(max, MAX, 18)
PREPARE(min, MIN, 18)
PREPARE(prod, PROD, 18)
PREPARE(l1, L1, 18)
PREPARE(l2, L2, 18)
PREPARE(sum_square, SUM_SQUARE, 18)
PREPARE(log_sum, LOG_SUM, 18)
PREPARE(log_sum_exp, LOG_SUM_EXP, 18)

/* ArgMax and ArgMin. */

typedef struct place {
    fa_walk kept, reduced;
    bool least, last;
} place;

static fa_status arg_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_view *x = s->in[0];
    bool gone[FA_MAX_DIMS] = {false};
    int32_t axis;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 0), x->ndim, &axis));
    if (x->dim[axis] == 0) return fa_fail(FA_ERR_SHAPE, "axis %d is empty", axis);
    gone[axis] = true;
    place *r = fa_arena_new(s->arena, sizeof *r);
    if (!r) return FA_ERR_MEMORY;
    r->least = strcmp(s->node->op, "ArgMin") == 0;
    r->last = fa_node_int(s->node, "select_last_index", 0) != 0;
    s->params = r;
    return shape(s, gone, fa_node_int(s->node, "keepdims", 1) != 0, FA_INT64, &r->kept, &r->reduced);
}

#define SEARCH(type)                                                                                                                                     \
    {                                                                                                                                                    \
        const type *x = (const type *)c->in[0]->data + from;                                                                                             \
        for (int64_t j = 1; j < r->reduced.row; j++) {                                                                                                   \
            const type v = x[j * step], b = x[best * step];                                                                                              \
            if ((r->least ? v < b : v > b) || (v == b && r->last)) best = j;                                                                             \
        }                                                                                                                                                \
    }

static void arg_forward(const fa_op_call *c)
{
    const place *r = c->params;
    const int64_t step = r->reduced.row_step[0];
    fa_walk_place p;
    FA_WALK_ROWS(&r->kept, p) {
        for (int64_t i = 0; i < r->kept.row; i++) {
            int64_t from = p.at[1] + i * r->kept.row_step[1], best = 0;
            if (fa_dtype_is_real(c->in[0]->dtype)) SEARCH(fa_real)
            else SEARCH(int64_t)
            ((int64_t *)c->out[0]->data)[p.at[0] + i * r->kept.row_step[0]] = best;
        }
    }
}

#define REDUCE(name, id, in, out) {name, "", 1, FA_OPSET_ANY, 0, in, out, id##_prepare, forward, backward}

const fa_op FA_R(fa_ops_reduce)[] = {
    REDUCE("ReduceSum", sum, 0, 0),
    REDUCE("ReduceMean", mean, 0, 0),
    REDUCE("ReduceMax", max, 1, 1),
    REDUCE("ReduceMin", min, 1, 1),
    REDUCE("ReduceProd", prod, 1, 0),
    REDUCE("ReduceL1", l1, 1, 0),
    REDUCE("ReduceL2", l2, 1, 1),
    REDUCE("ReduceSumSquare", sum_square, 1, 0),
    REDUCE("ReduceLogSum", log_sum, 0, 1),
    REDUCE("ReduceLogSumExp", log_sum_exp, 1, 1),
    {"ArgMax", "", 1, FA_OPSET_ANY, 0, 0, 0, arg_prepare, arg_forward, NULL},
    {"ArgMin", "", 1, FA_OPSET_ANY, 0, 0, 0, arg_prepare, arg_forward, NULL},
    {NULL},
};
