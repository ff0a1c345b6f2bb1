/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/* Operators with one input that act on each element alone: y = f(x), and f'(x) from whichever of x and y is cheaper to keep. */

typedef struct numbers {
    fa_real a, b;
} numbers;

static fa_status prepare(fa_op_setup *s, bool integers, const char *name_a, float a, const char *name_b, float b)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_view *x = s->in[0];
    if (!integers && !fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "input 0 is %s, not a real type", fa_dtype_name(x->dtype));
    if (name_a) {
        numbers *n = fa_arena_new(s->arena, sizeof *n);
        if (!n) return FA_ERR_MEMORY;
        n->a = fa_node_float(s->node, name_a, a);
        n->b = name_b ? fa_node_float(s->node, name_b, b) : 0;
        s->params = n;
    }
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

static fa_status real_prepare(fa_op_setup *s)
{
    return prepare(s, false, NULL, 0, NULL, 0);
}

static fa_status any_prepare(fa_op_setup *s)
{
    return prepare(s, true, NULL, 0, NULL, 0);
}

#define TAKES(id, name_a, a, name_b, b)                                                                                                                  \
    static fa_status id##_prepare(fa_op_setup *s)                                                                                                        \
    {                                                                                                                                                    \
        return prepare(s, false, name_a, a, name_b, b);                                                                                                  \
    }

/* In the formulas below. X and Y are written out where they stand: what a derivative does not mention is not read. */
#define X xs[i]
#define Y ys[i]
#define A n->a
#define B n->b
#define F(name) FA_MATH(name)

#define LOOP(type, formula)                                                                                                                              \
    {                                                                                                                                                    \
        const type *xs = c->in[0]->data;                                                                                                                 \
        type *ys = c->out[0]->data;                                                                                                                      \
        for (int64_t i = 0; i < c->out[0]->count; i++) ys[i] = (type)(formula);                                                                          \
    }

#define FORWARD(id, formula)                                                                                                                             \
    static void id##_forward(const fa_op_call *c)                                                                                                        \
    {                                                                                                                                                    \
        const numbers *n = c->params;                                                                                                                    \
        (void)n;                                                                                                                                         \
        LOOP(fa_real, formula)                                                                                                                           \
    }

/* With another formula for integers. */
#define FORWARD_ANY(id, formula, integer)                                                                                                                \
    static void id##_forward(const fa_op_call *c)                                                                                                        \
    {                                                                                                                                                    \
        if (fa_dtype_is_real(c->in[0]->dtype)) LOOP(fa_real, formula)                                                                                    \
        else LOOP(int64_t, FA_R(fa_op_wrap)(integer, c->in[0]->dtype))                                                                                   \
    }

#define BACKWARD(id, derivative)                                                                                                                         \
    static void id##_backward(const fa_op_call *c)                                                                                                       \
    {                                                                                                                                                    \
        const numbers *n = c->params;                                                                                                                    \
        const fa_real *xs = c->in[0]->data, *ys = c->out[0]->data, *g = c->grad_out[0];                                                                  \
        fa_real *t = c->grad_in[0];                                                                                                                      \
        (void)n, (void)xs, (void)ys;                                                                                                                     \
        if (c->accumulate[0]) for (int64_t i = 0; i < c->in[0]->count; i++) t[i] += g[i] * (derivative);                                                 \
        else for (int64_t i = 0; i < c->in[0]->count; i++) t[i] = g[i] * (derivative);                                                                   \
    }

#define UNARY(id, formula, derivative) FORWARD(id, formula) BACKWARD(id, derivative)
#define UNARY_ANY(id, formula, integer, derivative) FORWARD_ANY(id, formula, integer) BACKWARD(id, derivative)

/* 1 / sqrt(2), sqrt(2 / pi), 2 / sqrt(pi), 1 / sqrt(2 pi) */
#define R2 ((fa_real)0.70710678118654752440)
#define R2PI ((fa_real)0.79788456080286535588)
#define TWO_RPI ((fa_real)1.12837916709551257390)
#define R_2PI ((fa_real)0.39894228040143267794)

static inline fa_real sigmoid(fa_real x)
{
    return 1 / (1 + F(exp)(-x));
}

static inline fa_real softplus(fa_real x)
{
    return F(log1p)(F(exp)(-F(fabs)(x))) + (x > 0 ? x : 0);
}

static inline fa_real gelu(fa_real x)
{
    return x / 2 * (1 + F(erf)(x * R2));
}

static inline fa_real gelu_slope(fa_real x)
{
    return (1 + F(erf)(x * R2)) / 2 + x * R_2PI * F(exp)(-x * x / 2);
}

#define CUBE ((fa_real)0.044715)

static inline fa_real gelu_tanh(fa_real x)
{
    return x / 2 * (1 + F(tanh)(R2PI * (x + CUBE * x * x * x)));
}

static inline fa_real gelu_tanh_slope(fa_real x)
{
    fa_real t = F(tanh)(R2PI * (x + CUBE * x * x * x));
    return (1 + t) / 2 + x / 2 * (1 - t * t) * R2PI * (1 + 3 * CUBE * x * x);
}

