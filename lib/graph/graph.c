/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/graph.h"

#include "base/error.h"

#include <string.h>

const fa_attr *fa_node_attr(const fa_node *node, const char *name)
{
    for (int32_t i = 0; i < node->n_attr; i++)
        if (strcmp(node->attr[i].name, name) == 0) return &node->attr[i];
    return NULL;
}

static const fa_attr *attr_of(const fa_node *node, const char *name, fa_attr_kind kind)
{
    const fa_attr *a = fa_node_attr(node, name);
    return a && a->kind == kind ? a : NULL;
}

int64_t fa_node_int(const fa_node *node, const char *name, int64_t fallback)
{
    const fa_attr *a = attr_of(node, name, FA_ATTR_INT);
    return a ? a->i : fallback;
}

float fa_node_float(const fa_node *node, const char *name, float fallback)
{
    const fa_attr *a = attr_of(node, name, FA_ATTR_FLOAT);
    return a ? a->f : fallback;
}

const char *fa_node_string(const fa_node *node, const char *name, const char *fallback)
{
    const fa_attr *a = attr_of(node, name, FA_ATTR_STRING);
    return a ? a->s : fallback;
}

const int64_t *fa_node_ints(const fa_node *node, const char *name, int64_t *count)
{
    const fa_attr *a = attr_of(node, name, FA_ATTR_INTS);
    *count = a ? a->count : 0;
    return a ? a->ints : NULL;
}

const fa_graph *fa_node_body(const fa_node *node, const char *name)
{
    const fa_attr *a = attr_of(node, name, FA_ATTR_GRAPH);
    return a ? a->graph : NULL;
}

bool fa_node_reads_shape(const fa_node *node)
{
    return !node->domain[0] && (strcmp(node->op, "Shape") == 0 || strcmp(node->op, "Size") == 0);
}

bool fa_node_is_control(const fa_node *node)
{
    return !node->domain[0] && (strcmp(node->op, "If") == 0 || strcmp(node->op, "Loop") == 0 || strcmp(node->op, "Scan") == 0);
}

int32_t fa_graph_find_value(const fa_graph *graph, const char *name)
{
    for (int32_t i = 0; i < graph->n_value; i++)
        if (strcmp(graph->value[i].name, name) == 0) return i;
    return -1;
}

fa_status fa_value_check_shape(const fa_value *input, const fa_view *given)
{
    bool fits = !input->has_shape || input->declared_ndim == given->ndim;
    for (int32_t d = 0; fits && input->has_shape && d < given->ndim; d++) fits = input->declared[d] < 0 || input->declared[d] == given->dim[d];
    if (fits) return FA_OK;
    char have[FA_SHAPE_TEXT], want[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_SHAPE, "input '%s': shape %s where the model takes %s (-1: any)", input->name, fa_shape_text(given->ndim, given->dim, have, sizeof have),
                   fa_shape_text(input->declared_ndim, input->declared, want, sizeof want));
}

int64_t fa_graph_fixed_batch(const fa_graph *g)
{
    for (int32_t i = 0; i < g->n_input; i++) {
        const fa_value *v = &g->value[g->input[i]];
        if (v->has_shape && v->declared_ndim > 0 && v->declared[0] > 0) return v->declared[0];
    }
    return 0;
}

static fa_status set_producers(fa_graph *g)
{
    for (int32_t i = 0; i < g->n_value; i++) g->value[i].producer = -1;
    for (int32_t n = 0; n < g->n_node; n++) {
        const fa_node *node = &g->node[n];
        for (int32_t o = 0; o < node->n_out; o++) {
            if (node->out[o] < 0) continue;
            fa_value *v = &g->value[node->out[o]];
            if (v->producer >= 0) return fa_fail(FA_ERR_FORMAT, "node '%s': '%s' is the output of node '%s' too", node->name, v->name, g->node[v->producer].name);
            if (v->is_initialiser) return fa_fail(FA_ERR_FORMAT, "node '%s': output '%s' is an initialiser", node->name, v->name);
            v->producer = n;
        }
    }
    for (int32_t i = 0; i < g->n_input; i++)
        if (g->value[g->input[i]].producer >= 0)
            return fa_fail(FA_ERR_FORMAT, "input '%s' is the output of node '%s' too", g->value[g->input[i]].name, g->node[g->value[g->input[i]].producer].name);
    return FA_OK;
}

