/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/*
 * Sum, Mean, Max, Min of any number of inputs, stretched to each other as NumPy does. `params` holds a walk over output and input for each.
 */

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, INT32_MAX, 1));
    int64_t dim[FA_MAX_DIMS];
    int32_t ndim = 0, dtype = s->in[0]->dtype;
    for (int32_t i = 0; i < s->n_in; i++) {
        if (!s->in[i]) return fa_fail(FA_ERR_FORMAT, "input %d is missing", i);
        if (fa_dtype_is_real(s->in[i]->dtype) != fa_dtype_is_real(dtype))
            return fa_fail(FA_ERR_DTYPE, "inputs of type %s and %s", fa_dtype_name(dtype), fa_dtype_name(s->in[i]->dtype));
        FA_TRY(FA_R(fa_op_broadcast)(&ndim, dim, s->in[i]));
    }
    FA_TRY(FA_R(fa_op_set)(&s->out[0], dtype, ndim, dim));
    fa_walk *walks = fa_arena_array(s->arena, (size_t)s->n_in, sizeof *walks);
    if (!walks) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < s->n_in; i++) {
        fa_walk *w = &walks[i];
        w->operands = 2;
        w->ndim = ndim;
        memcpy(w->dim, dim, sizeof *dim * (size_t)ndim);
        FA_R(fa_walk_stretch)(w, 0, ndim, dim);
        FA_R(fa_walk_stretch)(w, 1, s->in[i]->ndim, s->in[i]->dim);
        fa_walk_pack(w);
    }
    s->params = walks;
    return FA_OK;
}

/* z = f(z, x) for inputs from the second on. */
#define FOLD(id, of_reals, of_integers)                                                                                                                  \
    static void id##_forward(const fa_op_call *c)                                                                                                        \
    {                                                                                                                                                    \
        const fa_walk *w = c->params;                                                                                                                    \
        const int32_t dtype = c->out[0]->dtype;                                                                                                          \
        fa_walk_place p;                                                                                                                                 \
        FA_R(fa_walk_copy)(w, dtype, c->out[0]->data, c->in[0]->data);                                                                                   \
        for (int32_t k = 1; k < c->n_in; k++) {                                                                                                          \
            w++;                                                                                                                                         \
            const int64_t step = w->row_step[1];                                                                                                         \
            if (fa_dtype_is_real(dtype)) {                                                                                                               \
                FA_WALK_ROWS(w, p) {                                                                                                                     \
                    fa_real *z = (fa_real *)c->out[0]->data + p.at[0];                                                                                   \
                    const fa_real *x = (const fa_real *)c->in[k]->data + p.at[1];                                                                        \
                    for (int64_t i = 0; i < w->row; i++) z[i] = of_reals(z[i], x[i * step]);                                                             \
                }                                                                                                                                        \
            } else {                                                                                                                                     \
                FA_WALK_ROWS(w, p) {                                                                                                                     \
                    int64_t *z = (int64_t *)c->out[0]->data + p.at[0];                                                                                   \
                    const int64_t *x = (const int64_t *)c->in[k]->data + p.at[1];                                                                        \
                    for (int64_t i = 0; i < w->row; i++) z[i] = FA_R(fa_op_wrap)(of_integers(z[i], x[i * step], dtype), dtype);                          \
                }                                                                                                                                        \
            }                                                                                                                                            \
        }                                                                                                                                                \
    }

static inline fa_real plus(fa_real x, fa_real y)
{
    return x + y;
}

static int64_t int_plus(int64_t x, int64_t y, int32_t dtype)
{
    (void)dtype;
    return (int64_t)((uint64_t)x + (uint64_t)y);
}

/* NaN wins. */
static inline fa_real larger(fa_real x, fa_real y)
{
    return x > y || x != x ? x : y;
}

static inline fa_real smaller(fa_real x, fa_real y)
{
    return x < y || x != x ? x : y;
}

