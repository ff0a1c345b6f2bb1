/* SPDX-License-Identifier: Apache-2.0 */
#include "score/shard_merge.h"

#include "api/check.h"
#include "api/model.h"
#include "api/sketch_options.h"
#include "base/options.h"

static fa_status make_request(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *given,
                              fa_sketch_options *options, fa_trace_options *trace, fa_build_request *out)
{
    FA_TRY(fa_sketch_options_resolve(given, options, trace));
    *out = (fa_build_request){.network = &model->network, .references = references, .calibration = calibration, .options = options};
    return FA_OK;
}

fa_status fa_sketch_build(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *options,
                          fa_sketch **out)
{
    fa_sketch_options o;
    fa_trace_options trace;
    fa_build_request request;
    fa_sketch *sketch;
    FA_CHECK(model);
    FA_CHECK(references);
    FA_CHECK(out);
    FA_TRY(make_request(model, references, calibration, options, &o, &trace, &request));
    FA_TRY(fa_build(&request, &sketch));
    fa_context_retain(sketch->context);
    *out = sketch;
    return FA_OK;
}

fa_status fa_sketch_memory_estimate(const fa_model *model, const fa_refset *references, const fa_refset *calibration,
                                    const fa_sketch_options *options,
                                    fa_memory_estimate *out)
{
    fa_sketch_options o;
    fa_trace_options trace;
    fa_build_request request;
    fa_memory_estimate own = {.struct_size = sizeof own};
    FA_CHECK(model);
    FA_CHECK(references);
    FA_CHECK(out);
    FA_TRY(make_request(model, references, calibration, options, &o, &trace, &request));
    FA_TRY(fa_build_estimate(&request, &own));
    return fa_info_write("fa_memory_estimate", out, &own, sizeof own);
}

fa_status fa_sketch_recalibrate(const fa_sketch *sketch, const fa_model *model, const fa_refset *calibration, const fa_sketch_options *options,
                                fa_sketch **out)
{
    fa_sketch_options o;
    fa_trace_options trace;
    fa_sketch *made;
    FA_CHECK(sketch);
    FA_CHECK(model);
    FA_CHECK(out);
    FA_TRY(fa_sketch_options_resolve(options, &o, &trace));
    FA_TRY(fa_build_recalibrate(sketch, &model->network, calibration, &o, &made));
    fa_context_retain(made->context);
    *out = made;
    return FA_OK;
}

fa_status fa_sketch_merge_shards(const fa_model *model, const fa_sketch *const *sketches, const fa_refset *const *references, int32_t count,
                                 const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out)
{
    fa_sketch_options o;
    fa_trace_options trace;
    fa_sketch *made;
    FA_CHECK(model);
    FA_CHECK(sketches);
    FA_CHECK(references);
    FA_CHECK(out);
    if (count < 1) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_merge_shards: %d sketches; at least one is needed", count);
    for (int32_t i = 0; i < count; i++) {
        if (!sketches[i] || !references[i]) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_merge_shards: %s %d is NULL", sketches[i] ? "reference set" : "sketch", i);
        if (sketches[i]->body->trace) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_merge_shards: sketch %d is a trace sketch; fa_sketch_merge() joins those", i);
    }
    FA_TRY(fa_sketch_options_resolve(options, &o, &trace));
    FA_TRY(fa_shard_merge(&(fa_shard_merge_request){.network = &model->network, .sketches = sketches, .references = references, .count = count,
                                                    .calibration = calibration, .options = &o}, &made));
    fa_context_retain(made->context);
    *out = made;
    return FA_OK;
}
