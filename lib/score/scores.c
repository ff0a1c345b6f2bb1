/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scores.h"

#include "base/error.h"
#include "score/aggregate.h"
#include "score/span.h"
#include "score/wide.h"

#include <math.h>
#include <string.h>

#define OUTSIDE (-1e30f) /* a coupling that no solver gives a weight */

struct fa_scores {
    fa_context *context;
    fa_scores_setup setup;
    fa_cone *cone; /* with a Gram matrix */
    fa_wide *wide; /* without */
    float *row;     /* [n] an audited reference's couplings, without a Gram matrix; then fa_space_scratch() */
    float *weight;  /* [n] for a solver whose weights nobody wants */
    float *heap;    /* [topk] */
    int32_t *group; /* [n] */
    int32_t groups;
    double *sum;    /* [groups] */
    int64_t *count; /* [groups] */
    int64_t *classes, *start, *order; /* with a subset: [groups] their classes; group g is order[start[g] .. start[g + 1]) */
    float *part;                      /* [2, n] couplings and weights of a part, without a Gram matrix */
    float *few, *masked;              /* [n] couplings of a part, one after the other and in their places among OUTSIDE */
    fa_arena arena;
};

uint64_t fa_scores_bytes(const fa_scores_setup *u)
{
    uint64_t n = (uint64_t)u->n, bytes = sizeof(fa_scores) + FA_ARENA_SLACK + n * (2 * sizeof(float) + sizeof(int32_t) + 3 * sizeof(int64_t));
    if (u->subset) bytes += n * (2 * sizeof(float) + 3 * sizeof(int64_t));
    if (u->wide && u->subset) bytes += 2 * n * sizeof(float);
    if (u->wide) bytes += n * sizeof(float) + fa_space_scratch(&u->space);
    if (!(u->want & FA_WANT(FA_SCORE_CONE))) return bytes;
    return bytes + (u->wide ? fa_wide_bytes(&u->space, u->n) : fa_cone_bytes(u->n));
}

