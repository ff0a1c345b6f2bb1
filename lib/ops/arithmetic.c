/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * Add, Sub, Mul, Div, Pow, Mod of two inputs, stretched to each other as NumPy does. A gradient is summed over the dimensions its input was
 * stretched along. Integers wrap to their declared type.
 */

static fa_status pair_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    return FA_R(fa_op_pair)(s, s->in[0]->dtype);
}

/* z = f(x, y) along rows; a stretched operand is loaded once. */
#define ROWS(type, f)                                                                                                                                    \
    FA_WALK_ROWS(w, p) {                                                                                                                                 \
        const type *xs = (const type *)c->in[0]->data + p.at[1], *ys = (const type *)c->in[1]->data + p.at[2];                                           \
        type *zs = (type *)c->out[0]->data + p.at[0];                                                                                                    \
        if (sy == 0) {                                                                                                                                   \
            const type y = *ys;                                                                                                                          \
            for (int64_t i = 0; i < w->row; i++) zs[i] = f(xs[i * sx], y);                                                                               \
        } else if (sx == 0) {                                                                                                                            \
            const type x = *xs;                                                                                                                          \
            for (int64_t i = 0; i < w->row; i++) zs[i] = f(x, ys[i * sy]);                                                                               \
        } else {                                                                                                                                         \
            for (int64_t i = 0; i < w->row; i++) zs[i] = f(xs[i * sx], ys[i * sy]);                                                                      \
        }                                                                                                                                                \
    }

#define WRAPPED(x, y) FA_R(fa_op_wrap)(integer(x, y, dtype), dtype)

