/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scorer.h"

#include "base/context.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

/*
 * Several threads. A batch with at least two inputs for each of them is shared by scorers of one thread each, in order: a row's numbers do not depend on the rows beside it, so neither
 * do they on who computes it. A single input, and smaller batches, are one scorer's, whose passes share their nodes.
 */
typedef struct member {
    fa_scorer *scorer;
    int64_t first, n; /* its inputs of the current call */
    fa_status status;
    char text[512];   /* an error's text belongs to the thread it happened on: it is carried to the caller's */
} member;

typedef struct fa_team {
    int32_t threads;
    member *member;          /* [threads] */
    fa_result *result;       /* [max_batch], until all are done */
    const fa_array *inputs;  /* of the current call */
    int32_t n_inputs;
    int64_t rows;
} fa_team;

bool fa_team_suits(const fa_scorer_options *o)
{
    return o->threads > 1 && o->max_batch >= 2 * o->threads;
}

void fa_team_end(fa_scorer *s)
{
    fa_team *t = s->team;
    if (!t) return;
    for (int32_t i = 0; t->member && i < t->threads; i++) fa_scorer_free(t->member[i].scorer);
    fa_delete(s->context, t->member);
    fa_delete(s->context, t->result);
    fa_delete(s->context, t);
}

fa_status fa_team_begin(fa_scorer *s)
{
    fa_team *t = s->team = fa_new(s->context, sizeof *t);
    if (!t) return FA_ERR_MEMORY;
    t->member = fa_new_array(s->context, (size_t)s->options.threads, sizeof *t->member);
    t->result = fa_new_array(s->context, (size_t)s->options.max_batch, sizeof *t->result);
    if (!t->member || !t->result) return FA_ERR_MEMORY;
    t->threads = fa_pool_threads(s->pool);
    fa_scorer_options o = s->options;
    o.max_batch = (s->options.max_batch + t->threads - 1) / t->threads;
    o.threads = 1;
    if (!s->sketch->n_calibration) o.alpha = 0; /* filled in, where one that is given is refused */
    for (int32_t i = 0; i < t->threads; i++) FA_TRY(fa_scorer_make(s->sketch, s->network, &o, i ? NULL : s->pool, &t->member[i].scorer));
    s->flops_forward = t->member[0].scorer->flops_forward;
    s->flops_score = t->member[0].scorer->flops_score;
    return FA_OK;
}

static void work(void *user, int32_t thread)
{
    fa_team *t = user;
    member *m = &t->member[thread];
    if (!m->n) return;
    m->status = fa_scorer_run(m->scorer, t->inputs, t->n_inputs, t->rows, t->result + m->first, m->first, m->n);
    if (m->status != FA_OK) snprintf(m->text, sizeof m->text, "%s", fa_error_message());
}

static void longest(uint64_t *most, uint64_t value)
{
    if (value > *most) *most = value;
}

static fa_status run_members(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, fa_result *results, int64_t n)
{
    fa_team *t = s->team;
    int64_t first = 0;
    t->inputs = inputs;
    t->n_inputs = n_inputs;
    t->rows = n;
    for (int32_t i = 0; i < t->threads; i++) {
        member *m = &t->member[i];
        m->status = FA_OK;
        m->scorer->smallest = n >= s->smallest ? 1 : INT64_MAX; /* as one thread would do it */
        m->first = first;
        m->n = n / t->threads + (i < n % t->threads);
        first += m->n;
    }
    fa_pool_run(s->pool, work, t);
    s->timing = (fa_score_timing){.struct_size = sizeof s->timing};
    for (int32_t i = 0; i < t->threads; i++) {
        const member *m = &t->member[i];
        if (m->status != FA_OK) return fa_error_set(m->status, m->text);
        if (!m->n) continue;
        longest(&s->timing.forward_ns, m->scorer->timing.forward_ns);
        longest(&s->timing.backward_ns, m->scorer->timing.backward_ns);
        longest(&s->timing.coupling_ns, m->scorer->timing.coupling_ns);
        longest(&s->timing.solve_ns, m->scorer->timing.solve_ns);
    }
    memcpy(results, t->result, (size_t)n * sizeof *results);
    return FA_OK;
}

typedef struct order {
    fa_status (*run)(void *user);
    void *user;
    fa_status status;
    char text[512];
} order;

static void lead(void *user)
{
    order *o = user;
    o->status = o->run(o->user);
    if (o->status != FA_OK) snprintf(o->text, sizeof o->text, "%s", fa_error_message());
}

fa_status fa_scorer_lead(fa_scorer *s, int64_t n, fa_status (*run)(void *user), void *user)
{
    if (!fa_pool_pays(s->pool, s->flops_score * (double)n)) return run(user);
    order o = {.run = run, .user = user};
    fa_pool_lead(s->pool, lead, &o);
    return o.status == FA_OK ? FA_OK : fa_error_set(o.status, o.text);
}

typedef struct batch {
    fa_scorer *scorer;
    const fa_array *inputs;
    int32_t n_inputs;
    fa_result *results;
    int64_t n;
} batch;

static fa_status run_batch(void *user)
{
    const batch *b = user;
    return fa_scorer_run(b->scorer, b->inputs, b->n_inputs, b->n, b->results, 0, b->n);
}

fa_status fa_scorer_run_all(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, fa_result *results, int64_t n)
{
    if (s->team && n > 1) return run_members(s, inputs, n_inputs, results, n);
    fa_scorer *one = fa_scorer_one(s);
    FA_TRY(fa_scorer_lead(one, n, run_batch, &(batch){one, inputs, n_inputs, results, n}));
    s->timing = one->timing;
    return FA_OK;
}

fa_scorer *fa_scorer_one(fa_scorer *s)
{
    return s->team ? s->team->member[0].scorer : s;
}
