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

/* Which values depend on what the inputs hold, and not on their shapes alone. */
static void mark_held(const fa_graph *g, bool *held)
{
    for (int32_t i = 0; i < g->n_input; i++) held[g->input[i]] = true;
    for (int32_t n = 0; n < g->n_node; n++) {
        const fa_node *node = &g->node[n];
        bool depends = false;
        if (!node->domain[0] && (strcmp(node->op, "Shape") == 0 || strcmp(node->op, "Size") == 0)) continue;
        for (int32_t i = 0; i < node->n_in; i++) depends |= node->in[i] >= 0 && held[node->in[i]];
        for (int32_t o = 0; o < node->n_out; o++)
            if (node->out[o] >= 0) held[node->out[o]] = depends;
    }
}

/* A table whose rows are looked up by what an input says: a layer on one-hot inputs. Places in a sequence are the same for every input: nothing to tell inputs apart by. */
static bool describe_lookup(const fa_graph *g, const fa_node *node, const bool *held, fa_layer *l)
{
    if (node->domain[0] || strcmp(node->op, "Gather") != 0 || node->n_in < 2 || node->in[1] < 0 || !held[node->in[1]] || node->n_out < 1 || node->out[0] < 0) return false;
    const fa_view *table = fa_graph_constant(g, node->in[0]);
    if (!table || !fa_dtype_is_real(table->dtype) || table->ndim != 2 || table->count == 0) return false;
    const int64_t axis = fa_node_int(node, "axis", 0);
    if (axis != 0 && axis != -2) return false;
    *l = (fa_layer){.name = node->name, .op = node->op, .weight = g->value[node->in[0]].name, .in = table->dim[0], .out = table->dim[1], .groups = 1, .kh = 1, .kw = 1, .lookup = true};
    return true;
}

/* Whether a product's weights are the table [rows, columns]: the same initialiser, or, where an exporter has transposed it or written it twice, the same numbers. */
static bool is_tied(const fa_graph *g, int32_t table, const fa_node *product)
{
    const fa_view *t = &g->value[table].view, *w = &g->value[product->in[1]].view;
    const bool conv = strcmp(product->op, "Conv") == 0, by_rows = strcmp(product->op, "Gemm") == 0 && fa_node_int(product, "transB", 0);
    if (conv || w->ndim != 2 || t->dim[0] != w->dim[by_rows ? 0 : 1] || t->dim[1] != w->dim[by_rows ? 1 : 0]) return false;
    if (by_rows && product->in[1] == table) return true;
    if (t->dtype != w->dtype || !t->data || !w->data || g->value[table].varies || g->value[product->in[1]].varies) return false;
    const size_t size = t->dtype == FA_FLOAT64 ? sizeof(double) : sizeof(float);
    const int64_t rows = t->dim[0], columns = t->dim[1];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            if (memcmp((const char *)t->data + (size_t)(r * columns + c) * size, (const char *)w->data + (size_t)(by_rows ? r * columns + c : c * rows + r) * size, size) != 0) return false;
    return true;
}

/* The block of a lookup: that of the product whose weights its table is, or of an earlier lookup in the same table. */
static void join_lookup(const fa_graph *g, const fa_layers *l, int32_t table, fa_layer *layer)
{
    for (int32_t k = 0; k < l->count; k++) {
        const fa_node *node = &g->node[l->node[k]];
        const fa_layer *other = &l->layer[k];
        if (other->lookup ? node->in[0] != table : !is_tied(g, table, node)) continue;
        layer->turned = other->lookup ? other->turned : true;
        layer->in = other->in;
        layer->out = other->out;
        layer->has_bias = other->has_bias;
        layer->block = other->block;
        return;
    }
}

/* Behind the others, whose numbers stay what they are. */
static fa_status find_lookups(const fa_graph *g, fa_arena *arena, fa_layers *l)
{
    fa_arena work = {.context = arena->context};
    bool *held = fa_arena_array(&work, (size_t)g->n_value + 1, sizeof *held);
    if (!held) return FA_ERR_MEMORY;
    mark_held(g, held);
    for (int32_t n = 0; n < g->n_node; n++) {
        fa_layer *layer = &l->layer[l->count];
        if (!describe_lookup(g, &g->node[n], held, layer)) continue;
        layer->block = l->count;
        join_lookup(g, l, g->node[n].in[0], layer);
        l->node[l->count++] = n;
    }
    fa_arena_clear(&work);
    return FA_OK;
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
    FA_TRY(find_lookups(graph, arena, &l));
    *out = l;
    return FA_OK;
}
