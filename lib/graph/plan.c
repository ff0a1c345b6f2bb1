/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/plan.h"

#include "base/error.h"
#include "graph/plan_private.h"
#include "graph/unroll.h"

#include <stdio.h>
#include <string.h>

const fa_op *fa_op_find(const fa_op_table *table, const fa_node *node)
{
    for (const fa_op *const *family = table->families; *family; family++)
        for (const fa_op *op = *family; op->name; op++)
            if (node->opset >= op->since && node->opset <= op->until && strcmp(op->name, node->op) == 0 && strcmp(op->domain, node->domain) == 0) return op;
    return NULL;
}

/* A list of nodes without an operator, as far as there is room for it. */
typedef struct missing {
    char list[12288];
    size_t at;
    int32_t count, told;
} missing;

static void list_missing(missing *m, const fa_graph *g, const fa_op_table *ops)
{
    for (int32_t n = 0; n < g->n_node; n++) {
        const fa_node *node = &g->node[n];
        for (int32_t i = 0; i < node->n_attr; i++)
            if (node->attr[i].kind == FA_ATTR_GRAPH) list_missing(m, node->attr[i].graph, ops);
        if (fa_node_is_control(node) || fa_op_find(ops, node)) continue;
        m->count++;
        if (m->at >= sizeof m->list - 1) continue;
        int wrote = snprintf(m->list + m->at, sizeof m->list - m->at, "%s'%s' (%s%s%s, opset %d)", m->told ? ", " : "", node->name, node->domain,
                             node->domain[0] ? "." : "", node->op, node->opset);
        if (wrote < 0 || (size_t)wrote >= sizeof m->list - m->at) {
            m->list[m->at] = '\0';
            m->at = sizeof m->list;
            continue;
        }
        m->at += (size_t)wrote;
        m->told++;
    }
}

fa_status fa_plan_check_ops(const fa_graph *g, const fa_op_table *ops)
{
    missing m;
    m.at = 0;
    m.count = m.told = 0;
    list_missing(&m, g, ops);
    if (!m.count) return FA_OK;
    if (m.told < m.count) return fa_fail(FA_ERR_UNSUPPORTED, "%d nodes have no operator here: %s and %d more", m.count, m.list, m.count - m.told);
    return fa_fail(FA_ERR_UNSUPPORTED, "%d node%s no operator here: %s", m.count, m.count == 1 ? " has" : "s have", m.list);
}

/* An initialiser's elements as the plan's operators want them. */
static fa_status load_constant(fa_plan *p, int32_t v)
{
    const fa_view *from = &p->graph->value[v].view;
    fa_view *to = &p->view[v];
    *to = *from;
    if (p->graph->value[v].varies) {
        to->data = NULL;
        return FA_OK;
    }
    bool is_double = from->dtype == FA_FLOAT64;
    if (!fa_dtype_is_real(from->dtype) || (p->ops->real_size == sizeof(double)) == is_double) return FA_OK;
    to->data = fa_arena_array(&p->arena, (size_t)from->count + 1, p->ops->real_size);
    if (!to->data) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < from->count; i++) {
        if (is_double) ((float *)to->data)[i] = (float)((const double *)from->data)[i];
        else ((double *)to->data)[i] = ((const float *)from->data)[i];
    }
    return FA_OK;
}

static fa_status bind_inputs(fa_plan *p, const fa_plan_request *r, const bool *needed)
{
    for (int32_t i = 0; i < p->graph->n_input; i++) {
        if (!needed[p->graph->input[i]]) continue;
        const fa_value *declared = &p->graph->value[p->graph->input[i]];
        fa_view *v = &p->view[p->graph->input[i]];
        *v = r->inputs[i];
        if (declared->dtype) v->dtype = declared->dtype;
        FA_TRY(fa_value_check_shape(declared, v));
    }
    return FA_OK;
}

/* Marks what `wanted` and the loss depend on. */
static void mark_required(fa_plan *p, const fa_plan_request *r, bool *needed)
{
    for (int32_t i = 0; i < r->n_wanted; i++) needed[r->wanted[i]] = true;
    if (r->loss >= 0) needed[r->loss] = true;
    for (int32_t n = p->graph->n_node - 1; n >= 0; n--) {
        const fa_node *node = &p->graph->node[n];
        const fa_op *op = p->step[n].op = fa_op_find(p->ops, node);
        for (int32_t o = 0; o < node->n_out; o++) p->step[n].required |= node->out[o] >= 0 && needed[node->out[o]];
        for (int32_t i = 0; p->step[n].required && i < node->n_in; i++)
            if (node->in[i] >= 0 && (r->loss >= 0 || !fa_op_bit(op->back_only, i))) needed[node->in[i]] = true;
    }
}

