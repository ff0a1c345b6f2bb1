/* SPDX-License-Identifier: Apache-2.0 */
#include "api/model.h"

#include "api/check.h"
#include "base/context.h"
#include "base/options.h"
#include "graph/bind.h"
#include "graph/plan.h"
#include "onnx/onnx.h"
#include "ops/table.h"

#include <stdlib.h>
#include <string.h>

#define PLANS 8 /* default of fa_model_options.plan_cache */

static const fa_model_options defaults = {.struct_size = sizeof defaults};

void fa_model_options_init(fa_model_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

/* What lies between the logits and a probability. */
static bool looked_through(const char *op)
{
    static const char *const ops[] = {"Softmax", "LogSoftmax", "Sigmoid", "Identity"};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (!strcmp(op, ops[i])) return true;
    return false;
}

static fa_status find_logits(const fa_graph *g, const char *name, int32_t *logits)
{
    int32_t v;
    if (name) {
        v = fa_graph_find_value(g, name);
        if (v < 0) return fa_fail(FA_ERR_ARGUMENT, "fa_model_options.output: the model has no value '%s'; its first output is '%s'", name,
                                  g->n_output ? g->value[g->output[0]].name : "");
    } else {
        if (g->n_output == 0) return fa_fail(FA_ERR_UNSUPPORTED, "the model has no output");
        v = g->output[0];
    }
    for (int32_t p; (p = g->value[v].producer) >= 0; v = g->node[p].in[0])
        if (g->node[p].domain[0] || !looked_through(g->node[p].op) || g->node[p].n_in < 1 || g->node[p].in[0] < 0) break;
    *logits = v;
    return FA_OK;
}

static int64_t real_elements(const fa_view *v)
{
    return fa_dtype_is_real(v->dtype) ? v->count : 0;
}

static int64_t count_parameters(const fa_graph *g)
{
    int64_t count = 0;
    for (int32_t i = 0; i < g->n_value; i++)
        if (g->value[i].is_initialiser) count += real_elements(&g->value[i].view);
    for (int32_t i = 0; i < g->n_node; i++) {
        const int32_t packed = strcmp(g->node[i].op, "DequantizeLinear") || g->node[i].n_in < 1 ? -1 : g->node[i].in[0];
        if (packed >= 0 && g->value[packed].is_initialiser) count += g->value[packed].view.count; /* weights in integers */
        const fa_attr *a = strcmp(g->node[i].op, "Constant") ? NULL : fa_node_attr(&g->node[i], "value");
        if (a && a->kind == FA_ATTR_TENSOR) count += real_elements(&a->tensor);
        for (int32_t k = 0; k < g->node[i].n_attr; k++)
            if (g->node[i].attr[k].kind == FA_ATTR_GRAPH) count += count_parameters(g->node[i].attr[k].graph);
    }
    return count;
}

static void describe(fa_model *m)
{
    const fa_graph *g = m->graph;
    const fa_value *logits = &g->value[m->logits];
    m->info = (fa_model_info){.struct_size = sizeof m->info,
                              .parameter_count = m->host ? m->host->parameters.weights : count_parameters(g),
                              .opset = g->opset,
                              .input_count = g->n_input,
                              .output_count = g->n_output,
                              .node_count = g->n_node,
                              .layer_count = fa_program_layer_count(m->program),
                              .class_count = -1,
                              .logits = logits->name,
                              .producer = g->producer ? g->producer : "",
                              .precision = fa_program_precision(m->program)};
    /* A look-through value is rarely declared itself, but it has the shape of the output behind it. */
    for (int32_t i = -1; i < g->n_output && m->info.class_count < 0; i++) {
        const fa_value *v = i < 0 ? logits : &g->value[g->output[i]];
        int32_t end;
        if (i >= 0 && (find_logits(g, v->name, &end) != FA_OK || end != m->logits)) continue;
        if (v->has_shape && v->declared_ndim == 2 && v->declared[1] > 0 && v->declared[1] <= INT32_MAX) m->info.class_count = (int32_t)v->declared[1];
    }
}

static void destroy(fa_model *m)
{
    fa_context *context = m->context;
    fa_run_plans_destroy(m->plans);
    fa_program_destroy(m->program);
    if (m->graph != m->read && !m->host) fa_graph_destroy(m->graph);
    fa_graph_destroy(m->read);
    fa_host_destroy(m->host);
    fa_arena_clear(&m->arena);
    fa_delete(context, m);
    fa_context_release(context);
}

static fa_status fill(fa_model *m, const fa_model_options *o)
{
    if (o->bound_count < 0) return fa_fail(FA_ERR_ARGUMENT, "fa_model_options.bound_count: %d is negative", o->bound_count);
    if (o->bound_count && !o->bound) return fa_fail(FA_ERR_ARGUMENT, "fa_model_options.bound is NULL");
    if (o->plan_cache < 0 || o->plan_cache > 1024) return fa_fail(FA_ERR_ARGUMENT, "fa_model_options.plan_cache: %lld is not in 1 to 1024", (long long)o->plan_cache);
    if (o->precision != FA_PRECISION_F32 && o->precision != FA_PRECISION_BF16) return fa_fail(FA_ERR_ARGUMENT, "fa_model_options.precision: %d is neither FA_PRECISION_F32 nor FA_PRECISION_BF16", o->precision);
    if (o->packing != FA_PACKING_FAST && o->packing != FA_PACKING_ONCE) return fa_fail(FA_ERR_ARGUMENT, "fa_model_options.packing: %d is neither FA_PACKING_FAST nor FA_PACKING_ONCE", o->packing);
    if (!m->host) FA_TRY(fa_plan_check_ops(m->graph, &fa_op_table_f32));
    if (o->bound_count) FA_TRY(fa_graph_bind(m->read, o->bound, o->bound_count, &m->graph));
    FA_TRY(find_logits(m->graph, o->output, &m->logits));
    FA_TRY(m->host ? fa_host_program(m->host, &m->program) : fa_program_create_in(m->graph, m->logits, m->context->kernels, o->precision, o->packing, &m->program));
    FA_TRY(fa_run_plans_create(m->context, m->graph, m->program, m->logits, o->plan_cache ? (int32_t)o->plan_cache : PLANS, &m->plans));
    const fa_graph *g = m->graph;
    const char **names = fa_arena_array(&m->arena, (size_t)g->n_input, sizeof *names);
    if (!names) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < g->n_input; i++) names[i] = g->value[g->input[i]].name;
    m->network = (fa_network){.context = m->context, .program = m->program, .n_input = g->n_input, .input_name = names,
                              .logits_node = g->value[m->logits].producer};
    if (m->host) memcpy(m->network.digest, m->host->digest, sizeof m->host->digest);
    else FA_TRY(fa_graph_digest(g, m->network.digest));
    describe(m);
    if (!m->host) FA_TRY(fa_program_take_weights(m->program, m->graph));
    return FA_OK;
}

