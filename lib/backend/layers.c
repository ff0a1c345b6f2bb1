/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "base/error.h"

#include <string.h>

/* The Add that gives a matrix product its bias: one constant summand of the product's width or a scalar. */
static bool add_is_bias(const fa_graph *g, int32_t product, int64_t out)
{
    int32_t readers = 0, add = -1;
    for (int32_t n = 0; n < g->n_node; n++)
        for (int32_t i = 0; i < g->node[n].n_in; i++)
            if (g->node[n].in[i] == product) {
                readers++;
                add = n;
            }
    if (readers != 1 || strcmp(g->node[add].op, "Add") != 0 || g->node[add].n_in != 2) return false;
    int32_t other = g->node[add].in[0] == product ? g->node[add].in[1] : g->node[add].in[0];
    const fa_view *v = fa_graph_constant(g, other);
    return v && (v->count == out || v->count == 1) && (v->ndim == 0 || v->dim[v->ndim - 1] == v->count);
}

/* True when node `n` is a layer with weights whose gradient has the form the method needs. */
static bool describe(const fa_graph *g, const fa_node *node, fa_layer *l)
{
    if (node->domain[0] || node->n_in < 2 || node->in[0] < 0 || node->in[1] < 0 || node->n_out < 1 || node->out[0] < 0) return false;
    const fa_value *w = &g->value[node->in[1]];
    if (!fa_graph_constant(g, node->in[1]) || !fa_dtype_is_real(w->view.dtype) || w->view.count == 0 || g->value[node->in[0]].is_parameter) return false;
    const int64_t *dim = w->view.dim;
    bool given_bias = node->n_in > 2 && node->in[2] >= 0;
    *l = (fa_layer){.name = node->name, .op = node->op, .weight = w->name, .groups = 1, .kh = 1, .kw = 1};
    if (strcmp(node->op, "Conv") == 0) {
        if (w->view.ndim != 3 && w->view.ndim != 4) return false;
        l->groups = fa_node_int(node, "group", 1);
        l->has_bias = given_bias;
        l->out = dim[0];
        l->in = w->view.count / dim[0] + given_bias;
        l->kh = w->view.ndim == 4 ? dim[2] : 1;
        l->kw = dim[w->view.ndim - 1];
    } else if (strcmp(node->op, "Gemm") == 0) {
        if (w->view.ndim != 2 || fa_node_int(node, "transA", 0)) return false;
        bool transposed = fa_node_int(node, "transB", 0) != 0;
        l->has_bias = given_bias && fa_node_float(node, "beta", 1) != 0;
        l->out = dim[transposed ? 0 : 1];
        l->in = dim[transposed ? 1 : 0] + l->has_bias;
    } else if (strcmp(node->op, "MatMul") == 0) {
        if (w->view.ndim != 2) return false;
        l->out = dim[1];
        l->has_bias = add_is_bias(g, node->out[0], l->out);
        l->in = dim[0] + l->has_bias;
    } else {
        return false;
    }
    return true;
}

fa_status fa_layers_find(const fa_graph *graph, fa_arena *arena, fa_layers *out)
{
    fa_layers l = {fa_arena_array(arena, (size_t)graph->n_node + 1, sizeof *l.layer), fa_arena_array(arena, (size_t)graph->n_node + 1, sizeof *l.node), 0};
    if (!l.layer || !l.node) return FA_ERR_MEMORY;
    for (int32_t n = 0; n < graph->n_node; n++) {
        fa_layer *layer = &l.layer[l.count];
        if (!describe(graph, &graph->node[n], layer)) continue;
        layer->block = l.count;
        for (int32_t k = l.count - 1; k >= 0; k--) /* the first layer with the same weight and the same shape of gradient */
            if (graph->node[l.node[k]].in[1] == graph->node[n].in[1] && l.layer[k].in == layer->in && l.layer[k].out == layer->out) layer->block = l.layer[k].block;
        l.node[l.count++] = n;
    }
    *out = l;
    return FA_OK;
}
