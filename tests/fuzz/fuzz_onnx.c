/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/varied.h"
#include "base/context.h"
#include "graph/plan.h"
#include "kernels/kernels.h"
#include "onnx/onnx.h"
#include "ops/table.h"

#include <stdlib.h>
#include <string.h>

/* Any bytes as a model and as a tensor: an error, or a graph whose every index is in range and every element can be read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) abort();
}

static void check_view(const fa_view *v)
{
    check(v->data != NULL);
    size_t width = fa_dtype_is_real(v->dtype) && v->dtype != FA_FLOAT64 ? sizeof(float) : 8;
    volatile unsigned sum = 0;
    for (size_t i = 0; i < (size_t)v->count * width; i++) sum += ((const unsigned char *)v->data)[i];
    (void)sum;
}

static void check_graph(const fa_graph *g)
{
    for (int32_t i = 0; i < g->n_value; i++) {
        check(*g->value[i].name && g->value[i].producer >= -1 && g->value[i].producer < g->n_node);
        if (g->value[i].is_initialiser) check_view(&g->value[i].view);
    }
    for (int32_t i = 0; i < g->n_node; i++) {
        const fa_node *n = &g->node[i];
        check(*n->name && *n->op && strcmp(n->domain, "fattr") != 0 && n->opset >= 1);
        for (int32_t k = 0; k < n->n_in; k++) check(n->in[k] >= -1 && n->in[k] < g->n_value);
        for (int32_t k = 0; k < n->n_out; k++) check(n->out[k] >= -1 && n->out[k] < g->n_value);
        for (int32_t k = 0; k < n->n_attr; k++) {
            check(*n->attr[k].name);
            if (n->attr[k].kind == FA_ATTR_TENSOR) check_view(&n->attr[k].tensor);
            if (n->attr[k].kind != FA_ATTR_GRAPH) continue;
            check(n->attr[k].i >= 0 && n->attr[k].count >= 0 && n->attr[k].i + n->attr[k].count <= n->n_in && n->attr[k].count <= n->attr[k].graph->n_input);
            check_graph(n->attr[k].graph);
        }
    }
    for (int32_t i = 0; i < g->n_input; i++) check(g->input[i] >= 0 && g->input[i] < g->n_value);
    check(g->n_output > 0);
    for (int32_t i = 0; i < g->n_output; i++) check(g->output[i] >= 0 && g->output[i] < g->n_value);
}

/* What loading a model does beyond reading it: every rewrite. */
static void check_program(const fa_graph *g, int32_t kernels)
{
    fa_program *program;
    if (fa_plan_check_ops(g, &fa_op_table_f32) != FA_OK) return;
    if (fa_program_create(g, g->output[0], kernels, &program) == FA_OK) fa_program_destroy(program);
    for (int reestimate = 0; reestimate < 2; reestimate++)
        if (fa_program_create_varied(g, g->output[0], kernels, &(fa_varied_options){.reestimate = reestimate}, &program) == FA_OK) fa_program_destroy(program);
}

#define READ_BYTES (256 << 20) /* of memory: reading and rewriting */
#define PLAN_BYTES (8 << 20)   /* a plan beside that */
#define RUN_FLOPS 1e6 /* what is run too: a fuzzer is to try many */
#define RUN_BYTES (1 << 20)

/* What a first input does: a plan for open dimensions of 2, there and back, and a run where that is quick. */
static void check_plan(const fa_graph *g)
{
    fa_view input[8];
    if (g->n_input > 8 || fa_plan_check_ops(g, &fa_op_table_f32) != FA_OK) return;
    for (int32_t i = 0; i < g->n_input; i++) {
        const fa_value *v = &g->value[g->input[i]];
        int64_t dim[FA_MAX_DIMS];
        for (int32_t d = 0; d < v->declared_ndim; d++) dim[d] = v->declared[d] < 0 ? 2 : v->declared[d];
        input[i] = (fa_view){.dtype = v->dtype ? v->dtype : FA_FLOAT32};
        if (!fa_view_set_shape(&input[i], v->has_shape ? v->declared_ndim : 0, dim)) return;
    }
    fa_plan_request r = {.graph = g, .ops = &fa_op_table_f32, .inputs = input, .wanted = g->output, .n_wanted = 1, .loss = -1};
    for (int backward = 0; backward < 2; backward++) {
        fa_plan *plan;
        fa_run *run;
        r.loss = backward ? g->output[0] : -1;
        r.wrt = g->input;
        r.n_wrt = backward && g->n_input > 0 && fa_dtype_is_real(input[0].dtype);
        if (fa_plan_create(&r, &plan) != FA_OK) return;
        if (fa_plan_flops_forward(plan) < RUN_FLOPS && fa_plan_arena_bytes(plan) < RUN_BYTES && fa_run_create(plan, g->arena.context, &run) == FA_OK) {
            for (int32_t i = 0; i < g->n_input; i++) {
                void *to = fa_run_input(run, i);
                if (to && input[i].count) memset(to, 0, (size_t)input[i].count * (fa_dtype_is_real(input[i].dtype) ? sizeof(float) : sizeof(int64_t)));
            }
            fa_run_forward(run);
            if (backward && fa_run_loss_gradient(run)) {
                memset(fa_run_loss_gradient(run), 0, (size_t)fa_plan_value(plan, g->output[0])->count * sizeof(float));
                fa_run_backward(run, NULL, NULL);
            }
            fa_run_destroy(run);
        }
        fa_plan_destroy(plan);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fa_context context = {.allocator = fa_system_allocator, .memory_limit = READ_BYTES};
    fa_graph *graph;
    if (fa_onnx_read_memory(&context, data, size, NULL, &graph) == FA_OK) {
        check_graph(graph);
        context.memory_limit = context.used + PLAN_BYTES;
        check_plan(graph);
        context.memory_limit = READ_BYTES;
        check_program(graph, FA_KERNELS_REFERENCE);
        if (fa_kernels_available()) check_program(graph, FA_KERNELS_FAST);
        fa_graph_destroy(graph);
    }
    fa_arena arena = {.context = &context};
    fa_view view;
    const char *name;
    if (fa_onnx_read_tensor(&context, data, size, &arena, &view, &name) == FA_OK) {
        check_view(&view);
        check(strlen(name) <= size);
    }
    fa_arena_clear(&arena);
    check(context.used == 0);
    return 0;
}
