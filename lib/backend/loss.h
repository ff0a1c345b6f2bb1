/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_LOSS_H
#define FA_BACKEND_LOSS_H

#include <fattr/status.h>

/* Cross-entropy of one row of logits, worked out in double. */
typedef struct fa_loss {
    int64_t predicted; /* argmax, the first of equals */
    double confidence; /* softmax probability of it */
    double loss;       /* log1p(sum_{k != y} exp(z_k - z_y)) */
} fa_loss;

/*
 * `target` < 0: the predicted class. `gradient` (may be NULL) gets the direction of the loss's gradient at the logits, at unit length: with q the
 * softmax over the classes other than y it is (q, -1 at y) / |(q, -1)|, a form that cannot underflow on a confident input.
 */
void fa_loss_cross_entropy(const float *logits, int64_t classes, int64_t target, fa_loss *out, float *gradient);

/* The gradient itself: softmax, less 1 at the target. */
void fa_loss_gradient(const float *logits, int64_t classes, int64_t target, float *gradient);

#endif
