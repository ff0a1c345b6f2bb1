/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_BATCHNORM_H
#define FA_KERNELS_BATCHNORM_H

#include <stdbool.h>
#include <stdint.h>

/* Normalisation by the batch's own statistics on channels-last data: n pixels of `channels`. For CPUs on which fa_kernels_available(). */

/* Adds n pixels to the mean and to the sum of squared deviations from it of `before` pixels; with before 0 begins both. */
void fa_batchnorm_statistics(int64_t before, int64_t n, int64_t channels, const float *x, double *mean, double *squares);

/* y = (x - mean) factor + shift + residual, and max(0, ...) of it with `relu`; residual may be NULL. */
typedef struct fa_batchnorm_map {
    const float *mean, *factor, *shift; /* [channels] */
    const float *residual;
    bool relu;
} fa_batchnorm_map;

void fa_batchnorm_apply(int64_t n, int64_t channels, const float *x, const fa_batchnorm_map *map, float *y);

/* sum[c] += sum over pixels of g, moment[c] += sum of g (x - mean). */
void fa_batchnorm_sums(int64_t n, int64_t channels, const float *x, const float *g, const float *mean, double *sum, double *moment);

/* grad_x = factor g + level + slope (x - mean), or += with `add`. */
void fa_batchnorm_gradient(int64_t n, int64_t channels, const float *x, const float *g, const float *mean, const float *factor, const float *level, const float *slope,
                           float *grad_x, bool add);

#endif
