/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_ROWWISE_H
#define FA_KERNELS_ROWWISE_H

#include "kernels/kernels.h"

#include <stdint.h>

/*
 * What transformers do to rows of numbers beside multiplying them by matrices. One table per instruction set; nothing needs alignment, every row is worked on in the same order
 * wherever it lies. `add`: the gradient is added to what is there.
 */
typedef struct fa_rowwise {
    /* y = softmax of scale x + mask over each of `rows` rows of n; y may be x. mask: NULL, or row r's at mask + r * mask_step. A row that is -inf throughout is NaN. */
    void (*softmax)(int64_t rows, int64_t n, float scale, const float *mask, int64_t mask_step, const float *x, float *y);
    /* gx = scale y (g - <g, y>), row by row; gx may be g. */
    void (*softmax_gradient)(int64_t rows, int64_t n, float scale, const float *y, const float *g, float *gx, bool add);
    /* y = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias; `raw`: with 0 for the mean; bias NULL: none. */
    void (*normalise)(int64_t rows, int64_t n, bool raw, float epsilon, const float *x, const float *scale, const float *bias, float *y);
    /* From the same x. gx as `add` says; gscale and gbias [n] are added to; each of the three may be NULL. */
    void (*normalise_gradient)(int64_t rows, int64_t n, bool raw, float epsilon, const float *x, const float *scale, const float *g, float *gx, bool add, float *gscale, float *gbias);
    /* x / 2 (1 + erf(x / sqrt(2))), or (tanh) x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
    void (*gelu)(int64_t n, bool tanh, const float *x, float *y);
    void (*gelu_gradient)(int64_t n, bool tanh, const float *x, const float *g, float *gx, bool add);
    void (*exp)(int64_t n, const float *x, float *y);
    void (*tanh)(int64_t n, const float *x, float *y);
    void (*erf)(int64_t n, const float *x, float *y);
} fa_rowwise;

/* NULL for FA_ISA_NONE: the reference operators serve then. */
const fa_rowwise *fa_rowwise_for(fa_isa isa);

#endif
