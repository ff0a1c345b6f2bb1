/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/batchnorm.h"

#include "kernels/cpu.h"

/* Plain loops over channels, which the compiler turns into vectors of the CPUs these are used on. */
#if FA_HAVE_AVX2
#define VECTORS FA_AVX2
#else
#define VECTORS
#endif

/* Channels and pixels that are summed in float before the sums go on in double; small enough to be read twice from the first-level cache. */
enum { SPAN = 64, BLOCK = 64 };

/* Blocks are merged by the pairwise update of Chan, Golub and LeVeque (1979), so that a mean far from 0 costs no digits. */
VECTORS void fa_batchnorm_statistics(int64_t before, int64_t n, int64_t channels, const float *x, double *mean, double *squares)
{
    for (int64_t c0 = 0; c0 < channels; c0 += SPAN) {
        const int64_t width = channels - c0 < SPAN ? channels - c0 : SPAN;
        double *whole = mean + c0, *apart = squares + c0;
        for (int64_t c = 0; c < width && !before; c++) whole[c] = apart[c] = 0;
        for (int64_t p0 = 0; p0 < n; p0 += BLOCK) {
            const int64_t count = n - p0 < BLOCK ? n - p0 : BLOCK;
            const float *from = x + p0 * channels + c0;
            float sum[SPAN] = {0}, square[SPAN] = {0};
            for (int64_t p = 0; p < count; p++)
                for (int64_t c = 0; c < width; c++) sum[c] += from[p * channels + c];
            for (int64_t c = 0; c < width; c++) sum[c] /= (float)count;
            for (int64_t p = 0; p < count; p++)
                for (int64_t c = 0; c < width; c++) {
                    const float e = from[p * channels + c] - sum[c];
                    square[c] += e * e;
                }
            const double share = (double)count / (double)(before + p0 + count);
            for (int64_t c = 0; c < width; c++) {
                const double step = (double)sum[c] - whole[c];
                whole[c] += step * share;
                apart[c] += (double)square[c] + step * step * (double)(before + p0) * share;
            }
        }
    }
}

VECTORS void fa_batchnorm_apply(int64_t n, int64_t channels, const float *x, const fa_batchnorm_map *m, float *y)
{
    const float *mean = m->mean, *factor = m->factor, *shift = m->shift, *residual = m->residual, least = m->relu ? 0.0f : -__builtin_inff();
    for (int64_t p = 0; p < n; p++, x += channels, y += channels) {
        if (residual) {
            for (int64_t c = 0; c < channels; c++) {
                const float v = (x[c] - mean[c]) * factor[c] + shift[c] + residual[c];
                y[c] = v < least ? least : v;
            }
            residual += channels;
        } else {
            for (int64_t c = 0; c < channels; c++) {
                const float v = (x[c] - mean[c]) * factor[c] + shift[c];
                y[c] = v < least ? least : v;
            }
        }
    }
}

VECTORS void fa_batchnorm_sums(int64_t n, int64_t channels, const float *x, const float *g, const float *mean, double *sum, double *moment)
{
    for (int64_t c0 = 0; c0 < channels; c0 += SPAN) {
        const int64_t width = channels - c0 < SPAN ? channels - c0 : SPAN;
        for (int64_t p0 = 0; p0 < n; p0 += BLOCK) {
            float s[SPAN] = {0}, m[SPAN] = {0};
            for (int64_t p = p0; p < n && p < p0 + BLOCK; p++)
                for (int64_t c = 0; c < width; c++) {
                    const int64_t at = p * channels + c0 + c;
                    s[c] += g[at];
                    m[c] += g[at] * (x[at] - mean[c0 + c]);
                }
            for (int64_t c = 0; c < width; c++) {
                sum[c0 + c] += (double)s[c];
                moment[c0 + c] += (double)m[c];
            }
        }
    }
}

VECTORS void fa_batchnorm_gradient(int64_t n, int64_t channels, const float *x, const float *g, const float *mean, const float *factor, const float *level,
                                   const float *slope, float *grad_x, bool add)
{
    for (int64_t p = 0; p < n; p++, x += channels, g += channels, grad_x += channels) {
        if (add)
            for (int64_t c = 0; c < channels; c++) grad_x[c] += factor[c] * g[c] + level[c] + slope[c] * (x[c] - mean[c]);
        else
            for (int64_t c = 0; c < channels; c++) grad_x[c] = factor[c] * g[c] + level[c] + slope[c] * (x[c] - mean[c]);
    }
}
