/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_WIDE_H
#define FA_SCORE_WIDE_H

#include "score/cone.h"
#include "score/space.h"

/*
 * The cone's problem over so many references that nobody keeps their Gram matrix. A working set holds those that may have a weight; the Gram matrix of
 * the set alone is made, the problem is solved there, and one pass over all references finds those that would lower the objective, which join the set. Memory does not
 * grow with the square of the references, and neither does time. A solver is one thread's and allocates when it is created.
 */
typedef struct fa_wide fa_wide;

fa_status fa_wide_create(fa_context *context, const fa_dot_kernels *kernels, const fa_space *space, const fa_rows *rows, double ridge, fa_wide **out);
void fa_wide_destroy(fa_wide *wide);
uint64_t fa_wide_bytes(const fa_space *space, int64_t n); /* at least what it holds, and near that */

/* From now on `rows` are n of the references alone, pick[0 .. n); couplings, weights and `without` count them. NULL: all. */
void fa_wide_take(fa_wide *wide, const int64_t *pick, int64_t n);

/* As fa_cone_solve(); `work` counts all solves together. */
double fa_wide_solve(fa_wide *wide, const float *c, int64_t without, float *w, fa_cone_work *work);

#endif
