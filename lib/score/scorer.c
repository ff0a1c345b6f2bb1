/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scorer.h"

#include "base/context.h"
#include "base/error.h"
#include "score/couplings_fixed.h"

#define CHEAP (FA_WANT(FA_SCORE_MEAN) | FA_WANT(FA_SCORE_CLASS) | FA_WANT(FA_SCORE_TOPK))

static uint32_t wanted(const fa_sketch_body *b, const fa_scorer_options *o)
{
    return fa_body_scores(b) & (o->all_scores ? ~0u : CHEAP | FA_WANT(o->score));
}

static bool has_weights(int32_t score)
{
    return score == FA_SCORE_CONE || score == FA_SCORE_SPAN;
}

size_t fa_scorer_bytes(const fa_sketch_body *b, int64_t n_reference, int32_t n_input, int64_t batch)
{
    size_t n = (size_t)batch;
    size_t plans = FA_SCORER_PLANS * (sizeof(fa_scorer_plan) + sizeof(uint64_t)) + (FA_SCORER_PLANS + 1) * (size_t)n_input * FA_MAX_DIMS * sizeof(int64_t) + 5 * FA_ALIGN;
    const fa_space space = fa_body_space(b);
    size_t fixed = b->trace ? 0 : fa_couplings_fixed_scratch(&space, fa_fixed_kernels_for(FA_KERNELS_FAST), batch);
    return sizeof(fa_scorer) + plans + fixed + (size_t)(n_input + FA_ASIDES) * sizeof(fa_array) + n * (sizeof(int64_t) + sizeof(float) + (size_t)n_reference * sizeof(float)) +
           (b->trace ? n * ((size_t)b->offset[b->n_layer] * sizeof(float) + sizeof(float) + sizeof(int64_t) + sizeof(fa_result)) + 4 * FA_ALIGN : 0) +
           5 * FA_ALIGN + fa_judge_bytes(b, n_reference, batch, 0);
}

void fa_scorer_free(fa_scorer *s)
{
    if (!s) return;
    fa_context *c = s->context;
    fa_team_end(s);
    fa_scorer_plans_end(s);
    fa_levels_end(&s->levels);
    if (!s->helps) fa_pool_destroy(s->pool);
    fa_program_destroy(s->varied);
    fa_delete(c, s->loss);
    fa_delete(c, s->column);
    fa_delete(c, s->active);
    fa_delete(c, s->result);
    fa_delete(c, s->inputs);
    fa_delete(c, s->predicted);
    fa_delete(c, s->confidence);
    fa_delete(c, s->weights);
    fa_delete(c, s->residual);
    fa_delete(c, s);
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
    if (o->threads == 0) o->threads = 1;
    if (o->threads < 1 || o->threads > 256) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.threads: %d is not in 1 to 256", o->threads);
    if (o->threads > 1 && sketch->body->trace) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.threads: %d; a trace sketch is scored on one thread", o->threads);
    if (o->plan_cache == 0) o->plan_cache = FA_SCORER_PLANS;
    if (o->plan_cache < 1 || o->plan_cache > 1024) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.plan_cache: %lld is not in 1 to 1024", (long long)o->plan_cache);
    if (o->score < 0 || o->score >= FA_SCORE_COUNT) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.score: %d is none of FA_SCORE_...", o->score);
    if (o->score == FA_SCORE_SPAN && sketch->body->n_reference > FA_GRAM_MOST)
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.score: 'span' needs all couplings among the references, which are kept for up to %d references; the sketch has %lld",
                       FA_GRAM_MOST, (long long)sketch->body->n_reference);
    if (!(fa_body_scores(sketch->body) & FA_WANT(o->score)))
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.score: a %s sketch has no score '%s'",
                       sketch->body->trace ? "partial correlation" : "gradient", fa_score_name(o->score));
    if (o->all_scores != 0 && o->all_scores != 1) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.all_scores: %d is not 0 or 1", o->all_scores);
    if (o->want_residual != 0 && o->want_residual != 1)
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.want_residual: %d is not 0 or 1", o->want_residual);
    if (o->want_residual && !has_weights(o->score))
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.want_residual: the score '%s' has no weights and so no residual", fa_score_name(o->score));
    if (!(o->confidence >= 0 && o->confidence < 1)) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.confidence: %g is not between 0 and 1", o->confidence);
    if (o->confidence > 0 && !sketch->body->trace) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.confidence: a gradient sketch has no draws to stop before");
    if (o->draw_cache_bytes > 0 && !sketch->body->trace) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.draw_cache_bytes: a gradient sketch has no draws to keep");
    if (o->signatures < FA_SIGNATURES_INT16 || o->signatures > FA_SIGNATURES_INT8)
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.signatures: %d is none of FA_SIGNATURES_...", o->signatures);
    if (o->signatures && sketch->body->trace) return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.signatures: a trace sketch has its signatures as they are");
    const bool host = sketch->body->options.loss == FA_LOSS_HOST;
    if (host && !o->output_gradient)
        return fa_fail(FA_ERR_STATE, "fa_scorer_options.output_gradient: is NULL; the sketch was built under the loss 'host', and the gradient at the output is the host's to give");
    if (!host && (o->output_gradient || o->output_gradient_user))
        return fa_fail(FA_ERR_ARGUMENT, "fa_scorer_options.output_gradient: is for sketches of the loss 'host', not '%s'", fa_loss_kind_of(sketch->body->options.loss)->name);
    if (o->confidence > 0 && !sketch->n_calibration)
        return fa_fail(FA_ERR_STATE, "fa_scorer_options.confidence: the sketch has no calibration set that could settle a verdict");
    return check_alpha(sketch, o);
}

