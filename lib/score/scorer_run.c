/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scorer.h"

#include "base/error.h"
#include "graph/array.h"
#include "score/conformal.h"
#include "sketch/progress.h"

#include <stdio.h>
#include <string.h>

fa_status fa_scorer_order(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, int64_t n)
{
    FA_TRY(fa_network_order(s->network, inputs, n_inputs, s->inputs));
    for (int32_t i = 0; i < s->network->n_input + FA_ASIDES; i++) {
        const fa_array *a = &s->inputs[i];
        if (!a->name) continue;
        char what[160];
        int64_t count;
        snprintf(what, sizeof what, "input '%.100s'", a->name);
        FA_TRY(fa_array_check(a, what, &count));
        if (a->ndim < 1 || a->shape[0] != n)
            return fa_fail(FA_ERR_SHAPE, "%s: the first dimension is %lld, %lld inputs are to be scored", what,
                           a->ndim < 1 ? 1LL : (long long)a->shape[0], (long long)n);
    }
    return fa_scorer_plan_for(s);
}

/* Raw blocks of gradients of inputs `first` and following. */
static fa_status extract(fa_scorer *s, fa_scorer_lane *l, int64_t first, int64_t n)
{
    fa_judge *j = fa_scorer_whole(s)->judge;
    int64_t length = j->space.offset[j->space.n_layer];
    const fa_asked asked = fa_network_asked(s->network, s->inputs);
    l->extraction.forward_ns = l->extraction.backward_ns = 0;
    for (int64_t i = 0; i < n; i += l->batch) {
        int64_t part = n - i < l->batch ? n - i : l->batch;
        fa_pass_outputs outputs = {.predicted = s->predicted + i, .confidence = s->confidence + i};
        FA_TRY(fa_extract(&l->extraction, s->inputs, first + i, part, &asked, j->blocks + i * length, &outputs));
        memcpy(j->predicted + i, s->predicted + i, (size_t)part * sizeof *j->predicted);
    }
    s->timing.forward_ns = l->extraction.forward_ns;
    s->timing.backward_ns = l->extraction.backward_ns;
    return FA_OK;
}

/* The verdict on input `i`, row `row` of a level's judge. */
static void judge(fa_scorer *s, const fa_level *level, int64_t row, int64_t i, fa_result *out)
{
    fa_judge *j = level->judge;
    int64_t n = j->body->n_reference, m = level->sketch->n_calibration, length = fa_space_signature_length(&j->space);
    int64_t most = fa_space_signature_length(&fa_scorer_whole(s)->judge->space);
    float *weights = s->weights ? s->weights + i * n : NULL, *residual = s->residual ? s->residual + i * most : NULL;
    fa_scores_result r = {.cone_weight = s->options.score == FA_SCORE_CONE ? weights : NULL,
                          .span_weight = s->options.score == FA_SCORE_SPAN ? weights : NULL};
    fa_judge_score(j, row, s->want, &r);
    if (residual) {
        fa_rows rows = {.n = 1, .block = j->blocks, .share = j->share, .tau = j->tau};
        fa_space_residual(&j->space, &rows, row, &j->references, weights, residual);
    }
    bool signal = j->tau[row] > 0;
    double score = r.score[s->options.score], p = fa_conformal_p(level->sketch->calibration[s->options.score], m, score);
    if (!signal && m) p = 1 / (1 + (double)m);
    *out = (fa_result){.score = score,
                       .p_value = p,
                       .flagged = m ? p <= s->options.alpha : -1,
                       .no_signal = !signal,
                       .predicted = s->predicted[i],
                       .confidence = s->confidence[i],
                       .couplings = j->couplings + row * n,
                       .weights = weights,
                       .residual = residual,
                       .reference_count = n,
                       .signature_length = length,
                       .draws = j->body->trace ? length : 0};
    for (int32_t k = 0; k < FA_SCORE_COUNT; k++) out->scores[k] = r.score[k];
}

/* Losses of the open inputs at the draws that a level adds, every draw's weights set once. */
static fa_status trace_level(fa_scorer *s, fa_scorer_lane *l, int32_t k, int64_t open)
{
    const fa_sketch_body *b = s->sketch->body;
    const fa_asked asked = fa_own_asked(&s->current->own, fa_network_asked(s->network, s->inputs).mask);
    int64_t draws = b->offset[b->n_layer];
    for (int32_t c = 0; c < b->n_layer; c++)
        for (int64_t t = b->offset[c] + fa_level_draws(&s->levels, k - 1, c); t < b->offset[c] + fa_level_draws(&s->levels, k, c); t++) {
            FA_TRY(fa_tracer_set(&l->tracer, b, t));
            FA_TRY(fa_tracer_losses(&l->tracer, s->inputs, s->active, 0, open, &asked, s->column));
            for (int64_t a = 0; a < open; a++) s->loss[s->active[a] * draws + t] = s->column[a];
        }
    return FA_OK;
}

