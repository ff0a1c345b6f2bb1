/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "graph/plan_private.h"

#include <string.h>

struct fa_run {
    fa_context *context;
    const fa_plan *plan;
    fa_view *view;        /* [n_value] the plan's, with this run's memory */
    void **grad;          /* [n_value] */
    fa_op_call *call;     /* [n_node]; in, out, grad_in, grad_out point into `ends` */
    char *arena;
    bool elsewhere;       /* fa_run_use(): what was prepared is not in the arena */
};

/* How many pointers the calls hold. */
static size_t count_ends(const fa_plan *p)
{
    size_t n = 0;
    for (int32_t k = 0; k < p->n_forward; k++) {
        const fa_node *node = &p->graph->node[p->forward[k]];
        n += 2 * ((size_t)node->n_in + (size_t)node->n_out) + (p->step[p->forward[k]].slope ? (size_t)node->n_in : 0);
    }
    return n;
}

static size_t up(size_t n)
{
    return (n + FA_ALIGN - 1) & ~(size_t)(FA_ALIGN - 1);
}

/* Offsets of the parts of a run's single block. */
typedef struct layout {
    size_t view, grad, call, ends, arena, whole;
} layout;

static layout lay_out(const fa_plan *p)
{
    layout l;
    size_t values = (size_t)p->graph->n_value, nodes = (size_t)p->graph->n_node;
    l.view = up(sizeof(fa_run));
    l.grad = l.view + up(values * sizeof(fa_view));
    l.call = l.grad + up(values * sizeof(void *));
    l.ends = l.call + up(nodes * sizeof(fa_op_call));
    l.arena = l.ends + up(count_ends(p) * sizeof(void *));
    l.whole = l.arena + p->arena_bytes;
    return l;
}

size_t fa_plan_arena_bytes(const fa_plan *plan)
{
    return lay_out(plan).whole;
}

fa_status fa_plan_reserve(fa_plan *p, size_t bytes)
{
    size_t end;
    if (!fa_add_size(bytes, FA_ALIGN - 1, &end) || !fa_add_size(p->shared_at, end & ~(size_t)(FA_ALIGN - 1), &end)) return fa_fail(FA_ERR_LIMIT, "the workspace is too large");
    if (end > p->arena_bytes) p->arena_bytes = end;
    return FA_OK;
}

void *fa_run_workspace(fa_run *run)
{
    return run->arena + run->plan->shared_at;
}

fa_plan_memory fa_plan_memory_of(const fa_plan *plan)
{
    return (fa_plan_memory){plan->live_bytes, plan->placed_bytes, plan->arena_bytes - plan->placed_bytes, fa_plan_arena_bytes(plan)};
}

/* Points a node's call at the run's views; returns the next free place in `ends`. */
static void **wire(fa_run *r, int32_t n, void **ends)
{
    const fa_plan *p = r->plan;
    const fa_node *node = &p->graph->node[n];
    const fa_step *s = &p->step[n];
    const fa_view **in = (const fa_view **)ends, **out = in + node->n_in;
    void **grad_in = ends + node->n_in + node->n_out;
    const void **grad_out = (const void **)(grad_in + node->n_in);
    uint32_t short_in = 0, short_out = 0; /* nodes with such gradients have few ends */
    for (int32_t i = 0; i < node->n_in; i++) {
        int32_t v = node->in[i];
        if (v >= 0 && p->short_grad[v]) short_in |= 1u << i;
        in[i] = v >= 0 ? &r->view[v] : NULL;
        grad_in[i] = s->want_grad && s->want_grad[i] ? r->grad[v] : NULL;
    }
    for (int32_t o = 0; o < node->n_out; o++) {
        int32_t v = node->out[o];
        if (v >= 0 && p->short_grad[v]) short_out |= 1u << o;
        out[o] = v >= 0 ? &r->view[v] : NULL;
        grad_out[o] = v >= 0 && p->active[v] ? r->grad[v] : NULL;
    }
    r->call[n] = (fa_op_call){.node = node, .params = s->params, .scratch = r->arena + s->scratch_offset, .n_in = node->n_in, .n_out = node->n_out,
                              .in = in, .out = out, .short_in = short_in, .short_out = short_out, .grad_in = grad_in, .grad_out = grad_out, .accumulate = s->accumulate};
    ends += 2 * (node->n_in + node->n_out);
    if (!s->slope) return ends;
    const fa_op_call **slope = (const fa_op_call **)ends;
    for (int32_t i = 0; i < node->n_in; i++) slope[i] = s->slope[i] >= 0 ? &r->call[s->slope[i]] : NULL;
    r->call[n].slope = slope;
    return ends + node->n_in;
}

