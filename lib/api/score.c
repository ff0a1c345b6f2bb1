/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scorer.h"

#include "api/check.h"
#include "api/model.h"
#include "base/options.h"
#include "sketch/match.h"

#include <string.h>

static const char *const names[FA_SCORE_COUNT] = {
    [FA_SCORE_CONE] = "cone", [FA_SCORE_SPAN] = "span", [FA_SCORE_TOPK] = "topk", [FA_SCORE_CLASS] = "class", [FA_SCORE_MEAN] = "mean",
    [FA_SCORE_MEAN_CCC] = "mean_ccc", [FA_SCORE_CLASS_CCC] = "class_ccc"};

static const fa_scorer_options defaults = {.struct_size = sizeof defaults, .max_batch = 1, .score = FA_SCORE_CONE};

const char *fa_score_name(int32_t score)
{
    return score >= 0 && score < FA_SCORE_COUNT ? names[score] : NULL;
}

int32_t fa_score_from_name(const char *name)
{
    for (int32_t i = 0; name && i < FA_SCORE_COUNT; i++)
        if (!strcmp(name, names[i])) return i;
    return -1;
}

void fa_scorer_options_init(fa_scorer_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

fa_status fa_scorer_create(const fa_sketch *sketch, const fa_model *model, const fa_scorer_options *options, fa_scorer **out)
{
    fa_scorer_options o = defaults;
    fa_scorer *s;
    FA_CHECK(sketch);
    FA_CHECK(model);
    FA_CHECK(out);
    FA_TRY(fa_options_read("fa_scorer_options", &o, sizeof o, options));
    FA_TRY(fa_sketch_match(sketch->body, &model->network));
    FA_TRY(fa_scorer_make(sketch, &model->network, &o, NULL, &s));
    fa_sketch_retain(sketch);
    s->model = fa_model_retain(model);
    *out = s;
    return FA_OK;
}

void fa_scorer_destroy(fa_scorer *s)
{
    if (!s) return;
    fa_sketch *sketch = (fa_sketch *)s->sketch;
    fa_model *model = (fa_model *)s->model;
    fa_scorer_free(s);
    fa_model_release(model);
    fa_sketch_release(sketch);
}

fa_status fa_score(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *result)
{
    FA_CHECK(scorer);
    FA_CHECK(inputs);
    FA_CHECK(result);
    return fa_scorer_run_all(scorer, inputs, input_count, result, 1);
}

fa_status fa_score_batch(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *results, int64_t n)
{
    FA_CHECK(scorer);
    FA_CHECK(inputs);
    FA_CHECK(results);
    if (n < 1) return fa_fail(FA_ERR_ARGUMENT, "fa_score_batch: n is %lld", (long long)n);
    if (n > scorer->options.max_batch)
        return fa_fail(FA_ERR_LIMIT, "fa_score_batch: %lld inputs; the scorer was made for max_batch %d", (long long)n, scorer->options.max_batch);
    return fa_scorer_run_all(scorer, inputs, input_count, results, n);
}

fa_status fa_score_tokens(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, int64_t capacity, fa_token *tokens, float *couplings, float *weights, int64_t *count)
{
    FA_CHECK(scorer);
    FA_CHECK(inputs);
    FA_CHECK(tokens);
    FA_CHECK(count);
    return fa_scorer_run_tokens(scorer, inputs, input_count, capacity, tokens, couplings, weights, count);
}

fa_status fa_scorer_get_timing(const fa_scorer *scorer, fa_score_timing *timing)
{
    FA_CHECK(scorer);
    return fa_info_write("fa_score_timing", timing, &scorer->timing, sizeof scorer->timing);
}

fa_status fa_scorer_get_flops(const fa_scorer *scorer, double *forward, double *score)
{
    FA_CHECK(scorer);
    if (forward) *forward = scorer->flops_forward;
    if (score) *score = scorer->flops_score;
    return FA_OK;
}
