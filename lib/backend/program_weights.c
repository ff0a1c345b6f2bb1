/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/engine.h"

#include "base/error.h"

#include <pthread.h>
#include <stdlib.h>

/* Which of a program's graphs hold the elements of its weights, and from when to when. */

struct fa_program_late {
    pthread_mutex_t mutex;
    fa_program_graph network; /* `graph` NULL: not made yet */
    fa_graph *made;           /* NULL: the evaluation's graph does */
};

fa_status fa_program_late_create(fa_program *p)
{
    fa_program_late *l = fa_new(p->arena.context, sizeof *l);
    if (!l) return FA_ERR_MEMORY;
    if (pthread_mutex_init(&l->mutex, NULL)) {
        fa_delete(p->arena.context, l);
        return fa_fail(FA_ERR_MEMORY, "no mutex can be made");
    }
    p->late = l;
    return FA_OK;
}

void fa_program_late_destroy(fa_program *p)
{
    fa_program_late *l = p->late;
    if (!l) return;
    fa_graph_destroy(l->made);
    pthread_mutex_destroy(&l->mutex);
    fa_delete(p->arena.context, l);
}

fa_status fa_program_with_gradients(const fa_program *p, const fa_program_graph **out)
{
    fa_program_late *l = p->late;
    fa_status status = FA_OK;
    pthread_mutex_lock(&l->mutex);
    if (!l->network.graph) {
        status = fa_packings_gradients(&p->packings, p->evaluation.graph, p->source, &l->made);
        if (status == FA_OK) l->network = (fa_program_graph){l->made ? l->made : p->evaluation.graph, p->evaluation.layers};
    }
    pthread_mutex_unlock(&l->mutex);
    *out = &l->network;
    return status;
}

/* Elements that something goes on to read, in the order of their addresses. */
typedef struct read_set {
    const void **data;
    size_t count;
} read_set;

static int by_address(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t) * (const void *const *)a, y = (uintptr_t) * (const void *const *)b;
    return (x > y) - (x < y);
}

static bool is_read(const read_set *s, const void *data)
{
    return bsearch(&data, s->data, s->count, sizeof *s->data, by_address) != NULL;
}

static void add(read_set *s, const fa_graph *g, int32_t value)
{
    if (value >= 0 && !g->value[value].varies && g->value[value].view.data) s->data[s->count++] = g->value[value].view.data;
}

static size_t ends(const fa_graph *g)
{
    size_t n = g ? (size_t)g->n_output + 1 : 0;
    for (int32_t k = 0; g && k < g->n_node; k++) n += (size_t)g->node[k].n_in;
    return n;
}

static void add_graph(read_set *s, const fa_graph *g, int32_t logits)
{
    if (!g) return;
    add(s, g, logits);
    for (int32_t i = 0; i < g->n_output; i++) add(s, g, g->output[i]);
    for (int32_t n = 0; n < g->n_node; n++)
        for (int32_t i = 0; i < g->node[n].n_in; i++) add(s, g, g->node[n].in[i]);
}

/* What the nodes of a program read, and what is still to be packed from the model's graph. */
static fa_status find_read(const fa_program *p, fa_arena *work, read_set *s)
{
    s->count = 0;
    s->data = fa_arena_array(work, ends(p->evaluation.graph) + ends(p->training.graph) + (size_t)p->packings.count + 1, sizeof *s->data);
    if (!s->data) return FA_ERR_MEMORY;
    add_graph(s, p->evaluation.graph, p->logits);
    add_graph(s, p->training.graph, p->logits);
    for (int32_t i = 0; i < p->packings.count; i++)
        if (p->packings.packing[i].late && !fa_conv_unpacks(&p->packings.packing[i].geometry)) add(s, p->source, p->packings.packing[i].source);
    qsort(s->data, s->count, sizeof *s->data, by_address);
    return FA_OK;
}

/* No value of these graphs has these elements any more. */
static void forget(fa_graph *const *graph, int32_t n, const void *data)
{
    for (int32_t k = 0; k < n; k++)
        for (int32_t v = 0; v < graph[k]->n_value; v++)
            if (graph[k]->value[v].view.data == data) graph[k]->value[v].view.data = NULL;
}

/* A stage that later ones were made of: they share what is in its arena, but not its tables. */
static void empty(fa_graph *g)
{
    fa_arena_release(&g->arena, g->value);
    fa_arena_release(&g->arena, g->node);
    g->value = NULL;
    g->node = NULL;
    g->n_value = g->n_node = 0;
}

fa_status fa_program_trim(fa_program *p)
{
    fa_arena work = {.context = p->arena.context};
    read_set s;
    fa_graph *own[FA_PROGRAM_STAGES + 1];
    int32_t n = 0;
    FA_TRY(find_read(p, &work, &s));
    if (p->restored) own[n++] = p->restored;
    for (int32_t k = 0; k < p->n_stage; k++) own[n++] = p->stage[k];
    for (int32_t k = 0; k < n; k++)
        for (int32_t v = 0; v < own[k]->n_value; v++) {
            const void *data = own[k]->value[v].view.data;
            if (data && !is_read(&s, data) && fa_arena_release(&own[k]->arena, data)) forget(own, n, data);
        }
    fa_arena_clear(&work);
    for (int32_t k = 0; k < p->n_stage; k++)
        if (p->stage[k] != p->evaluation.graph && p->stage[k] != p->training.graph) empty(p->stage[k]);
    return FA_OK;
}

fa_status fa_program_take_weights(fa_program *p, fa_graph *graph)
{
    fa_arena work = {.context = p->arena.context};
    read_set s;
    fa_graph *own[FA_PROGRAM_STAGES + 2];
    int32_t n = 0;
    FA_TRY(find_read(p, &work, &s));
    for (int32_t k = 0; k < p->n_stage; k++) own[n++] = p->stage[k];
    own[n++] = graph;
    if (graph->base) own[n++] = (fa_graph *)graph->base; /* as the file has it, where inputs were bound */
    for (int32_t i = 0; i < p->packings.count; i++) {
        fa_packing *packing = &p->packings.packing[i];
        if (packing->source < 0 || !fa_conv_unpacks(&packing->geometry)) continue;
        const void *data = graph->value[packing->source].view.data;
        if (!data || is_read(&s, data)) continue;
        bool owned = false;
        for (const fa_graph *g = graph; g && !owned; g = g->base) owned = fa_arena_release(&((fa_graph *)g)->arena, data);
        if (!owned) continue;
        forget(own, n, data);
        packing->taken = true;
    }
    fa_arena_clear(&work);
    return FA_OK;
}

bool fa_program_has_taken(const fa_program *p)
{
    for (int32_t i = 0; i < p->packings.count; i++)
        if (p->packings.packing[i].taken) return true;
    return false;
}

fa_status fa_program_restore(const fa_program *p, fa_graph **out)
{
    fa_edit e;
    *out = NULL;
    if (!fa_program_has_taken(p)) return FA_OK;
    FA_TRY(fa_edit_begin(p->source, &e));
    for (int32_t i = 0; i < p->packings.count; i++) {
        const fa_packing *packing = &p->packings.packing[i];
        if (!packing->taken) continue;
        float *weights;
        fa_status status = fa_packing_unpack(packing, p->evaluation.graph, &e.graph->arena, &weights);
        if (status != FA_OK) {
            fa_edit_discard(&e);
            return status;
        }
        e.graph->value[packing->source].view.data = weights;
    }
    return fa_edit_finish(&e, out);
}