fa_status fa_run_create_beside(const fa_plan *plan, fa_context *context, const fa_run *beside, fa_run **out)
{
    layout l = lay_out(plan);
    const bool fits = beside && plan->arena_bytes <= beside->plan->arena_bytes;
    char *block = fa_new_uncleared(context, fits ? l.arena : l.whole);
    if (!block) return FA_ERR_MEMORY;
    memset(block, 0, l.arena);
    fa_run *r = (fa_run *)(void *)block;
    r->context = context;
    r->plan = plan;
    r->view = (fa_view *)(void *)(block + l.view);
    r->grad = (void **)(void *)(block + l.grad);
    r->call = (fa_op_call *)(void *)(block + l.call);
    r->arena = fits ? beside->arena : block + l.arena;
    for (int32_t v = 0; v < plan->graph->n_value; v++) {
        r->view[v] = plan->view[v];
        if (plan->offset[v] != FA_NOWHERE) r->view[v].data = r->arena + plan->offset[v];
        if (plan->grad_offset[v] != FA_NOWHERE) r->grad[v] = r->arena + plan->grad_offset[v];
    }
    void **ends = (void **)(void *)(block + l.ends);
    for (int32_t k = 0; k < plan->n_forward; k++) ends = wire(r, plan->forward[k], ends);
    *out = r;
    return FA_OK;
}

fa_status fa_run_create(const fa_plan *plan, fa_context *context, fa_run **out)
{
    return fa_run_create_beside(plan, context, NULL, out);
}

void fa_run_destroy(fa_run *run)
{
    if (run) fa_delete(run->context, run);
}

void fa_run_share(fa_run *run, fa_pool *pool)
{
    for (int32_t k = 0; k < run->plan->n_forward; k++) run->call[run->plan->forward[k]].pool = pool;
}

void *fa_run_input(fa_run *run, int32_t i)
{
    return run->view[run->plan->graph->input[i]].data;
}

/* Lets what is kept be read at its offset from `base`, or (NULL) where the run itself has it. */
static void point_kept(fa_run *run, const char *base)
{
    const fa_plan *p = run->plan;
    run->elsewhere = base != NULL;
    for (int32_t v = 0; v < p->graph->n_value; v++)
        if (p->kept_offset[v] != FA_NOWHERE) run->view[v].data = base ? (void *)(uintptr_t)(base + p->kept_offset[v]) : run->arena + p->offset[v];
}

void fa_run_set(fa_run *run, int32_t v, const void *data)
{
    const fa_plan *p = run->plan;
    fa_view *view = &run->view[v];
    if (run->elsewhere) point_kept(run, NULL);
    if (p->offset[v] == FA_NOWHERE) view->data = (void *)(uintptr_t)data; /* read by fa_run_prepare() alone, or not at all */
    else memcpy(view->data, data, (size_t)view->count * fa_plan_element_bytes(p, view));
}

/* A node's turn by all threads of a pool. */
typedef struct shared {
    const fa_op_call *call;
    void (*turn)(const fa_op_call *call);
} shared;

static void some_pieces(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    fa_op_call part = *s->call;
    (void)thread;
    part.piece = first;
    part.end = end;
    s->turn(&part);
}

static void turn(const fa_op *op, const fa_op_call *call, bool backward)
{
    void (*const f)(const fa_op_call *) = backward ? op->backward : op->forward;
    double cost = 0;
    const int64_t pieces = call->pool && op->pieces && !call->rows ? op->pieces(call, backward, &cost) : 1;
    if (pieces > 1) fa_pool_share(call->pool, pieces, cost, some_pieces, &(shared){call, f});
    else f(call);
}

