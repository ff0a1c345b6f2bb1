/* SPDX-License-Identifier: Apache-2.0 */
/* Microseconds of what comes after the passes, on one thread, as JSON: bench-score [references ...] */
#include "bench.h"
#include "kernels/normal.h"
#include "score/cholesky.h"
#include "score/couplings_fixed.h"
#include "score/scores.h"
#include "score/space.h"
#include "score/span.h"

#include <fattr/score.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LAYERS 9
#define BLOCK 256
#define D (LAYERS * BLOCK)
#define INPUTS 32
#define RANK 60
#define CLASSES 10

/* CPU time: the machine may be shared. */
static double now(void)
{
    return 1e6 * clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Signatures as networks give them: class means, some directions of decreasing size that all share, noise. */
static void signatures(uint64_t stream, int64_t n, float *block)
{
    float *direction = memory(sizeof(float) * (RANK + CLASSES) * D), *a = memory(sizeof(float) * RANK), *noise = memory(sizeof(float) * D);
    fa_normal(1, 0, 0, (RANK + CLASSES) * (int64_t)D, direction);
    for (int64_t i = 0; i < n; i++) {
        fa_normal(2, stream, (uint64_t)(i * RANK), RANK, a);
        fa_normal(3, stream, (uint64_t)(i * D), D, noise);
        for (int e = 0; e < D; e++) block[i * D + e] = 1.2f * direction[i % CLASSES * D + e] + 0.5f * noise[e];
        for (int r = 0; r < RANK; r++)
            for (int e = 0; e < D; e++) block[i * D + e] += a[r] / sqrtf(1 + (float)r) * direction[(CLASSES + r) * D + e];
    }
    free(direction);
    free(a);
    free(noise);
}

typedef struct bench {
    fa_space space;
    const fa_dot_kernels *kernels;
    fa_rows x, r;
    fa_scores *scores;
    const fa_fixed_kernels *fixed;
    float *gram, *factor, *c, *w, scratch[32 * LAYERS];
    void *fixed_scratch;
    int64_t at;
    double active;
} bench;

static void couple(bench *b, const fa_rows *x, float *out)
{
    if (b->r.fixed) fa_couplings_fixed(&b->space, b->fixed, x, &b->r, out, b->r.n, b->fixed_scratch);
    else fa_space_couplings(&b->space, b->kernels, x, &b->r, out, b->r.n, b->scratch);
}

static void single(bench *b)
{
    fa_rows row = {1, b->x.block + b->at % INPUTS * D, b->x.share + b->at % INPUTS * LAYERS, b->x.tau + b->at % INPUTS};
    b->at++;
    couple(b, &row, b->w);
}

static void batch(bench *b)
{
    couple(b, &b->x, b->c);
}

static void score(bench *b, uint32_t want)
{
    fa_scores_result result = {.cone_weight = b->w};
    fa_scores_compute(b->scores, &(fa_scores_input){.c = b->c + b->at++ % INPUTS * b->r.n, .signal = true}, want, &result);
    b->active += (double)result.cone_work.active;
}

static void cone(bench *b)
{
    score(b, FA_WANT(FA_SCORE_CONE));
}

static void span(bench *b)
{
    score(b, FA_WANT(FA_SCORE_SPAN));
}

static void averages(bench *b)
{
    score(b, FA_WANT(FA_SCORE_TOPK) | FA_WANT(FA_SCORE_CLASS) | FA_WANT(FA_SCORE_MEAN));
}

static void cholesky(bench *b)
{
    fa_cholesky(b->kernels, b->gram, b->r.n, 0.1, b->factor);
}

/* Median and fastest time of `runs` calls. */
static void measure(const char *name, void (*work)(bench *), bench *b, int runs, double per)
{
    double *t = memory(sizeof(double) * (size_t)runs);
    work(b);
    for (int i = 0; i < runs; i++) {
        t[i] = now();
        work(b);
        t[i] = (now() - t[i]) / per;
    }
    qsort(t, (size_t)runs, sizeof *t, ascending);
    printf(", \"%s_us\": %.1f, \"%s_us_min\": %.1f", name, t[runs / 2], name, t[0]);
    free(t);
}

static fa_rows normalised(const fa_space *space, uint64_t stream, int64_t n)
{
    float *block = memory(sizeof(float) * (size_t)n * D), *share = memory(sizeof(float) * (size_t)n * LAYERS), *tau = memory(sizeof(float) * (size_t)n);
    signatures(stream, n, block);
    for (int64_t i = 0; i < n; i++) fa_space_normalise(space, fa_dot_kernels_for(FA_KERNELS_FAST), block + i * D, share + i * LAYERS);
    fa_space_tau(space, n, share, tau);
    return (fa_rows){n, block, share, tau, NULL};
}

static void run(fa_context *context, int32_t kernels, int64_t n)
{
    int64_t offset[LAYERS + 1];
    for (int l = 0; l <= LAYERS; l++) offset[l] = (int64_t)l * BLOCK;
    bench b = {.space = {.n_layer = LAYERS, .blocks = FA_BLOCKS_BOTH, .offset = offset}, .kernels = fa_dot_kernels_for(kernels)};
    size_t square = sizeof(float) * (size_t)n * (size_t)n;
    int64_t *predicted = memory(sizeof(int64_t) * (size_t)n);
    for (int64_t j = 0; j < n; j++) predicted[j] = j % CLASSES;
    b.x = normalised(&b.space, 1, INPUTS);
    b.r = normalised(&b.space, 2, n);
    b.fixed = fa_fixed_kernels_for(kernels);
    b.fixed_scratch = memory(fa_couplings_fixed_scratch(&b.space, b.fixed, INPUTS));
    b.gram = memory(square);
    b.factor = memory(square);
    b.c = memory(sizeof(float) * (size_t)(INPUTS * n));
    b.w = memory(sizeof(float) * (size_t)n);
    double gram_us = now();
    if (fa_space_gram(context, &b.space, b.kernels, &b.r, NULL, b.gram) != FA_OK) exit(1);
    gram_us = now() - gram_us;
    cholesky(&b);
    fa_scores_setup setup = {.kernels = b.kernels, .n = n, .gram = b.gram, .factor = b.factor, .predicted = predicted, .ridge = 0.1, .topk = 5};
    setup.want = FA_WANT_COUPLINGS;
    if (fa_scores_create(context, &setup, &b.scores) != FA_OK) exit(1);
    int runs = n > 1000 ? 160 : 1280;
    printf("{\"kernels\": \"%s\", \"references\": %lld, \"signature\": %d", b.kernels->name, (long long)n, 2 * D);
    measure("couplings", single, &b, runs, 1);
    measure("couplings_batch32", batch, &b, runs / INPUTS, INPUTS);
    measure("cone", cone, &b, runs, 1);
    printf(", \"active\": %.1f", b.active / (runs + 1));
    measure("span", span, &b, runs, 1);
    measure("averages", averages, &b, runs, 1);
    measure("cholesky", cholesky, &b, 3, 1);
    for (int i = 0; i < 2; i++) {
        fa_fixed *bits;
        need(fa_fixed_create(context, LAYERS, offset, n, b.r.block, b.r.share, b.r.tau, i ? FA_SIGNATURES_INT8 : FA_SIGNATURES_INT16, &bits));
        b.r.fixed = bits;
        measure(i ? "couplings_int8" : "couplings_int16", single, &b, runs, 1);
        measure(i ? "couplings_int8_batch32" : "couplings_int16_batch32", batch, &b, runs / INPUTS, INPUTS);
        b.r.fixed = NULL;
        fa_fixed_destroy(bits);
    }
    printf(", \"gram_us\": %.1f}\n", gram_us);
    fa_scores_destroy(b.scores);
    const void *used[] = {predicted, b.x.block, b.x.share, b.x.tau, b.r.block, b.r.share, b.r.tau, b.gram, b.factor, b.c, b.w, b.fixed_scratch};
    for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) free((void *)(uintptr_t)used[i]);
}

int main(int argc, char **argv)
{
    fa_context *context;
    if (fa_context_create(NULL, &context) != FA_OK) return 1;
    for (int k = 0; k < 2; k++) {
        int32_t kernels = k ? FA_KERNELS_REFERENCE : FA_KERNELS_FAST;
        for (int i = 1; i < argc; i++) run(context, kernels, atoll(argv[i]));
        if (argc < 2) {
            run(context, kernels, 500);
            run(context, kernels, 2500);
        }
    }
    fa_context_release(context);
    return 0;
}
