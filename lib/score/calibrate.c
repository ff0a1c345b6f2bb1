/* SPDX-License-Identifier: Apache-2.0 */
#include "score/calibrate.h"

#include "base/context.h"
#include "base/error.h"
#include "score/conformal.h"
#include "score/judge.h"

typedef struct work {
    fa_crew *crew;
    fa_sketch *sketch;
    const fa_array *inputs;
    fa_judge **judge; /* [threads] */
} work;

static fa_status chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    const work *w = user;
    fa_judge *j = w->judge[t];
    FA_TRY(fa_extract(&w->crew->member[t], w->inputs, first, n, j->blocks, NULL));
    FA_TRY(fa_judge_couple(j, first, n));
    for (int64_t i = 0; i < n; i++) {
        fa_scores_result r = {.cone_weight = NULL};
        fa_judge_score(j, i, FA_WANT_ALL, &r);
        for (int32_t k = 0; k < FA_SCORE_COUNT; k++) w->sketch->calibration[k][first + i] = r.score[k];
    }
    return FA_OK;
}

fa_status fa_calibrate(fa_crew *crew, fa_sketch *s, const fa_array *inputs, int64_t n)
{
    fa_context *c = crew->context;
    work w = {.crew = crew, .sketch = s, .inputs = inputs, .judge = fa_new_array(c, (size_t)crew->threads, sizeof *w.judge)};
    fa_status status = w.judge ? fa_sketch_new_calibration(s, n) : FA_ERR_MEMORY;
    for (int32_t t = 0; t < crew->threads && status == FA_OK; t++)
        status = fa_judge_create(c, s->body, c->kernels, crew->batch, FA_WANT_ALL, &w.judge[t]);
    if (status == FA_OK)
        status = fa_waves_run(&(fa_waves){.pool = crew->pool, .n = n, .batch = crew->batch, .stage = "calibration", .progress = &crew->progress,
                                          .user = &w, .chunk = chunk}, c);
    for (int32_t t = 0; w.judge && t < crew->threads; t++) fa_judge_destroy(w.judge[t]);
    fa_delete(c, w.judge);
    FA_TRY(status);
    for (int32_t k = 0; k < FA_SCORE_COUNT; k++) fa_sort_scores(s->calibration[k], n);
    return FA_OK;
}

fa_status fa_audit(const fa_sketch *s, int32_t score, double *out)
{
    const fa_sketch_body *b = s->body;
    fa_scores_setup setup = {.kernels = fa_dot_kernels_for(s->context->kernels), .n = b->n_reference, .gram = b->gram, .factor = b->factor,
                             .predicted = b->predicted,
                             .ridge = b->options.ridge, .topk = b->options.topk, .want = FA_WANT(score)};
    fa_scores *scores;
    FA_TRY(fa_scores_create(s->context, &setup, &scores));
    for (int64_t i = 0; i < b->n_reference; i++) {
        fa_scores_result r = {.cone_weight = NULL};
        fa_scores_audit(scores, i, FA_WANT(score), &r);
        out[i] = r.score[score];
    }
    fa_scores_destroy(scores);
    return FA_OK;
}