/* Views of a node's inputs and outputs: pointers into plan->view, or room for outputs that no value holds. */
typedef struct ends {
    const fa_view **in, **out;
    fa_view *spare;
} ends;

static fa_status fold(fa_plan *p, const fa_node *node, const fa_step *s, const ends *e, size_t scratch_bytes)
{
    for (int32_t o = 0; o < node->n_out; o++) {
        if (node->out[o] < 0) continue;
        fa_view *v = &p->view[node->out[o]];
        v->data = fa_arena_array(&p->arena, (size_t)v->count + 1, fa_plan_element_bytes(p, v));
        if (!v->data) return FA_ERR_MEMORY;
    }
    void *scratch = NULL;
    if (scratch_bytes && !(scratch = fa_new_uncleared(p->arena.context, scratch_bytes))) return FA_ERR_MEMORY;
    fa_op_call call = {.node = node, .params = s->params, .scratch = scratch, .n_in = node->n_in, .n_out = node->n_out, .in = e->in, .out = e->out};
    s->op->forward(&call);
    fa_delete(p->arena.context, scratch);
    return FA_OK;
}

static fa_status prepare_node(fa_plan *p, int32_t n)
{
    const fa_node *node = &p->graph->node[n];
    fa_step *s = &p->step[n];
    size_t n_in = (size_t)node->n_in, n_out = (size_t)node->n_out;
    ends e = {fa_arena_array(&p->arena, n_in + 1, sizeof *e.in), fa_arena_array(&p->arena, n_out + 1, sizeof *e.out), fa_arena_array(&p->arena, n_out + 1, sizeof *e.spare)};
    if (!e.in || !e.out || !e.spare) return FA_ERR_MEMORY;
    bool known = true, varies = false;
    for (int32_t i = 0; i < node->n_in; i++) {
        if (node->in[i] < 0 || !p->view[node->in[i]].dtype) continue;
        e.in[i] = &p->view[node->in[i]];
        known &= e.in[i]->data || e.in[i]->count == 0;
        varies |= p->needs_grad[node->in[i]];
    }
    fa_op_setup setup = {.node = node, .n_in = node->n_in, .n_out = node->n_out, .in = e.in, .out = e.spare, .arena = &p->arena, .threads = p->threads};
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i] >= 0 && p->needs_grad[node->in[i]]) setup.wants |= 1u << (i < 31 ? i : 31);
    FA_TRY(s->op->prepare(&setup));
    s->params = setup.params;
    s->flops = setup.flops;
    for (int32_t o = 0; o < node->n_out; o++) {
        if (node->out[o] < 0) continue;
        if (!e.spare[o].dtype) return fa_fail(FA_ERR_UNSUPPORTED, "output %d is not computed here", o);
        p->view[node->out[o]] = e.spare[o];
        p->view[node->out[o]].data = NULL;
        e.out[o] = &p->view[node->out[o]];
    }
    if ((known && !varies) || fa_node_reads_shape(node)) {
        s->folded = true;
        return fold(p, node, s, &e, setup.scratch);
    }
    s->scratch = setup.scratch;
    s->cheap = setup.cheap;
    for (int32_t o = 0; o < node->n_out; o++)
        if (node->out[o] >= 0)
            p->needs_grad[node->out[o]] = ((varies && !(s->op->flags & FA_OP_STOPS)) || s->tap >= 0) && fa_dtype_is_real(p->view[node->out[o]].dtype);
    return FA_OK;
}

static fa_status prepare_nodes(fa_plan *p)
{
    for (int32_t n = 0; n < p->graph->n_node; n++) {
        if (!p->step[n].required) continue;
        const fa_node *node = &p->graph->node[n];
        fa_status status = prepare_node(p, n);
        if (status != FA_OK) return fa_fail_at(status, "node '%s' (%s)", node->name, node->op);
        if (!p->step[n].folded) p->forward[p->n_forward++] = n;
    }
    return FA_OK;
}

