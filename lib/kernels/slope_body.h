/* SPDX-License-Identifier: Apache-2.0 */
/* Derivatives that are taken of vectors in registers, too. Included once per instruction set by a file that has defined vf, vi, NAME, TARGET, FMA_F, SPLAT_F and SELECT(mask, a, b); the
 * functions are that file's own. The derivative of what has corners is that of the reference operators. */

FA_INLINE TARGET vf NAME(where)(vi mask, vf x)
{
    return (vf)(mask & (vi)x);
}

FA_INLINE TARGET vf NAME(relu_at)(vf x)
{
    return NAME(where)(x > SPLAT_F(0.0f), SPLAT_F(1.0f));
}

FA_INLINE TARGET vf NAME(hard_swish_at)(vf x)
{
    return SELECT(x >= SPLAT_F(3.0f), SPLAT_F(1.0f), NAME(where)(x > SPLAT_F(-3.0f), FMA_F(x, SPLAT_F(1.0f / 3), SPLAT_F(0.5f))));
}
