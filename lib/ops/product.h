/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_PRODUCT_H
#define FA_OPS_PRODUCT_H

#include "base/half.h"
#include "ops/ops.h"

/* The inner loops of convolutions and matrix products, each written once. */

/* y += a x */
static inline void fa_axpy(int64_t n, fa_real a, const fa_real *restrict x, fa_real *restrict y)
{
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* x . y, in eight partial sums so that the compiler may use vectors without reordering anything. */
static inline fa_real fa_dot(int64_t n, const fa_real *restrict x, const fa_real *restrict y)
{
    fa_real part[8] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) part[j] += x[i + j] * y[i + j];
    for (; i < n; i++) rest += x[i] * y[i];
    return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7])) + rest;
}

/* A factor of a layer's product as it is multiplied: `x` itself, or in fa_node.bf16 the nearest numbers of that type, written to `to`. What the products add up to is fa_real. */
static inline const fa_real *fa_factor(bool bf16, int64_t n, const fa_real *x, fa_real *to)
{
    for (int64_t i = 0; bf16 && i < n; i++) to[i] = fa_bfloat16_nearest((float)x[i]);
    return bf16 ? to : x;
}

/* Scratch bytes for the two factors of either pass: weights, and the input or the gradient. */
static inline size_t fa_factor_scratch(bool bf16, int64_t weights, int64_t input, int64_t gradient)
{
    return bf16 ? (size_t)(weights + (input > gradient ? input : gradient)) * sizeof(fa_real) : 0;
}

/* A matrix in memory: element (i, j) is data[i * row + j * col]. */
typedef struct fa_matrix {
    const fa_real *data;
    int64_t row, col;
} fa_matrix;

static inline fa_matrix fa_matrix_of(const fa_real *data, int64_t columns, bool transposed)
{
    fa_matrix m = {data, transposed ? 1 : columns, transposed ? columns : 1};
    return m;
}

static inline fa_matrix fa_matrix_transpose(fa_matrix m)
{
    fa_matrix t = {m.data, m.col, m.row};
    return t;
}

/* C += alpha A B with C [m, n] row-major, A m x k, B k x n. */
static inline void fa_product(int64_t m, int64_t n, int64_t k, fa_real alpha, fa_matrix a, fa_matrix b, fa_real *c)
{
    for (int64_t i = 0; i < m; i++) {
        const fa_real *left = a.data + i * a.row;
        fa_real *to = c + i * n;
        if (b.col == 1) {
            for (int64_t p = 0; p < k; p++) fa_axpy(n, alpha * left[p * a.col], b.data + p * b.row, to);
        } else if (b.row == 1 && a.col == 1) {
            for (int64_t j = 0; j < n; j++) to[j] += alpha * fa_dot(k, left, b.data + j * b.col);
        } else {
            for (int64_t j = 0; j < n; j++) {
                fa_real sum = 0;
                for (int64_t p = 0; p < k; p++) sum += left[p * a.col] * b.data[p * b.row + j * b.col];
                to[j] += alpha * sum;
            }
        }
    }
}

#endif
