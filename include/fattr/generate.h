/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_GENERATE_H
#define FATTR_GENERATE_H

#include <fattr/sketch.h>

typedef struct fa_generate_options {
    size_t struct_size;     /**< sizeof(fa_generate_options) of the caller */
    int64_t tokens;         /**< new tokens of each prompt, at most; default 32, 1 to 1048576 */
    const int64_t *lengths; /**< `[n]` tokens of each prompt, 1 to t, behind which its row is passed over; NULL (default): t */
    int64_t stop;           /**< a token that ends a response, whose last token it is; default -1: none */
    int64_t pad;            /**< what stands behind a response, a token that the model knows; default 0 */
    int32_t batch;          /**< prompts per pass; default 16, 1 to 4096 */
    fa_progress progress;   /**< NULL (default): none */
    void *progress_user;
    uint64_t timeout_ms;    /**< FA_ERR_CANCELLED after this many milliseconds; 0 (default): no limit */
} fa_generate_options;

/** Fills in the defaults. @param size sizeof(fa_generate_options) of the caller. */
FA_API void fa_generate_options_init(fa_generate_options *options, size_t size);

/**
 * A language model's own greedy continuation of prompts: token by token the largest logit, the first of equals. For causal models, whose output at position i `[n, length, vocabulary]`
 * does not see what stands behind it; every new token costs a pass over whole rows. Inputs called `attention_mask` (filled with 1) and `position_ids` (0, 1, ...) are made up.
 * @param prompts `[n, t]` integers, padded on the right (`lengths`); with a name it is for that input, otherwise for the first input of integers.
 * @param options NULL for the defaults.
 * @param tokens  set to int64 `[n, length]`: prompt, response, padding; `length` is what the model's input declares, or where that is open the longest prompt's and `tokens`.
 * @param mask    set to uint8 `[n, length]`: 1 where a token belongs to the response, as fa_score() and fa_refset_create() take it (FA_ARRAY_MASK). Both are owned by the caller.
 * @return FA_ERR_LIMIT for a prompt that leaves no room in the model's positions, FA_ERR_ARGUMENT for a token that is none (the message names node and prompt), FA_ERR_SHAPE for a model
 *         without an output at every position, FA_ERR_UNSUPPORTED for one with other inputs, FA_ERR_DTYPE, FA_ERR_NOT_FINITE, FA_ERR_CANCELLED, FA_ERR_MEMORY. Any thread.
 */
FA_API fa_status fa_model_generate(const fa_model *model, const fa_array *prompts, const fa_generate_options *options, fa_tensor **tokens, fa_tensor **mask);

#endif
