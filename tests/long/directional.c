/* SPDX-License-Identifier: Apache-2.0 */
/* Backward of a whole network against central differences: directional MODEL OUTPUT RESULT [SHAPE FILE]...
 * For each graph input in order a SHAPE ("2,3,48,48", "scalar") and a FILE of its elements, float64 or int64; integer inputs are bound when the network is
 * planned. OUTPUT is a value, "" the first output; its elements go to RESULT, float64. The scalar sum of r * output, r fixed at random, is differentiated in double precision along a random direction in all parameters and along one
 * in all real inputs. Prints one line of JSON. */
#include "backend/program.h"
#include "base/context.h"
#include "base/error.h"
#include "graph/plan.h"
#include "graph/unroll.h"
#include "onnx/onnx.h"
#include "ops/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_INPUTS 8

typedef struct network {
    fa_context *context;
    fa_arena arena;
    fa_graph *read, *unrolled, *literal, *varied; /* each over the one before */
    const fa_graph *graph;
    fa_parameters parameters;
    fa_view in[MOST_INPUTS];
    double *x[MOST_INPUTS], *w[MOST_INPUTS]; /* real inputs, and the direction in them */
    int32_t output;
    double *weights, *at, *direction; /* [parameters.weights] */
    fa_plan *plan;
    fa_run *run;
    double *r;
} network;

static void check(fa_status status)
{
    if (status == FA_OK) return;
    fprintf(stderr, "%s\n", fa_error_message());
    exit(1);
}

static void *memory(network *n, size_t count)
{
    void *p = fa_arena_array(&n->arena, count + 1, sizeof(double));
    if (!p) check(FA_ERR_MEMORY);
    return p;
}

