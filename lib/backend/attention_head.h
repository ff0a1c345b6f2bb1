/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_ATTENTION_HEAD_H
#define FA_BACKEND_ATTENTION_HEAD_H

#include "base/pool.h"

#include <stddef.h>
#include <stdint.h>

/*
 * One head of attention as matrices that lie in their tensors: what the operators with fast attention share. What is done to scores before they are weights, and to their
 * gradient, is theirs. Gradients at q, k and v are laid out as these are and added to.
 */

typedef struct fa_head {
    int64_t t, s, d, e;                    /* queries, keys, length of a key, length of a value */
    const float *q, *k, *v;                /* [t, d], [d, s] and [s, e] */
    int64_t q_row, k_row, k_col, v_row;    /* k_row or k_col is 1; elements of other rows follow each other */
    int64_t y_row;                         /* of outputs [t, e] and their gradient */
    void *packed;                          /* fa_head_packed() bytes */
    fa_pool *pool;                  /* whose threads share each product, or NULL */
} fa_head;

size_t fa_head_packed(int64_t s, int64_t d, int64_t e);             /* for the largest second factor of the products below */
size_t fa_head_square(int64_t t, int64_t s);                       /* bytes of a [t, s] in scratch, FA_ALIGN-aligned */

/* The weights of scores, in their place (kernels/rowwise.h), and the gradient at scores from that at weights, in its place. */
void fa_head_softmax(const fa_head *h, float scale, const float *mask, int64_t mask_step, float *scores);
void fa_head_softmax_gradient(const fa_head *h, float scale, const float *weights, float *z);
void fa_head_scores(const fa_head *h, float *scores);                /* [t, s] q k */
void fa_head_output(const fa_head *h, const float *weights, float *y); /* weights v */
void fa_head_values_gradient(const fa_head *h, const float *weights, const float *g, float *gv);
void fa_head_weights_gradient(const fa_head *h, const float *g, float *z); /* [t, s] */
void fa_head_factors_gradient(const fa_head *h, const float *z, float *gq, float *gk); /* z: the gradient at q k. Either may be NULL */

#endif
