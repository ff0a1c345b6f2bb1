/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "graph/plan_private.h"

#include <stdlib.h>

/* When something is in the arena: from stretch `first` to stretch `last`, inclusive; first -1: never. Forward stretches are 1 ... F, backward ones F + 1 ... F + B; inputs and
 * initialisers that vary arrive at 0, the loss gradient at F. The first n_prepare stretches, a step each, are not repeated by every pass. */
typedef struct span {
    int32_t first, last;
} span;

/* A tensor's stay there, which what is computed again leaves in between. */
typedef struct stay {
    size_t size, bytes, *offset; /* with slack and without */
    span span[2];
} stay;

static bool meet(const span *a, const span *b)
{
    return a->first >= 0 && b->first >= 0 && a->first <= b->last && b->first <= a->last;
}

static bool stays_meet(const stay *a, const stay *b)
{
    for (int i = 0; i < 4; i++)
        if (meet(&a->span[i / 2], &b->span[i % 2])) return true;
    return false;
}

static int larger_first(const void *a, const void *b)
{
    const stay *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    if (x->span[0].first != y->span[0].first) return x->span[0].first < y->span[0].first ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset; /* addresses in one array: any fixed order will do */
}

static int by_offset(const void *a, const void *b)
{
    size_t x = *(*(const stay *const *)a)->offset, y = *(*(const stay *const *)b)->offset;
    return x < y ? -1 : x > y;
}

/* Greedy by size: each tensor goes to the lowest gap among those it meets in time (Pisarchyk and Lee, arXiv 2001.03288). */
static fa_status place(fa_arena *arena, stay *stays, int32_t n, size_t *total)
{
    const stay **met = fa_new_array(arena->context, (size_t)n + 1, sizeof *met);
    if (!met) return FA_ERR_MEMORY;
    qsort(stays, (size_t)n, sizeof *stays, larger_first);
    for (int32_t i = 0; i < n; i++) {
        stay *s = &stays[i];
        int32_t n_met = 0;
        for (int32_t k = 0; k < i; k++)
            if (stays_meet(&stays[k], s)) met[n_met++] = &stays[k];
        qsort(met, (size_t)n_met, sizeof *met, by_offset);
        size_t at = 0;
        for (int32_t k = 0; k < n_met && *met[k]->offset < at + s->size; k++) {
            size_t end = *met[k]->offset + met[k]->size;
            if (end > at) at = end;
        }
        *s->offset = at;
        if (at + s->size > *total) *total = at + s->size;
    }
    fa_delete(arena->context, met);
    return FA_OK;
}

/* The most that is alive at one step: no placement of these stays takes less. */
static fa_status most_alive(fa_arena *arena, const stay *stays, int32_t n, int32_t end, size_t *most)
{
    size_t *come = fa_new_array(arena->context, 2 * ((size_t)end + 2), sizeof *come), alive = 0;
    if (!come) return FA_ERR_MEMORY;
    size_t *gone = come + end + 2;
    for (int32_t i = 0; i < 2 * n; i++) {
        const stay *s = &stays[i / 2];
        if (s->span[i % 2].first < 0) continue;
        come[s->span[i % 2].first] += s->bytes;
        gone[s->span[i % 2].last + 1] += s->bytes;
    }
    for (int32_t t = 0; t <= end; t++) {
        alive += come[t] - gone[t];
        if (alive > *most) *most = alive;
    }
    fa_delete(arena->context, come);
    return FA_OK;
}

static size_t bytes_of(const fa_plan *p, const fa_view *v)
{
    return (size_t)v->count * fa_plan_element_bytes(p, v);
}

/* Two lines of slack: vector kernels may read a little beyond a tensor, and tensors of equal power-of-two size do not all start on one cache set. */
static bool padded_size(const fa_plan *p, const fa_view *v, size_t *size)
{
    return fa_mul_size((size_t)v->count, fa_plan_element_bytes(p, v), size) && fa_add_size(*size, 3 * FA_ALIGN - 1, size) && (*size &= ~(size_t)(FA_ALIGN - 1), true);
}

