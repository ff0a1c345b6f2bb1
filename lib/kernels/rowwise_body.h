/* SPDX-License-Identifier: Apache-2.0 */
/* Body of rowwise.c, included once per instruction set with NAME, TARGET, FLOATS, FMA_F, SPLAT_F, MIN_F, MAX_F, SELECT and, for vectors of which the first n floats
 * exist, MASK, MASK_OF(n), MASK_LOAD(p, mask) (zeros beyond) and MASK_STORE(p, mask, v) defined; undefines them. */

#define vf NAME(vf)
#define vi NAME(vi)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * FLOATS)));
#include "kernels/vmath_body.h"

#define LOAD_F(p) (*(const vf *)(p))
#define STORE_F(p, v) (*(vf *)(p) = (v))
#define EACH(n)                                                                                                                                          \
    int64_t i = 0;                                                                                                                                       \
    for (; i + FLOATS <= (n); i += FLOATS)

/* Both halves of a loop over n floats: STATEMENTS with LOAD(p), the vector at p + i, and STORE(p, v); whole vectors first, then what is left. */
#define OVER(n, STATEMENTS)                                                                                                                              \
    do {                                                                                                                                                 \
        int64_t i = 0;                                                                                                                                   \
        for (; i + FLOATS <= (n); i += FLOATS) STATEMENTS(LOAD_WHOLE, STORE_WHOLE, i, )                                                                  \
        if (i < (n)) {                                                                                                                                   \
            const MASK rest = MASK_OF((n) - i);                                                                                                          \
            STATEMENTS(LOAD_REST, STORE_REST, i, rest)                                                                                                   \
        }                                                                                                                                                \
    } while (0)
#define LOAD_WHOLE(p, rest) LOAD_F((p) + i)
#define STORE_WHOLE(p, v, rest) STORE_F((p) + i, v)
#define LOAD_REST(p, rest) MASK_LOAD((p) + i, rest)
#define STORE_REST(p, v, rest) MASK_STORE((p) + i, rest, v)

FA_INLINE TARGET float NAME(total)(vf v)
{
    float s[FLOATS];
    STORE_F(s, v);
    for (int w = FLOATS / 2; w; w /= 2)
        for (int k = 0; k < w; k++) s[k] += s[k + w];
    return s[0];
}

FA_INLINE TARGET float NAME(largest)(vf v)
{
    float top = v[0];
    for (int k = 1; k < FLOATS; k++) top = v[k] > top ? v[k] : top;
    return top;
}

/* The first n lanes of `v`, the others being `other`. */
FA_INLINE TARGET vf NAME(first)(vf v, int64_t n, float other)
{
    float s[FLOATS];
    STORE_F(s, v);
    for (int k = 0; k < FLOATS; k++) s[k] = k < n ? s[k] : other;
    return LOAD_F(s);
}

TARGET static void NAME(softmax)(int64_t rows, int64_t n, float scale, const float *mask, int64_t mask_step, const float *x, float *y)
{
    const vf by = SPLAT_F(scale), none = SPLAT_F(-INFINITY);
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        const float *m = mask ? mask + r * mask_step : NULL;
        vf top = none, sum = SPLAT_F(0.0f);
        {
            EACH(n) {
                vf v = LOAD_F(x + i) * by;
                if (m) v += LOAD_F(m + i);
                STORE_F(y + i, v);
                top = MAX_F(top, v);
            }
            if (i < n) {
                const MASK rest = MASK_OF(n - i);
                vf v = MASK_LOAD(x + i, rest) * by;
                if (m) v += MASK_LOAD(m + i, rest);
                MASK_STORE(y + i, rest, v);
                top = MAX_F(top, NAME(first)(v, n - i, -INFINITY));
            }
        }
        const vf highest = SPLAT_F(NAME(largest)(top));
        {
            EACH(n) {
                const vf v = NAME(exp)(LOAD_F(y + i) - highest);
                STORE_F(y + i, v);
                sum += v;
            }
            if (i < n) {
                const MASK rest = MASK_OF(n - i);
                const vf v = NAME(exp)(MASK_LOAD(y + i, rest) - highest);
                MASK_STORE(y + i, rest, v);
                sum += NAME(first)(v, n - i, 0.0f);
            }
        }
        const vf share = SPLAT_F(1.0f / NAME(total)(sum));
#define STATEMENTS(LOAD, STORE, i, rest) STORE(y, LOAD(y, rest) * share, rest);
        OVER(n, STATEMENTS);
#undef STATEMENTS
    }
}

