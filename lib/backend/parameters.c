/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/program.h"
#include "base/error.h"
#include "graph/edit.h"

#include <string.h>

/* Which inputs of which operators are parameters when an initialiser stands there. */
static const struct {
    const char *op;
    uint32_t inputs;
    bool wide; /* arithmetic: only initialisers of rank 1 and more with several elements */
} places[] = {
    {"Conv", 6, false}, {"ConvTranspose", 6, false}, {"Gemm", 6, false}, {"MatMul", 3, false}, {"BatchNormalization", 6, false}, {"LayerNormalization", 6, false},
    {"InstanceNormalization", 6, false}, {"GroupNormalization", 6, false}, {"PRelu", 2, false}, {"Gather", 1, false},
    {"Add", 3, true}, {"Sub", 3, true}, {"Mul", 3, true}, {"Div", 3, true},
};

bool fa_node_moves(const fa_node *node)
{
    static const char *const ops[] = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(node->op, ops[i]) == 0) return !node->domain[0] && node->n_in > 0;
    return false;
}

int32_t fa_parameter_source(const fa_graph *g, int32_t value)
{
    while (value >= 0 && !g->value[value].is_initialiser) {
        const int32_t producer = g->value[value].producer;
        if (producer < 0 || !fa_node_moves(&g->node[producer])) return -1;
        value = g->node[producer].in[0];
    }
    return value;
}

bool fa_is_batchnorm(const fa_node *node)
{
    if (node->domain[0] || strcmp(node->op, "BatchNormalization") != 0 || node->n_in != 5 || node->n_out < 1 || fa_node_int(node, "training_mode", 0)) return false;
    for (int32_t o = 1; o < node->n_out; o++)
        if (node->out[o] >= 0) return false;
    return node->out[0] >= 0;
}

static bool is_place(const fa_graph *g, const fa_node *node, int32_t input)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (strcmp(node->op, places[i].op) != 0 || input > 2 || !(places[i].inputs >> input & 1)) continue;
        const int32_t v = fa_parameter_source(g, node->in[input]);
        if (v < 0) return false;
        const fa_view *view = &g->value[v].view;
        return fa_dtype_is_real(view->dtype) && view->count > (places[i].wide ? 1 : 0) && view->ndim >= (places[i].wide ? 1 : 0);
    }
    return false;
}

/* Nodes that the logits depend on. */
static void mark_needed(const fa_graph *g, int32_t logits, bool *node_needed, bool *value_needed)
{
    value_needed[logits] = true;
    for (int32_t n = g->n_node - 1; n >= 0; n--) {
        for (int32_t o = 0; o < g->node[n].n_out; o++) node_needed[n] |= g->node[n].out[o] >= 0 && value_needed[g->node[n].out[o]];
        for (int32_t i = 0; node_needed[n] && i < g->node[n].n_in; i++)
            if (g->node[n].in[i] >= 0) value_needed[g->node[n].in[i]] = true;
    }
}

/* The running statistics of one node join the vector; `taken` are those that have done so. */
static fa_status add_statistics(const fa_graph *g, const fa_node *node, bool reestimate, bool *taken, fa_parameters *p)
{
    if (reestimate && node->opset < 9 && !fa_node_int(node, "spatial", 1))
        return fa_fail(FA_ERR_UNSUPPORTED, "node '%s': statistics of each element apart cannot be re-estimated", node->name);
    for (int32_t i = 3; i < 5; i++) {
        const int32_t v = fa_parameter_source(g, node->in[i]);
        if (v < 0 && reestimate) return fa_fail(FA_ERR_UNSUPPORTED, "node '%s': its running mean and variance are not initialisers", node->name);
        if (v < 0 || taken[v]) continue;
        taken[v] = true;
        if (!reestimate) continue;
        p->statistic[p->n_statistic] = v;
        p->statistic_at[p->n_statistic++] = p->statistics;
        p->statistics += g->value[v].view.count;
    }
    return FA_OK;
}