/* What was needed for its shape alone, or for what is folded, is not run: its values are none. `read` has room for the values. */
static void drop_unread(fa_plan *p, const fa_plan_request *r, bool *read)
{
    int32_t kept = p->n_forward;
    memset(read, 0, (size_t)p->graph->n_value * sizeof *read);
    for (int32_t i = 0; i < r->n_wanted; i++) read[r->wanted[i]] = true;
    if (r->loss >= 0) read[r->loss] = true;
    for (int32_t k = p->n_forward - 1; k >= 0; k--) {
        const fa_node *node = &p->graph->node[p->forward[k]];
        const fa_step *s = &p->step[p->forward[k]];
        bool runs = false;
        for (int32_t o = 0; o < node->n_out; o++) runs |= node->out[o] >= 0 && read[node->out[o]];
        for (int32_t o = 0; o < node->n_out && !runs; o++)
            if (node->out[o] >= 0) p->view[node->out[o]].dtype = 0;
        if (!runs) continue;
        for (int32_t i = 0; i < node->n_in; i++)
            if (node->in[i] >= 0 && (r->loss >= 0 || !fa_op_bit(s->op->back_only, i))) read[node->in[i]] = true;
        p->forward[--kept] = p->forward[k];
        p->flops_forward += s->flops;
    }
    p->n_forward -= kept;
    memmove(p->forward, p->forward + kept, (size_t)p->n_forward * sizeof *p->forward);
}

/* True for a node whose outputs follow from initialisers alone, of which some vary. */
static bool prepares(const fa_graph *g, const fa_node *node)
{
    for (int32_t o = 0; o < node->n_out; o++)
        if (node->out[o] >= 0) return g->value[node->out[o]].varies;
    return false;
}

/* Brings those nodes to the front, which leaves both parts in topological order. `moved` has room for the nodes. */
static void split_forward(fa_plan *p, int32_t *moved)
{
    int32_t n = 0, rest = 0;
    for (int32_t k = 0; k < p->n_forward; k++)
        if (prepares(p->graph, &p->graph->node[p->forward[k]])) moved[n++] = p->forward[k];
    p->n_prepare = n;
    for (int32_t k = 0; k < p->n_forward; k++)
        if (!prepares(p->graph, &p->graph->node[p->forward[k]])) moved[n + rest++] = p->forward[k];
    for (int32_t k = 0; k < p->n_forward; k++) p->forward[k] = moved[k];
}

/* What is known of a value's gradient while its contributions are planned. */
typedef struct gradient {
    bool begun, callers;  /* callers: written or read from outside */
    int32_t node, input;  /* the last contribution */
} gradient;

/* True where the gradient at value `from` may go on in the memory of that at `to`, whose maker has read it. */
static bool may_share(const fa_plan *p, const gradient *g, int32_t from, int32_t to)
{
    return !g[from].begun && !g[from].callers && !g[to].callers && p->view[from].count == p->view[to].count;
}

/* True where the gradient at input `i` is to lie where that at the output does. */
static bool hands_on(const fa_plan *p, const gradient *g, int32_t n, int32_t i)
{
    const fa_node *node = &p->graph->node[n];
    for (int32_t k = 0; k < node->n_in; k++)
        if (k != i && node->in[k] == node->in[i]) return false; /* twice the gradient */
    return fa_op_bit(p->step[n].op->hands_on, i) && may_share(p, g, node->in[i], node->out[0]);
}

/* Leaves function `n` to whoever finishes the gradient at its output, if that can be. */
static fa_status leave_slope(fa_plan *p, const gradient *g, int32_t n, bool *left)
{
    const fa_node *node = &p->graph->node[n];
    const int32_t out = node->out[0];
    *left = false;
    if (!(p->step[n].op->flags & FA_OP_FUNCTION) || p->step[n].tap >= 0 || !g[out].begun || !may_share(p, g, node->in[0], out)) return FA_OK;
    const fa_node *finisher = &p->graph->node[g[out].node];
    fa_step *last = &p->step[g[out].node];
    const int32_t n_in = finisher->n_in;
    const bool handed = p->grad_root[out] == p->grad_root[finisher->out[0]]; /* what other inputs take their gradients from */
    if (handed || !fa_op_bit(last->op->slopes, g[out].input)) return FA_OK;
    if (!last->slope) {
        if (!(last->slope = fa_arena_array(&p->arena, (size_t)n_in + 1, sizeof *last->slope))) return FA_ERR_MEMORY;
        for (int32_t i = 0; i < n_in; i++) last->slope[i] = -1;
    }
    last->slope[g[out].input] = n;
    *left = true;
    return FA_OK;
}

