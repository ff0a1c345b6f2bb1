/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/edit.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

fa_status fa_edit_begin(const fa_graph *base, fa_edit *e)
{
    return fa_edit_begin_in(base, base->arena.context, e);
}

fa_status fa_edit_begin_in(const fa_graph *base, fa_context *c, fa_edit *e)
{
    fa_graph *g = fa_new(c, sizeof *g);
    if (!g) return FA_ERR_MEMORY;
    *g = *base;
    g->arena = (fa_arena){.context = c};
    g->base = base;
    *e = (fa_edit){g, base->n_value + base->n_node + 16, base->n_node + 16};
    g->value = fa_arena_array(&g->arena, (size_t)e->value_room, sizeof *g->value);
    g->node = fa_arena_array(&g->arena, (size_t)e->node_room, sizeof *g->node);
    if (!g->value || !g->node) goto fail;
    memcpy(g->value, base->value, (size_t)base->n_value * sizeof *g->value);
    for (int32_t n = 0; n < base->n_node; n++) {
        fa_node *to = &g->node[n];
        *to = base->node[n];
        to->in = fa_arena_array(&g->arena, (size_t)to->n_in + 1, sizeof *to->in);
        to->out = fa_arena_array(&g->arena, (size_t)to->n_out + 1, sizeof *to->out);
        if (!to->in || !to->out) goto fail;
        memcpy(to->in, base->node[n].in, (size_t)to->n_in * sizeof *to->in);
        memcpy(to->out, base->node[n].out, (size_t)to->n_out * sizeof *to->out);
    }
    return FA_OK;
fail:
    fa_edit_discard(e);
    return FA_ERR_MEMORY;
}

void fa_edit_discard(fa_edit *e)
{
    fa_graph_destroy(e->graph);
    e->graph = NULL;
}

static void *move(fa_arena *arena, void *old, int32_t used, size_t room, size_t size)
{
    void *p = fa_arena_array(arena, room, size);
    if (!p) return NULL;
    memcpy(p, old, (size_t)used * size);
    fa_arena_release(arena, old);
    return p;
}

static void *grow(fa_arena *arena, void *old, int32_t used, int32_t *room, size_t size)
{
    if (used < *room) return old;
    void *p = move(arena, old, used, 2 * (size_t)*room, size);
    if (p) *room *= 2;
    return p;
}

fa_status fa_edit_copy_value(fa_edit *e, const char *name, const fa_value *like, int32_t *value)
{
    fa_graph *g = e->graph;
    fa_value *values = grow(&g->arena, g->value, g->n_value, &e->value_room, sizeof *values);
    if (!values) return FA_ERR_MEMORY;
    g->value = values;
    *value = g->n_value++;
    g->value[*value] = *like;
    g->value[*value].name = name;
    g->value[*value].producer = -1;
    return FA_OK;
}

fa_status fa_edit_value(fa_edit *e, const char *name, int32_t dtype, int32_t *value)
{
    size_t room = strlen(name) + 16;
    char *own = fa_arena_new(&e->graph->arena, room);
    if (!own) return FA_ERR_MEMORY;
    snprintf(own, room, "%s", name);
    for (int i = 1; fa_graph_find_value(e->graph, own) >= 0; i++) snprintf(own, room, "%s.%d", name, i);
    return fa_edit_copy_value(e, own, &(fa_value){.dtype = dtype}, value);
}

fa_status fa_edit_initialiser(fa_edit *e, const char *name, int32_t dtype, int32_t ndim, const int64_t *dim, int32_t *value, void **data)
{
    fa_view view = {.dtype = dtype};
    if (!fa_view_set_shape(&view, ndim, dim)) return fa_fail(FA_ERR_LIMIT, "initialiser '%s' is too large", name);
    view.data = fa_arena_array(&e->graph->arena, (size_t)view.count + 1, dtype == FA_FLOAT32 ? sizeof(float) : sizeof(int64_t));
    if (!view.data) return FA_ERR_MEMORY;
    FA_TRY(fa_edit_value(e, name, dtype, value));
    fa_edit_make_initialiser(e, *value, &view);
    *data = view.data;
    return FA_OK;
}

