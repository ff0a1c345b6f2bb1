/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_GENERATE_H
#define FA_BACKEND_GENERATE_H

#include "backend/pass.h"

/* Greedy continuation: every new token is the largest logit behind what stands before it, the first of equals. The whole sequence is run again for each. */
typedef struct fa_generation {
    const fa_program *program;
    fa_context *context;
    const fa_array *prompts; /* [n, t] integers, checked */
    const int64_t *lengths;  /* [n] 1 to t; NULL: t */
    int64_t tokens, stop, pad, batch; /* as fa_generate_options */
    fa_status (*step)(void *user, int64_t made); /* called after every pass with how many new tokens of how many prompts it has settled */
    void *user;
} fa_generation;

/* Length of the rows that come of it: what the model's input declares, or the longest prompt and its response. FA_ERR_LIMIT for a prompt whose response would not fit, FA_ERR_UNSUPPORTED
 * for a model with inputs that cannot be made up. */
fa_status fa_generation_length(const fa_generation *generation, int64_t *length);

/* x [n, length]: prompt, response, padding. mask [n, length]: 1 where the response is. */
fa_status fa_generation_run(const fa_generation *generation, int64_t length, int64_t *x, uint8_t *mask);

#endif