/* Takes the graph, or the host whose graph it is, over, also on failure. */
static fa_status make(fa_context *context, fa_graph *graph, fa_host *host, const fa_model_options *options, fa_model **out)
{
    fa_model *m = fa_new(context, sizeof *m);
    if (!m) {
        if (!host) fa_graph_destroy(graph);
        fa_host_destroy(host);
        return FA_ERR_MEMORY;
    }
    atomic_init(&m->references, 1);
    m->context = m->arena.context = fa_context_retain(context);
    m->graph = graph;
    m->read = host ? NULL : graph;
    m->host = host;
    fa_status status = fill(m, options);
    if (status != FA_OK) {
        destroy(m);
        return status;
    }
    *out = m;
    return FA_OK;
}

fa_status fa_model_load_file(fa_context *context, const char *path, const fa_model_options *options, fa_model **out)
{
    fa_model_options o = defaults;
    fa_graph *graph;
    FA_CHECK(context);
    FA_CHECK(path);
    FA_CHECK(out);
    FA_TRY(fa_options_read("fa_model_options", &o, sizeof o, options));
    FA_TRY(fa_onnx_read_file(context, path, &graph));
    fa_status status = make(context, graph, NULL, &o, out);
    return status == FA_OK ? FA_OK : fa_fail_at(status, "%s", path);
}