static void find_views(fa_plan *p)
{
    for (int32_t v = 0; v < p->graph->n_value; v++) p->root[v] = v;
    for (int32_t k = 0; k < p->n_forward; k++) {
        const fa_node *node = &p->graph->node[p->forward[k]];
        fa_step *s = &p->step[p->forward[k]];
        if (!(s->op->flags & FA_OP_VIEW) || node->out[0] < 0 || p->view[node->in[0]].data) continue;
        bool alone = true;
        for (int32_t o = 1; o < node->n_out; o++) alone &= node->out[o] < 0;
        if (!alone) continue;
        p->root[node->out[0]] = p->root[node->in[0]];
        s->skip_forward = true;
    }
}

/* When values are written and read: in the forward pass and behind it. */
typedef struct lives {
    const fa_plan *plan;
    span *ahead, *behind; /* [n_value] of roots */
    int32_t forwards;     /* the last forward stretch */
} lives;

/* In stretches from `begin` to `end`. */
static void use(const lives *l, int32_t v, int32_t begin, int32_t end)
{
    const fa_plan *p = l->plan;
    if (v < 0 || p->view[v].data || !p->view[v].dtype) return;
    span *s = (begin > l->forwards ? l->behind : l->ahead) + p->root[v];
    if (s->first < 0 || begin < s->first) s->first = begin;
    if (s->last < end) s->last = end;
}

/* What a node's own backward reads of its inputs and outputs. */
static void use_ends(const lives *l, int32_t n, int32_t begin, int32_t end, bool reads_first)
{
    const fa_node *node = &l->plan->graph->node[n];
    const fa_op *op = l->plan->step[n].op;
    for (int32_t i = 0; i < node->n_in; i++)
        if (fa_op_bit(op->back_in, i) && (i || reads_first)) use(l, node->in[i], begin, end);
    for (int32_t o = 0; o < node->n_out; o++)
        if (fa_op_bit(op->back_out, o)) use(l, node->out[o], begin, end);
}

static void use_in_backward(const lives *l, int32_t n, int32_t begin, int32_t end)
{
    const fa_node *node = &l->plan->graph->node[n];
    const fa_step *s = &l->plan->step[n];
    if (s->tap >= 0) use(l, node->in[s->tap_input], begin, end);
    if (!s->run_backward) return;
    bool reads_first = !s->op->first_for;
    for (int32_t i = 0; i < node->n_in; i++) reads_first |= fa_op_bit(s->op->first_for, i) && s->want_grad[i];
    use_ends(l, n, begin, end, reads_first);
    for (int32_t i = 0; s->slope && i < node->n_in; i++)
        if (s->slope[i] >= 0) use_ends(l, s->slope[i], begin, end, true);
}

/* True where a node is to be run again when backward first reads its output: cheap, and what it reads is there then in any case. */
static bool runs_again(const lives *l, int32_t n, int32_t end)
{
    const fa_plan *p = l->plan;
    const fa_node *node = &p->graph->node[n];
    const int32_t v = node->out[0];
    if (p->slice || !p->step[n].cheap || node->n_out != 1 || v < 0 || p->root[v] != v || p->graph->value[v].varies) return false;
    const span *out = &l->behind[v];
    if (out->first < 0 || out->last == end || l->ahead[v].last >= l->forwards) return false;
    for (int32_t i = 0; i < node->n_in; i++) {
        const int32_t from = node->in[i];
        if (from >= 0 && !p->view[from].data && l->behind[p->root[from]].last < out->first) return false;
    }
    return true;
}

/* From the last to the first, so that what is run again is known to read what it is made of. */
static fa_status find_again(fa_plan *p, const lives *l, int32_t end, bool *again)
{
    p->again = fa_arena_array(&p->arena, (size_t)p->n_forward + 1, sizeof *p->again);
    if (!p->again) return FA_ERR_MEMORY;
    for (int32_t k = p->n_forward - 1; k >= p->n_prepare; k--) {
        const int32_t n = p->forward[k], v = p->graph->node[n].out[0];
        if (!runs_again(l, n, end)) continue;
        const int32_t at = l->behind[v].first;
        for (int32_t i = 0; i < p->graph->node[n].n_in; i++) use(l, p->graph->node[n].in[i], at, at);
        again[v] = true;
        p->again[p->n_again++] = (fa_again){at - l->forwards - 1, n};
    }
    /* by stretch, and within one in forward order */
    for (int32_t i = 1; i < p->n_again; i++)
        for (int32_t k = i; k > 0 && p->again[k].stretch <= p->again[k - 1].stretch; k--) {
            const fa_again moved = p->again[k];
            p->again[k] = p->again[k - 1];
            p->again[k - 1] = moved;
        }
    return FA_OK;
}

