/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_LOSS_H
#define FA_BACKEND_LOSS_H

#include <fattr/sketch.h>

/* Cross-entropy of one row of logits, worked out in double. */
typedef struct fa_loss {
    int64_t predicted; /* argmax, the first of equals */
    double confidence; /* softmax probability of it */
    double loss;       /* log1p(sum_{k != y} exp(z_k - z_y)) */
} fa_loss;

/*
 * `target` < 0: the predicted class. `gradient` (may be NULL) gets the gradient of the loss `kind`, FA_LOSS_..., at the logits at unit length:
 * (q, -1 at y) / |(q, -1)|, where q sums to 1 over the classes other than y. Margin: q is uniform. Cross-entropy: q is the softmax over those
 * classes, a form that cannot underflow on a confident input.
 */
void fa_loss_row(const float *logits, int64_t classes, int64_t target, int32_t kind, fa_loss *out, float *gradient);

/* The gradient itself: softmax, less 1 at the target. */
void fa_loss_gradient(const float *logits, int64_t classes, int64_t target, float *gradient);

#endif