fa_status fa_model_load_memory(fa_context *context, const void *data, size_t size, const fa_model_options *options, fa_model **out)
{
    fa_model_options o = defaults;
    fa_graph *graph;
    FA_CHECK(context);
    FA_CHECK(out);
    if (size) FA_CHECK(data);
    FA_TRY(fa_options_read("fa_model_options", &o, sizeof o, options));
    FA_TRY(fa_onnx_read_memory(context, data, size, NULL, &graph));
    return make(context, graph, NULL, &o, out);
}

fa_status fa_model_from_host(fa_context *context, fa_host *host, fa_model **out)
{
    return make(context, host->graph, host, &defaults, out);
}

fa_model *fa_model_retain(const fa_model *model)
{
    fa_model *m = (fa_model *)model;
    if (m) atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
    return m;
}

void fa_model_release(fa_model *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1) return;
    const fa_backend table = m->host ? m->host->table : (fa_backend){.release = NULL};
    destroy(m);
    if (table.release) table.release(table.user);
}

fa_status fa_model_digest(const fa_model *model, uint8_t digest[FA_DIGEST_SIZE])
{
    FA_CHECK(model);
    FA_CHECK(digest);
    memcpy(digest, model->network.digest, FA_DIGEST_SIZE);
    return FA_OK;
}

fa_status fa_model_get_info(const fa_model *model, fa_model_info *info)
{
    FA_CHECK(model);
    return fa_info_write("fa_model_info", info, &model->info, sizeof model->info);
}

static void value_info(const fa_value *v, fa_value_info *info)
{
    *info = (fa_value_info){.name = v->name, .dtype = v->dtype, .ndim = v->has_shape ? v->declared_ndim : -1};
    for (int32_t i = 0; i < info->ndim; i++) info->shape[i] = v->declared[i];
}

fa_status fa_model_get_input(const fa_model *model, int32_t index, fa_value_info *info)
{
    FA_CHECK(model);
    FA_CHECK(info);
    FA_CHECK_INDEX(index, model->graph->n_input);
    value_info(&model->graph->value[model->graph->input[index]], info);
    return FA_OK;
}

fa_status fa_model_get_output(const fa_model *model, int32_t index, fa_value_info *info)
{
    FA_CHECK(model);
    FA_CHECK(info);
    FA_CHECK_INDEX(index, model->graph->n_output);
    value_info(&model->graph->value[model->graph->output[index]], info);
    return FA_OK;
}

fa_status fa_model_get_node(const fa_model *model, int32_t index, fa_node_info *info)
{
    FA_CHECK(model);
    FA_CHECK(info);
    FA_CHECK_INDEX(index, model->graph->n_node);
    const fa_node *n = &model->graph->node[index];
    int32_t first = n->n_out > 0 ? n->out[0] : -1;
    *info = (fa_node_info){.name = n->name, .op = n->op, .output = first >= 0 ? model->graph->value[first].name : "", .domain = n->domain};
    return FA_OK;
}

fa_status fa_model_get_layer(const fa_model *model, int32_t index, fa_layer_info *info)
{
    FA_CHECK(model);
    FA_CHECK(info);
    FA_CHECK_INDEX(index, fa_program_layer_count(model->program));
    const fa_layer *l = fa_program_layer(model->program, index);
    *info = (fa_layer_info){.name = l->name, .op = l->op, .weight = l->weight, .in = l->in, .out = l->out, .groups = l->groups,
                            .has_bias = l->has_bias};
    return FA_OK;
}
