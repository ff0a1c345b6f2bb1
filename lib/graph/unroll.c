/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/unroll.h"

#include "base/error.h"
#include "graph/plan_private.h"
#include "graph/unroll_copy.h"

#include <string.h>

/* Nodes that decide nodes that decide nodes ...: each link costs a round. */
#define ROUNDS_MAX 64

/* Which nodes can be decided, and what decides them. The copying is in unroll_copy.c. */

typedef struct round {
    const fa_graph *graph;
    const fa_op_table *ops;
    const fa_view *inputs;
    fa_arena work;
    bool *needed;     /* [n_value] something wanted depends on it */
    bool *pending;    /* [n_value] it depends on a node that is not unrolled yet */
    int32_t *decider; /* values that decide some node */
    int32_t n_decider;
    int32_t *found;   /* nodes to be unrolled now */
    int32_t n_found;
} round;

/* The inputs [first, end) of a node that decide how it is unrolled: the condition, trip count and condition, or what is scanned. */
static void deciders(const fa_node *node, int32_t *first, int32_t *end)
{
    const fa_attr *body = fa_node_attr(node, "body");
    *first = 0;
    *end = 1;
    if (node->op[0] == 'L') *end = 2;
    if (node->op[0] == 'S') {
        int64_t n = fa_node_int(node, "num_scan_inputs", 0), formal = body && body->kind == FA_ATTR_GRAPH ? body->i : 0;
        *end = (int32_t)formal;
        *first = n > 0 && n <= formal ? (int32_t)(formal - n) : *end;
    }
    if (*end > node->n_in) *end = node->n_in;
}

static void mark_needed(round *r, const int32_t *ends, int32_t n_ends)
{
    for (int32_t i = 0; i < n_ends; i++) r->needed[ends[i]] = true;
    for (int32_t n = r->graph->n_node - 1; n >= 0; n--) {
        const fa_node *node = &r->graph->node[n];
        bool wanted = false;
        for (int32_t o = 0; o < node->n_out; o++) wanted |= node->out[o] >= 0 && r->needed[node->out[o]];
        for (int32_t i = 0; i < node->n_in && wanted; i++)
            if (node->in[i] >= 0) r->needed[node->in[i]] = true;
    }
}

static bool can_decide(const round *r, const fa_node *node)
{
    int32_t first, end;
    deciders(node, &first, &end);
    for (int32_t i = first; i < end; i++) {
        int32_t v = node->in[i];
        if (v >= 0 && (r->pending[v] || (!r->inputs && !r->graph->value[v].is_parameter))) return false;
    }
    return true;
}

static void find(round *r)
{
    for (int32_t n = 0; n < r->graph->n_node; n++) {
        const fa_node *node = &r->graph->node[n];
        bool wanted = false, pending = fa_node_is_control(node);
        for (int32_t o = 0; o < node->n_out; o++) wanted |= node->out[o] >= 0 && r->needed[node->out[o]];
        if (!wanted) continue;
        if (pending && can_decide(r, node)) {
            int32_t first, end;
            deciders(node, &first, &end);
            for (int32_t i = first; i < end; i++)
                if (node->in[i] >= 0) r->decider[r->n_decider++] = node->in[i];
            r->found[r->n_found++] = n;
        }
        for (int32_t i = 0; i < node->n_in; i++) pending |= node->in[i] >= 0 && r->pending[node->in[i]];
        for (int32_t o = 0; o < node->n_out; o++)
            if (node->out[o] >= 0) r->pending[node->out[o]] = pending;
    }
}

/* The one element of an integer or bool that decides; `absent` where the input is. */
static fa_status decided(const fa_plan *plan, const fa_node *node, int32_t input, const char *what, int64_t absent, int64_t *out)
{
    *out = absent;
    if (input >= node->n_in || node->in[input] < 0) return FA_OK;
    const fa_view *v = fa_plan_value(plan, node->in[input]);
    if (!v || fa_dtype_is_real(v->dtype) || v->count != 1) return fa_fail(FA_ERR_FORMAT, "%s (input %d) is not one integer or bool", what, input);
    if (!v->data) return fa_fail(FA_ERR_UNSUPPORTED, "%s (input %d) is computed from the data; it must be known beforehand", what, input);
    *out = *(const int64_t *)v->data;
    return FA_OK;
}

static fa_status decide_loop(const fa_plan *plan, const fa_node *node, int64_t *rounds)
{
    const fa_graph *body = fa_node_body(node, "body");
    int64_t trips, condition;
    fa_loop_condition kept;
    if (!body || body->n_input < 2) return fa_fail(FA_ERR_FORMAT, "its body is missing or does not take an iteration and a condition");
    FA_TRY(decided(plan, node, 0, "the number of rounds", INT64_MAX, &trips));
    FA_TRY(decided(plan, node, 1, "the condition", 1, &condition));
    if (!condition || trips < 0) trips = 0;
    if (trips > 1) {
        FA_TRY(fa_unroll_loop_condition(body, &kept));
        if (kept == FA_LOOP_ENDS) trips = 1;
    }
    *rounds = trips;
    return FA_OK;
}

