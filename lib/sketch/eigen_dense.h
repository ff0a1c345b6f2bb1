/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_EIGEN_DENSE_H
#define FA_SKETCH_EIGEN_DENSE_H

#include <fattr/status.h>

/* All eigenpairs of the symmetric matrix a [n, n], which is overwritten: values [n] in no order, row i of `vectors` [n, n] the eigenvector of
 * values[i]. `scratch` [3 n]. */
fa_status fa_eigen_dense(int64_t n, double *a, double *values, double *vectors, double *scratch);

/* order[0 .. k) = indices of the k largest values, descending, the first of equals first. */
void fa_eigen_order(const double *values, int64_t n, int64_t k, int64_t *order);

#endif
