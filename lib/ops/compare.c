/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* Equal, Less, LessOrEqual, Greater, GreaterOrEqual, And, Or, Xor and Where, stretched to each other as NumPy does. */

static fa_status compare_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    return FA_R(fa_op_pair)(s, FA_BOOL);
}

static fa_status logic_prepare(fa_op_setup *s)
{
    FA_TRY(compare_prepare(s));
    for (int32_t i = 0; i < 2; i++)
        if (s->in[i]->dtype != FA_BOOL) return fa_fail(FA_ERR_DTYPE, "input %d is %s, not bool", i, fa_dtype_name(s->in[i]->dtype));
    return FA_OK;
}

#define ROWS(type, compared)                                                                                                                             \
    FA_WALK_ROWS(w, p) {                                                                                                                                 \
        const type *xs = (const type *)c->in[0]->data + p.at[1], *ys = (const type *)c->in[1]->data + p.at[2];                                           \
        int64_t *z = (int64_t *)c->out[0]->data + p.at[0];                                                                                               \
        for (int64_t i = 0; i < w->row; i++) {                                                                                                           \
            const compared x = (compared)xs[i * w->row_step[1]], y = (compared)ys[i * w->row_step[2]];                                                   \
            z[i] = FORMULA;                                                                                                                              \
        }                                                                                                                                                \
    }

#define COMPARE(id)                                                                                                                                      \
    static void id##_forward(const fa_op_call *c)                                                                                                        \
    {                                                                                                                                                    \
        const fa_walk *w = c->params;                                                                                                                    \
        fa_walk_place p;                                                                                                                                 \
        if (fa_dtype_is_real(c->in[0]->dtype)) {                                                                                                         \
            ROWS(fa_real, fa_real)                                                                                                                       \
        } else if (c->in[0]->dtype == FA_UINT64) {                                                                                                       \
            ROWS(int64_t, uint64_t)                                                                                                                      \
        } else {                                                                                                                                         \
            ROWS(int64_t, int64_t)                                                                                                                       \
        }                                                                                                                                                \
    }

#define FORMULA x == y
COMPARE(equal)
#undef FORMULA
#define FORMULA x < y
COMPARE(less)
#undef FORMULA
#define FORMULA x <= y
COMPARE(less_or_equal)
#undef FORMULA
#define FORMULA x > y
COMPARE(greater)
#undef FORMULA
#define FORMULA x >= y
COMPARE(greater_or_equal)
#undef FORMULA
#define FORMULA x != 0 && y != 0
COMPARE(and)
#undef FORMULA
#define FORMULA x != 0 || y != 0
COMPARE(or)
#undef FORMULA
#define FORMULA (x != 0) != (y != 0)
COMPARE(xor)
#undef FORMULA

/* Where: the walk's operands are output, condition, x, y. */

static fa_status where_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    if (s->in[0]->dtype != FA_BOOL) return fa_fail(FA_ERR_DTYPE, "the condition is %s, not bool", fa_dtype_name(s->in[0]->dtype));
    if (fa_dtype_is_real(s->in[1]->dtype) != fa_dtype_is_real(s->in[2]->dtype))
        return fa_fail(FA_ERR_DTYPE, "inputs of type %s and %s", fa_dtype_name(s->in[1]->dtype), fa_dtype_name(s->in[2]->dtype));
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < 3; i++) FA_TRY(FA_R(fa_op_broadcast)(&w->ndim, w->dim, s->in[i]));
    FA_TRY(FA_R(fa_op_set)(&s->out[0], s->in[1]->dtype, w->ndim, w->dim));
    w->operands = 4;
    FA_R(fa_walk_stretch)(w, 0, w->ndim, s->out[0].dim);
    for (int32_t i = 0; i < 3; i++) FA_R(fa_walk_stretch)(w, i + 1, s->in[i]->ndim, s->in[i]->dim);
    fa_walk_pack(w);
    s->params = w;
    return FA_OK;
}

#define WHERE_ROWS(type)                                                                                                                                 \
    FA_WALK_ROWS(w, p) {                                                                                                                                 \
        const int64_t *condition = (const int64_t *)c->in[0]->data + p.at[1];                                                                            \
        const type *x = (const type *)c->in[1]->data + p.at[2], *y = (const type *)c->in[2]->data + p.at[3];                                             \
        type *z = (type *)c->out[0]->data + p.at[0];                                                                                                     \
        for (int64_t i = 0; i < w->row; i++) z[i] = condition[i * w->row_step[1]] ? x[i * w->row_step[2]] : y[i * w->row_step[3]];                       \
    }

static void where_forward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    fa_walk_place p;
    if (fa_dtype_is_real(c->out[0]->dtype)) {
        WHERE_ROWS(fa_real)
    } else {
        WHERE_ROWS(int64_t)
    }
}

static void where_backward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    for (int32_t k = 1; k < 3; k++) {
        fa_walk_place p;
        if (!c->grad_in[k]) continue;
        FA_WALK_ROWS(w, p) {
            const int64_t *condition = (const int64_t *)c->in[0]->data + p.at[1];
            const fa_real *g = (const fa_real *)c->grad_out[0] + p.at[0];
            fa_real *t = (fa_real *)c->grad_in[k] + p.at[k + 1];
            for (int64_t i = 0; i < w->row; i++) t[i * w->row_step[k + 1]] += (condition[i * w->row_step[1]] != 0) == (k == 1) ? g[i] : 0;
        }
    }
}

#define COMPARISON(name, since, prepare, id) {name, "", since, FA_OPSET_ANY, 0, 0, 0, prepare##_prepare, id##_forward, NULL}

const fa_op FA_R(fa_ops_compare)[] = {
    COMPARISON("Equal", 1, compare, equal),
    COMPARISON("Less", 1, compare, less),
    COMPARISON("LessOrEqual", 12, compare, less_or_equal),
    COMPARISON("Greater", 1, compare, greater),
    COMPARISON("GreaterOrEqual", 12, compare, greater_or_equal),
    COMPARISON("And", 1, logic, and),
    COMPARISON("Or", 1, logic, or),
    COMPARISON("Xor", 1, logic, xor),
    {"Where", "", 9, FA_OPSET_ANY, 0, 1, 0, where_prepare, where_forward, where_backward},
    {NULL},
};