/* What fa_run_prepare() leaves behind stays while passes come and go; an initialiser that only it reads is read where the caller has it. */
static fa_status pin_prepared(fa_plan *p, span *life, int32_t end)
{
    for (int32_t v = 0; v < p->graph->n_value; v++)
        if (p->root[v] != v && p->graph->value[p->root[v]].varies) life[p->root[v]].last = end; /* views lie where the run has it */
    for (int32_t v = 0; v < p->graph->n_value; v++) {
        if (!p->graph->value[v].varies || life[v].first < 0) continue;
        if (life[v].last > p->n_prepare) {
            size_t size;
            if (!padded_size(p, &p->view[v], &size) || !fa_add_size(p->kept_bytes, size, &p->kept_bytes))
                return fa_fail(FA_ERR_LIMIT, "value '%s' is too large", p->graph->value[v].name);
            p->kept_offset[v] = p->kept_bytes - size;
            life[v] = (span){0, end};
        } else if (p->graph->value[v].is_initialiser) {
            life[v].first = -1;
        }
    }
    return FA_OK;
}

/* Where the batch is cut, what a reduction leaves behind must outlast the steps between it and the rest of its node. */
static bool keeps_scratch(const fa_plan *p, const fa_step *s)
{
    return p->slice && (s->op->reduce_forward || s->op->reduce_backward);
}

/* Behind the tensors: those that nodes have to themselves, then the one that all others share. */
static fa_status place_scratch(fa_plan *p)
{
    size_t shared = 0;
    for (int32_t k = 0; k < p->n_forward; k++) {
        fa_step *s = &p->step[p->forward[k]];
        const size_t size = (s->scratch + FA_ALIGN - 1) & ~(size_t)(FA_ALIGN - 1);
        s->scratch_offset = p->arena_bytes;
        if (!keeps_scratch(p, s)) shared = size > shared ? size : shared;
        else if (!fa_add_size(p->arena_bytes, size, &p->arena_bytes)) return fa_fail(FA_ERR_LIMIT, "the model's tensors at this shape are too large");
    }
    for (int32_t k = 0; k < p->n_forward; k++)
        if (!keeps_scratch(p, &p->step[p->forward[k]])) p->step[p->forward[k]].scratch_offset = p->arena_bytes;
    p->shared_at = p->arena_bytes;
    if (!fa_add_size(p->arena_bytes, shared, &p->arena_bytes)) return fa_fail(FA_ERR_LIMIT, "the model's tensors at this shape are too large");
    return FA_OK;
}

