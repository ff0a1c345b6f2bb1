/* SPDX-License-Identifier: Apache-2.0 */
/* What moving weights cost, in forward passes at the same batch: bench-varied MODEL.onnx ... One thread; one line of JSON per model and batch. */
#include "bench.h"
#include "backend/varied.h"
#include "base/context.h"
#include "kernels/normal.h"
#include "kernels/kernels.h"
#include "onnx/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 25

static double now(void)
{
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* The inputs, the passes over them, and what they write to. */
typedef struct job {
    fa_array input;
    int64_t batch, shape[FA_MAX_DIMS], *target;
    float *weights, *statistics, *gradient;
    fa_pass *plain, *evaluate, *frozen, *reestimate;
} job;

static fa_pass *new_pass(fa_context *context, const fa_program *program, const job *j, int64_t batch, bool gradient)
{
    fa_pass *pass;
    need(fa_pass_create(&(fa_pass_request){.program = program, .context = context, .inputs = &j->input, .n_inputs = 1, .batch = batch, .gradient = gradient}, &pass));
    return pass;
}

static void forward(const job *j, fa_pass *pass)
{
    for (int64_t i = 0; i < j->batch; i += fa_pass_batch(pass)) need(fa_pass_forward(pass, &j->input, i, fa_pass_batch(pass), &(fa_asked){.own_target = j->target}, NULL));
}

static void gradient(const job *j, fa_pass *pass)
{
    int64_t index[512];
    double loss = 0;
    for (int64_t i = 0, n = fa_pass_batch(pass); i < j->batch; i += n) {
        for (int64_t k = 0; k < n; k++) index[k] = i + k;
        need(fa_pass_mean_gradient(pass, &j->input, index, n, &(fa_asked){.own_target = j->target}, 1.0 / (double)j->batch, j->gradient, &loss, j->statistics));
    }
}

enum { PLAIN, EVALUATE, SET, FROZEN, REESTIMATE, TIMES };

static void work(const job *j, int what)
{
    switch (what) {
    case PLAIN: forward(j, j->plain); break;
    case EVALUATE: forward(j, j->evaluate); break;
    case SET: fa_pass_set_weights(j->evaluate, j->weights, j->statistics); break;
    case FROZEN: gradient(j, j->frozen); break;
    default:
        if (j->reestimate) gradient(j, j->reestimate);
    }
}

static int by_size(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

/* Each round does everything once, so that ratios within a round see the same machine; medians over rounds. Forward passes are timed the second time they
 * run: each program has packed weights of its own to bring into the cache. */
static void measure(const char *name, const job *j)
{
    static double took[TIMES][ROUNDS], ratio[TIMES][ROUNDS];
    for (int r = -2; r < ROUNDS; r++) {
        for (int k = 0; k < TIMES; k++) {
            if (k <= EVALUATE) work(j, k);
            const double start = now();
            work(j, k);
            if (r < 0) continue;
            took[k][r] = now() - start;
            ratio[k][r] = took[k][r] / took[PLAIN][r];
        }
    }
    for (int k = 0; k < TIMES; k++) {
        qsort(took[k], ROUNDS, sizeof(double), by_size);
        qsort(ratio[k], ROUNDS, sizeof(double), by_size);
    }
    const int m = ROUNDS / 2;
    printf("{\"model\": \"%s\", \"batch\": %lld, \"kernels\": \"%s\", \"forward_ms\": %.4f, \"varied_forward_ratio\": %.3f, \"set_weights_ratio\": %.4f, "
           "\"gradient_chunk\": %lld, \"gradient_ratio\": %.3f, \"reestimate_ratio\": %.3f}\n",
           name, (long long)j->batch, fa_kernels_name(), took[PLAIN][m] * 1e3, ratio[EVALUATE][m], ratio[SET][m], (long long)fa_pass_batch(j->frozen), ratio[FROZEN][m],
           j->reestimate ? ratio[REESTIMATE][m] : 0.0);
    fflush(stdout);
}

static void bench(fa_context *context, const char *path, int64_t batch, int64_t chunk)
{
    fa_graph *g;
    fa_program *plain, *varied, *moving = NULL;
    need(fa_onnx_read_file(context, path, &g));
    const fa_value *x = &g->value[g->input[0]];
    job j = {.batch = batch};
    int64_t row = 1;
    for (int32_t d = 0; d < x->declared_ndim; d++) j.shape[d] = d ? x->declared[d] : batch;
    for (int32_t d = 1; d < x->declared_ndim; d++) row *= j.shape[d];
    float *data = malloc((size_t)(batch * row) * sizeof *data);
    j.target = malloc((size_t)batch * sizeof *j.target);
    if (!data || !j.target) exit(1);
    fa_normal(1, 2, 0, batch * row, data);
    for (int64_t i = 0; i < batch; i++) j.target[i] = i % 10;
    j.input = (fa_array){.data = data, .shape = j.shape, .ndim = x->declared_ndim, .dtype = FA_FLOAT32};
    const int32_t kernels = fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE;
    need(fa_program_create(g, g->output[0], kernels, &plain));
    need(fa_program_create_varied(g, g->output[0], kernels, &(fa_varied_options){0}, &varied));
    const bool normalises = fa_program_create_varied(g, g->output[0], kernels, &(fa_varied_options){.reestimate = true}, &moving) == FA_OK;
    j.weights = malloc((size_t)fa_program_weight_count(varied) * sizeof *j.weights);
    j.gradient = calloc((size_t)fa_program_weight_count(varied), sizeof *j.gradient);
    j.statistics = calloc(normalises ? (size_t)fa_program_statistics_count(moving) : 1, sizeof *j.statistics);
    if (!j.weights || !j.gradient || !j.statistics) exit(1);
    fa_program_trained(varied, j.weights, NULL);
    j.plain = new_pass(context, plain, &j, chunk, false);
    j.evaluate = new_pass(context, varied, &j, chunk, false);
    j.frozen = new_pass(context, varied, &j, chunk, true);
    j.reestimate = normalises ? new_pass(context, moving, &j, batch, true) : NULL;
    measure(path, &j);
    fa_pass_destroy(j.plain), fa_pass_destroy(j.evaluate), fa_pass_destroy(j.frozen), fa_pass_destroy(j.reestimate);
    fa_program_destroy(plain), fa_program_destroy(varied), fa_program_destroy(moving);
    fa_graph_destroy(g);
    free(data), free(j.target), free(j.weights), free(j.gradient), free(j.statistics);
}

int main(int argc, char **argv)
{
    fa_context *context;
    if (fa_context_create(NULL, &context) != FA_OK) return 1;
    for (int i = 1; i < argc; i++) {
        bench(context, argv[i], 32, 32);
        bench(context, argv[i], 256, 32);
        bench(context, argv[i], 256, 256);
    }
    fa_context_release(context);
    return 0;
}
