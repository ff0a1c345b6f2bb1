/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/sketch.h"

#include "api/check.h"
#include "api/model.h"
#include "base/context.h"
#include "base/file.h"
#include "base/options.h"
#include "score/calibrate.h"
#include "score/finish.h"
#include "sketch/file.h"
#include "sketch/match.h"
#include "sketch/metadata.h"

#include <string.h>

fa_sketch *fa_sketch_retain(const fa_sketch *sketch)
{
    fa_sketch *s = (fa_sketch *)sketch;
    if (s) atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

void fa_sketch_release(fa_sketch *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) > 1) return;
    fa_context *context = s->context;
    fa_sketch_free(s);
    fa_context_release(context);
}

fa_status fa_sketch_save_file(const fa_sketch *sketch, const char *path)
{
    FA_CHECK(sketch);
    FA_CHECK(path);
    return fa_sketch_write(sketch, path);
}

static fa_status load(fa_context *context, const void *data, size_t size, fa_sketch **out)
{
    fa_sketch *s;
    FA_TRY(fa_sketch_read(context, data, size, &s));
    fa_status status = fa_body_derive(s->body, context->kernels);
    if (status != FA_OK) {
        fa_sketch_free(s);
        return status;
    }
    fa_context_retain(context);
    *out = s;
    return FA_OK;
}

fa_status fa_sketch_load_file(fa_context *context, const char *path, fa_sketch **out)
{
    void *data;
    size_t size;
    FA_CHECK(context);
    FA_CHECK(path);
    FA_CHECK(out);
    FA_TRY(fa_file_read(context, path, &data, &size));
    fa_status status = load(context, data, size, out);
    fa_delete(context, data);
    return status == FA_OK ? FA_OK : fa_fail_at(status, "%s", path);
}

fa_status fa_sketch_load_memory(fa_context *context, const void *data, size_t size, fa_sketch **out)
{
    FA_CHECK(context);
    FA_CHECK(out);
    if (size) FA_CHECK(data);
    return load(context, data, size, out);
}

fa_status fa_sketch_check_model(const fa_sketch *sketch, const fa_model *model)
{
    FA_CHECK(sketch);
    FA_CHECK(model);
    return fa_sketch_match(sketch->body, &model->network);
}

fa_status fa_sketch_get_info(const fa_sketch *sketch, fa_sketch_info *info)
{
    FA_CHECK(sketch);
    const fa_sketch_body *b = sketch->body;
    const fa_sketch_options *o = &b->options;
    fa_sketch_info own = {.struct_size = sizeof own, .reference_count = b->n_reference, .calibration_count = sketch->n_calibration,
                          .class_count = b->classes, .signature_length = b->offset[b->n_layer] * (o->blocks == FA_BLOCKS_BOTH ? 2 : 1), .topk = o->topk, .ridge = o->ridge,
                          .seed = o->seed, .library_version = b->library_version, .format_version = FA_FORMAT_VERSION, .loss = o->loss, .is_trace = b->trace != NULL};
    if (!b->trace) {
        own.layer_count = b->n_layer;
        own.dropped_layer_count = b->n_dropped;
        own.k_in = o->k_in;
        own.k_out = o->k_out;
        own.blocks = o->blocks;
        own.beta = o->beta;
        own.damping = o->damping;
        own.has_moments = o->keep_moments;
        own.precision = b->precision;
    }
    memcpy(own.model_digest, b->model_digest, FA_DIGEST_SIZE);
    memcpy(own.references_digest, b->references_digest, FA_DIGEST_SIZE);
    return fa_info_write("fa_sketch_info", info, &own, sizeof own);
}

fa_status fa_sketch_get_layer(const fa_sketch *sketch, int32_t index, fa_sketch_layer_info *info)
{
    FA_CHECK(sketch);
    FA_CHECK(info);
    const fa_sketch_body *b = sketch->body;
    FA_CHECK_INDEX(index, b->trace ? 0 : b->n_layer + b->n_dropped);
    const fa_sketch_layer *l = &b->layer[index];
    *info = (fa_sketch_layer_info){.name = l->name, .in = l->in, .out = l->out, .groups = l->groups, .k_in = l->k_in, .k_out = l->k_out, .dropped = index >= b->n_layer,
                                   .random_in = l->random_in, .random_out = l->random_out};
    return FA_OK;
}

fa_status fa_sketch_get_reference(const fa_sketch *sketch, int64_t index, fa_reference_info *info)
{
    FA_CHECK(sketch);
    FA_CHECK(info);
    const fa_sketch_body *b = sketch->body;
    FA_CHECK_INDEX(index, b->n_reference);
    *info = (fa_reference_info){.id = b->id[index], .predicted = b->predicted[index], .label = b->label[index], .no_signal = b->tau[index] == 0};
    return FA_OK;
}

static fa_status check_score(const char *function, const fa_sketch_body *b, int32_t score)
{
    if (score < 0 || score >= FA_SCORE_COUNT) return fa_fail(FA_ERR_ARGUMENT, "%s: %d is none of FA_SCORE_...", function, score);
    if (!(fa_body_scores(b) >> score & 1)) return fa_fail(FA_ERR_ARGUMENT, "%s: this sketch has no score '%s'", function, fa_score_name(score));
    return FA_OK;
}

fa_status fa_sketch_audit(const fa_sketch *sketch, int32_t score, double *out)
{
    FA_CHECK(sketch);
    FA_CHECK(out);
    FA_TRY(check_score(__func__, sketch->body, score));
    return fa_audit(sketch, score, out);
}

fa_status fa_sketch_get_calibration(const fa_sketch *sketch, int32_t score, double *out)
{
    FA_CHECK(sketch);
    FA_CHECK(out);
    FA_TRY(check_score(__func__, sketch->body, score));
    if (!sketch->n_calibration) return fa_fail(FA_ERR_STATE, "the sketch has no calibration set");
    memcpy(out, sketch->calibration[score], (size_t)sketch->n_calibration * sizeof *out);
    return FA_OK;
}