static void add_parameter(const fa_graph *g, int32_t v, fa_parameters *p)
{
    const fa_view *view = &g->value[v].view;
    p->value[p->count] = v;
    p->parameter[p->count++] = (fa_parameter){g->value[v].name, p->weights, view->count, view->ndim ? view->dim[0] : 1};
    p->weights += view->count;
}

static void copy_floats(const fa_view *from, float *to)
{
    for (int64_t i = 0; i < from->count; i++) to[i] = from->dtype == FA_FLOAT64 ? (float)((const double *)from->data)[i] : ((const float *)from->data)[i];
}

static fa_status find(const fa_graph *g, int32_t logits, const fa_varied_options *o, bool *node_needed, bool *value_needed, bool *taken, fa_parameters *p)
{
    bool normalises = false;
    mark_needed(g, logits, node_needed, value_needed);
    for (int32_t n = 0; n < g->n_node; n++) {
        if (!node_needed[n] || !fa_is_batchnorm(&g->node[n])) continue;
        normalises = true;
        FA_TRY(add_statistics(g, &g->node[n], o->reestimate, taken, p));
    }
    if (o->reestimate && !normalises) return fa_fail(FA_ERR_ARGUMENT, "the model has no BatchNormalization whose statistics could be re-estimated");
    for (int32_t n = 0; n < g->n_node; n++) {
        const fa_node *node = &g->node[n];
        for (int32_t i = 0; node_needed[n] && !node->domain[0] && i < node->n_in; i++) {
            if (!is_place(g, node, i)) continue;
            const int32_t v = fa_parameter_source(g, node->in[i]);
            if (taken[v]) continue;
            taken[v] = true;
            if (!o->select || o->select(o->user, g->value[v].name)) add_parameter(g, v, p);
        }
    }
    return p->count ? FA_OK : fa_fail(FA_ERR_ARGUMENT, "none of the model's weights is selected");
}

fa_status fa_parameters_find(const fa_graph *g, int32_t logits, const fa_varied_options *options, fa_arena *arena, fa_parameters *out)
{
    const size_t values = (size_t)g->n_value + 1;
    fa_arena work = {.context = arena->context};
    bool *node_needed = fa_arena_array(&work, (size_t)g->n_node + 1, sizeof(bool)), *value_needed = fa_arena_array(&work, values, sizeof(bool)),
         *taken = fa_arena_array(&work, values, sizeof(bool));
    fa_parameters p = {.parameter = fa_arena_array(arena, values, sizeof *p.parameter), .value = fa_arena_array(arena, values, sizeof *p.value),
                       .statistic = fa_arena_array(arena, values, sizeof *p.statistic), .statistic_at = fa_arena_array(arena, values, sizeof *p.statistic_at)};
    fa_status status = FA_ERR_MEMORY;
    if (node_needed && value_needed && taken && p.parameter && p.value && p.statistic && p.statistic_at)
        status = find(g, logits, options, node_needed, value_needed, taken, &p);
    fa_arena_clear(&work);
    if (status != FA_OK) return status;
    p.trained = fa_arena_array(arena, (size_t)(p.weights + p.statistics), sizeof *p.trained);
    if (!p.trained) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < p.count; i++) copy_floats(&g->value[p.value[i]].view, p.trained + p.parameter[i].offset);
    for (int32_t i = 0; i < p.n_statistic; i++) copy_floats(&g->value[p.statistic[i]].view, p.trained + p.weights + p.statistic_at[i]);
    *out = p;
    return FA_OK;
}

fa_status fa_rewrite_vary(const fa_graph *graph, const fa_parameters *p, fa_graph **out)
{
    fa_edit edit;
    FA_TRY(fa_edit_begin(graph, &edit));
    for (int32_t i = 0; i < p->count; i++) edit.graph->value[p->value[i]].varies = true;
    for (int32_t i = 0; i < p->n_statistic; i++) edit.graph->value[p->statistic[i]].varies = true;
    return fa_edit_finish(&edit, out);
}
