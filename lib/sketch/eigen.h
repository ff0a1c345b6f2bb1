/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_EIGEN_H
#define FA_SKETCH_EIGEN_H

#include "base/alloc.h"
#include "kernels/dot.h"

/*
 * The k largest eigenvalues of a symmetric positive semidefinite matrix, descending, never below 0, and their eigenvectors: values [k], vectors
 * [n, k] row-major, orthonormal columns. `lower` is the lower triangle packed row by row: element (i, j), j <= i, at i (i + 1) / 2 + j.
 * 1 <= k <= n. Deterministic for a seed. FA_ERR_NOT_FINITE, FA_ERR_MEMORY.
 */
fa_status fa_eigen_top(fa_context *context, const fa_dot_kernels *kernels, const double *lower, int64_t n, int64_t k, uint64_t seed,
                       double *values, double *vectors);

/* Bytes of the context that it takes while it works. */
uint64_t fa_eigen_bytes(int64_t n, int64_t k);

#endif
