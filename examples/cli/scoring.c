/* SPDX-License-Identifier: Apache-2.0 */
#include "scoring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct crew {
    const fa_refset *inputs;
    const scoring *how;
    scored *out;
    progress bar;
    atomic_llong next, done; /* inputs handed out, inputs scored */
    atomic_bool failed;
} crew;

typedef struct worker {
    crew *crew;
    fa_scorer *scorer;
    fa_result *results; /* [batch] */
    slice slice;
    pthread_t thread;
    bool started, draws;
    char error[1024];
} worker;

/* Sorted insertion: `top` is a handful. */
void keep_largest(const float *weights, int64_t references, int32_t top, int64_t *which, float *weight)
{
    for (int32_t k = 0; k < top; k++) {
        which[k] = -1;
        weight[k] = 0;
    }
    for (int64_t j = 0; weights && j < references; j++) {
        float w = weights[j];
        if (!(w > 0) || (top && w <= weight[top - 1])) continue;
        int32_t k = top - 1;
        for (; k > 0 && weight[k - 1] < w; k--) {
            weight[k] = weight[k - 1];
            which[k] = which[k - 1];
        }
        weight[k] = w;
        which[k] = j;
    }
}

static void take_down(scored *out, int64_t i, const fa_result *r)
{
    out->score[i] = r->score;
    out->p[i] = r->p_value;
    out->confidence[i] = r->confidence;
    memcpy(out->scores[i], r->scores, sizeof r->scores);
    out->flagged[i] = r->flagged;
    out->no_signal[i] = r->no_signal;
    out->predicted[i] = r->predicted;
    out->draws[i] = r->draws;
    if (out->top) keep_largest(r->weights, r->reference_count, out->top, out->explaining + i * out->top, out->explains_with + i * out->top);
    size_t row = (size_t)out->references * sizeof(float);
    if (out->couplings) memcpy(out->couplings + i * out->references, r->couplings, row);
    if (out->weights && r->weights) memcpy(out->weights + i * out->references, r->weights, row);
}

static void *work(void *argument)
{
    worker *w = argument;
    crew *c = w->crew;
    int64_t n = c->out->n, batch = c->how->batch;
    while (!atomic_load(&c->failed)) {
        int64_t first = atomic_fetch_add(&c->next, batch);
        if (first >= n) break;
        int64_t count = n - first < batch ? n - first : batch;
        slice_move(&w->slice, c->inputs, first, count);
        if (fa_score_batch(w->scorer, w->slice.array, w->slice.count, w->results, count) != FA_OK) {
            snprintf(w->error, sizeof w->error, "inputs %lld to %lld: %s", (long long)first, (long long)(first + count - 1), fa_error_message());
            atomic_store(&c->failed, true);
            break;
        }
        for (int64_t i = 0; i < count; i++) {
            take_down(c->out, first + i, &w->results[i]);
            if (!c->how->take || c->how->take(c->how->user, first + i, &w->results[i])) continue;
            snprintf(w->error, sizeof w->error, "out of memory");
            atomic_store(&c->failed, true);
        }
        atomic_fetch_add(&c->done, count);
        if (w->draws) progress_draw(&c->bar, c->how->stage, atomic_load(&c->done), n);
    }
    return NULL;
}

static int worker_create(const session *s, crew *c, worker *w)
{
    fa_scorer_options options;
    fa_scorer_options_init(&options, sizeof options);
    options.max_batch = c->how->batch;
    options.score = c->how->score;
    options.all_scores = c->how->all_scores;
    options.alpha = c->how->alpha;
    options.confidence = c->how->confidence;
    options.signatures = c->how->signatures;
    options.want_residual = c->how->take != NULL;
    w->crew = c;
    w->results = calloc((size_t)c->how->batch, sizeof *w->results);
    if (!w->results) return say_error("out of memory");
    if (slice_create(c->inputs, &w->slice) != EXIT_DONE) return EXIT_FAILED;
    return fa_scorer_create(s->sketch, s->model, &options, &w->scorer) == FA_OK ? EXIT_DONE : say_failure();
}

