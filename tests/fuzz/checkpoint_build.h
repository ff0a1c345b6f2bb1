/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_CHECKPOINT_BUILD_H
#define TESTS_FUZZ_CHECKPOINT_BUILD_H

#include "sketch/checkpoint.h"

#include <stdlib.h>

/* A build of two chains with three draws each of nine weights and one mean and variance, three references and two calibration inputs: what the corpus of checkpoints is
 * made for. `request` is all zeros. */
static inline fa_sketch *checkpoint_build(fa_context *context, int32_t sampler, int32_t storage)
{
    fa_sketch *s;
    if (fa_sketch_new(context, NULL, &s) != FA_OK) abort();
    fa_sketch_body *b = s->body;
    fa_sketch_trace *t = b->trace = fa_arena_new(&b->arena, sizeof *t);
    fa_trace_parameter *parameter = fa_arena_array(&b->arena, 2, sizeof *parameter);
    if (!t || !parameter) abort();
    parameter[0] = (fa_trace_parameter){.name = "w", .rows = 3, .row_length = 2};
    parameter[1] = (fa_trace_parameter){.name = "b", .rows = 3, .row_length = 1};
    t->options = (fa_trace_options){.sampler = sampler, .storage = storage, .chains = 2, .draws = 3, .burn_in = 4, .thinning = 2, .minibatch = 2, .gamma = 1};
    t->n_parameter = 2;
    t->parameter = parameter;
    t->n_statistics = sampler == FA_SAMPLER_GAUSSIAN ? 0 : 2;
    b->n_reference = 3;
    const fa_trace_chain chains[2] = {{.seed = 1, .draws = 3}, {.seed = 1, .id = 1, .draws = 3}};
    if (fa_trace_lay_out(&b->arena, t) != FA_OK || fa_trace_new(b, chains, 2) != FA_OK || fa_sketch_new_calibration(s, 2) != FA_OK) abort();
    return s;
}

#endif
