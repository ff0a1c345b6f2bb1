/* SPDX-License-Identifier: Apache-2.0 */
/* CPU milliseconds of one batch through a model on one thread, least of several rounds, as JSON: bench-passes MODEL.onnx BATCH D,D,... [K [REFERENCE]]. The shape is that of one input;
 * integers are 1. forward; backward to every layer with taps that do nothing; blocks: projecting them to K x K (16); moments: adding them to second moments. */
#include "bench.h"
#include "backend/pass.h"
#include "base/context.h"
#include "kernels/normal.h"
#include "onnx/onnx.h"

#include <fattr/fattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 7, WIDEST = 4096 }; /* wider sides have no second moments: a sketch projects them at random */

static double now(void)
{
    return 1e3 * clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}

/* One layer's projections and what they are for. */
typedef struct layer {
    void *packed, *scratch, *scratch_moments;
    float *block, *a, *g;
} layer;

typedef struct bench {
    const fa_tap_ops *ops;
    layer *layer;
    int64_t k, batch;
    bool moments;
} bench;

static void ignore(void *user, const fa_tap *tap)
{
    (void)user, (void)tap;
}

static int64_t least(int64_t k, int64_t n)
{
    return n < k ? n : k;
}

static void work(void *user, const fa_tap *t)
{
    const bench *b = user;
    const layer *l = &b->layer[t->layer];
    const int64_t in = t->c / t->groups * t->kh * t->kw + t->has_bias, k_in = least(b->k, in), k_out = least(b->k, t->out);
    if (b->moments) b->ops->moments(t, in > WIDEST ? NULL : l->a, t->out > WIDEST ? NULL : l->g, l->scratch);
    else b->ops->blocks(t, l->packed, k_in, k_out, l->block, k_in * k_out, l->scratch);
}

static void set_layer(const bench *b, const fa_tap *t, layer *l)
{
    const int64_t in = t->c / t->groups * t->kh * t->kw + t->has_bias, k_in = least(b->k, in), k_out = least(b->k, t->out);
    float *p_in = memory((size_t)(in * k_in) * sizeof(float)), *p_out = memory((size_t)(t->out * k_out) * sizeof(float));
    fa_normal(1, 1, 0, in * k_in, p_in);
    fa_normal(1, 2, 0, t->out * k_out, p_out);
    l->packed = memory(b->ops->packed_size(t, k_in, k_out));
    b->ops->pack(t, p_in, k_in, p_out, k_out, l->packed);
    const size_t blocks = b->ops->scratch(t, k_in, k_out), moments = b->ops->moments_scratch(t);
    l->scratch = memory(blocks > moments ? blocks : moments);
    l->block = memory((size_t)(b->batch * k_in * k_out) * sizeof(float));
    if (b->moments) {
        if (in <= WIDEST) l->a = memory((size_t)(in * in + 16) * sizeof(float));
        if (t->out <= WIDEST) l->g = memory((size_t)(t->out * t->out + 16) * sizeof(float));
    }
    free(p_in), free(p_out);
}

static double fastest(fa_pass *pass, const fa_array *x, int64_t n, fa_tap_fn visit, void *user)
{
    double best = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        const double start = now();
        if (visit) need(fa_pass_backward(pass, visit, user));
        else need(fa_pass_forward(pass, x, 0, n, NULL, NULL));
        best = now() - start < best ? now() - start : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    int64_t shape[FA_MAX_DIMS] = {atoll(argv[2])}, count = shape[0];
    int32_t ndim = 1;
    for (char *p = argv[3]; *p && ndim < FA_MAX_DIMS; p += *p == ',') count *= shape[ndim++] = strtoll(p, &p, 10);
    bench b = {.k = argc > 4 ? atoll(argv[4]) : 16, .batch = shape[0], .moments = true};
    fa_context *context;
    fa_graph *graph;
    fa_program *program;
    fa_pass *pass;
    need(fa_context_create(NULL, &context));
    need(fa_onnx_read_file(context, argv[1], &graph));
    need(fa_program_create(graph, graph->output[0], argc > 5 ? FA_KERNELS_REFERENCE : FA_KERNELS_FAST, &program));
    const bool real = fa_dtype_is_real(graph->value[graph->input[0]].dtype);
    void *data = memory((size_t)count * sizeof(int64_t));
    if (real) fa_normal(1, 3, 0, count, data);
    for (int64_t i = 0; !real && i < count; i++) ((int64_t *)data)[i] = 1;
    const fa_array x = {data, shape, ndim, real ? FA_FLOAT32 : FA_INT64};
    const int32_t layers = fa_program_layer_count(program);
    bool *tapped = memory((size_t)layers + 1);
    memset(tapped, 1, (size_t)layers);
    const fa_pass_request request = {.program = program, .context = context, .inputs = &x, .n_inputs = 1, .batch = b.batch, .tapped = tapped};
    need(fa_pass_create(&request, &pass));
    b.ops = fa_program_tap_ops(program);
    b.layer = memory((size_t)(layers + 1) * sizeof *b.layer);
    for (int32_t l = 0; l < layers; l++)
        if (fa_pass_geometry(pass, l)->out) set_layer(&b, fa_pass_geometry(pass, l), &b.layer[l]);
    const double forward = fastest(pass, &x, b.batch, NULL, NULL), backward = fastest(pass, &x, b.batch, ignore, NULL), moments = fastest(pass, &x, b.batch, work, &b);
    b.moments = false;
    const double blocks = fastest(pass, &x, b.batch, work, &b);
    printf("{\"forward_ms\": %.4g, \"gflops\": %.4g, \"backward_ms\": %.4g, \"blocks_ms\": %.4g, \"moments_ms\": %.4g, \"ratio\": %.4g, \"memory_mb\": %.5g}\n", forward,
           fa_pass_flops_forward(pass) * (double)b.batch / forward * 1e-6, backward, blocks - backward, moments - backward, (forward + blocks) / forward,
           1e-6 * (double)fa_context_memory_used(context));
    fa_pass_destroy(pass);
    fa_program_destroy(program);
    fa_graph_destroy(graph);
    fa_context_release(context);
    return 0;
}
