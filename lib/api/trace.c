/* SPDX-License-Identifier: Apache-2.0 */
#include "api/check.h"
#include "base/options.h"
#include "sampler/diagnose.h"
#include "score/trace_gather.h"

#include <string.h>

/* The trace part of a sketch that has one. */
static fa_status trace_of(const fa_sketch *sketch, const fa_sketch_trace **out)
{
    FA_CHECK(sketch);
    if (!sketch->body->trace) return fa_fail(FA_ERR_STATE, "this is a gradient sketch: it has no draws");
    *out = sketch->body->trace;
    return FA_OK;
}

fa_status fa_sketch_get_trace_info(const fa_sketch *sketch, fa_trace_info *info)
{
    const fa_sketch_trace *t;
    FA_TRY(trace_of(sketch, &t));
    const fa_trace_options *o = &t->options;
    fa_trace_info own = {.struct_size = sizeof own, .sampler = o->sampler, .storage = o->storage, .batchnorm = o->batchnorm, .partial = o->partial, .chain_count = t->n_chain,
                         .parameter_count = t->n_parameter, .weight_count = t->layout.n_weight, .draw_count = sketch->body->offset[t->n_chain],
                         .draw_bytes = t->draw_bytes + (size_t)t->n_statistics * sizeof(float), .burn_in = o->burn_in, .thinning = o->thinning, .minibatch = o->minibatch,
                         .step_size = o->step_size, .gamma = o->gamma, .nbeta = o->nbeta, .noise = o->noise, .decay = o->decay, .epsilon = o->epsilon,
                         .loss_before = t->loss_before, .loss_after = t->loss_after, .diagnosis = t->diagnosis};
    own.verdict = fa_diagnosis_verdict(&t->diagnosis, o->sampler, t->loss_before, t->loss_after);
    return fa_info_write("fa_trace_info", info, &own, sizeof own);
}

fa_status fa_sketch_get_chain(const fa_sketch *sketch, int32_t index, fa_chain_info *info)
{
    const fa_sketch_trace *t;
    FA_TRY(trace_of(sketch, &t));
    FA_CHECK_INDEX(index, t->n_chain);
    const fa_trace_chain *c = &t->chain[index];
    fa_chain_info own = {.struct_size = sizeof own, .seed = c->seed, .id = c->id, .draws = c->draws, .loss_before = c->loss_before, .loss_after = c->loss_after,
                         .distance = c->distance, .diagnosis = c->diagnosis};
    return fa_info_write("fa_chain_info", info, &own, sizeof own);
}

fa_status fa_sketch_get_traces(const fa_sketch *sketch, float *out)
{
    const fa_sketch_trace *t;
    FA_TRY(trace_of(sketch, &t));
    FA_CHECK(out);
    memcpy(out, t->loss, (size_t)sketch->body->n_reference * (size_t)sketch->body->offset[t->n_chain] * sizeof *out);
    return FA_OK;
}

fa_status fa_sketch_merge(const fa_sketch *const *sketches, int32_t count, fa_sketch **out)
{
    fa_sketch *s;
    FA_CHECK(sketches);
    FA_CHECK(out);
    if (count < 1) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_merge: %d sketches; at least one is needed", count);
    for (int32_t i = 0; i < count; i++) {
        if (!sketches[i]) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_merge: sketch %d is NULL", i);
        if (!sketches[i]->body->trace) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_merge: sketch %d is a gradient sketch; fa_sketch_merge_shards() joins those", i);
    }
    FA_TRY(fa_trace_merge(sketches, count, &s));
    fa_context_retain(s->context);
    *out = s;
    return FA_OK;
}