/* Which gradients exist, who computes them and in which order contributions arrive. */
static fa_status plan_backward(fa_plan *p)
{
    if (p->loss < 0) return FA_OK;
    gradient *g = fa_arena_array(&p->arena, (size_t)p->graph->n_value + 1, sizeof *g);
    if (!g) return FA_ERR_MEMORY;
    g[p->loss].callers = true;
    for (int32_t i = 0; i < p->n_wrt; i++) g[p->wrt[i]].callers = true;
    if (p->needs_grad[p->loss]) p->active[p->loss] = true, g[p->loss] = (gradient){true, true, -1, -1};
    for (int32_t k = p->n_forward - 1; k >= 0; k--) {
        const fa_node *node = &p->graph->node[p->forward[k]];
        fa_step *s = &p->step[p->forward[k]];
        bool reached = false;
        for (int32_t o = 0; o < node->n_out; o++) reached |= node->out[o] >= 0 && p->active[node->out[o]];
        if (!reached) continue;
        bool left, handed = false;
        FA_TRY(leave_slope(p, g, p->forward[k], &left));
        size_t n_in = (size_t)node->n_in + 1;
        s->want_grad = fa_arena_array(&p->arena, n_in, sizeof(bool));
        s->accumulate = fa_arena_array(&p->arena, n_in, sizeof(bool));
        s->zero = fa_arena_array(&p->arena, n_in, sizeof(bool));
        if (!s->want_grad || !s->accumulate || !s->zero) return FA_ERR_MEMORY;
        for (int32_t i = 0; i < node->n_in; i++) {
            int32_t v = node->in[i];
            if (v < 0 || !p->needs_grad[v]) continue;
            if (!s->op->backward) return fa_fail(FA_ERR_UNSUPPORTED, "node '%s' (%s): the operator has no gradient", node->name, node->op);
            s->want_grad[i] = p->active[v] = true;
            s->run_backward = !left;
            if (left || (!handed && hands_on(p, g, p->forward[k], i))) {
                p->grad_root[v] = p->grad_root[node->out[0]];
                handed = true;
            }
            s->accumulate[i] = g[v].begun;
            s->zero[i] = !g[v].begun && !(s->op->flags & FA_OP_OVERWRITES);
            g[v] = (gradient){true, g[v].callers, p->forward[k], i};
            /* What counts multiplies its first two inputs, or the one whose gradient takes the first; further ones are added. */
            if (i < 2 || fa_op_bit(s->op->first_for, i)) p->flops_backward += s->flops;
        }
        p->backward[p->n_backward++] = p->forward[k];
    }
    return FA_OK;
}

