/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/hash.h"
#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

/* Values are numbered in the order in which the sorted graph first mentions them: neither names nor the file's order of initialisers matter. */
typedef struct numbering {
    int64_t *number; /* 0: not mentioned yet */
    int64_t count;
} numbering;

static void hash_view(fa_hash *h, const fa_view *v)
{
    fa_hash_add_i64(h, v->dtype);
    fa_hash_add_i64(h, v->ndim);
    for (int32_t i = 0; i < v->ndim; i++) fa_hash_add_i64(h, v->dim[i]);
    size_t size = fa_dtype_is_real(v->dtype) && v->dtype != FA_FLOAT64 ? sizeof(float) : sizeof(int64_t);
    fa_hash_add(h, v->data, (size_t)v->count * size);
}

static void hash_value(fa_hash *h, const fa_graph *g, numbering *n, int32_t v)
{
    if (v < 0) {
        fa_hash_add_i64(h, -1);
        return;
    }
    bool first = n->number[v] == 0;
    if (first) n->number[v] = ++n->count;
    fa_hash_add_i64(h, n->number[v]);
    if (first && g->value[v].is_initialiser) hash_view(h, &g->value[v].view);
}

static fa_status hash_attr(fa_hash *h, const fa_attr *a)
{
    fa_hash_add_string(h, a->name);
    fa_hash_add_i64(h, a->kind);
    fa_hash_add_i64(h, a->count);
    switch (a->kind) {
    case FA_ATTR_INT: fa_hash_add_i64(h, a->i); break;
    case FA_ATTR_FLOAT: fa_hash_add(h, &a->f, sizeof a->f); break;
    case FA_ATTR_STRING: fa_hash_add(h, a->s, (size_t)a->count); break;
    case FA_ATTR_INTS: fa_hash_add(h, a->ints, (size_t)a->count * sizeof a->ints[0]); break;
    case FA_ATTR_FLOATS: fa_hash_add(h, a->floats, (size_t)a->count * sizeof a->floats[0]); break;
    case FA_ATTR_STRINGS:
        for (int64_t i = 0; i < a->count; i++) fa_hash_add_string(h, a->strings[i]);
        break;
    case FA_ATTR_TENSOR: hash_view(h, &a->tensor); break;
    case FA_ATTR_GRAPH: {
        uint8_t body[16];
        FA_TRY(fa_graph_digest(a->graph, body));
        fa_hash_add_i64(h, a->i);
        fa_hash_add(h, body, sizeof body);
        break;
    }
    }
    return FA_OK;
}

/* Attributes in the order of their names: files differ in it. */
static fa_status hash_attrs(fa_hash *h, const fa_node *node)
{
    const fa_attr *last = NULL;
    fa_hash_add_i64(h, node->n_attr);
    for (int32_t k = 0; k < node->n_attr; k++) {
        const fa_attr *next = NULL;
        for (int32_t i = 0; i < node->n_attr; i++) {
            const fa_attr *a = &node->attr[i];
            if ((!last || strcmp(a->name, last->name) > 0) && (!next || strcmp(a->name, next->name) < 0)) next = a;
        }
        if (!next) return FA_OK; /* only duplicates are left */
        FA_TRY(hash_attr(h, next));
        last = next;
    }
    return FA_OK;
}

fa_status fa_graph_digest(const fa_graph *g, uint8_t digest[16])
{
    numbering n = {fa_new_array(g->arena.context, (size_t)g->n_value + 1, sizeof(int64_t)), 0};
    if (!n.number) return FA_ERR_MEMORY;
    fa_hash h;
    fa_hash_begin(&h);
    fa_hash_add_i64(&h, g->n_input);
    for (int32_t i = 0; i < g->n_input; i++) {
        hash_value(&h, g, &n, g->input[i]);
        fa_hash_add_i64(&h, g->value[g->input[i]].dtype);
    }
    fa_status status = FA_OK;
    for (int32_t k = 0; k < g->n_node && status == FA_OK; k++) {
        const fa_node *node = &g->node[k];
        fa_hash_add_string(&h, node->domain);
        fa_hash_add_string(&h, node->op);
        fa_hash_add_i64(&h, node->opset);
        status = hash_attrs(&h, node);
        fa_hash_add_i64(&h, node->n_in);
        for (int32_t i = 0; i < node->n_in; i++) hash_value(&h, g, &n, node->in[i]);
        fa_hash_add_i64(&h, node->n_out);
        for (int32_t i = 0; i < node->n_out; i++) hash_value(&h, g, &n, node->out[i]);
    }
    for (int32_t i = 0; i < g->n_output; i++) hash_value(&h, g, &n, g->output[i]);
    fa_hash_end(&h, digest);
    fa_delete(g->arena.context, n.number);
    return status;
}