#define FORWARD(id, of_reals, of_integers)                                                                                                               \
    static inline fa_real id##_real(fa_real x, fa_real y)                                                                                                \
    {                                                                                                                                                    \
        return of_reals;                                                                                                                                 \
    }                                                                                                                                                    \
    static void id##_forward(const fa_op_call *c)                                                                                                        \
    {                                                                                                                                                    \
        const fa_walk *w = c->params;                                                                                                                    \
        const int64_t sx = w->row_step[1], sy = w->row_step[2];                                                                                          \
        const int32_t dtype = c->out[0]->dtype;                                                                                                          \
        fa_walk_place p;                                                                                                                                 \
        if (fa_dtype_is_real(dtype)) {                                                                                                                   \
            ROWS(fa_real, id##_real)                                                                                                                     \
        } else {                                                                                                                                         \
            int64_t (*const integer)(int64_t, int64_t, int32_t) = of_integers;                                                                           \
            ROWS(int64_t, WRAPPED)                                                                                                                       \
        }                                                                                                                                                \
    }

/* In the formulas below; what a derivative does not mention is not read. */
#define X xs[i * sx]
#define Y ys[i * sy]

#define SIDE(k, derivative)                                                                                                                              \
    if (c->grad_in[k]) {                                                                                                                                 \
        const bool whole = c->in[k]->count == c->out[0]->count, add = c->accumulate[k];                                                                  \
        const int64_t st = w->row_step[k + 1];                                                                                                           \
        if (!whole && !add) memset(c->grad_in[k], 0, (size_t)c->in[k]->count * sizeof(fa_real));                                                         \
        FA_WALK_ROWS(w, p) {                                                                                                                             \
            const fa_real *xs = fa_real_at(c->in[0]->data, p.at[1]), *ys = fa_real_at(c->in[1]->data, p.at[2]);                                          \
            const fa_real *g = (const fa_real *)c->grad_out[0] + p.at[0];                                                                                \
            fa_real *t = (fa_real *)c->grad_in[k] + p.at[k + 1];                                                                                         \
            (void)xs, (void)ys;                                                                                                                          \
            if (st == 0) {                                                                                                                               \
                double sum = 0;                                                                                                                          \
                for (int64_t i = 0; i < w->row; i++) sum += g[i] * (derivative);                                                                         \
                *t += (fa_real)sum;                                                                                                                      \
            } else if (whole && !add) {                                                                                                                  \
                for (int64_t i = 0; i < w->row; i++) t[i * st] = g[i] * (derivative);                                                                    \
            } else {                                                                                                                                     \
                for (int64_t i = 0; i < w->row; i++) t[i * st] += g[i] * (derivative);                                                                   \
            }                                                                                                                                            \
        }                                                                                                                                                \
    }

#define BACKWARD(id, by_x, by_y)                                                                                                                         \
    static void id##_backward(const fa_op_call *c)                                                                                                       \
    {                                                                                                                                                    \
        const fa_walk *w = c->params;                                                                                                                    \
        const int64_t sx = w->row_step[1], sy = w->row_step[2];                                                                                          \
        fa_walk_place p;                                                                                                                                 \
        (void)sx, (void)sy;                                                                                                                              \
            SIDE(0, by_x)                                                                                                                                    \
        SIDE(1, by_y)                                                                                                                                    \
    }

/* Integer arithmetic as the processor does it, with every case defined. uint64 is stored as the int64 of the same bits. */

static int64_t int_add(int64_t x, int64_t y, int32_t dtype)
{
    (void)dtype;
    return (int64_t)((uint64_t)x + (uint64_t)y);
}

static int64_t int_sub(int64_t x, int64_t y, int32_t dtype)
{
    (void)dtype;
    return (int64_t)((uint64_t)x - (uint64_t)y);
}

static int64_t int_mul(int64_t x, int64_t y, int32_t dtype)
{
    (void)dtype;
    return (int64_t)((uint64_t)x * (uint64_t)y);
}

/* Truncates; a division by zero gives 0. */
static int64_t int_div(int64_t x, int64_t y, int32_t dtype)
{
    if (y == 0) return 0;
    if (dtype == FA_UINT64) return (int64_t)((uint64_t)x / (uint64_t)y);
    return y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y;
}

/* The remainder has the sign of x. */
static int64_t int_fmod(int64_t x, int64_t y, int32_t dtype)
{
    if (y == 0) return 0;
    if (dtype == FA_UINT64) return (int64_t)((uint64_t)x % (uint64_t)y);
    return y == -1 ? 0 : x % y;
}

/* The remainder has the sign of y. */
static int64_t int_mod(int64_t x, int64_t y, int32_t dtype)
{
    int64_t r = int_fmod(x, y, dtype);
    return dtype != FA_UINT64 && r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static int64_t int_pow(int64_t x, int64_t y)
{
    if (y < 0) return x == 1 || (x == -1 && y % 2 == 0) ? 1 : x == -1 ? -1 : 0;
    uint64_t power = 1, square = (uint64_t)x;
    for (; y; y >>= 1, square *= square)
        if (y & 1) power *= square;
    return (int64_t)power;
}

/* What is known beforehand is mostly arithmetic of shapes, where a number that wraps around would go on as a wrong size: it is refused then, with the numbers. */

static bool add_fits(int64_t x, int64_t y, int64_t *z)
{
    return !__builtin_add_overflow(x, y, z);
}

static bool sub_fits(int64_t x, int64_t y, int64_t *z)
{
    return !__builtin_sub_overflow(x, y, z);
}

static bool mul_fits(int64_t x, int64_t y, int64_t *z)
{
    return !__builtin_mul_overflow(x, y, z);
}

/* Of Div and Mod; a quotient that does not fit is wrapped, as its one case, the least number by -1, is no size anyway. */
static bool divides(int64_t x, int64_t y, int64_t *z)
{
    *z = x;
    return y != 0;
}

static fa_status check_known(const fa_op_setup *s, const char *sign, bool (*fits)(int64_t, int64_t, int64_t *))
{
    const fa_walk *w = s->params;
    const int64_t *xs = s->in[0]->data, *ys = s->in[1]->data;
    const int32_t dtype = s->out[0].dtype;
    if (!xs || !ys || (dtype != FA_INT64 && dtype != FA_INT32)) return FA_OK;
    fa_walk_place p;
    FA_WALK_ROWS(w, p) {
        for (int64_t i = 0; i < w->row; i++) {
            const int64_t x = xs[p.at[1] + i * w->row_step[1]], y = ys[p.at[2] + i * w->row_step[2]];
            int64_t z;
            if (fits(x, y, &z) && FA_R(fa_op_wrap)(z, dtype) == z) continue;
            return fa_fail(fits == divides ? FA_ERR_SHAPE : FA_ERR_LIMIT, "element %lld is %lld %s %lld, which %s", (long long)(p.at[0] + i), (long long)x, sign, (long long)y,
                           fits == divides ? "divides by zero" : dtype == FA_INT64 ? "does not fit int64" : "does not fit int32");
        }
    }
    return FA_OK;
}

#define PREPARE(id, sign, fits)                                                                                                                          \
    static fa_status id##_prepare(fa_op_setup *s)                                                                                                        \
    {                                                                                                                                                    \
        FA_TRY(pair_prepare(s));                                                                                                                         \
        return check_known(s, sign, fits);                                                                                                               \
    }

PREPARE(add, "+", add_fits)
PREPARE(sub, "-", sub_fits)
PREPARE(mul, "*", mul_fits)
PREPARE(div, "/", divides)

FORWARD(add, x + y, int_add)
BACKWARD(add, 1, 1)
FORWARD(sub, x - y, int_sub)
BACKWARD(sub, 1, -1)
FORWARD(mul, x *y, int_mul)
BACKWARD(mul, Y, X)
FORWARD(div, x / y, int_div)
BACKWARD(div, 1 / Y, -X / (Y * Y))
FORWARD(mod, FA_MATH(fmod)(x, y), int_mod)
FORWARD(fmod, FA_MATH(fmod)(x, y), int_fmod)
BACKWARD(fmod, 1, -FA_MATH(trunc)(X / Y))

static fa_status mod_prepare(fa_op_setup *s)
{
    FA_TRY(pair_prepare(s));
    if (fa_dtype_is_real(s->out[0].dtype) && !fa_node_int(s->node, "fmod", 0)) return fa_fail(FA_ERR_FORMAT, "real inputs need attribute 'fmod' to be 1");
    return check_known(s, "%", divides);
}

static void either_mod_forward(const fa_op_call *c)
{
    if (fa_node_int(c->node, "fmod", 0)) fmod_forward(c);
    else mod_forward(c);
}

/* Pow: the result has the type of the base; the exponent may have another. */

static fa_status pow_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    fa_view same = *s->in[1];
    same.dtype = s->in[0]->dtype; /* the walk does not care */
    const fa_view *const in[] = {s->in[0], &same};
    fa_op_setup t = *s;
    t.in = in;
    FA_TRY(FA_R(fa_op_pair)(&t, s->in[0]->dtype));
    s->params = t.params;
    return FA_OK;
}

static double number(const fa_view *v, int64_t i)
{
    return fa_dtype_is_real(v->dtype) ? ((const fa_real *)v->data)[i] : (double)((const int64_t *)v->data)[i];
}

static int64_t to_int(double v)
{
    return v > -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : 0;
}

static void pow_forward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    const fa_view *base = c->in[0], *exponent = c->in[1], *z = c->out[0];
    bool real = fa_dtype_is_real(base->dtype), real_exponent = fa_dtype_is_real(exponent->dtype);
    const int64_t sx = w->row_step[1], sy = w->row_step[2];
    fa_walk_place p;
    if (real && real_exponent) {
        ROWS(fa_real, FA_MATH(pow))
        return;
    }
    FA_WALK_ROWS(w, p) {
        for (int64_t i = 0; i < w->row; i++) {
            int64_t at = p.at[0] + i, x = p.at[1] + i * sx, y = p.at[2] + i * sy;
            if (real) ((fa_real *)z->data)[at] = (fa_real)pow(number(base, x), number(exponent, y));
            else
                ((int64_t *)z->data)[at] = FA_R(fa_op_wrap)(real_exponent ? to_int(pow(number(base, x), number(exponent, y)))
                                                                           : int_pow(((const int64_t *)base->data)[x], ((const int64_t *)exponent->data)[y]),
                                                            z->dtype);
        }
    }
}