/* A node's call, set to the slice of a stretch that begins at row `at`. */
static const fa_op_call *slice(fa_run *run, const fa_stretch *s, int32_t n, int64_t at)
{
    run->call[n].first = at;
    run->call[n].rows = s->all - at < s->rows ? s->all - at : s->rows;
    return &run->call[n];
}

static void forward_slice(fa_run *run, const fa_stretch *s, int64_t at)
{
    const fa_plan *p = run->plan;
    for (const fa_turn *t = p->forwards.turn + s->first; t < p->forwards.turn + s->end; t++) {
        const fa_step *step = &p->step[t->node];
        if (step->skip_forward) continue;
        if (t->reduce) step->op->reduce_forward(slice(run, s, t->node, at));
        else turn(step->op, slice(run, s, t->node, at), false);
    }
}

static void forward_stretches(fa_run *run, int32_t k, int32_t end)
{
    for (; k < end; k++) {
        const fa_stretch *s = &run->plan->forwards.stretch[k];
        int64_t at = 0;
        do forward_slice(run, s, at);
        while ((at += s->rows) < s->all);
    }
}

size_t fa_plan_kept_bytes(const fa_plan *plan)
{
    return plan->kept_bytes;
}

void fa_run_keep(const fa_run *run, void *kept)
{
    const fa_plan *p = run->plan;
    for (int32_t v = 0; v < p->graph->n_value; v++)
        if (p->kept_offset[v] != FA_NOWHERE && p->root[v] == v)
            memcpy((char *)kept + p->kept_offset[v], run->view[v].data, (size_t)run->view[v].count * fa_plan_element_bytes(p, &run->view[v]));
}

void fa_run_use(fa_run *run, const void *kept)
{
    point_kept(run, kept);
}

void fa_run_prepare(fa_run *run)
{
    if (run->elsewhere) point_kept(run, NULL);
    forward_stretches(run, 0, run->plan->n_prepare);
}

void fa_run_forward(fa_run *run)
{
    forward_stretches(run, run->plan->n_prepare, run->plan->forwards.n_stretch);
}

const fa_view *fa_run_value(const fa_run *run, int32_t value)
{
    return &run->view[value];
}

void *fa_run_loss_gradient(fa_run *run)
{
    return run->plan->loss >= 0 ? run->grad[run->plan->loss] : NULL;
}

static void clear(fa_run *run, int32_t v)
{
    memset(run->grad[v], 0, (size_t)run->view[v].count * run->plan->ops->real_size);
}

static void backward_slice(fa_run *run, const fa_stretch *s, int64_t at, fa_tap_visit visit, void *user)
{
    const fa_plan *p = run->plan;
    for (const fa_turn *t = p->backwards.turn + s->first; t < p->backwards.turn + s->end; t++) {
        const fa_step *step = &p->step[t->node];
        const fa_op_call *call = slice(run, s, t->node, at);
        if (step->tap >= 0 && call->grad_out[0]) visit(user, step->tap, run, call->grad_out[0]); /* a tapped node is never cut */
        if (!step->run_backward) continue;
        for (int32_t i = 0; i < call->n_in && !at && !t->reduce; i++)
            if (step->zero[i]) clear(run, call->node->in[i]);
        if (t->reduce) step->op->reduce_backward(call);
        else turn(step->op, call, true);
    }
}

void fa_run_backward(fa_run *run, fa_tap_visit visit, void *user)
{
    const fa_plan *p = run->plan;
    for (int32_t i = 0; i < p->n_wrt; i++)
        if (run->grad[p->wrt[i]] && !p->active[p->wrt[i]]) clear(run, p->wrt[i]);
    for (int32_t k = 0, again = 0; k < p->backwards.n_stretch; k++) {
        const fa_stretch *s = &p->backwards.stretch[k];
        int64_t at = 0;
        for (; again < p->n_again && p->again[again].stretch == k; again++) turn(p->step[p->again[again].node].op, &run->call[p->again[again].node], false);
        do backward_slice(run, s, at, visit, user);
        while ((at += s->rows) < s->all);
    }
}

const void *fa_run_gradient(const fa_run *run, int32_t i)
{
    return run->grad[run->plan->wrt[i]];
}
