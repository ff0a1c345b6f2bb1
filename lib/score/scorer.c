/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scorer.h"

#include "base/context.h"
#include "base/error.h"
#include "graph/array.h"
#include "score/conformal.h"
#include "sketch/progress.h"

#include <math.h>
#include <stdio.h>

#define CHEAP (FA_WANT(FA_SCORE_MEAN) | FA_WANT(FA_SCORE_CLASS) | FA_WANT(FA_SCORE_TOPK))

static uint32_t wanted(const fa_scorer_options *o)
{
    return o->all_scores ? FA_WANT_ALL : CHEAP | FA_WANT(o->score);
}

static bool has_weights(int32_t score)
{
    return score == FA_SCORE_CONE || score == FA_SCORE_SPAN;
}

size_t fa_scorer_bytes(const fa_sketch_body *b, int64_t n_reference, int32_t n_input, int64_t batch)
{
    size_t n = (size_t)batch;
    return sizeof(fa_scorer) + (size_t)n_input * sizeof(fa_array) + n * (sizeof(int64_t) + sizeof(float) + (size_t)n_reference * sizeof(float)) +
        5 * FA_ALIGN +
           fa_judge_bytes(b, n_reference, batch);
}

static void lane_end(fa_context *context, fa_scorer_lane *l)
{
    fa_pass_destroy(l->extraction.pass);
    fa_projector_destroy(l->projector);
    fa_delete(context, l->extraction.scratch);
}

void fa_scorer_free(fa_scorer *s)
{
    if (!s) return;
    fa_context *c = s->context;
    lane_end(c, &s->single);
    lane_end(c, &s->many);
    fa_judge_destroy(s->judge);
    fa_delete(c, s->inputs);
    fa_delete(c, s->predicted);
    fa_delete(c, s->confidence);
    fa_delete(c, s->weights);
    fa_delete(c, s->residual);
    fa_delete(c, s);
}

static fa_status lane_begin(fa_scorer *s, const fa_pass_request *request, int64_t batch, fa_scorer_lane *l)
{
    const fa_program *program = s->network->program;
    const fa_sketch_body *b = s->sketch->body;
    fa_pass_request r = *request;
    r.batch = batch;
    FA_TRY(fa_pass_create(&r, &l->extraction.pass));
    if (fa_pass_classes(l->extraction.pass) != b->classes)
        return fa_fail(FA_ERR_MISMATCH, "the sketch was made for %lld classes; the model has %lld", (long long)b->classes,
                       (long long)fa_pass_classes(l->extraction.pass));
    FA_TRY(fa_projector_create(s->context, program, b, l->extraction.pass, &l->projector));
    l->extraction.projector = l->projector;
    l->extraction.scratch = fa_new_uncleared(s->context, fa_extract_scratch(program, b, l->extraction.pass));
    l->batch = fa_pass_batch(l->extraction.pass);
    return l->extraction.scratch ? FA_OK : FA_ERR_MEMORY;
}

static fa_status lanes_begin(fa_scorer *s, fa_arena *arena)
{
    const fa_sketch_body *b = s->sketch->body;
    const fa_program *program = s->network->program;
    fa_array *inputs = fa_arena_array(arena, (size_t)b->n_input, sizeof *inputs);
    int64_t *shapes = fa_arena_array(arena, (size_t)b->n_input * FA_MAX_DIMS, sizeof *shapes);
    bool *tapped = fa_arena_array(arena, (size_t)fa_program_layer_count(program) + 1, sizeof *tapped);
    if (!inputs || !shapes || !tapped) return FA_ERR_MEMORY;
    fa_body_taps(program, b, tapped);
    for (int32_t i = 0; i < b->n_input; i++) {
        int64_t *shape = shapes + i * FA_MAX_DIMS;
        shape[0] = 1;
        for (int32_t d = 0; d < b->input[i].ndim; d++) shape[d + 1] = b->input[i].dim[d];
        inputs[i] = (fa_array){.shape = shape, .ndim = b->input[i].ndim + 1, .dtype = b->input[i].dtype};
    }
    fa_pass_request request = {.program = program, .context = s->context, .inputs = inputs, .n_inputs = b->n_input, .tapped = tapped};
    FA_TRY(lane_begin(s, &request, 1, &s->single));
    return s->options.max_batch > 1 ? lane_begin(s, &request, s->options.max_batch, &s->many) : FA_OK;
}

