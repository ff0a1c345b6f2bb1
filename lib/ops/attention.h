/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_ATTENTION_H
#define FA_OPS_ATTENTION_H

#include "ops/ops.h"

/*
 * Attention, domain "fattr": what a rewrite puts in the place of the nodes that exporters write it as (backend/rewrite_attention.c).
 *   (q, k, v, mask?, keep?, divisor?) -> y, weights
 * weights = softmax(mask + (keep ? scale q k' : fill)) over the last axis, or with real numbers for keep softmax(mask + keep scale q k'), y = weights v. Seen through the permutations q_perm, k_perm and v_perm (absent: as they
 * are), q is [..., t, d], k [..., d, s], v [..., s, e]; y is the permutation y_perm of [..., t, e], weights are [..., t, s]. The axes in front, mask (real) and
 * keep stretch as NumPy's do. divisor: one number that shapes decide, by which scale is divided, or (multiplies 1) multiplied.
 */
enum { FA_ATTENTION_Q, FA_ATTENTION_K, FA_ATTENTION_V, FA_ATTENTION_MASK, FA_ATTENTION_KEEP, FA_ATTENTION_DIVISOR, FA_ATTENTION_INPUTS };

/* One operand as a batch of matrices: steps in elements along the axes in front, and along rows and columns. */
typedef struct fa_attention_side {
    int64_t batch[FA_MAX_DIMS], row, col;
} fa_attention_side;

typedef struct fa_attention {
    int32_t axes; /* in front */
    int64_t dim[FA_MAX_DIMS], heads, t, s, d, e; /* heads: product of dim */
    fa_attention_side side[FA_ATTENTION_DIVISOR], y, weights; /* mask and keep as [t, s] */
    fa_real scale, fill;
    bool factors; /* keep is real */
} fa_attention;

/* Sets params, a fa_attention. */
fa_status FA_R(fa_attention_prepare)(fa_op_setup *s);
/* Where matrix `head` of an operand begins. */
int64_t FA_R(fa_attention_place)(const fa_attention *p, const fa_attention_side *side, int64_t head);

#endif
