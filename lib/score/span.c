/* SPDX-License-Identifier: Apache-2.0 */
#include "score/span.h"

#include <string.h>

static double clamp(double score)
{
    return score < 0 ? 0 : score > 1 ? 1 : score;
}

double fa_span_solve(const fa_dot_kernels *k, const float *factor, int64_t n, double ridge, const float *c, float *w)
{
    fa_cholesky_solve(k, factor, n, c, 0, w);
    double cw = 0, ww = 0;
    for (int64_t i = 0; i < n; i++) {
        cw += (double)c[i] * w[i];
        ww += (double)w[i] * w[i];
    }
    /* 1 - 2 c'w + w'K w, where K w = c - ridge w */
    return clamp(1 - cw - fa_ridge_used(ridge) * ww);
}

double fa_span_leave_out(const fa_dot_kernels *k, const float *factor, int64_t n, double ridge, int64_t j, float *w)
{
    ridge = fa_ridge_used(ridge);
    memset(w, 0, (size_t)n * sizeof *w);
    w[j] = 1;
    fa_cholesky_solve(k, factor, n, w, j, w);
    double own = w[j], ww = 0;
    w[j] = 0;
    for (int64_t i = 0; i < n; i++) {
        w[i] = (float)(-w[i] / own);
        ww += (double)w[i] * w[i];
    }
    /* c'w = 1 + ridge - 1 / B_jj by the j-th row of (gram + ridge I) B = I */
    return clamp(1 / own - ridge - ridge * ww);
}
