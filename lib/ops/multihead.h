/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_MULTIHEAD_H
#define FA_OPS_MULTIHEAD_H

#include "ops/ops.h"

/*
 * Attention of operator set 23 and later, (Q, K, V, mask?, past key?, past value?, lengths?) -> Y, present key?, present value?, scores?: softmax(cap(scale Q K' + mask)) V for every
 * head, cap(x) = softcap tanh(x / softcap). Heads are an axis in front of the places, [n, heads, places, size], or lie in the rows, [n, places, heads size]; several query heads in
 * a row share a key head. Keys and values of earlier places come before K and V. A key takes no part where the mask is false or -inf or ends before it, behind a query's own place
 * (is_causal), and from its input's length on; a query that sees no key has Y 0. With lengths and no past, queries are the last places before them.
 */
enum { FA_MULTIHEAD_Q, FA_MULTIHEAD_K, FA_MULTIHEAD_V, FA_MULTIHEAD_MASK, FA_MULTIHEAD_PAST_K, FA_MULTIHEAD_PAST_V, FA_MULTIHEAD_LENGTHS, FA_MULTIHEAD_INPUTS };
enum { FA_MULTIHEAD_Y, FA_MULTIHEAD_PRESENT_K, FA_MULTIHEAD_PRESENT_V, FA_MULTIHEAD_SCORES, FA_MULTIHEAD_OUTPUTS };

/* Steps in elements of a tensor of heads; the numbers of a place lie together. */
typedef struct fa_multihead_side {
    int64_t n, head, place;
} fa_multihead_side;

typedef struct fa_multihead {
    int64_t n, heads, kv_heads, t, past, s, d, e; /* t queries; s keys, those of the past first; sizes of a query and key, and of a value */
    fa_multihead_side q, k, v, y;
    int64_t mask_step[4], mask_width; /* of [n, heads, t, s]; keys from mask_width on take no part */
    double scale, softcap;
    bool causal, real_mask;
    int64_t mode; /* qk_matmul_output_mode */
} fa_multihead;

/* Sets params, a fa_multihead. */
fa_status FA_R(fa_multihead_prepare)(fa_op_setup *s);

#endif
