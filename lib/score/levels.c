/* SPDX-License-Identifier: Apache-2.0 */
#include "score/levels.h"

#include "base/context.h"
#include "base/error.h"
#include "score/conformal.h"
#include "score/trace_gather.h"

#include <math.h>
#include <string.h>

#define LEAST_DRAWS 4 /* of a chain at a level: fewer say nothing of a correlation */

void fa_levels_end(fa_levels *l)
{
    for (int32_t k = 0; k < l->n; k++) {
        fa_judge_destroy(l->level[k].judge);
        fa_sketch_free(l->level[k].own);
    }
    *l = (fa_levels){.n = 0};
}

/* The sketch of the first 1 / parts of every chain. */
static fa_status prefix(const fa_sketch *s, int32_t parts, fa_pool *pool, fa_sketch **out)
{
    int32_t chains = s->body->n_layer;
    fa_trace_piece *pieces = fa_new_array(s->context, (size_t)chains, sizeof *pieces);
    if (!pieces) return FA_ERR_MEMORY;
    for (int32_t c = 0; c < chains; c++) {
        int64_t draws = s->body->trace->chain[c].draws;
        pieces[c] = (fa_trace_piece){.from = s, .chain = c, .draws = (draws + parts - 1) / parts};
    }
    fa_status status = fa_trace_gather(pieces, chains, false, pool, out);
    fa_delete(s->context, pieces);
    return status;
}

/* Score of every calibration input, in their own order. */
static fa_status calibration_scores(const fa_sketch *s, fa_judge *j, int32_t score, double *out)
{
    int64_t draws = s->body->offset[s->body->n_layer];
    for (int64_t i = 0; i < s->n_calibration; i += j->batch) {
        int64_t n = s->n_calibration - i < j->batch ? s->n_calibration - i : j->batch;
        memcpy(j->blocks, s->calibration_loss + i * draws, (size_t)(n * draws) * sizeof(float));
        fa_judge_sign_losses(j, n);
        FA_TRY(fa_judge_couple(j, i, n));
        for (int64_t k = 0; k < n; k++) {
            fa_scores_result r = {.cone_weight = NULL};
            fa_judge_score(j, k, FA_WANT(score), &r);
            out[i + k] = r.score[score];
        }
    }
    return FA_OK;
}

/* The largest number of calibration scores at or above one that is still flagged, plus one: their smallest is the threshold. */
static double threshold_of(const double *ascending, int64_t m, double alpha)
{
    int64_t above = 0;
    while (above < m && (double)(2 + above) / (double)(1 + m) <= alpha) above++;
    return ascending[m - 1 - above];
}

/* Bounds that `difference` [m] passes on either side with probability `risk` each at the most, for one more exchangeable input. Sorts. */
static void set_bounds(fa_level *l, double *difference, int64_t m, double risk)
{
    fa_sort_scores(difference, m);
    double rank = ceil((1 - risk) * (double)(m + 1));
    l->high = rank <= (double)m ? difference[(int64_t)rank - 1] : (double)INFINITY;
    l->low = rank <= (double)m ? difference[m - (int64_t)rank] : -(double)INFINITY;
}

static fa_status measure(fa_levels *l, const fa_sketch *s, int32_t score, double risk)
{
    int64_t m = s->n_calibration;
    double *whole = fa_new_array(l->context, 2 * (size_t)m, sizeof *whole), *part = whole + m;
    if (!whole) return FA_ERR_MEMORY;
    fa_status status = calibration_scores(s, l->level[l->n - 1].judge, score, whole);
    for (int32_t k = 0; k < l->n - 1 && status == FA_OK; k++) {
        status = calibration_scores(l->level[k].sketch, l->level[k].judge, score, part);
        for (int64_t i = 0; i < m; i++) part[i] = whole[i] - part[i];
        set_bounds(&l->level[k], part, m, risk);
    }
    fa_delete(l->context, whole);
    return status;
}

/* A normal number is larger than sqrt(2 log(1 / risk)) with less than this probability. Draws of a chain count as the effective ones among them. */
static void set_errors(fa_levels *l, const fa_sketch *s, double risk)
{
    const fa_sketch_body *b = s->body;
    double all = (double)b->offset[b->n_layer], ess = b->trace->diagnosis.ess, effective = ess > 1 && ess < all ? ess : all;
    for (int32_t k = 0; k < l->n - 1; k++) {
        const fa_sketch_body *part = l->level[k].sketch->body;
        double share = (double)part->offset[part->n_layer] / all;
        l->level[k].error = sqrt(2 * log(1 / risk) * (1 / share - 1) / effective);
    }
}

static fa_status begin(fa_levels *l, const fa_sketch *s, int64_t batch, uint32_t want, bool early, fa_pool *pool)
{
    int64_t shortest = INT64_MAX;
    for (int32_t c = 0; early && c < s->body->n_layer; c++)
        if (s->body->trace->chain[c].draws < shortest) shortest = s->body->trace->chain[c].draws;
    for (int32_t parts = early ? 1 << (FA_LEVELS - 1) : 1; parts >= 1; parts /= 2) {
        if (parts > 1 && shortest < parts * LEAST_DRAWS) continue;
        fa_level *level = &l->level[l->n];
        if (parts > 1) {
            fa_status status = prefix(s, parts, pool, &level->own);
            if (status == FA_ERR_NO_SIGNAL) continue; /* so few draws that no loss moved settle nothing */
            FA_TRY(status);
        }
        l->n++;
        level->sketch = parts > 1 ? level->own : s;
        FA_TRY(fa_judge_create(l->context, level->sketch->body, l->context->kernels, batch, want, &level->judge));
    }
    return FA_OK;
}

fa_status fa_levels_begin(fa_levels *l, const fa_sketch *s, int64_t batch, uint32_t want, int32_t score, double alpha, double confidence)
{
    bool early = confidence > 0;
    fa_pool *pool = NULL;
    *l = (fa_levels){.context = s->context};
    if (early) FA_TRY(fa_pool_create(l->context, 1, &pool));
    fa_status status = begin(l, s, batch, want, early, pool);
    fa_pool_destroy(pool);
    FA_TRY(status);
    if (!early) return FA_OK;
    l->threshold = threshold_of(s->calibration[score], s->n_calibration, alpha);
    /* Every level short of the last may stop, on either side. */
    if (l->n < 2) return FA_OK;
    double risk = (1 - confidence) / (2 * (l->n - 1));
    if (score != FA_SCORE_CONE && score != FA_SCORE_SPAN) set_errors(l, s, risk);
    return measure(l, s, score, risk);
}

int32_t fa_level_verdict(const fa_levels *l, int32_t k, double score)
{
    const fa_level *level = &l->level[k];
    if (score + level->low > l->threshold) return 1;
    /* To let an input pass takes more: of an anomalous one calibration does not say how far its score scatters. */
    return score + fmax(level->high, level->error * (1 - score * score)) <= l->threshold ? 0 : -1;
}

int64_t fa_level_draws(const fa_levels *l, int32_t k, int32_t chain)
{
    return k < 0 ? 0 : l->level[k].sketch->body->trace->chain[chain].draws;
}