static double noise(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

/* A random direction as long as `x` itself: no part of the network drowns the others. */
static void direct(const double *x, int64_t count, uint64_t *state, double *direction)
{
    double squares = 0;
    for (int64_t k = 0; k < count; k++) squares += x[k] * x[k];
    for (int64_t k = 0; k < count; k++) direction[k] = noise(state) * (sqrt(squares / (double)count) + 1e-3);
}

static void read_input(network *n, int32_t i, char *shape, const char *path)
{
    int64_t dim[FA_MAX_DIMS];
    int32_t ndim = 0;
    const fa_value *v = &n->read->value[n->read->input[i]];
    if (strcmp(shape, "scalar"))
        for (char *part = strtok(shape, ","); part; part = strtok(NULL, ",")) dim[ndim++] = atoll(part);
    n->in[i].dtype = v->dtype;
    if (!fa_view_set_shape(&n->in[i], ndim, dim)) exit(2);
    void *data = memory(n, (size_t)n->in[i].count);
    FILE *f = fopen(path, "rb");
    if (!f || fread(data, sizeof(double), (size_t)n->in[i].count, f) != (size_t)n->in[i].count) exit(2);
    fclose(f);
    if (!fa_dtype_is_real(v->dtype)) n->in[i].data = data;
    else {
        uint64_t state = 11 + (uint64_t)i;
        n->x[i] = data;
        n->w[i] = memory(n, (size_t)n->in[i].count);
        direct(data, n->in[i].count, &state, n->w[i]);
    }
}

static void make_plan(network *n)
{
    int32_t count = 0;
    check(fa_unroll(n->read, n->context, &fa_op_table_f64, n->in, &n->output, 1, &n->unrolled));
    const fa_graph *g = n->unrolled ? n->unrolled : n->read;
    check(fa_rewrite_literals(g, &n->literal));
    check(fa_parameters_find(n->literal, n->output, &(fa_varied_options){0}, &n->arena, &n->parameters));
    check(fa_rewrite_vary(n->literal, &n->parameters, &n->varied));
    n->graph = n->varied;
    int32_t *wrt = memory(n, (size_t)(n->parameters.count + n->graph->n_input));
    for (int32_t i = 0; i < n->parameters.count; i++) wrt[count++] = n->parameters.value[i];
    for (int32_t i = 0; i < n->graph->n_input; i++)
        if (n->x[i]) wrt[count++] = n->graph->input[i];
    check(fa_plan_create(&(fa_plan_request){.graph = n->graph, .context = n->context, .ops = &fa_op_table_f64, .inputs = n->in, .wanted = &n->output, .n_wanted = 1,
                                            .loss = n->output, .wrt = wrt, .n_wrt = count}, &n->plan));
    check(fa_run_create(n->plan, n->context, &n->run));
    const size_t weights = (size_t)n->parameters.weights, outputs = (size_t)fa_plan_value(n->plan, n->output)->count;
    uint64_t state = 5;
    n->weights = memory(n, weights);
    n->at = memory(n, weights);
    n->direction = memory(n, weights);
    n->r = memory(n, outputs);
    for (size_t k = 0; k < outputs; k++) n->r[k] = noise(&state);
    for (size_t k = 0; k < weights; k++) n->weights[k] = (double)n->parameters.trained[k];
    for (int32_t i = 0; i < n->parameters.count; i++) {
        const fa_parameter *p = &n->parameters.parameter[i];
        direct(n->weights + p->offset, p->count, &state, n->direction + p->offset);
    }
}

/* The scalar at weights + a direction and inputs + b w. */
static double value(network *n, double a, double b)
{
    for (int64_t k = 0; k < n->parameters.weights; k++) n->at[k] = n->weights[k] + a * n->direction[k];
    for (int32_t i = 0; i < n->parameters.count; i++) fa_run_set(n->run, n->parameters.value[i], n->at + n->parameters.parameter[i].offset);
    fa_run_prepare(n->run);
    for (int32_t i = 0; i < n->graph->n_input; i++) {
        double *to = n->x[i] ? fa_run_input(n->run, i) : NULL;
        for (int64_t k = 0; to && k < n->in[i].count; k++) to[k] = n->x[i][k] + b * n->w[i][k];
    }
    fa_run_forward(n->run);
    const fa_view *out = fa_run_value(n->run, n->output);
    double sum = 0;
    for (int64_t k = 0; k < out->count; k++) sum += n->r[k] * ((const double *)out->data)[k];
    return sum;
}

/* Of the backward pass at the point itself. */
static void slopes(network *n, const char *result, double *of_weights, double *of_inputs)
{
    int32_t at = n->parameters.count;
    value(n, 0, 0);
    const fa_view *out = fa_run_value(n->run, n->output);
    FILE *f = fopen(result, "wb");
    if (!f || fwrite(out->data, sizeof(double), (size_t)out->count, f) != (size_t)out->count || fclose(f)) exit(2);
    memcpy(fa_run_loss_gradient(n->run), n->r, (size_t)out->count * sizeof(double));
    fa_run_backward(n->run, NULL, NULL);
    *of_weights = *of_inputs = 0;
    for (int32_t i = 0; i < n->parameters.count; i++) {
        const fa_parameter *p = &n->parameters.parameter[i];
        const double *g = fa_run_gradient(n->run, i);
        for (int64_t k = 0; g && k < p->count; k++) *of_weights += g[k] * n->direction[p->offset + k];
    }
    for (int32_t i = 0; i < n->graph->n_input; i++) {
        if (!n->x[i]) continue;
        const double *g = fa_run_gradient(n->run, at++);
        for (int64_t k = 0; g && k < n->in[i].count; k++) *of_inputs += g[k] * n->w[i][k];
    }
}

/* The smallest relative difference over steps: kinks (ReLU, largest of several) spoil one step, rounding another. */
static double error(network *n, double slope, bool inputs)
{
    static const double steps[] = {1e-5, 1e-6, 1e-7, 1e-8};
    double best = INFINITY;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const double h = steps[i], d = (value(n, inputs ? 0 : h, inputs ? h : 0) - value(n, inputs ? 0 : -h, inputs ? -h : 0)) / (2 * h);
        best = fmin(best, fabs(d - slope) / fmax(fmax(fabs(d), fabs(slope)), 1e-12));
    }
    return best;
}

int main(int argc, char **argv)
{
    network n = {0};
    double of_weights, of_inputs;
    if (argc < 4) return 2;
    check(fa_context_create(NULL, &n.context));
    n.arena.context = n.context;
    check(fa_onnx_read_file(n.context, argv[1], &n.read));
    n.output = *argv[2] ? fa_graph_find_value(n.read, argv[2]) : n.read->output[0];
    if (n.output < 0 || n.read->n_input > MOST_INPUTS || argc != 4 + 2 * n.read->n_input) return 2;
    for (int32_t i = 0; i < n.read->n_input; i++) read_input(&n, i, argv[4 + 2 * i], argv[5 + 2 * i]);
    make_plan(&n);
    slopes(&n, argv[3], &of_weights, &of_inputs);
    bool real = false;
    for (int32_t i = 0; i < n.graph->n_input; i++) real |= n.x[i] != NULL;
    printf("{\"parameters\": %lld, \"slope_weights\": %.6g, \"error_weights\": %.3g", (long long)n.parameters.weights, of_weights, error(&n, of_weights, false));
    if (real) printf(", \"slope_inputs\": %.6g, \"error_inputs\": %.3g", of_inputs, error(&n, of_inputs, true));
    printf(", \"peak_bytes\": %zu}\n", fa_context_memory_peak(n.context));
    fa_run_destroy(n.run);
    fa_plan_destroy(n.plan);
    fa_graph_destroy(n.varied);
    fa_graph_destroy(n.literal);
    fa_unroll_destroy(n.unrolled, n.read);
    fa_graph_destroy(n.read);
    fa_arena_clear(&n.arena);
    fa_context_release(n.context);
    return 0;
}
