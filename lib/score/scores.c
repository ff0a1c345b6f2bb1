/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scores.h"

#include "score/aggregate.h"
#include "score/span.h"

#include <math.h>
#include <string.h>

struct fa_scores {
    fa_context *context;
    fa_scores_setup setup;
    fa_cone *cone;
    float *weight;  /* [n] for a solver whose weights nobody wants */
    float *heap;    /* [topk] */
    int32_t *group; /* [n] */
    int32_t groups;
    double *sum;    /* [groups] */
    int64_t *count; /* [groups] */
    fa_arena arena;
};

uint64_t fa_scores_bytes(int64_t n, uint32_t want)
{
    uint64_t bytes = sizeof(fa_scores) + FA_ARENA_SLACK + (uint64_t)n * (2 * sizeof(float) + sizeof(int32_t) + 3 * sizeof(int64_t));
    return want & FA_WANT(FA_SCORE_CONE) ? bytes + fa_cone_bytes(n) : bytes;
}

static fa_status fill(fa_scores *s)
{
    const fa_scores_setup *u = &s->setup;
    s->weight = fa_arena_array(&s->arena, (size_t)u->n, sizeof *s->weight);
    if (!s->weight) return FA_ERR_MEMORY;
    if (u->want & FA_WANT(FA_SCORE_TOPK)) {
        if (u->topk > u->n) s->setup.topk = u->n;
        s->heap = fa_arena_array(&s->arena, (size_t)u->topk, sizeof *s->heap);
        if (!s->heap) return FA_ERR_MEMORY;
    }
    if (u->want & (FA_WANT(FA_SCORE_CLASS) | FA_WANT(FA_SCORE_CLASS_CCC))) {
        s->group = fa_arena_array(&s->arena, (size_t)u->n, sizeof *s->group);
        s->count = fa_arena_array(&s->arena, (size_t)u->n, sizeof *s->count);
        s->sum = fa_arena_array(&s->arena, (size_t)u->n, sizeof *s->sum);
        if (!s->group || !s->count || !s->sum) return FA_ERR_MEMORY;
        s->groups = fa_score_groups(u->predicted, u->n, s->group, s->count);
    }
    if (u->want & FA_WANT(FA_SCORE_CONE)) return fa_cone_create(s->context, u->kernels, u->gram, u->n, u->ridge, &s->cone);
    return FA_OK;
}

fa_status fa_scores_create(fa_context *context, const fa_scores_setup *setup, fa_scores **out)
{
    fa_scores *s = fa_new(context, sizeof *s);
    if (!s) return FA_ERR_MEMORY;
    *s = (fa_scores){.context = context, .setup = *setup, .arena = {.context = context}};
    fa_status status = fill(s);
    if (status != FA_OK) {
        fa_scores_destroy(s);
        return status;
    }
    s->setup.predicted = NULL;
    *out = s;
    return FA_OK;
}

void fa_scores_destroy(fa_scores *s)
{
    if (!s) return;
    fa_cone_destroy(s->cone);
    fa_arena_clear(&s->arena);
    fa_delete(s->context, s);
}

static void nothing(const fa_scores *s, uint32_t want, fa_scores_result *r)
{
    for (int32_t i = 0; i < FA_SCORE_COUNT; i++) r->score[i] = want & FA_WANT(i) ? i == FA_SCORE_CONE || i == FA_SCORE_SPAN : (double)NAN;
    if (r->cone_weight) memset(r->cone_weight, 0, (size_t)s->setup.n * sizeof *r->cone_weight);
    if (r->span_weight) memset(r->span_weight, 0, (size_t)s->setup.n * sizeof *r->span_weight);
    r->cone_work = (fa_cone_work){0, 0, 0};
}

static void compute(fa_scores *s, const float *c, const float *concordance, int64_t without, uint32_t want, fa_scores_result *r)
{
    const fa_scores_setup *u = &s->setup;
    for (int32_t i = 0; i < FA_SCORE_COUNT; i++) r->score[i] = (double)NAN;
    want &= u->want;
    if (!concordance) want &= ~FA_WANT_CONCORDANCE;
    if (want & FA_WANT(FA_SCORE_MEAN_CCC)) r->score[FA_SCORE_MEAN_CCC] = fa_score_mean(concordance, u->n, without);
    if (want & FA_WANT(FA_SCORE_CLASS_CCC))
        r->score[FA_SCORE_CLASS_CCC] = fa_score_class(concordance, u->n, without, s->group, s->groups, s->sum, s->count);
    if (want & FA_WANT(FA_SCORE_MEAN)) r->score[FA_SCORE_MEAN] = fa_score_mean(c, u->n, without);
    if (want & FA_WANT(FA_SCORE_TOPK)) r->score[FA_SCORE_TOPK] = fa_score_topk(c, u->n, without, u->topk, s->heap);
    if (want & FA_WANT(FA_SCORE_CLASS)) r->score[FA_SCORE_CLASS] = fa_score_class(c, u->n, without, s->group, s->groups, s->sum, s->count);
    if (want & FA_WANT(FA_SCORE_CONE))
        r->score[FA_SCORE_CONE] = fa_cone_solve(s->cone, c, without, r->cone_weight ? r->cone_weight : s->weight, &r->cone_work);
    if (want & FA_WANT(FA_SCORE_SPAN)) {
        float *w = r->span_weight ? r->span_weight : s->weight;
        r->score[FA_SCORE_SPAN] = without < 0 ? fa_span_solve(u->kernels, u->factor, u->n, u->ridge, c, w)
                                              : fa_span_leave_out(u->kernels, u->factor, u->n, u->ridge, without, w);
    }
}

void fa_scores_compute(fa_scores *s, const float *c, const float *concordance, bool signal, uint32_t want, fa_scores_result *r)
{
    if (signal) compute(s, c, concordance, -1, want, r);
    else nothing(s, want, r);
}

void fa_scores_audit(fa_scores *s, int64_t j, const float *concordance, uint32_t want, fa_scores_result *r)
{
    const float *c = s->setup.gram + j * s->setup.n;
    if (c[j] > 0) compute(s, c, concordance, j, want, r);
    else nothing(s, want, r);
}