fa_status fa_edit_varying(fa_edit *e, const char *name, int32_t ndim, const int64_t *dim, int32_t *value)
{
    fa_view view = {.dtype = FA_FLOAT32};
    if (!fa_view_set_shape(&view, ndim, dim)) return fa_fail(FA_ERR_LIMIT, "value '%s' is too large", name);
    FA_TRY(fa_edit_value(e, name, FA_FLOAT32, value));
    fa_value *v = &e->graph->value[*value];
    v->view = view;
    v->is_parameter = v->varies = true;
    return FA_OK;
}

fa_status fa_edit_copy_node(fa_edit *e, const char *name, const fa_node *like, int32_t *node)
{
    fa_graph *g = e->graph;
    fa_node *nodes = grow(&g->arena, g->node, g->n_node, &e->node_room, sizeof *nodes), n = *like;
    if (!nodes) return FA_ERR_MEMORY;
    g->node = nodes;
    n.name = name;
    n.in = fa_arena_array(&g->arena, (size_t)n.n_in + 1, sizeof *n.in);
    n.out = fa_arena_array(&g->arena, (size_t)n.n_out + 1, sizeof *n.out);
    if (!n.in || !n.out) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < n.n_in; i++) n.in[i] = -1;
    for (int32_t i = 0; i < n.n_out; i++) n.out[i] = -1;
    *node = g->n_node++;
    g->node[*node] = n;
    return FA_OK;
}

fa_status fa_edit_node(fa_edit *e, const char *name, const char *op, const char *domain, int32_t opset, int32_t n_in, int32_t n_out, int32_t n_attr, int32_t *node)
{
    fa_arena *arena = &e->graph->arena;
    fa_node n = {.opset = opset, .n_in = n_in, .n_out = n_out, .n_attr = n_attr};
    const char *own = fa_arena_string(arena, name);
    n.op = fa_arena_string(arena, op);
    n.domain = fa_arena_string(arena, domain);
    n.attr = fa_arena_array(arena, (size_t)n_attr + 1, sizeof *n.attr);
    if (!own || !n.op || !n.domain || !n.attr) return FA_ERR_MEMORY;
    return fa_edit_copy_node(e, own, &n, node);
}

void fa_edit_make_initialiser(fa_edit *e, int32_t value, const fa_view *view)
{
    fa_value *v = &e->graph->value[value];
    v->is_initialiser = true;
    v->view = *view;
    v->dtype = view->dtype;
}

void fa_edit_remove_node(fa_edit *e, int32_t node)
{
    e->graph->node[node].op = NULL;
}

bool fa_edit_is_removed(const fa_edit *e, int32_t node)
{
    return !e->graph->node[node].op;
}

int32_t fa_edit_consumers(const fa_edit *e, int32_t value, int32_t *consumer)
{
    int32_t count = 0;
    for (int32_t n = 0; n < e->graph->n_node; n++) {
        const fa_node *node = &e->graph->node[n];
        if (!node->op) continue;
        for (int32_t i = 0; i < node->n_in; i++)
            if (node->in[i] == value) {
                count++;
                *consumer = n;
            }
    }
    return count;
}

fa_status fa_edit_finish(fa_edit *e, fa_graph **out)
{
    fa_graph *g = e->graph;
    int32_t kept = 0;
    for (int32_t n = 0; n < g->n_node; n++)
        if (g->node[n].op) g->node[kept++] = g->node[n];
    g->n_node = kept;
    fa_value *values = move(&g->arena, g->value, g->n_value, (size_t)g->n_value + 1, sizeof *values); /* without room for more */
    fa_status status = FA_ERR_MEMORY;
    if (values) {
        g->value = values;
        status = fa_graph_finish(g);
    }
    if (status != FA_OK) {
        fa_edit_discard(e);
        return status;
    }
    *out = g;
    return FA_OK;
}
