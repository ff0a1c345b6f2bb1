/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_SPAN_H
#define FA_SCORE_SPAN_H

#include "score/cholesky.h"

/* |s - sum_j w_j r_j|^2 in [0, 1] with w = (gram + ridge I)^-1 c [n], c the couplings of the unit signature s. `factor` from fa_cholesky(). */
double fa_span_solve(const fa_dot_kernels *kernels, const float *factor, int64_t n, double ridge, const float *c, float *w);

/* The same for reference j against the others: with B = (gram + ridge I)^-1, w_i = -B_ij / B_jj, w_j = 0. */
double fa_span_leave_out(const fa_dot_kernels *kernels, const float *factor, int64_t n, double ridge, int64_t j, float *w);

#endif
