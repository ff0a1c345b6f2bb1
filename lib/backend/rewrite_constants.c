/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "base/error.h"
#include "graph/edit.h"
#include "graph/plan.h"

#include <string.h>

/* A weight kept in fewer bits: an initialiser behind a Cast from one kind of reals to another, or behind DequantizeLinear. */
static bool unpacks(const fa_graph *g, const fa_node *node)
{
    static const int64_t reals[] = {1, 10, 11, 16}; /* TensorProto.DataType: FLOAT, FLOAT16, DOUBLE, BFLOAT16 */
    if (node->domain[0]) return false;
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i] >= 0 && !g->value[node->in[i]].is_initialiser) return false;
    if (strcmp(node->op, "DequantizeLinear") == 0) return true;
    if (strcmp(node->op, "Cast") || node->n_in != 1 || node->in[0] < 0 || !fa_dtype_is_real(g->value[node->in[0]].view.dtype)) return false;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (fa_node_int(node, "to", 0) == reals[i]) return true;
    return false;
}

/* Values computed from initialisers alone that something else reads; with `unpacked` only those of nodes that unpack one. */
static int32_t collect(const fa_graph *g, bool unpacked, int32_t *found, bool *seen)
{
    int32_t n_found = 0;
    for (int32_t n = 0; n < g->n_node; n++)
        for (int32_t i = 0; i < g->node[n].n_in; i++) {
            int32_t v = g->node[n].in[i];
            if (v < 0 || seen[v] || !g->value[v].is_parameter || g->value[v].is_initialiser) continue;
            if (unpacked && !unpacks(g, &g->node[g->value[v].producer])) continue;
            seen[v] = true;
            found[n_found++] = v;
        }
    return n_found;
}

static fa_status copy_view(const fa_view *from, fa_arena *arena, fa_view *to)
{
    *to = *from;
    if (to->dtype != FA_FLOAT32 && fa_dtype_is_real(to->dtype)) to->dtype = FA_FLOAT32; /* a plan's reals are floats */
    size_t size = fa_dtype_is_real(to->dtype) ? sizeof(float) : sizeof(int64_t);
    to->data = fa_arena_array(arena, (size_t)to->count + 1, size);
    if (!to->data) return FA_ERR_MEMORY;
    memcpy(to->data, from->data, (size_t)to->count * size);
    return FA_OK;
}

static fa_status replace(fa_edit *e, const fa_plan *plan, const int32_t *found, int32_t n_found)
{
    for (int32_t i = 0; i < n_found; i++) {
        const fa_view *from = fa_plan_value(plan, found[i]);
        if (from && !from->data && e->graph->value[found[i]].varies) e->graph->value[found[i]].view = *from; /* its shape */
        if (!from || !from->data) continue;
        fa_view view;
        FA_TRY(copy_view(from, &e->graph->arena, &view));
        fa_edit_make_initialiser(e, found[i], &view);
    }
    /* A node goes when every output of it has become an initialiser. */
    for (int32_t n = 0; n < e->graph->n_node; n++) {
        const fa_node *node = &e->graph->node[n];
        bool all = node->n_out > 0;
        for (int32_t o = 0; o < node->n_out; o++) all &= node->out[o] < 0 || e->graph->value[node->out[o]].is_initialiser;
        if (all) fa_edit_remove_node(e, n);
    }
    return FA_OK;
}

static fa_status compute(const fa_graph *graph, const fa_op_table *ops, bool unpacked, fa_graph **out)
{
    fa_arena work = {.context = graph->arena.context};
    int32_t *found = fa_arena_array(&work, (size_t)graph->n_value + 1, sizeof *found);
    bool *seen = fa_arena_array(&work, (size_t)graph->n_value + 1, sizeof *seen);
    fa_edit edit = {0};
    fa_plan *plan = NULL;
    fa_status status = found && seen ? FA_OK : FA_ERR_MEMORY;
    if (status == FA_OK) {
        fa_plan_request request = {.graph = graph, .ops = ops, .wanted = found, .n_wanted = collect(graph, unpacked, found, seen), .loss = -1};
        status = fa_plan_create(&request, &plan);
        if (status == FA_OK) status = fa_edit_begin(graph, &edit);
        if (status == FA_OK) status = replace(&edit, plan, found, request.n_wanted);
        if (status == FA_OK) status = fa_edit_finish(&edit, out);
        else fa_edit_discard(&edit);
    }
    fa_plan_destroy(plan);
    fa_arena_clear(&work);
    return status;
}

fa_status fa_rewrite_constants(const fa_graph *graph, const fa_op_table *ops, fa_graph **out)
{
    return compute(graph, ops, false, out);
}

fa_status fa_rewrite_unpacked(const fa_graph *graph, const fa_op_table *ops, fa_graph **out)
{
    return compute(graph, ops, true, out);
}

fa_status fa_rewrite_literals(const fa_graph *graph, fa_graph **out)
{
    fa_edit edit;
    FA_TRY(fa_edit_begin(graph, &edit));
    for (int32_t n = 0; n < graph->n_node; n++) {
        const fa_node *node = &graph->node[n];
        const fa_attr *value = node->domain[0] || strcmp(node->op, "Constant") ? NULL : fa_node_attr(node, "value");
        if (!value || value->kind != FA_ATTR_TENSOR || node->n_out != 1 || node->out[0] < 0) continue;
        fa_edit_make_initialiser(&edit, node->out[0], &value->tensor);
        fa_edit_remove_node(&edit, n);
    }
    return fa_edit_finish(&edit, out);
}
