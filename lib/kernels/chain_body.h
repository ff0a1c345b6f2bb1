/* SPDX-License-Identifier: Apache-2.0 */
/* Body of chain.c, included once per instruction set with NAME, LABEL, TARGET, FLOATS, FMA_F, SPLAT_F, MIN_F, MAX_F, SQRT_F and SELECT defined; undefines them. */

#define vf NAME(vf)
#define vi NAME(vi)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * FLOATS)));
#include "kernels/slope_body.h"
#include "kernels/vmath_body.h"

#define LOAD_F(p) (*(const vf *)(p))
#define STORE_F(p, v) (*(vf *)(p) = (v))
#define ZERO SPLAT_F(0.0f)
#define ONE SPLAT_F(1.0f)

FA_INLINE TARGET vf NAME(logistic)(vf x)
{
    return ONE / (ONE + NAME(exp)(-x));
}

/* exp(-x) is infinite where x is large and negative: x over it is -0. */
FA_INLINE TARGET vf NAME(silu)(vf x)
{
    return x / (ONE + NAME(exp)(-x));
}

/* The values and slopes of one function over whole vectors. In the formulas X is the argument, A and B are the step's. The second operand of MIN_F and MAX_F is what NaN goes
 * through by. */
#define X x
#define A a
#define B b
#define STEP(id, value, slope)                                                                                                                           \
    TARGET static void NAME(id)(const fa_chain_step *s, int64_t n, const float *from, float *to)                                                        \
    {                                                                                                                                                    \
        const vf a = SPLAT_F(s->a), b = SPLAT_F(s->b);                                                                                                   \
        (void)a, (void)b;                                                                                                                                \
        for (int64_t i = 0; i < n; i += FLOATS) {                                                                                                        \
            const vf x = LOAD_F(from + i);                                                                                                               \
            STORE_F(to + i, value);                                                                                                                      \
        }                                                                                                                                                \
    }                                                                                                                                                    \
    TARGET static void NAME(id##_slope)(const fa_chain_step *s, int64_t n, const float *from, const float *g, float *to)                                 \
    {                                                                                                                                                    \
        const vf a = SPLAT_F(s->a), b = SPLAT_F(s->b);                                                                                                   \
        (void)a, (void)b;                                                                                                                                \
        for (int64_t i = 0; i < n; i += FLOATS) {                                                                                                        \
            const vf x = LOAD_F(from + i);                                                                                                               \
            (void)x;                                                                                                                                     \
            STORE_F(to + i, LOAD_F(g + i) * (slope));                                                                                                    \
        }                                                                                                                                                \
    }

#define CLAMP(low, high, v) MIN_F(high, MAX_F(low, v))
#define SIXTH SPLAT_F(1.0f / 6)
#define HALF SPLAT_F(0.5f)
#define LOGISTIC NAME(logistic)(X)

STEP(affine, FMA_F(A, X, B), A)
STEP(relu, MAX_F(ZERO, X), NAME(relu_at)(X))
STEP(clip, CLAMP(A, B, X), NAME(where)((X >= A) & (X <= B), ONE))
STEP(hard_sigmoid, CLAMP(ZERO, ONE, FMA_F(A, X, B)), NAME(where)((FMA_F(A, X, B) > ZERO) & (FMA_F(A, X, B) < ONE), A))
STEP(hard_swish, SELECT(X <= SPLAT_F(-3.0f), ZERO, X *MIN_F(ONE, FMA_F(X, SIXTH, HALF))), NAME(hard_swish_at)(X))
STEP(sigmoid, LOGISTIC, LOGISTIC *(ONE - LOGISTIC))
STEP(silu_step, NAME(silu)(X), LOGISTIC *FMA_F(X, ONE - LOGISTIC, ONE))
STEP(tanh_step, NAME(tanh)(X), ONE - NAME(tanh)(X) * NAME(tanh)(X))
STEP(exp_step, NAME(exp)(X), NAME(exp)(X))
STEP(erf_step, NAME(erf)(X), SPLAT_F(1.12837916709551257390f) * NAME(exp)(-X * X))
STEP(sqrt_step, SQRT_F(X), HALF / SQRT_F(X))
STEP(square, X *X, X + X)

typedef void (*NAME(value_fn))(const fa_chain_step *s, int64_t n, const float *from, float *to);
typedef void (*NAME(slope_fn))(const fa_chain_step *s, int64_t n, const float *from, const float *g, float *to);
static const NAME(value_fn) NAME(value)[FA_STEPS] = {NAME(affine), NAME(relu), NAME(clip), NAME(hard_sigmoid), NAME(hard_swish), NAME(sigmoid), NAME(silu_step), NAME(tanh_step),
                                                     NAME(exp_step), NAME(erf_step), NAME(sqrt_step), NAME(square)};
static const NAME(slope_fn) NAME(slope)[FA_STEPS] = {NAME(affine_slope), NAME(relu_slope), NAME(clip_slope), NAME(hard_sigmoid_slope), NAME(hard_swish_slope), NAME(sigmoid_slope),
                                                     NAME(silu_step_slope), NAME(tanh_step_slope), NAME(exp_step_slope), NAME(erf_step_slope), NAME(sqrt_step_slope), NAME(square_slope)};

/* n: whole vectors. */
TARGET static void NAME(values)(const fa_chain_step *step, int32_t n_step, int64_t n, const float *x, float *y)
{
    for (int32_t k = 0; k < n_step; k++) NAME(value)[step[k].function](&step[k], n, k ? y : x, y);
}

TARGET static void NAME(forward)(const fa_chain_step *step, int32_t n_step, int64_t n, const float *x, float *y)
{
    for (int64_t at = 0; at < n; at += PIECE) {
        const int64_t count = n - at < PIECE ? n - at : PIECE, whole = count / FLOATS * FLOATS;
        NAME(values)(step, n_step, whole, x + at, y + at);
        if (whole == count) continue;
        float rest[FLOATS] = {0};
        memcpy(rest, x + at + whole, (size_t)(count - whole) * sizeof *rest);
        NAME(values)(step, n_step, FLOATS, rest, rest);
        memcpy(y + at + whole, rest, (size_t)(count - whole) * sizeof *rest);
    }
}

/* From the last step to the first; what is between the steps is computed again. n: whole vectors, at most PIECE. gx is neither x nor g. */
TARGET static void NAME(slopes)(const fa_chain_step *step, int32_t n_step, int64_t n, const float *x, const float *g, float *gx)
{
    float between[FA_CHAIN_MOST - 1][PIECE];
    for (int32_t k = 0; k + 1 < n_step; k++) NAME(value)[step[k].function](&step[k], n, k ? between[k - 1] : x, between[k]);
    for (int32_t k = n_step - 1; k >= 0; k--) NAME(slope)[step[k].function](&step[k], n, k ? between[k - 1] : x, k == n_step - 1 ? g : gx, gx);
}

TARGET static void NAME(gradient)(const fa_chain_step *step, int32_t n_step, int64_t n, const float *x, const float *g, float *gx, bool add)
{
    float part[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        const int64_t count = n - at < PIECE ? n - at : PIECE, whole = count / FLOATS * FLOATS;
        float *to = gx + at;
        NAME(slopes)(step, n_step, whole, x + at, g + at, add ? part : to);
        if (whole < count) {
            float rest[2][FLOATS] = {{0}};
            const size_t bytes = (size_t)(count - whole) * sizeof(float);
            memcpy(rest[0], x + at + whole, bytes);
            memcpy(rest[1], g + at + whole, bytes);
            NAME(slopes)(step, n_step, FLOATS, rest[0], rest[1], part + whole);
            if (!add) memcpy(to + whole, part + whole, bytes);
        }
        for (int64_t i = 0; add && i < count; i++) to[i] += part[i];
    }
}

static const fa_chain_kernels NAME(table) = {LABEL, NAME(forward), NAME(gradient)};

#undef vf
#undef vi
#undef LOAD_F
#undef STORE_F
#undef ZERO
#undef ONE
#undef X
#undef A
#undef B
#undef STEP
#undef CLAMP
#undef SIXTH
#undef HALF
#undef LOGISTIC
#include "kernels/vectors_end.h"
