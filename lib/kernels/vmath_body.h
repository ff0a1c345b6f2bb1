/* SPDX-License-Identifier: Apache-2.0 */
/* Exponential, hyperbolic tangent and error function of vectors. Included once per instruction set by a file that has defined vf, vi, NAME, TARGET, FMA_F,
 * SPLAT_F, MIN_F, MAX_F and SELECT(mask, a, b); the functions are that file's own. Errors, against double precision over all floats (tests/unit/test_rowwise.c): exp 1.1 ulp,
 * tanh 2 ulp, erf 2 ulp. NaN stays NaN; what overflows is infinite, what underflows goes through the subnormal numbers to zero. */

#define MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, which then is in the low bits */
#define BITS(f) ((vi)(f))

FA_INLINE TARGET vf NAME(power_of_two)(vi n)
{
    return (vf)((n + 127) << 23);
}

/* S. Moshier's Cephes: reduction by ln 2 in two parts, a polynomial of degree 7. */
FA_INLINE TARGET vf NAME(exp)(vf x)
{
    x = MAX_F(SPLAT_F(-104.0f), MIN_F(SPLAT_F(89.0f), x)); /* the second operand is what NaN goes through by */
    const vf t = FMA_F(x, SPLAT_F(1.44269504088896341f), SPLAT_F(MAGIC)), n = t - SPLAT_F(MAGIC);
    const vf r = FMA_F(n, SPLAT_F(2.12194440e-4f), FMA_F(n, SPLAT_F(-0.693359375f), x));
    vf p = FMA_F(SPLAT_F(1.9875691500e-4f), r, SPLAT_F(1.3981999507e-3f));
    p = FMA_F(p, r, SPLAT_F(8.3334519073e-3f));
    p = FMA_F(p, r, SPLAT_F(4.1665795894e-2f));
    p = FMA_F(p, r, SPLAT_F(1.6666665459e-1f));
    p = FMA_F(p, r, SPLAT_F(5.0000001201e-1f));
    p = FMA_F(p * r, r, r) + SPLAT_F(1.0f);
    const vi k = BITS(t) - BITS(SPLAT_F(MAGIC)), half = k >> 1; /* two factors: 2^128 and 2^-149 are none */
    return p * NAME(power_of_two)(half) * NAME(power_of_two)(k - half);
}

FA_INLINE TARGET vf NAME(magnitude)(vf x)
{
    return (vf)(BITS(x) & 0x7fffffff);
}

FA_INLINE TARGET vf NAME(with_sign)(vf magnitude, vf x)
{
    return (vf)(BITS(magnitude) | (BITS(x) & (vi)BITS(SPLAT_F(-0.0f))));
}

/* Near zero x + x^3 P(x^2), elsewhere 1 - 2 / (exp(2 x) + 1); P minimises the greatest relative error. */
FA_INLINE TARGET vf NAME(tanh)(vf x)
{
    const vf a = NAME(magnitude)(x), s = x * x;
    vf p = FMA_F(SPLAT_F(-5.717036562e-3f), s, SPLAT_F(2.065057900e-2f));
    p = FMA_F(p, s, SPLAT_F(-5.374349526e-2f));
    p = FMA_F(p, s, SPLAT_F(1.333149125e-1f));
    p = FMA_F(p, s, SPLAT_F(-3.333328392e-1f));
    const vf far = SPLAT_F(1.0f) - SPLAT_F(2.0f) / (NAME(exp)(a + a) + SPLAT_F(1.0f));
    return SELECT(a < SPLAT_F(0.625f), FMA_F(p * s, x, x), NAME(with_sign)(far, x));
}

/* Near zero x + x P(x^2), elsewhere 1 - exp(-Q(|x|)), Q being a polynomial for -log(erfc); both minimise the greatest relative error. */
FA_INLINE TARGET vf NAME(erf)(vf x)
{
    const vf a = NAME(magnitude)(x), s = x * x, t = MIN_F(SPLAT_F(4.0f), a);
    vf p = FMA_F(SPLAT_F(-6.206220564e-4f), s, SPLAT_F(5.033076751e-3f));
    p = FMA_F(p, s, SPLAT_F(-2.679228874e-2f));
    p = FMA_F(p, s, SPLAT_F(1.128248432e-1f));
    p = FMA_F(p, s, SPLAT_F(-3.761255389e-1f));
    p = FMA_F(p, s, SPLAT_F(1.283791581e-1f));
    vf q = FMA_F(SPLAT_F(2.022132899e-5f), t, SPLAT_F(-4.244744249e-4f));
    q = FMA_F(q, t, SPLAT_F(4.123276830e-3f));
    q = FMA_F(q, t, SPLAT_F(-2.499534691e-2f));
    q = FMA_F(q, t, SPLAT_F(1.080911400e-1f));
    q = FMA_F(q, t, SPLAT_F(6.335157601e-1f));
    q = FMA_F(q, t, SPLAT_F(1.129432876e+0f));
    q = FMA_F(q, t, SPLAT_F(-1.579436168e-4f));
    return SELECT(a < SPLAT_F(0.87f), FMA_F(p, x, x), NAME(with_sign)(SPLAT_F(1.0f) - NAME(exp)(-q), x));
}

#undef MAGIC
#undef BITS