TARGET static void NAME(softmax_gradient)(int64_t rows, int64_t n, float scale, const float *y, const float *g, float *gx, bool add)
{
    const vf by = SPLAT_F(scale);
    for (int64_t r = 0; r < rows; r++, y += n, g += n, gx += n) {
        vf sum = SPLAT_F(0.0f);
#define STATEMENTS(LOAD, STORE, i, rest) sum = FMA_F(LOAD(y, rest), LOAD(g, rest), sum);
        OVER(n, STATEMENTS);
#undef STATEMENTS
        const vf mean = SPLAT_F(NAME(total)(sum));
        if (add) {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(gx, FMA_F(by * LOAD(y, rest), LOAD(g, rest) - mean, LOAD(gx, rest)), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        } else {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(gx, by *LOAD(y, rest) * (LOAD(g, rest) - mean), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        }
    }
}

/* Mean (`raw`: 0) and 1 / deviation from it of a row. */
FA_INLINE TARGET void NAME(moments)(int64_t n, bool raw, float epsilon, const float *x, float *mean, float *inverse)
{
    vf sum = SPLAT_F(0.0f), squares = sum;
#define STATEMENTS(LOAD, STORE, i, rest) sum += LOAD(x, rest);
    OVER(n, STATEMENTS);
#undef STATEMENTS
    *mean = raw ? 0.0f : NAME(total)(sum) / (float)n;
    const vf m = SPLAT_F(*mean);
    EACH(n) {
        const vf d = LOAD_F(x + i) - m;
        squares = FMA_F(d, d, squares);
    }
    if (i < n) {
        const vf d = NAME(first)(MASK_LOAD(x + i, MASK_OF(n - i)) - m, n - i, 0.0f);
        squares = FMA_F(d, d, squares);
    }
    *inverse = 1.0f / sqrtf(NAME(total)(squares) / (float)n + epsilon);
}

TARGET static void NAME(normalise)(int64_t rows, int64_t n, bool raw, float epsilon, const float *x, const float *scale, const float *bias, float *y)
{
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        float mean, inverse;
        NAME(moments)(n, raw, epsilon, x, &mean, &inverse);
        const vf m = SPLAT_F(mean), by = SPLAT_F(inverse);
        if (bias) {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(y, FMA_F((LOAD(x, rest) - m) * by, LOAD(scale, rest), LOAD(bias, rest)), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        } else {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(y, (LOAD(x, rest) - m) * by * LOAD(scale, rest), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        }
    }
}

/* With z = (x - mean) / deviation and h = g scale: gx = (h - mean(h) - z mean(h z)) / deviation, without mean(h) where the mean is not taken off. */
TARGET static void NAME(normalise_gradient)(int64_t rows, int64_t n, bool raw, float epsilon, const float *x, const float *scale, const float *g, float *gx, bool add, float *gscale,
                                            float *gbias)
{
    for (int64_t r = 0; r < rows; r++, x += n, g += n) {
        float mean, inverse;
        NAME(moments)(n, raw, epsilon, x, &mean, &inverse);
        const vf m = SPLAT_F(mean), by = SPLAT_F(inverse);
        vf sum = SPLAT_F(0.0f), moment = sum;
#define STATEMENTS(LOAD, STORE, i, rest)                                                                                                                 \
    {                                                                                                                                                    \
        const vf h = LOAD(g, rest) * LOAD(scale, rest);                                                                                                  \
        sum += h;                                                                                                                                        \
        moment = FMA_F(h, LOAD(x, rest) - m, moment);                                                                                                    \
    }
        OVER(n, STATEMENTS);
#undef STATEMENTS
        const float share = inverse / (float)n;
        const vf a = SPLAT_F(raw ? 0.0f : NAME(total)(sum) * share), b = SPLAT_F(NAME(total)(moment) * share * inverse * inverse);
#define GRADIENT(LOAD, rest) FMA_F(LOAD(g, rest) * LOAD(scale, rest), by, -FMA_F(LOAD(x, rest) - m, b, a))
        if (gx && add) {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(gx, LOAD(gx, rest) + GRADIENT(LOAD, rest), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        } else if (gx) {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(gx, GRADIENT(LOAD, rest), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        }
        if (gx) gx += n;
        if (gscale) {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(gscale, FMA_F(LOAD(g, rest), (LOAD(x, rest) - m) * by, LOAD(gscale, rest)), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        }
        if (gbias) {
#define STATEMENTS(LOAD, STORE, i, rest) STORE(gbias, LOAD(gbias, rest) + LOAD(g, rest), rest);
            OVER(n, STATEMENTS);
#undef STATEMENTS
        }
    }
#undef GRADIENT
}

#define R2PI 0.79788456080286535588f   /* sqrt(2 / pi) */
#define R_2PI 0.39894228040143267794f  /* 1 / sqrt(2 pi) */
#define CUBE 0.044715f
#define HALF SPLAT_F(0.5f)
#define ONE SPLAT_F(1.0f)

/* The normal distribution function, and *e = exp(-x^2 / 2), of which the tail beyond |x| is a multiple: a polynomial in 1 / (1 + 0.31 |x|) that minimises the greatest
 * error of the tail, 2e-8, a third of what rounding makes. */
FA_INLINE TARGET vf NAME(normal)(vf x, vf *e)
{
    const vf t = ONE / FMA_F(SPLAT_F(0.31f), NAME(magnitude)(x), ONE);
    vf p = FMA_F(SPLAT_F(-0.14075869473f), t, SPLAT_F(0.59242477274f));
    p = FMA_F(p, t, SPLAT_F(-0.41466494737f));
    p = FMA_F(p, t, SPLAT_F(0.41159340732f));
    p = FMA_F(p, t, SPLAT_F(0.04181477758f));
    p = FMA_F(p, t, SPLAT_F(0.00959070336f));
    *e = NAME(exp)(-HALF * x * x);
    const vf tail = *e * p;
    return SELECT(x < SPLAT_F(0.0f), tail, ONE - tail);
}

FA_INLINE TARGET vf NAME(gelu_erf)(vf x)
{
    vf e;
    return x * NAME(normal)(x, &e);
}

FA_INLINE TARGET vf NAME(gelu_erf_slope)(vf x)
{
    vf e;
    const vf under = NAME(normal)(x, &e);
    return FMA_F(x * SPLAT_F(R_2PI), e, under);
}

FA_INLINE TARGET vf NAME(gelu_angle)(vf x)
{
    return SPLAT_F(R2PI) * FMA_F(SPLAT_F(CUBE) * x * x, x, x);
}

FA_INLINE TARGET vf NAME(gelu_tanh)(vf x)
{
    return HALF * x * (ONE + NAME(tanh)(NAME(gelu_angle)(x)));
}

FA_INLINE TARGET vf NAME(gelu_tanh_slope)(vf x)
{
    const vf t = NAME(tanh)(NAME(gelu_angle)(x));
    return FMA_F(HALF * x * (ONE - t * t), SPLAT_F(R2PI) * FMA_F(SPLAT_F(3 * CUBE) * x, x, ONE), HALF * (ONE + t));
}

#define EACH_ALONE(id, function)                                                                                                                         \
    TARGET static void NAME(id)(int64_t n, const float *x, float *y)                                                                                     \
    {                                                                                                                                                    \
        OVER(n, function);                                                                                                                               \
    }
#define GELU_ERF(LOAD, STORE, i, rest) STORE(y, NAME(gelu_erf)(LOAD(x, rest)), rest);
#define GELU_TANH(LOAD, STORE, i, rest) STORE(y, NAME(gelu_tanh)(LOAD(x, rest)), rest);
#define EXP(LOAD, STORE, i, rest) STORE(y, NAME(exp)(LOAD(x, rest)), rest);
#define TANH(LOAD, STORE, i, rest) STORE(y, NAME(tanh)(LOAD(x, rest)), rest);
#define ERF(LOAD, STORE, i, rest) STORE(y, NAME(erf)(LOAD(x, rest)), rest);
EACH_ALONE(all_gelu_erf, GELU_ERF)
EACH_ALONE(all_gelu_tanh, GELU_TANH)
EACH_ALONE(all_exp, EXP)
EACH_ALONE(all_tanh, TANH)
EACH_ALONE(all_erf, ERF)

static void NAME(all_gelu)(int64_t n, bool tanh, const float *x, float *y)
{
    if (tanh) NAME(all_gelu_tanh)(n, x, y);
    else NAME(all_gelu_erf)(n, x, y);
}

TARGET static void NAME(gelu_gradient)(int64_t n, bool tanh, const float *x, const float *g, float *gx, bool add)
{
#define BEFORE(LOAD, rest) (add ? LOAD(gx, rest) : SPLAT_F(0.0f))
#define ERF_SLOPE(LOAD, STORE, i, rest) STORE(gx, FMA_F(LOAD(g, rest), NAME(gelu_erf_slope)(LOAD(x, rest)), BEFORE(LOAD, rest)), rest);
#define TANH_SLOPE(LOAD, STORE, i, rest) STORE(gx, FMA_F(LOAD(g, rest), NAME(gelu_tanh_slope)(LOAD(x, rest)), BEFORE(LOAD, rest)), rest);
    if (tanh) OVER(n, TANH_SLOPE);
    else OVER(n, ERF_SLOPE);
}

static const fa_rowwise NAME(table) = {
    .softmax = NAME(softmax),
    .softmax_gradient = NAME(softmax_gradient),
    .normalise = NAME(normalise),
    .normalise_gradient = NAME(normalise_gradient),
    .gelu = NAME(all_gelu),
    .gelu_gradient = NAME(gelu_gradient),
    .exp = NAME(all_exp),
    .tanh = NAME(all_tanh),
    .erf = NAME(all_erf),
};

#undef vf
#undef vi
#undef LOAD_F
#undef STORE_F
#undef EACH
#undef OVER
#undef LOAD_WHOLE
#undef STORE_WHOLE
#undef LOAD_REST
#undef STORE_REST
#undef R2PI
#undef R_2PI
#undef CUBE
#undef HALF
#undef ONE
#undef EACH_ALONE
#undef GELU_ERF
#undef GELU_TANH
#undef EXP
#undef TANH
#undef ERF
#undef BEFORE
#undef ERF_SLOPE
#undef TANH_SLOPE
#include "kernels/vectors_end.h"