static fa_status place_values(fa_plan *p, const int32_t *wanted, int32_t n_wanted, fa_arena *work)
{
    const fa_graph *g = p->graph;
    size_t values = (size_t)g->n_value + 1;
    p->root = fa_arena_array(&p->arena, values, sizeof *p->root);
    p->offset = fa_arena_array(&p->arena, values, sizeof *p->offset);
    p->grad_offset = fa_arena_array(&p->arena, values, sizeof *p->grad_offset);
    span *spans = fa_arena_array(work, 3 * values, sizeof *spans);
    bool *again = fa_arena_array(work, values, sizeof *again);
    stay *stays = fa_arena_array(work, 2 * values, sizeof *stays);
    p->kept_offset = fa_arena_array(&p->arena, values, sizeof *p->kept_offset);
    if (!p->root || !p->offset || !p->grad_offset || !p->kept_offset || !spans || !again || !stays) return FA_ERR_MEMORY;
    const int32_t behind = p->forwards.n_stretch, end = behind + p->backwards.n_stretch + 1;
    const lives l = {p, spans, spans + values, behind};
    span *gradient = spans + 2 * values;
    for (size_t i = 0; i < 3 * values; i++) spans[i] = (span){-1, -1};
    for (size_t i = 0; i < values; i++) p->offset[i] = p->grad_offset[i] = p->kept_offset[i] = FA_NOWHERE;
    find_views(p);

    for (int32_t i = 0; i < g->n_input; i++) use(&l, g->input[i], 0, 0);
    for (int32_t k = 0; k < p->n_forward; k++) {
        const int32_t n = p->forward[k], from = p->forwards.begin[n] + 1, to = p->forwards.end[n] + 1;
        const fa_node *node = &g->node[n];
        for (int32_t i = 0; i < node->n_in; i++)
            if (!fa_op_bit(p->step[n].op->back_only, i)) use(&l, node->in[i], from, to);
        for (int32_t o = 0; o < node->n_out; o++) use(&l, node->out[o], from, to);
    }
    if (p->loss >= 0) use(&l, p->loss, behind, behind);
    if (p->loss >= 0 && p->active[p->loss]) gradient[p->loss].first = behind;
    for (int32_t k = 0; k < p->n_backward; k++) {
        const int32_t n = p->backward[k], from = behind + 1 + p->backwards.begin[n], to = behind + 1 + p->backwards.end[n];
        const fa_node *node = &g->node[n];
        const fa_step *s = &p->step[n];
        use_in_backward(&l, n, from, to);
        for (int32_t o = 0; o < node->n_out; o++)
            if (node->out[o] >= 0 && p->active[node->out[o]]) gradient[p->grad_root[node->out[o]]].last = to;
        for (int32_t i = 0; i < node->n_in; i++)
            if (s->want_grad[i]) {
                span *of = &gradient[p->grad_root[node->in[i]]];
                if (of->first < 0) of->first = from;
                if (of->last < to) of->last = to;
            }
    }
    for (int32_t i = 0; i < n_wanted; i++) use(&l, wanted[i], end, end);
    for (int32_t i = 0; i < p->n_wrt; i++) {
        if (!p->needs_grad[p->wrt[i]]) continue;
        span *of = &gradient[p->wrt[i]];
        if (of->first < 0) of->first = behind;
        of->last = end;
    }
    FA_TRY(find_again(p, &l, end, again));
    for (int32_t v = 0; v < g->n_value; v++) { /* what is not made again stays from the one pass to the other */
        if (again[v] || l.behind[v].first < 0) continue;
        if (l.ahead[v].first < 0) l.ahead[v].first = l.behind[v].first;
        l.ahead[v].last = l.behind[v].last;
        l.behind[v].first = -1;
    }
    FA_TRY(pin_prepared(p, l.ahead, end));

    int32_t n = 0;
    for (int32_t v = 0; v < g->n_value; v++) {
        size_t size;
        if (l.ahead[v].first < 0 && gradient[v].first < 0) continue;
        if (!padded_size(p, &p->view[v], &size)) return fa_fail(FA_ERR_LIMIT, "value '%s' is too large", g->value[v].name);
        if (l.ahead[v].first >= 0) stays[n++] = (stay){size, bytes_of(p, &p->view[v]), &p->offset[v], {l.ahead[v], l.behind[v]}};
        if (gradient[v].first < 0) continue;
        fa_view slice = p->view[v];
        if (p->short_grad[v] && p->slice < slice.dim[0]) slice.count = slice.count / slice.dim[0] * p->slice;
        if (!padded_size(p, &slice, &size)) return fa_fail(FA_ERR_LIMIT, "value '%s' is too large", g->value[v].name);
        if (gradient[v].last < gradient[v].first) gradient[v].last = gradient[v].first;
        stays[n++] = (stay){size, bytes_of(p, &slice), &p->grad_offset[v], {gradient[v], {-1, -1}}};
    }
    size_t sum = 0;
    for (int32_t i = 0; i < n; i++)
        if (!fa_add_size(sum, stays[i].size, &sum)) return fa_fail(FA_ERR_LIMIT, "the model's tensors at this shape are too large");
    FA_TRY(most_alive(&p->arena, stays, n, end, &p->live_bytes));
    FA_TRY(place(&p->arena, stays, n, &p->arena_bytes));
    p->placed_bytes = p->arena_bytes;
    for (int32_t v = 0; v < g->n_value; v++)
        if (p->root[v] != v) {
            p->offset[v] = p->offset[p->root[v]];
            p->kept_offset[v] = p->kept_offset[p->root[v]];
        }
    for (int32_t v = 0; v < g->n_value; v++) p->grad_offset[v] = p->grad_offset[p->grad_root[v]];
    return place_scratch(p);
}

fa_status fa_plan_place(fa_plan *p, const int32_t *wanted, int32_t n_wanted)
{
    fa_arena work = {.context = p->arena.context}; /* a plan is kept for long, lifetimes are not */
    const fa_status status = place_values(p, wanted, n_wanted, &work);
    fa_arena_clear(&work);
    return status;
}
