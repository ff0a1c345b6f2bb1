/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_PRODUCT_H
#define FA_OPS_PRODUCT_H

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
