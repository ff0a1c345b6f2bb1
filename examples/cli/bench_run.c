/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define LEAST_SECONDS 0.5
#define LEAST_ROUNDS 7
#define MOST_ROUNDS 100000

enum { SCORE, FORWARD, PASSES, COUPLING, SOLVE, DRAW, KINDS };

typedef struct runner {
    const session *s;
    const bench_inputs *inputs;
    int64_t batch;
    fa_scorer *scorer; /* NULL: forward passes alone */
    fa_result *results;
    pthread_barrier_t *start;
    pthread_t thread;
    int64_t rounds;
    double *times[KINDS]; /* [MOST_ROUNDS] milliseconds */
    double began, ended;
    char error[1024];
} runner;

static fa_status forward_once(const runner *r)
{
    fa_tensor *tensor = NULL;
    fa_status status = fa_model_run(r->s->model, r->inputs->array, r->inputs->count, NULL, &tensor);
    fa_tensor_release(tensor);
    return status;
}

static fa_status once(runner *r)
{
    double start = seconds_now();
    fa_status status = r->scorer ? fa_score_batch(r->scorer, r->inputs->array, r->inputs->count, r->results, r->batch) : forward_once(r);
    double took = 1e3 * (seconds_now() - start);
    if (status != FA_OK) return status;
    r->times[r->scorer ? SCORE : FORWARD][r->rounds] = took;
    if (r->scorer) {
        fa_score_timing t = {.struct_size = sizeof t};
        if ((status = fa_scorer_get_timing(r->scorer, &t)) != FA_OK) return status;
        /* A trace sketch takes a forward pass per draw and one for the class. */
        r->times[FORWARD][r->rounds] = 1e-6 * (double)t.forward_ns / (double)(r->results[0].draws + 1);
        r->times[PASSES][r->rounds] = 1e-6 * (double)(t.forward_ns + t.backward_ns + t.draw_ns);
        r->times[DRAW][r->rounds] = 1e-6 * (double)t.draw_ns;
        r->times[COUPLING][r->rounds] = 1e-6 * (double)t.coupling_ns;
        r->times[SOLVE][r->rounds] = 1e-6 * (double)t.solve_ns;
    }
    r->rounds++;
    return FA_OK;
}

static void *work(void *argument)
{
    runner *r = argument;
    fa_status status = FA_OK;
    for (int warm = 0; warm < 3 && status == FA_OK; warm++) {
        status = once(r);
        r->rounds = 0;
    }
    pthread_barrier_wait(r->start);
    r->began = seconds_now();
    while (status == FA_OK && r->rounds < MOST_ROUNDS && (r->rounds < LEAST_ROUNDS || seconds_now() - r->began < LEAST_SECONDS)) status = once(r);
    r->ended = seconds_now();
    if (status != FA_OK) snprintf(r->error, sizeof r->error, "%s", fa_error_message());
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int64_t n)
{
    if (!n) return NAN;
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static int runner_create(runner *r, const session *s, const bench_inputs *inputs, int64_t batch, uint64_t draw_cache, int32_t signatures, pthread_barrier_t *start)
{
    *r = (runner){.s = s, .inputs = inputs, .batch = batch, .start = start};
    r->results = calloc((size_t)batch, sizeof *r->results);
    bool all = r->results != NULL;
    for (int k = 0; k < KINDS; k++) all = (r->times[k] = calloc(MOST_ROUNDS, sizeof(double))) != NULL && all;
    if (!all) return say_error("out of memory");
    if (!s->sketch) return EXIT_DONE;
    fa_scorer_options options;
    fa_scorer_options_init(&options, sizeof options);
    options.max_batch = (int32_t)batch;
    options.draw_cache_bytes = draw_cache;
    options.signatures = signatures;
    return fa_scorer_create(s->sketch, s->model, &options, &r->scorer) == FA_OK ? EXIT_DONE : say_failure();
}

static void runner_destroy(runner *r)
{
    fa_scorer_destroy(r->scorer);
    free(r->results);
    for (int k = 0; k < KINDS; k++) free(r->times[k]);
}

/* With several threads what counts is how many batches all of them finish in the time that one of them takes for one. */
static double share(double one, int32_t threads, const runner *runners)
{
    double rate = 0, mean = (runners[0].ended - runners[0].began) / (double)runners[0].rounds;
    for (int32_t i = 0; i < threads; i++) rate += (double)runners[i].rounds / (runners[i].ended - runners[i].began);
    return threads == 1 ? one : one / (rate * mean);
}

static int run_together(runner *runners, int32_t threads)
{
    for (int32_t i = 1; i < threads; i++) {
        /* The barrier counts every thread, so one that cannot be started ends the whole measurement. */
        if (pthread_create(&runners[i].thread, NULL, work, &runners[i])) {
            fprintf(stderr, "fattr: the system refuses %d threads\n", (int)threads);
            exit(EXIT_FAILED);
        }
    }
    work(&runners[0]);
    for (int32_t i = 1; i < threads; i++) pthread_join(runners[i].thread, NULL);
    for (int32_t i = 0; i < threads; i++) {
        if (runners[i].error[0]) return say_error("%s", runners[i].error);
    }
    return EXIT_DONE;
}

int bench_run(const session *s, const bench_inputs *inputs, int64_t batch, int32_t threads, uint64_t draw_cache, int32_t signatures, bench_times *out)
{
    pthread_barrier_t start;
    runner *runners = calloc((size_t)threads, sizeof *runners);
    if (!runners) return say_error("out of memory");
    if (pthread_barrier_init(&start, NULL, (unsigned)threads)) {
        free(runners);
        return say_error("out of memory");
    }
    int code = EXIT_DONE;
    for (int32_t i = 0; i < threads && code == EXIT_DONE; i++) code = runner_create(&runners[i], s, inputs, batch, draw_cache, signatures, &start);
    if (code == EXIT_DONE) code = run_together(runners, threads);
    if (code == EXIT_DONE) {
        runner *first = &runners[0];
        double m[KINDS];
        for (int k = 0; k < KINDS; k++) m[k] = first->scorer || k == FORWARD ? share(median(first->times[k], first->rounds), threads, runners) : NAN;
        *out = (bench_times){m[FORWARD], m[SCORE], m[PASSES], m[COUPLING], m[SOLVE], m[DRAW]};
    }
    for (int32_t i = 0; i < threads; i++) runner_destroy(&runners[i]);
    pthread_barrier_destroy(&start);
    free(runners);
    return code;
}
