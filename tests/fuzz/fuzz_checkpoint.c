/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint_build.h"

#include <fattr/fattr.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* Any bytes as the checkpoint of a build under way: an error with words, or draws, losses and a state in range. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds) abort();
}

static void use(const fa_sketch *s, const fa_checkpoint *c)
{
    const fa_sketch_trace *t = s->body->trace;
    check(c->chain >= 0 && c->chain < t->n_chain && c->draw >= 0 && c->draw <= 6 && c->state.step >= 0);
    for (int64_t i = 0; i < 3 * 6; i++) check(t->loss[i] >= 0 && isfinite(t->loss[i]));
    for (int64_t i = 0; i < 2 * 6; i++) check(s->calibration_loss[i] >= 0 && isfinite(s->calibration_loss[i]));
    check(!c->state.weights == (t->options.sampler == FA_SAMPLER_GAUSSIAN));
    for (int64_t i = 0; c->state.weights && i < t->layout.n_weight; i++) check(isfinite(c->state.weights[i]) && c->state.second_moment[i] >= 0);
    const float trained[9] = {0};
    float weights[9];
    for (int64_t d = 0; d < c->draw; d++) {
        fa_trace_weights(s->body, d, trained, weights);
        for (int i = 0; i < 9; i++) check(isfinite(weights[i]));
    }
}

static void read_as(fa_context *context, int32_t sampler, int32_t storage, const uint8_t *data, size_t size)
{
    fa_arena arena = {.context = context};
    fa_checkpoint c = {.draw = 0};
    fa_sketch *s = checkpoint_build(context, sampler, storage);
    fa_status status = fa_checkpoint_parse(s, &c, data, size, &arena);
    if (status == FA_OK) use(s, &c);
    else
        check((status == FA_ERR_FORMAT || status == FA_ERR_CHECKSUM || status == FA_ERR_VERSION || status == FA_ERR_MISMATCH || status == FA_ERR_MEMORY) &&
              fa_error_message()[0] != '\0');
    fa_arena_clear(&arena);
    fa_sketch_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fa_context_options o;
    fa_context *context;
    fa_context_options_init(&o, sizeof o);
    o.memory_limit = 64u << 20;
    if (fa_context_create(&o, &context) != FA_OK) abort();
    read_as(context, FA_SAMPLER_GAUSSIAN, FA_DRAWS_DEFAULT, data, size);
    read_as(context, FA_SAMPLER_RMSPROP_SGLD, FA_DRAWS_F32, data, size);
    read_as(context, FA_SAMPLER_SGLD, FA_DRAWS_INT8, data, size);
    check(fa_context_memory_used(context) == 0);
    fa_context_release(context);
    return 0;
}
