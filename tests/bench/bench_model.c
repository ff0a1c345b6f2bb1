/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the time of one score goes, node by node: bench-model MODEL.onnx D,D,... [BATCH [K]]. D,D,... is the shape of one input (integers are 1), K the eigenvectors of a layer's
 * sides (16). One thread; one line of JSON per node with the least of many times of its forward pass, data-gradient, tap projection and second moments in microseconds and the
 * rate of its forward pass, then one per operator; one for the convolutions of more than one pixel beside the core's measured peak, those by minimal filtering with the operations of direct sums, which
 * are four times as many; and one for the whole: CPU milliseconds, `ratio`: forward, backward and projections in forward passes; `backward_and_moments_ms` is what a build takes.
 */
#include "bench.h"
#include "backend/program.h"
#include "base/context.h"
#include "graph/plan_private.h"
#include "kernels/kernels.h"
#include "kernels/normal.h"
#include "onnx/onnx.h"
#include "kernels/conv.h"
#include "peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 30
#define MOMENT_ROUNDS 5
#define WIDEST 8192 /* wider sides have no second moments: a sketch projects them at random */
#define MOST_OPS 512

enum { FORWARD, BACKWARD, TAP, MOMENTS, KINDS };

/* The operators have no argument for a caller's own data, so the profile is the program's only state. */
static struct profile {
    const fa_graph *graph;
    const fa_op **op;             /* [n_node] what a node would run untimed */
    double (*least)[KINDS];       /* [n_node] seconds */
    const fa_tap_ops *tap_ops;
    fa_tap *geometry;             /* [n_tap] */
    const int32_t *node;          /* [n_tap] */
    void **packed;                /* [n_tap] */
    int64_t *in, *k_in, *k_out;   /* [n_tap] */
    float *block;
    float *square;                /* of either side */
    void *scratch;
    bool moments;                 /* in the place of projections */
} profile;

