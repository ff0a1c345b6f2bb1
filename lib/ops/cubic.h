/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_CUBIC_H
#define FA_OPS_CUBIC_H

/* Weights of the four neighbours -1, 0, 1, 2 of a point `t` in [0, 1] behind neighbour 0, and their slopes by t: Keys' cubic convolution with
 * parameter `a` (R. G. Keys, IEEE Trans. ASSP 29, 1981). */
static inline void fa_cubic_weights(double t, double a, double w[4])
{
    double u = t + 1, v = 1 - t, z = 2 - t;
    w[0] = ((a * u - 5 * a) * u + 8 * a) * u - 4 * a;
    w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    w[2] = ((a + 2) * v - (a + 3)) * v * v + 1;
    w[3] = ((a * z - 5 * a) * z + 8 * a) * z - 4 * a;
}

/* The same convolution's weight of a neighbour at the distance x >= 0. */
static inline double fa_cubic(double x, double a)
{
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static inline void fa_cubic_slopes(double t, double a, double w[4])
{
    double u = t + 1, v = 1 - t, z = 2 - t;
    w[0] = (3 * a * u - 10 * a) * u + 8 * a;
    w[1] = (3 * (a + 2) * t - 2 * (a + 3)) * t;
    w[2] = -(3 * (a + 2) * v - 2 * (a + 3)) * v;
    w[3] = -((3 * a * z - 10 * a) * z + 8 * a);
}

#endif