static int64_t int_max(int64_t x, int64_t y, int32_t dtype)
{
    return (dtype == FA_UINT64 ? (uint64_t)x > (uint64_t)y : x > y) ? x : y;
}

static int64_t int_min(int64_t x, int64_t y, int32_t dtype)
{
    return (dtype == FA_UINT64 ? (uint64_t)x < (uint64_t)y : x < y) ? x : y;
}

FOLD(sum, plus, int_plus)
FOLD(max, larger, int_max)
FOLD(min, smaller, int_min)

static void mean_forward(const fa_op_call *c)
{
    sum_forward(c);
    if (fa_dtype_is_real(c->out[0]->dtype)) {
        fa_real *z = c->out[0]->data;
        for (int64_t i = 0; i < c->out[0]->count; i++) z[i] /= (fa_real)c->n_in;
    } else {
        int64_t *z = c->out[0]->data;
        for (int64_t i = 0; i < c->out[0]->count; i++) z[i] /= c->n_in;
    }
}

static void add_share(const fa_op_call *c, fa_real share)
{
    for (int32_t k = 0; k < c->n_in; k++) {
        const fa_walk *w = (const fa_walk *)c->params + k;
        fa_walk_place p;
        if (!c->grad_in[k]) continue;
        FA_WALK_ROWS(w, p) {
            const fa_real *g = (const fa_real *)c->grad_out[0] + p.at[0];
            fa_real *t = (fa_real *)c->grad_in[k] + p.at[1];
            for (int64_t i = 0; i < w->row; i++) t[i * w->row_step[1]] += g[i] * share;
        }
    }
}

static void sum_backward(const fa_op_call *c)
{
    add_share(c, 1);
}

static void mean_backward(const fa_op_call *c)
{
    add_share(c, 1 / (fa_real)c->n_in);
}

/* The gradient goes to the inputs that equal the result, in equal shares where several do. Scratch counts them. */

static fa_status extreme_prepare(fa_op_setup *s)
{
    FA_TRY(prepare(s));
    s->scratch = (size_t)s->out[0].count * sizeof(fa_real);
    return FA_OK;
}

static void extreme_backward(const fa_op_call *c)
{
    fa_real *share = c->scratch;
    for (int64_t i = 0; i < c->out[0]->count; i++) share[i] = 0;
    for (int32_t pass = 0; pass < 2; pass++) {
        for (int32_t k = 0; k < c->n_in; k++) {
            const fa_walk *w = (const fa_walk *)c->params + k;
            const int64_t step = w->row_step[1];
            fa_walk_place p;
            if (pass == 1 && !c->grad_in[k]) continue;
            FA_WALK_ROWS(w, p) {
                const fa_real *z = (const fa_real *)c->out[0]->data + p.at[0], *x = (const fa_real *)c->in[k]->data + p.at[1];
                fa_real *n = share + p.at[0];
                if (pass == 0) {
                    for (int64_t i = 0; i < w->row; i++) n[i] += x[i * step] == z[i];
                } else {
                    const fa_real *g = (const fa_real *)c->grad_out[0] + p.at[0];
                    fa_real *t = (fa_real *)c->grad_in[k] + p.at[1];
                    for (int64_t i = 0; i < w->row; i++) t[i * step] += x[i * step] == z[i] ? g[i] / n[i] : 0;
                }
            }
        }
    }
}

#define EVERY 0xffffffffu

const fa_op FA_R(fa_ops_variadic)[] = {
    {"Sum", "", 1, FA_OPSET_ANY, 0, 0, 0, prepare, sum_forward, sum_backward},
    {"Mean", "", 1, FA_OPSET_ANY, 0, 0, 0, prepare, mean_forward, mean_backward},
    {"Max", "", 1, FA_OPSET_ANY, 0, EVERY, 1, extreme_prepare, max_forward, extreme_backward},
    {"Min", "", 1, FA_OPSET_ANY, 0, EVERY, 1, extreme_prepare, min_forward, extreme_backward},
    {NULL},
};