static fa_status build(fa_plan *p, const fa_plan_request *r)
{
    const fa_graph *g = r->graph;
    size_t values = (size_t)g->n_value + 1, nodes = (size_t)g->n_node + 1;
    bool *needed = fa_arena_array(&p->arena, values, sizeof *needed);
    p->view = fa_arena_array(&p->arena, values, sizeof *p->view);
    p->step = fa_arena_array(&p->arena, nodes, sizeof *p->step);
    p->needs_grad = fa_arena_array(&p->arena, values, sizeof(bool));
    p->active = fa_arena_array(&p->arena, values, sizeof(bool));
    p->forward = fa_arena_array(&p->arena, nodes, sizeof(int32_t));
    p->backward = fa_arena_array(&p->arena, nodes, sizeof(int32_t));
    p->wrt = fa_arena_array(&p->arena, (size_t)r->n_wrt + 1, sizeof(int32_t));
    p->grad_root = fa_arena_array(&p->arena, values, sizeof(int32_t));
    if (!needed || !p->view || !p->step || !p->needs_grad || !p->active || !p->forward || !p->backward || !p->wrt || !p->grad_root) return FA_ERR_MEMORY;
    p->loss = r->loss;
    p->slice = r->slice;
    p->threads = r->threads;
    p->n_wrt = r->n_wrt;
    for (int32_t i = 0; i < r->n_wrt; i++) p->wrt[i] = r->wrt[i];
    for (int32_t v = 0; v < g->n_value; v++) p->grad_root[v] = v;
    mark_required(p, r, needed);
    FA_TRY(bind_inputs(p, r, needed));
    for (int32_t v = 0; v < g->n_value; v++)
        if (g->value[v].is_initialiser && needed[v]) FA_TRY(load_constant(p, v));
    for (int32_t i = 0; i < r->n_wrt; i++) p->needs_grad[r->wrt[i]] = fa_dtype_is_real(p->view[r->wrt[i]].dtype);
    for (int32_t n = 0; n < g->n_node; n++) p->step[n].tap = -1;
    for (int32_t i = 0; i < r->n_tap; i++) {
        p->step[r->tap[i]].tap = i;
        p->step[r->tap[i]].tap_input = r->tap_input ? r->tap_input[i] : 0;
    }
    FA_TRY(prepare_nodes(p));
    drop_unread(p, r, needed);
    split_forward(p, p->backward);
    FA_TRY(plan_backward(p));
    FA_TRY(fa_plan_schedule(p));
    return fa_plan_place(p, r->wanted, r->n_wanted);
}

fa_status fa_plan_create_straight(const fa_plan_request *request, fa_plan **out)
{
    fa_context *c = request->context ? request->context : request->graph->arena.context;
    fa_plan *p = fa_new(c, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->arena.context = c;
    p->graph = request->graph;
    p->ops = request->ops;
    fa_status status = build(p, request);
    if (status != FA_OK) {
        fa_plan_destroy(p);
        return status;
    }
    *out = p;
    return FA_OK;
}

static bool has_control(const fa_graph *g)
{
    for (int32_t n = 0; n < g->n_node; n++)
        if (fa_node_is_control(&g->node[n])) return true;
    return false;
}

/* Values keep their indices when a graph is unrolled, nodes do not: taps are found again as the producers of their outputs. */
static fa_status create_unrolled(const fa_plan_request *given, fa_arena *work, fa_plan **out)
{
    fa_plan_request r = *given;
    const fa_graph *base = r.graph;
    fa_graph *unrolled;
    int32_t *end = fa_arena_array(work, (size_t)r.n_wanted + 1, sizeof *end), *tap = fa_arena_array(work, (size_t)r.n_tap + 1, sizeof *tap), n_end = 0;
    if (!end || !tap) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < r.n_wanted; i++) end[n_end++] = r.wanted[i];
    if (r.loss >= 0) end[n_end++] = r.loss;
    FA_TRY(fa_unroll(base, work->context, r.ops, r.inputs, end, n_end, &unrolled));
    if (unrolled) {
        r.graph = unrolled;
        for (int32_t i = 0; i < r.n_tap; i++) tap[i] = unrolled->value[base->node[r.tap[i]].out[0]].producer;
        r.tap = tap;
    }
    fa_status status = fa_plan_create_straight(&r, out);
    if (status != FA_OK) {
        fa_unroll_destroy(unrolled, base);
        return status;
    }
    (*out)->unrolled = unrolled;
    (*out)->base = base;
    return FA_OK;
}

fa_status fa_plan_create(const fa_plan_request *request, fa_plan **out)
{
    FA_TRY(fa_plan_check_ops(request->graph, request->ops));
    if (!has_control(request->graph)) return fa_plan_create_straight(request, out);
    fa_arena work = {.context = request->context ? request->context : request->graph->arena.context};
    fa_status status = create_unrolled(request, &work, out);
    fa_arena_clear(&work);
    return status;
}

void fa_plan_destroy(fa_plan *plan)
{
    if (!plan) return;
    fa_context *c = plan->arena.context;
    fa_unroll_destroy(plan->unrolled, plan->base);
    fa_arena_clear(&plan->arena);
    fa_delete(c, plan);
}

const fa_view *fa_plan_value(const fa_plan *plan, int32_t value)
{
    return plan->view[value].dtype ? &plan->view[value] : NULL;
}

double fa_plan_flops_forward(const fa_plan *plan)
{
    return plan->flops_forward;
}

double fa_plan_flops_backward(const fa_plan *plan)
{
    return plan->flops_backward;
}