static fa_status fill_subset(fa_scores *s)
{
    const fa_scores_setup *u = &s->setup;
    size_t n = (size_t)u->n;
    s->classes = fa_arena_array(&s->arena, n, sizeof *s->classes);
    s->start = fa_arena_array(&s->arena, n + 1, sizeof *s->start);
    s->order = fa_arena_array(&s->arena, n, sizeof *s->order);
    s->few = fa_arena_array(&s->arena, n, sizeof *s->few);
    s->masked = fa_arena_array(&s->arena, n, sizeof *s->masked);
    if (u->wide && !(s->part = fa_arena_array(&s->arena, 2 * n, sizeof *s->part))) return FA_ERR_MEMORY;
    if (!s->classes || !s->start || !s->order || !s->few || !s->masked) return FA_ERR_MEMORY;
    for (int32_t g = 0; g < s->groups; g++) {
        s->classes[g] = s->count[g];
        s->start[g + 1] = s->start[g];
        for (int64_t j = 0; j < u->n; j++)
            if (s->group[j] == g) s->order[s->start[g + 1]++] = j;
    }
    return FA_OK;
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
    if (u->subset || (u->want & (FA_WANT(FA_SCORE_CLASS) | FA_WANT(FA_SCORE_CLASS_CCC)))) {
        s->group = fa_arena_array(&s->arena, (size_t)u->n, sizeof *s->group);
        s->count = fa_arena_array(&s->arena, (size_t)u->n, sizeof *s->count);
        s->sum = fa_arena_array(&s->arena, (size_t)u->n, sizeof *s->sum);
        if (!s->group || !s->count || !s->sum) return FA_ERR_MEMORY;
        s->groups = fa_score_groups(u->predicted, u->n, s->group, s->count);
    }
    if (u->subset) FA_TRY(fill_subset(s));
    if (u->wide) {
        s->row = fa_arena_array(&s->arena, (size_t)u->n + fa_space_scratch(&u->space) / sizeof(float), sizeof *s->row);
        if (!s->row) return FA_ERR_MEMORY;
        return u->want & FA_WANT(FA_SCORE_CONE) ? fa_wide_create(s->context, u->kernels, &u->space, &u->rows, u->ridge, &s->wide) : FA_OK;
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
    fa_wide_destroy(s->wide);
    fa_arena_clear(&s->arena);
    fa_delete(s->context, s);
}

static void nothing(const fa_scores *s, uint32_t want, fa_scores_result *r)
{
    for (int32_t i = 0; i < FA_SCORE_COUNT; i++) r->score[i] = want & FA_WANT(i) ? i == FA_SCORE_CONE || i == FA_SCORE_SPAN : (double)NAN;
    if (r->cone_weight) memset(r->cone_weight, 0, (size_t)s->setup.n * sizeof *r->cone_weight);
    if (r->span_weight) memset(r->span_weight, 0, (size_t)s->setup.n * sizeof *r->span_weight);
    r->cone_work = (fa_cone_work){0, 0, 0, 0};
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
    if (want & FA_WANT(FA_SCORE_CONE)) {
        float *w = r->cone_weight ? r->cone_weight : s->weight;
        r->score[FA_SCORE_CONE] = s->wide ? fa_wide_solve(s->wide, c, without, w, &r->cone_work) : fa_cone_solve(s->cone, c, without, w, &r->cone_work);
    }
    if (want & FA_WANT(FA_SCORE_SPAN)) {
        float *w = r->span_weight ? r->span_weight : s->weight;
        r->score[FA_SCORE_SPAN] = without < 0 ? fa_span_solve(u->kernels, u->factor, u->n, u->ridge, c, w)
                                              : fa_span_leave_out(u->kernels, u->factor, u->n, u->ridge, without, w);
    }
}

int64_t fa_scores_part(const fa_scores *s, int64_t class, const int64_t **pick)
{
    for (int32_t g = 0; g < s->groups; g++) {
        if (s->classes[g] != class) continue;
        *pick = s->order + s->start[g];
        return s->start[g + 1] - s->start[g];
    }
    return 0;
}

/* The cone over a part without a Gram matrix. `few` has the couplings without that of `without`; here all members count. */
static void solve_part(fa_scores *s, const int64_t *pick, int64_t n, int64_t without, fa_scores_result *r)
{
    float *w = r->cone_weight ? r->cone_weight : s->weight;
    int64_t left_out = -1;
    for (int32_t i = 0; i < FA_SCORE_COUNT; i++) r->score[i] = (double)NAN;
    for (int64_t i = 0; i < n; i++) {
        if (pick[i] == without) left_out = i;
        s->part[i] = pick[i] == without ? 0 : s->masked[pick[i]];
    }
    fa_wide_take(s->wide, pick, n);
    r->score[FA_SCORE_CONE] = fa_wide_solve(s->wide, s->part, left_out, s->part + n, &r->cone_work);
    fa_wide_take(s->wide, NULL, s->setup.n);
    memset(w, 0, (size_t)s->setup.n * sizeof *w);
    for (int64_t i = 0; i < n; i++) w[pick[i]] = s->part[n + i];
}

/* compute() where references of one class alone count. */
static void compute_part(fa_scores *s, const float *c, int64_t class, int64_t without, uint32_t want, fa_scores_result *r)
{
    const int64_t *pick, members = fa_scores_part(s, class, &pick);
    int64_t n = 0;
    for (int64_t j = 0; j < s->setup.n; j++) s->masked[j] = OUTSIDE;
    for (int64_t i = 0; i < members; i++) {
        if (pick[i] == without) continue;
        s->masked[pick[i]] = c[pick[i]];
        s->few[n++] = c[pick[i]];
    }
    want &= s->setup.want;
    if (!n) {
        nothing(s, want, r);
        return;
    }
    if (s->wide && want & FA_WANT(FA_SCORE_CONE)) solve_part(s, pick, members, without, r);
    else compute(s, s->masked, NULL, without, want & FA_WANT(FA_SCORE_CONE), r);
    double mean = fa_score_mean(s->few, n, -1);
    if (want & FA_WANT(FA_SCORE_MEAN)) r->score[FA_SCORE_MEAN] = mean;
    if (want & FA_WANT(FA_SCORE_CLASS)) r->score[FA_SCORE_CLASS] = mean;
    if (want & FA_WANT(FA_SCORE_TOPK)) r->score[FA_SCORE_TOPK] = fa_score_topk(s->few, n, -1, s->setup.topk, s->heap);
}

void fa_scores_compute(fa_scores *s, const fa_scores_input *x, uint32_t want, fa_scores_result *r)
{
    if (!x->signal) nothing(s, want, r);
    else if (s->setup.subset) compute_part(s, x->c, x->predicted, -1, want, r);
    else compute(s, x->c, x->concordance, -1, want, r);
}

void fa_scores_audit(fa_scores *s, int64_t j, const float *concordance, uint32_t want, fa_scores_result *r)
{
    const fa_scores_setup *u = &s->setup;
    const float *c = u->wide ? s->row : u->gram + j * u->n;
    if (u->wide) {
        fa_rows one = u->rows;
        one.n = 1;
        one.pick = &j;
        fa_space_couplings(&u->space, u->kernels, &one, &u->rows, s->row, u->n, s->row + u->n);
        s->row[j] = u->rows.tau[j] > 0;
    }
    if (!(c[j] > 0)) nothing(s, want, r);
    else if (u->subset) compute_part(s, c, s->classes[s->group[j]], j, want, r);
    else compute(s, c, concordance, j, want, r);
}