/* Thread 0 is the calling one; a system that refuses threads makes it slower, no more. */
static int run(const session *s, crew *c, worker *workers, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (worker_create(s, c, &workers[i]) != EXIT_DONE) return EXIT_FAILED;
    }
    workers[0].draws = true;
    for (int32_t i = 1; i < count; i++) workers[i].started = pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0;
    work(&workers[0]);
    for (int32_t i = 1; i < count; i++) {
        if (workers[i].started) pthread_join(workers[i].thread, NULL);
    }
    progress_end(&c->bar);
    for (int32_t i = 0; i < count; i++) {
        if (workers[i].error[0]) return say_error("%s", workers[i].error);
    }
    return EXIT_DONE;
}

static int allocate(scored *r, const scoring *how)
{
    size_t n = (size_t)r->n, cells;
    r->score = calloc(n, sizeof *r->score);
    r->p = calloc(n, sizeof *r->p);
    r->confidence = calloc(n, sizeof *r->confidence);
    r->scores = calloc(n, sizeof *r->scores);
    r->flagged = calloc(n, sizeof *r->flagged);
    r->no_signal = calloc(n, sizeof *r->no_signal);
    r->predicted = calloc(n, sizeof *r->predicted);
    r->draws = calloc(n, sizeof *r->draws);
    r->explaining = calloc(n * (size_t)r->top + 1, sizeof *r->explaining);
    r->explains_with = calloc(n * (size_t)r->top + 1, sizeof *r->explains_with);
    bool weights = how->score == FA_SCORE_CONE || how->score == FA_SCORE_SPAN;
    if (how->keep_couplings && __builtin_mul_overflow(n, (size_t)r->references, &cells)) return say_error("out of memory");
    if (how->keep_couplings) r->couplings = calloc(cells, sizeof *r->couplings);
    if (how->keep_couplings && weights) r->weights = calloc(cells, sizeof *r->weights);
    bool all = r->score && r->p && r->confidence && r->scores && r->flagged && r->no_signal && r->predicted && r->draws && r->explaining && r->explains_with &&
               (!how->keep_couplings || (r->couplings && (!weights || r->weights)));
    return all ? EXIT_DONE : say_error("out of memory");
}

int score_all(const session *s, const fa_refset *inputs, const scoring *how, scored *out)
{
    fa_sketch_info info = {.struct_size = sizeof info};
    if (fa_sketch_get_info(s->sketch, &info) != FA_OK) return say_failure();
    scored r = {.n = fa_refset_count(inputs), .references = info.reference_count, .top = how->top};
    crew c = {.inputs = inputs, .how = how, .out = &r};
    int64_t batches = (r.n + how->batch - 1) / how->batch;
    int32_t count = batches < how->threads ? (int32_t)batches : how->threads;
    worker *workers = calloc((size_t)count, sizeof *workers);
    progress_begin(&c.bar, how->show_progress);
    int code = allocate(&r, how);
    if (code == EXIT_DONE) code = workers ? run(s, &c, workers, count) : say_error("out of memory");
    for (int32_t i = 0; workers && i < count; i++) {
        fa_scorer_destroy(workers[i].scorer);
        slice_destroy(&workers[i].slice);
        free(workers[i].results);
    }
    free(workers);
    if (code == EXIT_DONE) *out = r;
    else scored_destroy(&r);
    return code;
}

void scored_destroy(scored *r)
{
    free(r->score);
    free(r->p);
    free(r->confidence);
    free(r->scores);
    free(r->flagged);
    free(r->no_signal);
    free(r->predicted);
    free(r->draws);
    free(r->explaining);
    free(r->explains_with);
    free(r->couplings);
    free(r->weights);
    *r = (scored){0};
}