static fa_status check_alpha(const fa_sketch *sketch, fa_scorer_options *o)
{
    int64_t m = sketch->n_calibration;
    if (!(o->alpha >= 0 && o->alpha < 1)) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.alpha: %g is not between 0 and 1", o->alpha);
    if (o->alpha > 0 && !m) return fa_fail(FA_ERR_STATE, "fa_scorer_options.alpha: the sketch has no calibration set to hold it with");
    if (o->alpha == 0) o->alpha = 0.05;
    if (m && o->alpha < 1 / (1 + (double)m))
        return fa_fail(FA_ERR_ARGUMENT,
                       "fa_scorer_options.alpha: %g is below 1 / (1 + %lld), the smallest p-value of %lld calibration inputs: nothing could be flagged", o->alpha,
                       (long long)m, (long long)m);
    return FA_OK;
}

static fa_status check_options(const fa_sketch *sketch, fa_scorer_options *o)
{
    if (o->max_batch == 0) o->max_batch = 1;
    if (o->max_batch < 1 || o->max_batch > 4096) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.max_batch: %d is not in 1 to 4096", o->max_batch);
    if (o->score < 0 || o->score >= FA_SCORE_COUNT) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.score: %d is none of FA_SCORE_...", o->score);
    if (o->all_scores != 0 && o->all_scores != 1) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.all_scores: %d is not 0 or 1", o->all_scores);
    if (o->want_residual != 0 && o->want_residual != 1)
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.want_residual: %d is not 0 or 1", o->want_residual);
    if (o->want_residual && !has_weights(o->score))
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.want_residual: the score '%s' has no weights and so no residual", fa_score_name(o->score));
    return check_alpha(sketch, o);
}

static fa_status fill(fa_scorer *s)
{
    const fa_sketch_body *b = s->sketch->body;
    size_t n = (size_t)s->options.max_batch;
    fa_arena arena = {.context = s->context};
    fa_status status = lanes_begin(s, &arena);
    fa_arena_clear(&arena);
    FA_TRY(status);
    FA_TRY(fa_judge_create(s->context, b, s->context->kernels, s->options.max_batch, s->want, &s->judge));
    s->inputs = fa_new_array(s->context, (size_t)b->n_input, sizeof *s->inputs);
    s->predicted = fa_new_array(s->context, n, sizeof *s->predicted);
    s->confidence = fa_new_array(s->context, n, sizeof *s->confidence);
    if (!s->inputs || !s->predicted || !s->confidence) return FA_ERR_MEMORY;
    if (has_weights(s->options.score) && !(s->weights = fa_new_array(s->context, n * (size_t)b->n_reference, sizeof *s->weights)))
        return FA_ERR_MEMORY;
    if (s->options.want_residual && !(s->residual = fa_new_array(s->context, n * (size_t)fa_space_signature_length(&s->judge->space),
                                                                 sizeof *s->residual)))
        return FA_ERR_MEMORY;
    return FA_OK;
}

fa_status fa_scorer_make(const fa_sketch *sketch, const fa_network *network, const fa_scorer_options *options, fa_scorer **out)
{
    fa_scorer_options o = *options;
    FA_TRY(check_options(sketch, &o));
    fa_scorer *s = fa_new(sketch->context, sizeof *s);
    if (!s) return FA_ERR_MEMORY;
    *s = (fa_scorer){.context = sketch->context, .sketch = sketch, .network = network, .options = o, .want = wanted(&o),
                     .smallest = o.max_batch - o.max_batch / 4, .timing = {.struct_size = sizeof s->timing}};
    fa_status status = fill(s);
    if (status != FA_OK) {
        fa_scorer_free(s);
        return status;
    }
    *out = s;
    return FA_OK;
}

