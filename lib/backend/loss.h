/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_LOSS_H
#define FA_BACKEND_LOSS_H

#include <fattr/loss.h>
#include <stdbool.h>

/* How one input's output is read: as positions, each of which has one of several classes, or as numbers. */
#define FA_OUTPUT_CLASSES 0 /* one position */
#define FA_OUTPUT_TOKENS 1  /* [positions ..., classes] */
#define FA_OUTPUT_PIXELS 2  /* [classes, positions ...]; one channel stands for two classes */
#define FA_OUTPUT_LABELS 3  /* [...]: every number is a position of two classes */
#define FA_OUTPUT_NUMBERS 4 /* [...]: no classes */

/* What FA_LOSS_... says of a loss. */
typedef struct fa_loss_kind {
    const char *name;
    int32_t output;    /* FA_OUTPUT_... */
    int32_t classes;   /* at least so many */
    bool margin;       /* the gradient's q is uniform over the other classes, and positions count alike */
    const char *shape; /* in words, for messages */
} fa_loss_kind;

const fa_loss_kind *fa_loss_kind_of(int32_t loss);
int32_t fa_loss_number(const char *name); /* -1: there is none of this name */

/* One position under the cross-entropy of a class y, worked out in double. */
typedef struct fa_position {
    double others; /* sum over k != y of exp(z_k - top) */
    double square; /* and of its square */
    double lead;   /* log sum over k != y of exp(z_k - z_y): the log odds against y */
    float top;     /* the largest logit but y's */
    float weight;  /* 0: the position is no part of the loss, and the rest is not set */
    int64_t y;
} fa_position;

/* Logits z[k * step] of `classes` classes, or of one that stands for two: z against 0. `target` < 0: the largest, the first of equals. */
void fa_position_look(const float *z, int64_t classes, int64_t step, int64_t target, fa_position *out);

/* log(1 + exp(lead)) = -log softmax(z)_y, nats, and the log of the other classes' probability. */
double fa_position_loss(const fa_position *position);
double fa_position_log_rest(const fa_position *position);

/* |(q, -1)|^2 */
double fa_position_square(const fa_position *position, int64_t classes, bool margin);

/* scale (q, -1 at y), where q sums to 1 over the classes other than y. Margin: q is uniform. Otherwise the softmax over those classes, a form that cannot
 * underflow on a confident input; with exp(fa_position_log_rest()) as its scale it is the gradient of the cross-entropy. */
void fa_position_gradient(const fa_position *position, const float *z, int64_t classes, int64_t step, bool margin, double scale, float *gradient);

#endif