static inline fa_real mish_slope(fa_real x)
{
    fa_real t = F(tanh)(softplus(x));
    return t + x * (1 - t * t) * sigmoid(x);
}

static inline fa_real swish_slope(fa_real x, fa_real alpha)
{
    fa_real s = sigmoid(alpha * x);
    return s + alpha * x * s * (1 - s);
}

/* NaN goes through every comparison below as itself. */
UNARY_ANY(relu, X < 0 ? 0 : X, X < 0 ? 0 : X, Y > 0)
TAKES(leaky_relu, "alpha", 0.01f, NULL, 0)
UNARY(leaky_relu, X < 0 ? A * X : X, X < 0 ? A : 1)
TAKES(elu, "alpha", 1, NULL, 0)
UNARY(elu, X < 0 ? A * F(expm1)(X) : X, X < 0 ? A * F(exp)(X) : 1)
TAKES(selu_1, "alpha", 1.6732f, "gamma", 1.0507f)
TAKES(selu, "alpha", 1.67326319217681884765625f, "gamma", 1.05070102214813232421875f)
UNARY(selu, B *(X <= 0 ? A * F(expm1)(X) : X), X <= 0 ? B * A * F(exp)(X) : B)
TAKES(celu, "alpha", 1, NULL, 0)
UNARY(celu, X < 0 ? A * F(expm1)(X / A) : X, X < 0 ? F(exp)(X / A) : 1)
TAKES(shrink, "lambd", 0.5f, "bias", 0)
UNARY(shrink, X < -A ? X + B : X > A ? X - B : X != X ? X : 0, X < -A || X > A)
TAKES(thresholded_relu, "alpha", 1, NULL, 0)
UNARY(thresholded_relu, X <= A ? 0 : X, X > A)
UNARY(sigmoid, sigmoid(X), Y *(1 - Y))
TAKES(hard_sigmoid, "alpha", 0.2f, "beta", 0.5f)
UNARY(hard_sigmoid, A *X + B < 0 ? 0 : A * X + B > 1 ? 1 : A * X + B, Y > 0 && Y < 1 ? A : 0)
UNARY(hard_swish, X <= -3 ? 0 : X >= 3 ? X : X * (X / 6 + (fa_real)0.5), X <= -3 ? 0 : X >= 3 ? 1 : X / 3 + (fa_real)0.5)
UNARY(tanh, F(tanh)(X), 1 - Y * Y)
UNARY(gelu, A != 0 ? gelu_tanh(X) : gelu(X), A != 0 ? gelu_tanh_slope(X) : gelu_slope(X))
UNARY(erf, F(erf)(X), TWO_RPI *F(exp)(-X * X))
UNARY(softplus, softplus(X), -F(expm1)(-Y))
UNARY(softsign, X / (1 + F(fabs)(X)), 1 / ((1 + F(fabs)(X)) * (1 + F(fabs)(X))))
UNARY(mish, X *F(tanh)(softplus(X)), mish_slope(X))
TAKES(swish, "alpha", 1, NULL, 0)
UNARY(swish, X *sigmoid(A *X), swish_slope(X, A))
UNARY_ANY(neg, -X, (int64_t)(0 - (uint64_t)X), -1)
UNARY_ANY(abs, F(fabs)(X), X < 0 ? (int64_t)(0 - (uint64_t)X) : X, X > 0 ? 1 : X < 0 ? -1 : 0)
UNARY_ANY(sign, X > 0 ? 1 : X < 0 ? -1 : X, X > 0 ? 1 : X < 0 ? -1 : 0, 0)
UNARY(sqrt, F(sqrt)(X), (fa_real)0.5 / Y)
UNARY(exp, F(exp)(X), Y)
UNARY(log, F(log)(X), 1 / X)
UNARY(reciprocal, 1 / X, -Y * Y)
UNARY(floor, F(floor)(X), 0)
UNARY(ceil, F(ceil)(X), 0)
UNARY(round, F(nearbyint)(X), 0)
UNARY(sin, F(sin)(X), F(cos)(X))
UNARY(cos, F(cos)(X), -F(sin)(X))
UNARY(tan, F(tan)(X), 1 + Y * Y)
UNARY(asin, F(asin)(X), 1 / F(sqrt)(1 - X * X))
UNARY(acos, F(acos)(X), -1 / F(sqrt)(1 - X * X))
UNARY(atan, F(atan)(X), 1 / (1 + X * X))
UNARY(sinh, F(sinh)(X), F(cosh)(X))
UNARY(cosh, F(cosh)(X), F(sinh)(X))
UNARY(asinh, F(asinh)(X), 1 / F(sqrt)(1 + X * X))
UNARY(acosh, F(acosh)(X), 1 / F(sqrt)(X * X - 1))
UNARY(atanh, F(atanh)(X), 1 / (1 - X * X))

static fa_status gelu_prepare(fa_op_setup *s)
{
    const char *kind = fa_node_string(s->node, "approximate", "none");
    if (strcmp(kind, "none") != 0 && strcmp(kind, "tanh") != 0) return fa_fail(FA_ERR_FORMAT, "attribute 'approximate' is '%s', not none or tanh", kind);
    FA_TRY(prepare(s, false, "", 0, NULL, 0));
    ((numbers *)s->params)->a = kind[0] == 't';
    return FA_OK;
}

