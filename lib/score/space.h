/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_SPACE_H
#define FA_SCORE_SPACE_H

#include "base/pool.h"
#include "kernels/dot.h"
#include "sketch/fixed.h"

/*
 * The geometry of signatures. A signature is kept as its layers' blocks, each at unit length, with the share each had of the length of all
 * together. A coupling, the cosine of two signatures, is sum_l weight_l <block_l(x), block_l(r)>, where with tau = 1 / sqrt(layers that have
 * a nonzero block)
 *     plain        weight_l = share_l(x) share_l(r)
 *     layer-unit   weight_l = tau(x) tau(r)
 *     both         the mean of the two: both halves of [unit(plain), unit(layer-unit)] / sqrt 2 are the same blocks under different weights.
 */
typedef struct fa_space {
    int32_t n_layer;
    int32_t blocks;        /* FA_BLOCKS_... */
    const int64_t *offset; /* [n_layer + 1]: block l is elements offset[l] ... offset[l + 1] - 1 of a row */
} fa_space;

/* Signatures as fa_space_normalise() leaves them. */
typedef struct fa_rows {
    int64_t n;
    const float *block; /* [n, offset[n_layer]] */
    const float *share; /* [n, n_layer]; > 0 exactly where the block is nonzero */
    const float *tau;   /* [n] 1 / sqrt(nonzero blocks), or 0: from fa_space_tau() */
    const fa_fixed *fixed; /* what couplings with these references read instead of `block`; NULL: `block` */
    const int64_t *pick; /* [n] which rows these are, for fa_space_couplings(); NULL: the first n */
} fa_rows;

#define FA_ROW_ZERO 0 /* no signal: zero blocks and shares */
#define FA_ROW_SIGNAL 1
#define FA_ROW_NOT_FINITE (-1)

/* Brings a row of raw blocks to unit blocks and shares, in place. Norms are taken in double, so a row scaled by 1e-30 gives the same result; the same bits by any kernels. */
int32_t fa_space_normalise(const fa_space *space, const fa_dot_kernels *kernels, float *block, float *share);

void fa_space_tau(const fa_space *space, int64_t n, const float *share, float *tau);

int64_t fa_space_signature_length(const fa_space *space);

/* How much plain and layer-unit blocks count. */
void fa_space_mixture(const fa_space *space, float *plain, float *unit);

/* Rounding may carry a cosine past 1, a little: back to 1, or -1. */
void fa_space_bound(int64_t n, int64_t columns, float *couplings, int64_t ld);

/* out[i * out_ld + j] = coupling of x's row i with r's row j: the same bits for any x->n. `scratch`: fa_space_scratch() bytes. */
size_t fa_space_scratch(const fa_space *space);
void fa_space_couplings(const fa_space *space, const fa_dot_kernels *kernels, const fa_rows *x, const fa_rows *r, float *out, int64_t out_ld,
                        float *scratch);

/* Couplings of the rows among themselves, [n, n], exactly symmetric, the diagonal exactly 1 or, without signal, 0. `pool` NULL: this thread
 * alone. The same bits for any number of threads. */
fa_status fa_space_gram(fa_context *context, const fa_space *space, const fa_dot_kernels *kernels, const fa_rows *rows, fa_pool *pool, float *gram);

/* sum_j weight[j] * (row which[j] of `rows`), as two rows sum [2, offset[n_layer]]: what the first couples to under shares of 1 and tau of 0 and the second
 * under shares of 0 and tau of 1 add up to the sum's coupling. */
void fa_space_sum(const fa_space *space, const fa_rows *rows, const int64_t *which, const float *weight, int64_t n, float *sum);

/* out [signature_length] = the unit signature of x's row `i` minus sum_j weight[j] * that of r's row j. */
void fa_space_residual(const fa_space *space, const fa_rows *x, int64_t i, const fa_rows *r, const float *weight, float *out);

#endif
