/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_CHOLESKY_H
#define FA_SCORE_CHOLESKY_H

#include "kernels/dot.h"

/* The ridge that is used where `ridge` is asked for: at least 1e-5. The Gram matrix is known to fp32 rounding; a smaller ridge would fit that. */
double fa_ridge_used(double ridge);

/* factor [n, n] = lower Cholesky factor of gram + ridge I, zeros above the diagonal; `factor` may be `gram`. Always finite. */
void fa_cholesky(const fa_dot_kernels *kernels, const float *gram, int64_t n, double ridge, float *factor);

/* x = (factor factor')^-1 b; x may be b. Elements of b before `first` must be zero. */
void fa_cholesky_solve(const fa_dot_kernels *kernels, const float *factor, int64_t n, const float *b, int64_t first, float *x);

#endif
