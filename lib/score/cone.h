/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_CONE_H
#define FA_SCORE_CONE_H

#include "base/alloc.h"
#include "kernels/dot.h"

/*
 * Non-negative ridge least squares on a Gram matrix: w = argmin over w >= 0 of w'(gram + ridge I) w - 2 c'w, the weights with which references
 * explain an input. A solver is one thread's; it holds its memory from the start and allocates nothing later.
 */
typedef struct fa_cone fa_cone;

/* `gram` [n, n], symmetric, 1 or 0 on the diagonal, is borrowed. */
fa_status fa_cone_create(fa_context *context, const fa_dot_kernels *kernels, const float *gram, int64_t n, double ridge, fa_cone **out);
void fa_cone_destroy(fa_cone *cone);
void fa_cone_take(fa_cone *cone, int64_t n); /* from now on the first n references alone, at most those it was made for; rows of `gram` stay as long as they are */
uint64_t fa_cone_bytes(int64_t n); /* at least what it holds, and near that for more than a few references */

typedef struct fa_cone_work {
    int64_t steps, rounds, active, conjugate; /* passes of coordinate descent, solves on a set, weights that are not zero, steps of conjugate gradients */
} fa_cone_work;

/* |s - sum_j w_j r_j|^2 in [0, 1] for the unit signature s whose couplings are c [n]. `without` >= 0: that reference is left out. w [n].
 * `work` may be NULL. */
double fa_cone_solve(fa_cone *cone, const float *c, int64_t without, float *w, fa_cone_work *work);

#endif