/* Results of type bool: Not, IsNaN, IsInf. */

static fa_status not_prepare(fa_op_setup *s)
{
    FA_TRY(any_prepare(s));
    return s->in[0]->dtype == FA_BOOL ? FA_OK : fa_fail(FA_ERR_DTYPE, "input 0 is %s, not bool", fa_dtype_name(s->in[0]->dtype));
}

static void not_forward(const fa_op_call *c)
{
    LOOP(int64_t, !X)
}

static fa_status is_prepare(fa_op_setup *s)
{
    FA_TRY(real_prepare(s));
    s->out[0].dtype = FA_BOOL;
    return FA_OK;
}

static void is_nan_forward(const fa_op_call *c)
{
    const fa_real *xs = c->in[0]->data;
    int64_t *ys = c->out[0]->data;
    for (int64_t i = 0; i < c->out[0]->count; i++) ys[i] = isnan(X) != 0;
}

static void is_inf_forward(const fa_op_call *c)
{
    const fa_real *xs = c->in[0]->data;
    int64_t *ys = c->out[0]->data;
    bool plus = fa_node_int(c->node, "detect_positive", 1) != 0, minus = fa_node_int(c->node, "detect_negative", 1) != 0;
    for (int64_t i = 0; i < c->out[0]->count; i++) ys[i] = isinf(X) && (X > 0 ? plus : minus);
}

#define IN 1
#define OUT 1
#define ENTRY(name, since, until, in, out, prepares, id) {name, "", since, until, FA_OP_OVERWRITES, in, out, prepares##_prepare, id##_forward, id##_backward}
#define NEWEST(name, since, in, out, prepares, id) ENTRY(name, since, FA_OPSET_ANY, in, out, prepares, id)
#define NONE(name, since, prepares, id) {name, "", since, FA_OPSET_ANY, 0, 0, 0, prepares##_prepare, id##_forward, NULL}

const fa_op FA_R(fa_ops_activation)[] = {
    NEWEST("Relu", 1, 0, OUT, any, relu),
    NEWEST("LeakyRelu", 1, IN, 0, leaky_relu, leaky_relu),
    NEWEST("Elu", 1, IN, 0, elu, elu),
    ENTRY("Selu", 1, 5, IN, 0, selu_1, selu),
    NEWEST("Selu", 6, IN, 0, selu, selu),
    NEWEST("Celu", 12, IN, 0, celu, celu),
    NEWEST("ThresholdedRelu", 10, IN, 0, thresholded_relu, thresholded_relu),
    NEWEST("Shrink", 9, IN, 0, shrink, shrink),
    NEWEST("Sigmoid", 1, 0, OUT, real, sigmoid),
    NEWEST("HardSigmoid", 1, 0, OUT, hard_sigmoid, hard_sigmoid),
    NEWEST("HardSwish", 14, IN, 0, real, hard_swish),
    NEWEST("Tanh", 1, 0, OUT, real, tanh),
    NEWEST("Gelu", 20, IN, 0, gelu, gelu),
    NEWEST("Erf", 9, IN, 0, real, erf),
    NEWEST("Softplus", 1, 0, OUT, real, softplus),
    NEWEST("Softsign", 1, IN, 0, real, softsign),
    NEWEST("Mish", 18, IN, 0, real, mish),
    NEWEST("Swish", 24, IN, 0, swish, swish),
    NEWEST("Neg", 1, 0, 0, any, neg),
    NEWEST("Abs", 1, IN, 0, any, abs),
    NEWEST("Sqrt", 1, 0, OUT, real, sqrt),
    NEWEST("Exp", 1, 0, OUT, real, exp),
    NEWEST("Log", 1, IN, 0, real, log),
    NEWEST("Reciprocal", 1, 0, OUT, real, reciprocal),
    NEWEST("Sin", 7, IN, 0, real, sin),
    NEWEST("Cos", 7, IN, 0, real, cos),
    NEWEST("Tan", 7, 0, OUT, real, tan),
    NEWEST("Asin", 7, IN, 0, real, asin),
    NEWEST("Acos", 7, IN, 0, real, acos),
    NEWEST("Atan", 7, IN, 0, real, atan),
    NEWEST("Sinh", 9, IN, 0, real, sinh),
    NEWEST("Cosh", 9, IN, 0, real, cosh),
    NEWEST("Asinh", 9, IN, 0, real, asinh),
    NEWEST("Acosh", 9, IN, 0, real, acosh),
    NEWEST("Atanh", 9, IN, 0, real, atanh),
    NEWEST("Floor", 1, 0, 0, real, floor),
    NEWEST("Ceil", 1, 0, 0, real, ceil),
    NEWEST("Round", 11, 0, 0, real, round),
    NEWEST("Sign", 9, 0, 0, any, sign),
    NONE("Not", 1, not, not),
    NONE("IsNaN", 9, is, is_nan),
    NONE("IsInf", 10, is, is_inf),
    {NULL},
};
