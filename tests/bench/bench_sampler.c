/* SPDX-License-Identifier: Apache-2.0 */
/* What a draw of 78 000 weights costs beside its losses, in microseconds, and a normal number by each instruction set, in nanoseconds: bench-sampler */
#include "base/context.h"
#include "kernels/normal.h"
#include "sampler/chain.h"
#include "sampler/diagnose.h"
#include "sampler/draws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROW 144
#define ROWS 542
#define WEIGHTS (ROW * ROWS)
#define REFERENCES 256
#define DRAWS 800

static float trained[WEIGHTS], weights[WEIGHTS], trace[REFERENCES * DRAWS];
static const int64_t rows = ROWS, row_length = ROW;
static const fa_draw_layout layout = {1, &rows, &row_length, WEIGHTS, ROWS};
static fa_context *context;
static fa_chain *chain;
static int32_t choice; /* of instruction set or storage */
static void *draw;

static void make_numbers(void)
{
    fa_normal_for(choice)(1, 2, 0, WEIGHTS, weights);
}

static void decode(void)
{
    fa_draw_decode(&layout, choice, trained, draw, weights);
}

static void encode(void)
{
    fa_draw_encode(&layout, choice, trained, weights, draw);
}

static void replay(void)
{
    fa_draw_replay(trained, WEIGHTS, 1, 0, 5, 0.01f, weights);
}

static void step(void)
{
    if (fa_chain_step(chain, 0, NULL) != FA_OK) exit(1);
}

static void diagnose(void)
{
    static const int64_t offset[3] = {0, DRAWS / 2, DRAWS};
    fa_diagnosis d;
    if (fa_diagnose(context, trace, REFERENCES, DRAWS, offset, 2, &d) != FA_OK) exit(1);
}

static fa_status no_gradient(void *user, int32_t thread, const float *w, float *statistics, const int64_t *index, int64_t n, float *gradient, double *loss)
{
    (void)user, (void)thread, (void)w, (void)statistics, (void)index, (void)n, (void)gradient;
    *loss = 1;
    return FA_OK;
}

/* The fastest of many: the machine is shared. */
static double microseconds(void (*work)(void))
{
    double best = 1e9;
    for (int round = 0; round < 200; round++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        work();
        clock_gettime(CLOCK_MONOTONIC, &b);
        const double t = (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) * 1e-3;
        if (t < best) best = t;
    }
    return best;
}

int main(void)
{
    static const char *const sets[] = {"plain", "avx2", "avx512"}, *const storages[] = {"replay", "f32", "bf16", "int8"};
    if (fa_context_create(NULL, &context) != FA_OK || !(draw = calloc(WEIGHTS, sizeof(float)))) return 1;
    fa_normal(1, 0, 0, WEIGHTS, trained);
    fa_normal(1, 1, 0, REFERENCES * DRAWS, trace);
    printf("{\"weights\": %d", WEIGHTS);
    for (choice = 0; choice < FA_NORMAL_SETS; choice++)
        if (fa_normal_for(choice)) printf(",\n \"normal_ns_%s\": %.3f", sets[choice], microseconds(make_numbers) * 1e3 / WEIGHTS);
    printf(",\n \"replay_us\": %.1f", microseconds(replay));
    for (choice = FA_DRAWS_F32; choice <= FA_DRAWS_INT8; choice++) {
        replay();
        printf(",\n \"encode_us_%s\": %.1f", storages[choice], microseconds(encode));
        printf(",\n \"decode_us_%s\": %.1f", storages[choice], microseconds(decode));
    }
    const fa_sampler_target target = {.n_weight = WEIGHTS, .weights = trained, .n_sample = 4096, .gradient = no_gradient};
    for (int32_t kind = FA_SAMPLER_RMSPROP_SGLD; kind <= FA_SAMPLER_SGLD; kind++) {
        const fa_sampler_setup setup = {kind, 1, 1e-6, 1e4, 100, 1, 0.99, 0.1, 256};
        if (fa_chain_create(context, &setup, &target, 0, &chain) != FA_OK) return 1;
        printf(",\n \"step_us_%s\": %.1f", kind == FA_SAMPLER_SGLD ? "sgld" : "rmsprop_sgld", microseconds(step));
        fa_chain_destroy(chain);
    }
    printf(",\n \"diagnose_ms\": %.1f}\n", microseconds(diagnose) * 1e-3);
    free(draw);
    fa_context_release(context);
    return 0;
}
