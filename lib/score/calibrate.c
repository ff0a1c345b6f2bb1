/* SPDX-License-Identifier: Apache-2.0 */
#include "score/calibrate.h"

#include "base/context.h"
#include "base/error.h"
#include "score/conformal.h"
#include "score/judge.h"

#include <fattr/score.h>
#include <string.h>

#define TRACE_BATCH 16 /* traces that a judge takes at a time */

typedef struct work {
    fa_crew *crew;
    fa_sketch *sketch;
    const fa_array *inputs;
    fa_judge **judge; /* [threads] */
} work;

/* Every score of the judge's first `n` rows, those of calibration inputs `first` and following. */
static void take(fa_sketch *s, fa_judge *j, int64_t first, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        fa_scores_result r = {.cone_weight = NULL};
        fa_judge_score(j, i, fa_body_scores(s->body), &r);
        for (int32_t k = 0; k < FA_SCORE_COUNT; k++) s->calibration[k][first + i] = r.score[k];
    }
}

static void sort(fa_sketch *s)
{
    for (int32_t k = 0; k < FA_SCORE_COUNT; k++)
        if (fa_body_scores(s->body) & FA_WANT(k)) fa_sort_scores(s->calibration[k], s->n_calibration);
}

static fa_status chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    const work *w = user;
    fa_judge *j = w->judge[t];
    const fa_asked asked = fa_network_asked(w->crew->network, w->inputs);
    FA_TRY(fa_extract(&w->crew->member[t], w->inputs, first, n, &asked, j->blocks, &(fa_pass_outputs){.predicted = j->predicted}));
    FA_TRY(fa_judge_couple(j, first, n));
    take(w->sketch, j, first, n);
    return FA_OK;
}

fa_status fa_calibrate(fa_crew *crew, fa_sketch *s, const fa_array *inputs, int64_t n)
{
    fa_context *c = crew->context;
    work w = {.crew = crew, .sketch = s, .inputs = inputs, .judge = fa_new_array(c, (size_t)crew->threads, sizeof *w.judge)};
    fa_status status = w.judge ? fa_sketch_new_calibration(s, n) : FA_ERR_MEMORY;
    for (int32_t t = 0; t < crew->threads && status == FA_OK; t++)
        if ((status = fa_judge_create(c, s->body, c->kernels, crew->batch, fa_body_scores(s->body), &w.judge[t])) == FA_OK)
            status = fa_judge_read(w.judge[t], FA_SIGNATURES_INT16); /* as a scorer will by default */
    if (status == FA_OK)
        status = fa_waves_run(&(fa_waves){.pool = crew->pool, .n = n, .batch = crew->batch, .stage = "calibration", .progress = &crew->progress,
                                          .user = &w, .chunk = chunk}, c);
    for (int32_t t = 0; w.judge && t < crew->threads; t++) fa_judge_destroy(w.judge[t]);
    fa_delete(c, w.judge);
    FA_TRY(status);
    sort(s);
    return FA_OK;
}

typedef struct trace_work {
    fa_sketch *sketch;
    fa_judge **judge;
} trace_work;

static fa_status trace_chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    const trace_work *w = user;
    int64_t draws = w->sketch->body->offset[w->sketch->body->n_layer];
    memcpy(w->judge[t]->blocks, w->sketch->calibration_loss + first * draws, (size_t)(n * draws) * sizeof(float));
    fa_judge_sign_losses(w->judge[t], n);
    FA_TRY(fa_judge_couple(w->judge[t], first, n));
    take(w->sketch, w->judge[t], first, n);
    return FA_OK;
}

fa_status fa_calibrate_traces(fa_sketch *s, fa_pool *pool)
{
    fa_context *c = s->context;
    int32_t threads = fa_pool_threads(pool);
    fa_progress_state quiet;
    fa_progress_begin(&quiet, &(fa_sketch_options){.struct_size = sizeof(fa_sketch_options)}, s->n_calibration);
    trace_work w = {.sketch = s, .judge = fa_new_array(c, (size_t)threads, sizeof *w.judge)};
    fa_status status = w.judge ? FA_OK : FA_ERR_MEMORY;
    for (int32_t t = 0; t < threads && status == FA_OK; t++) status = fa_judge_create(c, s->body, c->kernels, TRACE_BATCH, fa_body_scores(s->body), &w.judge[t]);
    if (status == FA_OK)
        status = fa_waves_run(&(fa_waves){.pool = pool, .n = s->n_calibration, .batch = TRACE_BATCH, .stage = "calibration", .progress = &quiet, .user = &w,
                                          .chunk = trace_chunk}, c);
    for (int32_t t = 0; w.judge && t < threads; t++) fa_judge_destroy(w.judge[t]);
    fa_delete(c, w.judge);
    if (status == FA_OK) sort(s);
    return status;
}

/* The concordance of reference `j` with all of them. */
static void concordance_of(const fa_sketch *s, int64_t j, float *scratch, float *out)
{
    const fa_sketch_body *b = s->body;
    fa_space space = fa_body_space(b);
    fa_trace_rows all = fa_body_trace_rows(b), one = all;
    one.rows.n = 1;
    one.rows.block += j * b->offset[b->n_layer];
    one.mean += j * b->n_layer;
    one.deviation += j * b->n_layer;
    fa_concordance(&space, fa_dot_kernels_for(s->context->kernels), &one, &all, out, b->n_reference, scratch);
}

fa_status fa_audit(const fa_sketch *s, int32_t score, double *out)
{
    const fa_sketch_body *b = s->body;
    fa_scores_setup setup = fa_body_scores_setup(b, s->context->kernels, FA_WANT(score));
    fa_scores *scores;
    float *concordance = NULL;
    FA_TRY(fa_scores_create(s->context, &setup, &scores));
    if (FA_WANT(score) & FA_WANT_CONCORDANCE) {
        fa_space space = fa_body_space(b);
        concordance = fa_new_array(s->context, (size_t)b->n_reference + fa_space_scratch(&space) / sizeof(float), sizeof *concordance);
        if (!concordance) {
            fa_scores_destroy(scores);
            return FA_ERR_MEMORY;
        }
    }
    for (int64_t i = 0; i < b->n_reference; i++) {
        fa_scores_result r = {.cone_weight = NULL};
        if (concordance) concordance_of(s, i, concordance + b->n_reference, concordance);
        fa_scores_audit(scores, i, concordance, FA_WANT(score), &r);
        out[i] = r.score[score];
    }
    fa_delete(s->context, concordance);
    fa_scores_destroy(scores);
    return FA_OK;
}