/* Kahn's algorithm in rounds over a queue; nodes that were in order stay in order. `ready[v]`: the value exists. */
static fa_status sort(fa_graph *g, fa_node *sorted, int32_t *missing, int32_t *head, int32_t *next, int32_t *heap)
{
    /* Consumers of each value as linked lists of (node, input) pairs; a min-heap keeps the file's order among nodes that are ready. */
    int32_t edges = 0, n_heap = 0, done = 0;
    for (int32_t v = 0; v < g->n_value; v++) head[v] = -1;
    for (int32_t n = 0; n < g->n_node; n++) {
        missing[n] = 0;
        for (int32_t i = 0; i < g->node[n].n_in; i++, edges++) {
            next[2 * edges] = -1;
            int32_t v = g->node[n].in[i];
            if (v < 0 || g->value[v].producer < 0) continue;
            next[2 * edges] = head[v];
            next[2 * edges + 1] = n;
            head[v] = edges;
            missing[n]++;
        }
    }
#define PUSH(x)                                                                                                                                          \
    do {                                                                                                                                                 \
        int32_t at_ = n_heap++;                                                                                                                          \
        for (; at_ && heap[(at_ - 1) / 2] > (x); at_ = (at_ - 1) / 2) heap[at_] = heap[(at_ - 1) / 2];                                                   \
        heap[at_] = (x);                                                                                                                                 \
    } while (0)
    for (int32_t n = 0; n < g->n_node; n++)
        if (!missing[n]) PUSH(n);
    while (n_heap) {
        int32_t n = heap[0], last = heap[--n_heap], at = 0;
        for (int32_t child; (child = 2 * at + 1) < n_heap; at = child) {
            if (child + 1 < n_heap && heap[child + 1] < heap[child]) child++;
            if (heap[child] >= last) break;
            heap[at] = heap[child];
        }
        heap[at] = last;
        sorted[done++] = g->node[n];
        for (int32_t o = 0; o < g->node[n].n_out; o++) {
            if (g->node[n].out[o] < 0) continue;
            for (int32_t e = head[g->node[n].out[o]]; e >= 0; e = next[2 * e]) {
                int32_t consumer = next[2 * e + 1];
                if (--missing[consumer] == 0) PUSH(consumer);
            }
        }
    }
#undef PUSH
    if (done == g->n_node) return FA_OK;
    for (int32_t n = 0; n < g->n_node; n++)
        if (missing[n] > 0) return fa_fail(FA_ERR_FORMAT, "node '%s' is part of a cycle or depends on one", g->node[n].name);
    return fa_fail(FA_ERR_INTERNAL, "topological sort lost a node");
}

static fa_status order_nodes(fa_graph *g)
{
    fa_context *c = g->arena.context;
    size_t edges = 0;
    for (int32_t n = 0; n < g->n_node; n++) edges += (size_t)g->node[n].n_in;
    fa_node *sorted = fa_arena_array(&g->arena, (size_t)g->n_node + 1, sizeof *sorted);
    int32_t *work = fa_new_array(c, (size_t)g->n_value + 2 * edges + 2 * (size_t)g->n_node + 1, sizeof *work);
    fa_status status = FA_ERR_MEMORY;
    if (sorted && work) {
        int32_t *missing = work, *heap = missing + g->n_node, *head = heap + g->n_node, *next = head + g->n_value;
        status = sort(g, sorted, missing, head, next, heap);
    }
    fa_delete(c, work);
    if (status == FA_OK) {
        fa_arena_release(&g->arena, g->node);
        g->node = sorted;
    }
    return status;
}

/* Every value that something reads comes from an input, an initialiser or a node. */
static fa_status check_sources(fa_graph *g)
{
    bool *given = fa_new_array(g->arena.context, (size_t)g->n_value + 1, sizeof *given);
    if (!given) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < g->n_input; i++) given[g->input[i]] = true;
    for (int32_t v = 0; v < g->n_value; v++) given[v] |= g->value[v].producer >= 0 || g->value[v].is_initialiser;
    fa_status status = FA_OK;
    for (int32_t n = 0; n < g->n_node && status == FA_OK; n++)
        for (int32_t i = 0; i < g->node[n].n_in && status == FA_OK; i++) {
            int32_t v = g->node[n].in[i];
            if (v >= 0 && !given[v]) status = fa_fail(FA_ERR_FORMAT, "node '%s': nothing produces its input '%s'", g->node[n].name, g->value[v].name);
        }
    for (int32_t i = 0; i < g->n_output && status == FA_OK; i++)
        if (!given[g->output[i]]) status = fa_fail(FA_ERR_FORMAT, "nothing produces the output '%s'", g->value[g->output[i]].name);
    fa_delete(g->arena.context, given);
    return status;
}

fa_status fa_graph_finish(fa_graph *g)
{
    FA_TRY(set_producers(g));
    FA_TRY(check_sources(g));
    FA_TRY(order_nodes(g));
    FA_TRY(set_producers(g)); /* the indices have moved */
    for (int32_t v = 0; v < g->n_value; v++) {
        g->value[v].is_parameter = g->value[v].is_initialiser;
        g->value[v].varies &= g->value[v].is_initialiser;
    }
    for (int32_t n = 0; n < g->n_node; n++) {
        bool parameter = true, varies = false;
        for (int32_t i = 0; i < g->node[n].n_in; i++) {
            if (g->node[n].in[i] < 0) continue;
            parameter &= g->value[g->node[n].in[i]].is_parameter;
            varies |= g->value[g->node[n].in[i]].varies;
        }
        for (int32_t o = 0; o < g->node[n].n_out; o++) {
            if (g->node[n].out[o] < 0) continue;
            g->value[g->node[n].out[o]].is_parameter = parameter;
            g->value[g->node[n].out[o]].varies = parameter && varies;
        }
    }
    return FA_OK;
}

void fa_graph_destroy(fa_graph *graph)
{
    if (!graph) return;
    fa_context *c = graph->arena.context;
    for (int32_t n = 0; n < graph->n_node && !graph->base; n++)
        for (int32_t i = 0; i < graph->node[n].n_attr; i++)
            if (graph->node[n].attr[i].kind == FA_ATTR_GRAPH) fa_graph_destroy(graph->node[n].attr[i].graph);
    fa_arena_clear(&graph->arena);
    fa_delete(c, graph);
}