static fa_status fill_trace(fa_scorer *s)
{
    const fa_sketch_body *b = s->sketch->body;
    size_t n = (size_t)s->options.max_batch;
    if (!b->trace) return FA_OK;
    s->loss = fa_new_array(s->context, n * (size_t)b->offset[b->n_layer], sizeof *s->loss);
    s->column = fa_new_array(s->context, n, sizeof *s->column);
    s->active = fa_new_array(s->context, n, sizeof *s->active);
    s->result = fa_new_array(s->context, n, sizeof *s->result);
    return s->loss && s->column && s->active && s->result ? FA_OK : FA_ERR_MEMORY;
}

static fa_status fill(fa_scorer *s)
{
    const fa_sketch_body *b = s->sketch->body;
    size_t n = (size_t)s->options.max_batch;
    if (b->trace) FA_TRY(fa_trace_program(s->network, b->trace, &s->varied));
    FA_TRY(fa_scorer_plans_begin(s));
    FA_TRY(fa_levels_begin(&s->levels, s->sketch, s->options.max_batch, s->want, s->options.score, s->options.alpha, s->options.confidence));
    if (!b->trace) FA_TRY(fa_judge_read(fa_scorer_whole(s)->judge, s->options.signatures));
    FA_TRY(fill_trace(s));
    s->inputs = fa_new_array(s->context, (size_t)(b->n_input + FA_ASIDES), sizeof *s->inputs);
    s->predicted = fa_new_array(s->context, n, sizeof *s->predicted);
    s->confidence = fa_new_array(s->context, n, sizeof *s->confidence);
    if (!s->inputs || !s->predicted || !s->confidence) return FA_ERR_MEMORY;
    if (has_weights(s->options.score) && !(s->weights = fa_new_array(s->context, n * (size_t)b->n_reference, sizeof *s->weights)))
        return FA_ERR_MEMORY;
    if (s->options.want_residual && !(s->residual = fa_new_array(s->context, n * (size_t)fa_space_signature_length(&fa_scorer_whole(s)->judge->space),
                                                                 sizeof *s->residual)))
        return FA_ERR_MEMORY;
    return FA_OK;
}

fa_status fa_scorer_make(const fa_sketch *sketch, const fa_network *network, const fa_scorer_options *options, fa_pool *pool, fa_scorer **out)
{
    fa_scorer_options o = *options;
    FA_TRY(check_options(sketch, &o));
    fa_scorer *s = fa_new(sketch->context, sizeof *s);
    if (!s) return FA_ERR_MEMORY;
    *s = (fa_scorer){.context = sketch->context, .sketch = sketch, .network = network, .options = o, .want = wanted(sketch->body, &o), .pool = pool, .helps = pool != NULL,
                     .smallest = o.max_batch - o.max_batch / 4, .timing = {.struct_size = sizeof s->timing}};
    fa_status status = o.threads > 1 ? fa_pool_create(s->context, o.threads, &s->pool) : FA_OK;
    if (status == FA_OK) status = fa_team_suits(&o) ? fa_team_begin(s) : fill(s);
    if (status != FA_OK) {
        fa_scorer_free(s);
        return status;
    }
    *out = s;
    return FA_OK;
}