static fa_status check_inputs(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, int64_t n)
{
    FA_TRY(fa_network_order(s->network, inputs, n_inputs, s->inputs));
    for (int32_t i = 0; i < n_inputs; i++) {
        const fa_array *a = &s->inputs[i];
        char what[160];
        int64_t count;
        snprintf(what, sizeof what, "input '%.100s'", a->name);
        FA_TRY(fa_array_check(a, what, &count));
        if (a->ndim < 1 || a->shape[0] != n)
            return fa_fail(FA_ERR_SHAPE, "%s: the first dimension is %lld, %lld inputs are to be scored", what,
                           a->ndim < 1 ? 1LL : (long long)a->shape[0], (long long)n);
    }
    return FA_OK;
}

static fa_status extract(fa_scorer *s, fa_scorer_lane *l, int64_t n)
{
    int64_t length = s->judge->space.offset[s->judge->space.n_layer];
    l->extraction.forward_ns = l->extraction.backward_ns = 0;
    for (int64_t i = 0; i < n; i += l->batch) {
        int64_t part = n - i < l->batch ? n - i : l->batch;
        fa_pass_outputs outputs = {.predicted = s->predicted + i, .confidence = s->confidence + i};
        FA_TRY(fa_extract(&l->extraction, s->inputs, i, part, s->judge->blocks + i * length, &outputs));
    }
    s->timing.forward_ns = l->extraction.forward_ns;
    s->timing.backward_ns = l->extraction.backward_ns;
    return FA_OK;
}

static void judge(fa_scorer *s, int64_t i, fa_result *out)
{
    const fa_sketch_body *b = s->sketch->body;
    int64_t m = s->sketch->n_calibration, length = fa_space_signature_length(&s->judge->space);
    float *weights = s->weights ? s->weights + i * b->n_reference : NULL, *residual = s->residual ? s->residual + i * length : NULL;
    fa_scores_result r = {.cone_weight = s->options.score == FA_SCORE_CONE ? weights : NULL,
                          .span_weight = s->options.score == FA_SCORE_SPAN ? weights : NULL};
    fa_judge_score(s->judge, i, s->want, &r);
    if (residual) {
        fa_rows row = {.n = 1, .block = s->judge->blocks, .share = s->judge->share, .tau = s->judge->tau};
        fa_space_residual(&s->judge->space, &row, i, &s->judge->references, weights, residual);
    }
    bool signal = s->judge->tau[i] > 0;
    double score = r.score[s->options.score], p = fa_conformal_p(s->sketch->calibration[s->options.score], m, score);
    if (!signal && m) p = 1 / (1 + (double)m);
    *out = (fa_result){.score = score,
                       .p_value = p,
                       .flagged = m ? p <= s->options.alpha : -1,
                       .no_signal = !signal,
                       .predicted = s->predicted[i],
                       .confidence = s->confidence[i],
                       .couplings = s->judge->couplings + i * b->n_reference,
                       .weights = weights,
                       .residual = residual,
                       .reference_count = b->n_reference,
                       .signature_length = length};
    for (int32_t k = 0; k < FA_SCORE_COUNT; k++) out->scores[k] = r.score[k];
}

fa_status fa_scorer_run(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, fa_result *results, int64_t n)
{
    FA_TRY(check_inputs(s, inputs, n_inputs, n));
    bool together = s->many.extraction.pass && n > 1 && n >= s->smallest;
    FA_TRY(extract(s, together ? &s->many : &s->single, n));
    uint64_t begin = fa_now_ns();
    FA_TRY(fa_judge_couple(s->judge, 0, n));
    uint64_t middle = fa_now_ns();
    for (int64_t i = 0; i < n; i++) judge(s, i, &results[i]);
    s->timing.coupling_ns = middle - begin;
    s->timing.solve_ns = fa_now_ns() - middle;
    return FA_OK;
}