static fa_status decide_scan(const fa_plan *plan, const fa_node *node, int64_t *rounds)
{
    int32_t first, end;
    if (node->opset < 9) return fa_fail(FA_ERR_UNSUPPORTED, "Scan of operator set %d, which scans batches", node->opset);
    deciders(node, &first, &end);
    if (first == end) return fa_fail(FA_ERR_FORMAT, "its body or num_scan_inputs is missing");
    for (int32_t i = first; i < end; i++) {
        const fa_view *v = node->in[i] >= 0 ? fa_plan_value(plan, node->in[i]) : NULL;
        int64_t axis = v ? fa_scan_number(node, "scan_input_axes", i - first) : 0;
        if (v && axis < 0) axis += v->ndim;
        if (!v || axis < 0 || axis >= v->ndim) return fa_fail(FA_ERR_SHAPE, "input %d has no axis to scan", i);
        if (i > first && v->dim[axis] != *rounds) return fa_fail(FA_ERR_SHAPE, "inputs of %lld and %lld elements are scanned together", (long long)*rounds, (long long)v->dim[axis]);
        *rounds = v->dim[axis];
    }
    return FA_OK;
}

/* Decides one node and copies its body into the edit. */
static fa_status unroll_node(fa_edit *e, fa_arena *work, const fa_plan *plan, int32_t n)
{
    const fa_node node = e->graph->node[n]; /* nodes may move, and this one's arrays stay */
    int64_t rounds = 1;
    if (node.op[0] == 'I') {
        if (!node.n_in || node.in[0] < 0) return fa_fail(FA_ERR_FORMAT, "its condition is missing");
        FA_TRY(decided(plan, &node, 0, "the condition", 1, &rounds));
        FA_TRY(fa_unroll_if(e, work, &node, rounds != 0));
    } else if (node.op[0] == 'L') {
        FA_TRY(decide_loop(plan, &node, &rounds));
        FA_TRY(fa_unroll_loop(e, work, &node, rounds));
    } else {
        FA_TRY(decide_scan(plan, &node, &rounds));
        FA_TRY(fa_unroll_scan(e, work, &node, rounds));
    }
    fa_edit_remove_node(e, n);
    return FA_OK;
}

static fa_status unroll_found(round *r, fa_context *context, const fa_plan *plan, fa_graph **out)
{
    fa_edit e;
    FA_TRY(fa_edit_begin_in(r->graph, context, &e));
    for (int32_t i = 0; i < r->n_found; i++) {
        const fa_node *node = &r->graph->node[r->found[i]];
        fa_status status = unroll_node(&e, &r->work, plan, r->found[i]);
        if (status == FA_OK) continue;
        fa_edit_discard(&e);
        return fa_fail_at(status, "node '%s' (%s)", node->name, node->op);
    }
    return fa_edit_finish(&e, out);
}

static fa_status run_round(round *r, fa_context *context, const int32_t *ends, int32_t n_ends, fa_graph **out)
{
    const fa_graph *g = r->graph;
    size_t values = (size_t)g->n_value + 1, edges = 1;
    for (int32_t n = 0; n < g->n_node; n++) edges += fa_node_is_control(&g->node[n]) ? (size_t)g->node[n].n_in : 0;
    r->needed = fa_arena_array(&r->work, values, sizeof(bool));
    r->pending = fa_arena_array(&r->work, values, sizeof(bool));
    r->decider = fa_arena_array(&r->work, edges, sizeof(int32_t));
    r->found = fa_arena_array(&r->work, (size_t)g->n_node + 1, sizeof(int32_t));
    if (!r->needed || !r->pending || !r->decider || !r->found) return FA_ERR_MEMORY;
    mark_needed(r, ends, n_ends);
    find(r);
    if (!r->n_found) return FA_OK;
    fa_plan *plan;
    fa_plan_request request = {.graph = g, .context = context, .ops = r->ops, .inputs = r->inputs, .wanted = r->decider, .n_wanted = r->n_decider, .loss = -1};
    FA_TRY(fa_plan_create_straight(&request, &plan));
    fa_status status = unroll_found(r, context, plan, out);
    fa_plan_destroy(plan);
    return status;
}

fa_status fa_unroll(const fa_graph *graph, fa_context *context, const fa_op_table *ops, const fa_view *inputs, const int32_t *ends, int32_t n_ends,
                    fa_graph **out)
{
    fa_graph *last = NULL, *next;
    int32_t count = 0;
    do {
        round r = {.graph = last ? last : graph, .ops = ops, .inputs = inputs, .work.context = context};
        next = NULL;
        fa_status status = count++ < ROUNDS_MAX ? run_round(&r, context, ends, n_ends, &next)
                                                : fa_fail(FA_ERR_LIMIT, "If, Loop and Scan depend on each other more than %d deep", ROUNDS_MAX);
        fa_arena_clear(&r.work);
        if (status != FA_OK) {
            fa_unroll_destroy(last, graph);
            return status;
        }
        if (next) last = next;
    } while (next);
    *out = last;
    return FA_OK;
}

void fa_unroll_destroy(fa_graph *unrolled, const fa_graph *graph)
{
    while (unrolled && unrolled != graph) {
        fa_graph *base = (fa_graph *)unrolled->base;
        fa_graph_destroy(unrolled);
        unrolled = base;
    }
}