static double now(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

static void note(int64_t node, int kind, double took)
{
    double *least = &profile.least[node][kind];
    if (*least == 0 || took < *least) *least = took;
}

static void timed_forward(const fa_op_call *call)
{
    const int64_t n = call->node - profile.graph->node;
    const double start = now();
    profile.op[n]->forward(call);
    note(n, FORWARD, now() - start);
}

static void timed_backward(const fa_op_call *call)
{
    const int64_t n = call->node - profile.graph->node;
    const double start = now();
    profile.op[n]->backward(call);
    note(n, BACKWARD, now() - start);
}

static void visit(void *user, int32_t index, const fa_run *run, const void *grad)
{
    const int32_t n = profile.node[index];
    fa_tap tap = profile.geometry[index];
    (void)user;
    tap.a = fa_run_value(run, profile.graph->node[n].in[0])->data;
    tap.d = grad;
    const double start = now();
    if (profile.moments) {
        profile.tap_ops->moments(&tap, profile.in[index] > WIDEST ? NULL : profile.square, tap.out > WIDEST ? NULL : profile.square + WIDEST * WIDEST, profile.scratch);
        note(n, MOMENTS, now() - start);
        return;
    }
    profile.tap_ops->blocks(&tap, profile.packed[index], profile.k_in[index], profile.k_out[index], profile.block, profile.k_in[index] * profile.k_out[index], profile.scratch);
    note(n, TAP, now() - start);
}

/* The program's operators with clocks around them; views stay views. */
static fa_op_table timed_table(const fa_op_table *from)
{
    static fa_op op[MOST_OPS];
    static const fa_op *const families[] = {op, NULL};
    size_t n = 0;
    for (const fa_op *const *family = from->families; *family; family++)
        for (const fa_op *o = *family; o->name; o++) {
            if (n == MOST_OPS - 1) exit(1);
            op[n] = *o;
            op[n].forward = timed_forward;
            if (o->backward) op[n].backward = timed_backward;
            n++;
        }
    return (fa_op_table){from->real_size, families};
}

static void take_taps(const fa_program *program, const fa_plan *plan, int64_t batch, int64_t k)
{
    const fa_layers *layers = &program->evaluation.layers;
    size_t scratch = FA_ALIGN, most = 0;
    profile.tap_ops = program->tap_ops;
    profile.node = layers->node;
    profile.geometry = memory((size_t)layers->count * sizeof *profile.geometry);
    profile.packed = memory((size_t)layers->count * sizeof *profile.packed);
    profile.in = memory((size_t)layers->count * sizeof *profile.in);
    profile.k_in = memory((size_t)layers->count * sizeof *profile.k_in);
    profile.k_out = memory((size_t)layers->count * sizeof *profile.k_out);
    for (int32_t l = 0; l < layers->count; l++) {
        const fa_layer *layer = &layers->layer[l];
        const fa_node *node = &program->evaluation.graph->node[layers->node[l]];
        const fa_view *a = fa_plan_value(plan, node->in[0]), *d = fa_plan_value(plan, node->out[0]);
        if (!a || !d) continue;
        fa_tap *t = &profile.geometry[l];
        need(fa_layer_geometry(layer, node, a, d, batch, a->count / batch, t));
        const int64_t k_in = profile.k_in[l] = layer->in < k ? layer->in : k, k_out = profile.k_out[l] = layer->out < k ? layer->out : k;
        float *p_in = memory((size_t)(layer->in * k_in) * sizeof *p_in), *p_out = memory((size_t)(layer->out * k_out) * sizeof *p_out);
        fa_normal(3, 1, 0, layer->in * k_in, p_in);
        fa_normal(3, 2, 0, layer->out * k_out, p_out);
        profile.packed[l] = memory(program->tap_ops->packed_size(t, k_in, k_out));
        program->tap_ops->pack(t, p_in, k_in, p_out, k_out, profile.packed[l]);
        free(p_in), free(p_out);
        profile.in[l] = layer->in;
        const size_t of_blocks = program->tap_ops->scratch(t, k_in, k_out), of_moments = program->tap_ops->moments_scratch(t), bytes = of_blocks > of_moments ? of_blocks : of_moments, blocks = (size_t)(batch * k_in * k_out) * sizeof(float);
        scratch = bytes > scratch ? bytes : scratch;
        most = blocks > most ? blocks : most;
    }
    profile.scratch = memory(scratch);
    profile.block = memory(most);
    profile.square = memory(2 * sizeof(float) * WIDEST * WIDEST);
}

static void print_shape(const fa_plan *plan, int32_t value)
{
    const fa_view *v = value >= 0 ? fa_plan_value(plan, value) : NULL;
    printf("[");
    for (int32_t d = 0; v && d < v->ndim; d++) printf("%s%lld", d ? ", " : "", (long long)v->dim[d]);
    printf("]");
}

static void print_nodes(const fa_plan *plan)
{
    const fa_graph *g = profile.graph;
    for (int32_t n = 0; n < g->n_node; n++) {
        const fa_node *node = &g->node[n];
        const double *t = profile.least[n];
        int64_t count;
        const int64_t *weight = fa_node_ints(node, "weight_shape", &count);
        if (t[FORWARD] + t[BACKWARD] + t[TAP] + t[MOMENTS] == 0) continue;
        printf("{\"node\": %d, \"name\": \"%.60s\", \"op\": \"%s\", \"fast\": %s, \"forward_us\": %.2f, \"backward_us\": %.2f, \"tap_us\": %.2f, \"moments_us\": %.2f, \"in\": ", n, node->name, node->op,
               strcmp(node->domain, "fattr") == 0 ? "true" : "false", 1e6 * t[FORWARD], 1e6 * t[BACKWARD], 1e6 * t[TAP], 1e6 * t[MOMENTS]);
        print_shape(plan, node->n_in ? node->in[0] : -1);
        printf(", \"out\": ");
        print_shape(plan, node->n_out ? node->out[0] : -1);
        const fa_view *y = node->n_out && node->out[0] >= 0 ? fa_plan_value(plan, node->out[0]) : NULL;
        if (weight && y && t[FORWARD] > 0) {
            printf(", \"weight\": [%lld, %lld, %lld, %lld]", (long long)weight[0], (long long)weight[1], (long long)weight[2], (long long)weight[3]);
            printf(", \"gflops\": %.1f", 2e-9 * (double)y->count * (double)(weight[1] * weight[2] * weight[3]) / t[FORWARD]);
        }
        printf("}\n");
    }
}

/* Of each operator, all its nodes together. */
static void print_operators(void)
{
    const fa_graph *g = profile.graph;
    for (int32_t n = 0; n < g->n_node; n++) {
        double sum[KINDS] = {0};
        bool told = false;
        int32_t nodes = 0;
        for (int32_t k = 0; k < g->n_node && !told; k++) {
            if (strcmp(g->node[k].op, g->node[n].op) != 0 || strcmp(g->node[k].domain, g->node[n].domain) != 0) continue;
            told = k < n;
            nodes++;
            for (int i = 0; i < KINDS; i++) sum[i] += profile.least[k][i];
        }
        if (told || sum[FORWARD] + sum[BACKWARD] + sum[TAP] + sum[MOMENTS] == 0) continue;
        printf("{\"operator\": \"%s\", \"nodes\": %d, \"forward_us\": %.1f, \"backward_us\": %.1f, \"tap_us\": %.1f, \"moments_us\": %.1f}\n", g->node[n].op, nodes, 1e6 * sum[FORWARD], 1e6 * sum[BACKWARD],
               1e6 * sum[TAP], 1e6 * sum[MOMENTS]);
    }
}

/* Convolutions of more than one pixel together, by how they are summed. */
static void print_convolutions(const fa_plan *plan)
{
    static const char *const way[] = {"direct", "filtered", "depthwise"};
    const fa_graph *g = profile.graph;
    double flops[3] = {0}, seconds_of[3] = {0};
    for (int32_t n = 0; n < g->n_node; n++) {
        int64_t count, strides_count;
        const fa_node *node = &g->node[n];
        const int64_t *weight = fa_node_ints(node, "weight_shape", &count), *stride = fa_node_ints(node, "strides", &strides_count), groups = fa_node_int(node, "group", 1);
        const fa_view *y = node->n_out && node->out[0] >= 0 ? fa_plan_value(plan, node->out[0]) : NULL;
        if (!weight || !y || y->ndim != 4 || y->count == y->dim[0] * weight[0]) continue;
        const int64_t s = stride && strides_count == 2 ? stride[0] : 1;
        const fa_conv_geometry of = {.c = weight[1] * groups, .h = 64, .w = 64, .out = weight[0], .oh = 64, .ow = 64, .groups = groups, .kh = weight[2], .kw = weight[3], .stride_h = s, .stride_w = s,
                                     .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1};
        const int k = groups > 1 ? 2 : fa_conv_should_filter(&of) ? 1 : 0;
        flops[k] += 2.0 * (double)y->count * (double)(weight[1] * weight[2] * weight[3]);
        seconds_of[k] += profile.least[n][FORWARD];
    }
    const fa_isa best = fa_kernels_have(FA_ISA_AVX512) ? FA_ISA_AVX512 : FA_ISA_AVX2;
    const double peak = fma_peak(best);
    printf("{\"fma_peak_gflops\": %.1f, \"read_gb_s\": %.1f", peak, read_bandwidth());
    for (int k = 0; k < 3; k++)
        if (seconds_of[k] > 0)
            printf(", \"%s_mflop\": %.1f, \"%s_us\": %.1f, \"%s_gflops\": %.1f, \"%s_share\": %.3f", way[k], 1e-6 * flops[k], way[k], 1e6 * seconds_of[k], way[k], 1e-9 * flops[k] / seconds_of[k],
                   way[k], 1e-9 * flops[k] / seconds_of[k] / peak);
    const double all = seconds_of[0] + seconds_of[1] + seconds_of[2];
    if (all > 0) printf(", \"convolutions_share\": %.3f", 1e-9 * (flops[0] + flops[1] + flops[2]) / all / peak);
    printf("}\n");
}

static void fill(fa_run *run, const fa_view *input)
{
    void *to = fa_run_input(run, 0);
    if (input->dtype == FA_FLOAT32) fa_normal(1, 2, 0, input->count, to);
    else
        for (int64_t i = 0; i < input->count; i++) ((int64_t *)to)[i] = 1;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "bench-model MODEL.onnx D,D,... [BATCH [K]]\n");
        return 1;
    }
    const int64_t batch = argc > 3 ? atoll(argv[3]) : 1, k = argc > 4 ? atoll(argv[4]) : 16;
    fa_context *context;
    fa_graph *g;
    fa_program *program;
    fa_plan *plan;
    fa_run *run;
    int64_t dim[FA_MAX_DIMS] = {batch};
    int32_t ndim = 1;
    for (const char *p = argv[2]; p && ndim < FA_MAX_DIMS; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) dim[ndim++] = atoll(p);
    need(fa_context_create(NULL, &context));
    need(fa_onnx_read_file(context, argv[1], &g));
    const int32_t logits = g->output[0];
    need(fa_program_create(g, logits, fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE, &program));
    const fa_program_graph *network;
    need(fa_program_with_gradients(program, &network));
    profile.graph = network->graph;
    const size_t nodes = (size_t)profile.graph->n_node + 1;
    profile.op = memory(nodes * sizeof *profile.op);
    profile.least = memory(nodes * sizeof *profile.least);
    for (int32_t n = 0; n < profile.graph->n_node; n++) profile.op[n] = fa_op_find(program->ops, &profile.graph->node[n]);
    fa_view input = {.dtype = fa_dtype_is_real(g->value[g->input[0]].dtype) ? FA_FLOAT32 : FA_INT64};
    const fa_op_table timed = timed_table(program->ops);
    if (profile.graph->n_input != 1 || !fa_view_set_shape(&input, ndim, dim)) return 1;
    const fa_layers *layers = &program->evaluation.layers;
    need(fa_plan_create_straight(&(fa_plan_request){.graph = profile.graph, .ops = &timed, .inputs = &input, .wanted = &logits, .n_wanted = 1, .loss = logits, .tap = layers->node,
                                           .n_tap = layers->count}, &plan));
    take_taps(program, plan, batch, k);
    need(fa_run_create(plan, context, &run));
    double least[3] = {1e9, 1e9, 1e9}; /* of the thread's own time */
    memset(profile.least, 0, nodes * sizeof *profile.least); /* what planning ran */
    for (int round = 0; round < ROUNDS + MOMENT_ROUNDS; round++) {
        profile.moments = round >= ROUNDS;
        fill(run, &input);
        const double start = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
        fa_run_forward(run);
        const double middle = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
        fa_normal(1, 3, 0, fa_plan_value(plan, logits)->count, fa_run_loss_gradient(run));
        const double again = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
        fa_run_backward(run, visit, NULL);
        const double end = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
        const int behind = profile.moments ? 2 : 1;
        if (middle - start < least[0]) least[0] = middle - start;
        if (end - again < least[behind]) least[behind] = end - again;
    }
    print_nodes(plan);
    print_operators();
    print_convolutions(plan);
    printf("{\"model\": \"%s\", \"batch\": %lld, \"kernels\": \"%s\", \"forward_ms\": %.4f, \"backward_and_taps_ms\": %.4f, \"backward_and_moments_ms\": %.4f, \"ratio\": %.2f, \"forward_mflop\": %.1f, \"gflops\": %.1f, \"run_bytes\": %zu}\n", argv[1], (long long)batch,
           fa_program_kernels(program), 1e3 * least[0], 1e3 * least[1], 1e3 * least[2], (least[0] + least[1]) / least[0], 1e-6 * fa_plan_flops_forward(plan),
           1e-9 * fa_plan_flops_forward(plan) / least[0], fa_plan_arena_bytes(plan));
    fa_run_destroy(run);
    fa_plan_destroy(plan);
    fa_program_destroy(program);
    fa_graph_destroy(g);
    fa_context_release(context);
    return 0;
}