static void pow_backward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    const fa_real *g = c->grad_out[0];
    fa_real *tx = c->grad_in[0], *ty = c->grad_in[1];
    for (int32_t k = 0; k < 2; k++)
        if (c->grad_in[k] && !c->accumulate[k]) memset(c->grad_in[k], 0, (size_t)c->in[k]->count * sizeof *tx);
    fa_walk_place p;
    FA_WALK_ROWS(w, p) {
        for (int64_t i = 0; i < w->row; i++) {
            int64_t at = p.at[0] + i, ax = p.at[1] + i * w->row_step[1], ay = p.at[2] + i * w->row_step[2];
            double x = number(c->in[0], ax), y = number(c->in[1], ay);
            if (tx && y != 0) tx[ax] += (fa_real)(g[at] * y * (y == 2 ? x : pow(x, y - 1)));
            if (ty && x > 0) ty[ay] += (fa_real)(g[at] * pow(x, y) * log(x));
        }
    }
}

#define PAIR(name, since, in, id) {name, "", since, FA_OPSET_ANY, FA_OP_OVERWRITES, in, 0, id##_prepare, id##_forward, id##_backward}

const fa_op FA_R(fa_ops_arithmetic)[] = {
    PAIR("Add", 1, 0, add),
    PAIR("Sub", 1, 0, sub),
    PAIR("Mul", 1, 3, mul),
    PAIR("Div", 1, 3, div),
    {"Pow", "", 1, FA_OPSET_ANY, FA_OP_OVERWRITES, 3, 0, pow_prepare, pow_forward, pow_backward},
    {"Mod", "", 10, FA_OPSET_ANY, FA_OP_OVERWRITES, 3, 0, mod_prepare, either_mod_forward, fmod_backward},
    {NULL},
};
