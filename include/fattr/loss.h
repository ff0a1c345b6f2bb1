/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_LOSS_H
#define FATTR_LOSS_H

#include <fattr/array.h>

/*
 * What a network's output is, and the loss whose gradient there a signature starts from (`fa_sketch_options.loss`; docs/method.md, "Outputs"). z is the output taken as
 * logits, `[n, ...]`; a trailing Softmax, LogSoftmax or Sigmoid is looked through. Losses over several positions have one gradient, their mean's, which is taken to unit length
 * as a whole. What `fa_result` then says:
 *
 *     loss                    predicted                                  confidence
 *     margin, cross-entropy   argmax z                                   its softmax probability
 *     multi-label             the label with the largest z > 0, or -1    geometric mean of the probabilities of each label's own answer
 *     per-token, per-pixel    -1                                         geometric mean of the probabilities of each position's own class
 *     next-token              -1                                         geometric mean of the tokens' probabilities, 1 / perplexity
 *     regression, embedding,  -1                                         NaN
 *     host
 *
 * The score `class` takes references with predicted -1 as one class. `drop_misclassified` is for margin and cross-entropy.
 */
#define FA_LOSS_MARGIN 0        /**< `[n, classes]`: mean of z_k over k != y, minus z_y, y the predicted class; default */
#define FA_LOSS_CROSS_ENTROPY 1 /**< `[n, classes]`: -log softmax(z)_y */
#define FA_LOSS_NEXT_TOKEN 2    /**< `[n, tokens, classes]`: mean over the tokens i of the margin of y, the token i + 1 of the model's first input of integers [n, tokens]; what is
                                 *   reported, and the losses of a trace sketch, are its negative log-likelihood */
#define FA_LOSS_PER_TOKEN 3     /**< `[n, positions, classes]`, or any shape before the classes: mean over positions of the margin of the class predicted there (tagging, CTC recognisers) */
#define FA_LOSS_PER_PIXEL 4     /**< `[n, classes, height, width]`, or any shape behind the classes: as per-token; one channel stands for two classes, z against 0 (segmentation,
                                 *   detection heads) */
#define FA_LOSS_MULTI_LABEL 5   /**< `[n, labels]` or any shape of independent yes-or-no answers, one of them too: mean of the margins of z_k against 0 in favour of the sign it has */
#define FA_LOSS_REGRESSION 6    /**< any shape: the sum of the outputs with fixed signs (of one output: itself); losses of a trace sketch: Gaussian, mean of (z - own z)^2 / 2 */
#define FA_LOSS_EMBEDDING 7     /**< any shape: the same; losses of a trace sketch: 1 - cosine(z, own z) */
#define FA_LOSS_HOST 8          /**< any shape: the host gives the gradient, `fa_sketch_options.output_gradient` and `fa_scorer_options.output_gradient`; gradient sketches only */
#define FA_LOSS_COUNT 9

/** "margin", "cross-entropy", "next-token", ...; NULL for a number that is no loss. Static storage. */
FA_API const char *fa_loss_name(int32_t loss);

/** The loss's number, or -1 for an unknown name. */
FA_API int32_t fa_loss_from_name(const char *name);

/** Outputs of some inputs, for a host that gives the gradient there. Owned by the library, for the time of the call. */
typedef struct fa_output_batch {
    size_t struct_size;
    int64_t n;              /**< inputs, at least 1 */
    int64_t length;         /**< numbers in one input's output */
    const float *outputs;   /**< `[n, length]`, finite, in the model's own layout; before a trailing Softmax, LogSoftmax or Sigmoid */
    const fa_array *inputs; /**< `[input_count]` the arrays that these inputs are rows of, in the model's order: those of the reference set, or of the call to fa_score() */
    int64_t first;          /**< output i belongs to row first + i of them */
    int32_t input_count;
} fa_output_batch;

/**
 * Gives the gradient of a loss of the host's own at the outputs (FA_LOSS_HOST). Called on any of the context's threads while a sketch is built, several at a time, and on the
 * calling thread while scoring. Must depend on each input alone, or scores depend on how inputs are grouped.
 * @param gradient `[n, length]` to be written, finite; taken to unit length input by input. All 0: the input has no signal.
 * @return FA_OK, or another status with fa_error_set(): the call that needed it returns that.
 */
typedef fa_status (*fa_output_gradient)(void *user, const fa_output_batch *batch, float *gradient);

#endif