/* Puts the traces of the open inputs, as far as a level goes, before its judge. */
static void present(fa_scorer *s, const fa_level *level, int64_t open)
{
    const fa_sketch_body *whole = s->sketch->body, *part = level->judge->body;
    int64_t draws = whole->offset[whole->n_layer], length = part->offset[part->n_layer];
    for (int64_t a = 0; a < open; a++)
        for (int32_t c = 0; c < part->n_layer; c++)
            memcpy(level->judge->blocks + a * length + part->offset[c], s->loss + s->active[a] * draws + whole->offset[c],
                   (size_t)(part->offset[c + 1] - part->offset[c]) * sizeof(float));
    fa_judge_sign_losses(level->judge, open);
}

static fa_scorer_lane *lane_for(fa_scorer *s, int64_t n)
{
    fa_scorer_plan *p = s->current;
    return p->many.batch && n >= s->smallest ? &p->many : &p->single;
}

static void begin_timing(fa_scorer *s)
{
    fa_scorer_plan *p = s->current;
    p->single.tracer.draw_ns = p->single.tracer.forward_ns = 0;
    p->many.tracer.draw_ns = p->many.tracer.forward_ns = 0;
    s->timing.coupling_ns = s->timing.solve_ns = 0;
}

static fa_status run_traces(fa_scorer *s, fa_result *results, int64_t n)
{
    const fa_own *own = &s->current->own;
    int64_t open = n;
    const fa_asked asked = fa_network_asked(s->network, s->inputs);
    begin_timing(s);
    FA_TRY(fa_tracer_predict(&lane_for(s, n)->tracer, s->inputs, 0, n, &asked,
                             &(fa_pass_outputs){.predicted = s->predicted, .confidence = s->confidence, .target = own->target, .output = own->output}));
    for (int64_t i = 0; i < n; i++) s->active[i] = i;
    for (int32_t k = 0; open; k++) {
        const fa_level *level = &s->levels.level[k];
        const bool last = k == s->levels.n - 1;
        FA_TRY(trace_level(s, lane_for(s, open), k, open));
        uint64_t begin = fa_now_ns();
        present(s, level, open);
        FA_TRY(fa_judge_couple(level->judge, 0, open));
        uint64_t middle = fa_now_ns();
        int64_t left = 0;
        for (int64_t a = 0; a < open; a++) {
            int64_t i = s->active[a];
            fa_result r;
            judge(s, level, a, i, &r);
            /* A loss that has not moved yet says nothing of the draws to come. */
            int32_t verdict = last ? r.flagged : r.no_signal ? -1 : fa_level_verdict(&s->levels, k, r.score);
            if (!last && verdict < 0) {
                s->active[left++] = i;
                continue;
            }
            s->result[i] = r;
            s->result[i].flagged = verdict;
        }
        open = left;
        s->timing.coupling_ns += middle - begin;
        s->timing.solve_ns += fa_now_ns() - middle;
    }
    s->timing.forward_ns = s->current->single.tracer.forward_ns + s->current->many.tracer.forward_ns;
    s->timing.draw_ns = s->current->single.tracer.draw_ns + s->current->many.tracer.draw_ns;
    memcpy(results, s->result, (size_t)n * sizeof *results);
    return FA_OK;
}

static fa_status run_gradients(fa_scorer *s, fa_scorer_lane *l, fa_result *results, int64_t first, int64_t n)
{
    const fa_level *level = fa_scorer_whole(s);
    FA_TRY(extract(s, l, first, n));
    uint64_t begin = fa_now_ns();
    FA_TRY(fa_judge_couple(level->judge, first, n));
    uint64_t middle = fa_now_ns();
    for (int64_t i = 0; i < n; i++) judge(s, level, i, i, &results[i]);
    s->timing.coupling_ns = middle - begin;
    s->timing.solve_ns = fa_now_ns() - middle;
    return FA_OK;
}

fa_status fa_scorer_run(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, int64_t rows, fa_result *results, int64_t first, int64_t n)
{
    FA_TRY(fa_scorer_order(s, inputs, n_inputs, rows));
    return s->varied ? run_traces(s, results, n) : run_gradients(s, lane_for(s, n), results, first, n);
}
