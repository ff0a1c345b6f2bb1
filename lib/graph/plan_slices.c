/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "graph/plan_private.h"

/*
 * A network that normalises by the batch's own statistics cannot be run on parts of the batch one after the other, and tensors of a large batch do not stay in the cache
 * from one step to the next. What lies between two such sums can: it is run on one slice of the batch after the other. A step that sums has two turns, the sum at the
 * end of one stretch and the rest at the beginning of the next.
 */

/* Where each value (forward) or gradient (backward) was written last: the stretch, row by row or as a whole; -1: not yet. */
typedef struct written {
    int32_t *rows, *whole;
} written;

typedef struct maker {
    fa_plan *plan;
    fa_schedule *schedule;
    bool backward;
    written at;
} maker;

/* The rows that a node's cut inputs and outputs have, 0 where it is not to be cut. */
static int64_t rows_of(const maker *m, int32_t n)
{
    const fa_plan *p = m->plan;
    const fa_node *node = &p->graph->node[n];
    const fa_step *s = &p->step[n];
    int64_t rows = 0;
    if (!p->slice || !s->op->cut_out || (m->backward && (s->tap >= 0 || !s->run_backward))) return 0;
    for (int32_t k = 0; k < node->n_in + node->n_out; k++) {
        const bool in = k < node->n_in;
        const int32_t i = in ? k : k - node->n_in, v = in ? node->in[i] : node->out[i];
        if (v < 0 || !fa_op_bit(in ? s->op->cut_in : s->op->cut_out, i)) continue;
        const fa_view *view = &p->view[v];
        if (view->data || !view->ndim || (rows && view->dim[0] != rows)) return 0;
        rows = view->dim[0];
    }
    return rows;
}

/* Whose memory is meant: in backward a value's gradient may lie in another's. */
static int32_t place_of(const maker *m, int32_t v)
{
    return v >= 0 && m->backward ? m->plan->grad_root[v] : v;
}

/* True when a node's turn must wait until all slices of the stretch have been done: it reads as a whole what the stretch writes, or the other way round. */
static bool waits(const maker *m, int32_t n, int32_t stretch)
{
    const fa_node *node = &m->plan->graph->node[n];
    const fa_op *op = m->plan->step[n].op;
    for (int32_t k = 0; k < node->n_in + node->n_out; k++) {
        const bool in = k < node->n_in;
        const int32_t i = in ? k : k - node->n_in, v = place_of(m, in ? node->in[i] : node->out[i]);
        const bool cut = fa_op_bit(in ? op->cut_in : op->cut_out, i);
        if (v < 0) continue;
        /* Forward reads values of inputs. Backward reads gradients of outputs and adds to those of inputs, sums to sums and rows to rows. */
        if (cut && m->at.whole[v] == stretch) return true;
        if (!cut && (m->at.rows[v] == stretch || (m->at.whole[v] == stretch && in != m->backward))) return true;
    }
    return false;
}

static void write(const maker *m, int32_t n, int32_t stretch)
{
    const fa_node *node = &m->plan->graph->node[n];
    const fa_step *s = &m->plan->step[n];
    const uint32_t cut = m->backward ? s->op->cut_in : s->op->cut_out;
    for (int32_t i = 0; i < (m->backward ? node->n_in : node->n_out); i++) {
        const int32_t v = place_of(m, m->backward ? node->in[i] : node->out[i]);
        if (v < 0 || (m->backward && !(s->want_grad && s->want_grad[i]))) continue;
        (fa_op_bit(cut, i) ? m->at.rows : m->at.whole)[v] = stretch;
    }
}

/* Appends a turn: to the last stretch where that goes, else to a new one. */
static void append(maker *m, int32_t n, bool reduce, int64_t rows, bool alone)
{
    fa_schedule *s = m->schedule;
    const fa_stretch *last = s->n_stretch ? &s->stretch[s->n_stretch - 1] : NULL;
    if (!last || !rows || last->all != rows || alone || waits(m, n, s->n_stretch - 1))
        s->stretch[s->n_stretch++] = (fa_stretch){.first = s->n_turn, .all = rows, .rows = m->plan->slice < rows ? m->plan->slice : rows};
    const int32_t at = s->n_stretch - 1;
    s->turn[s->n_turn++] = (fa_turn){n, reduce};
    s->stretch[at].end = s->n_turn;
    if (s->begin[n] < 0) s->begin[n] = at;
    s->end[n] = at;
    write(m, n, at);
}

/* True of a function whose derivative another node has multiplied by: it has no turn. */
static bool is_left(const fa_step *s)
{
    return s->tap < 0 && !s->run_backward;
}

static fa_status make(fa_plan *p, bool backward, const int32_t *order, int32_t count, fa_schedule *s)
{
    const size_t nodes = (size_t)p->graph->n_node + 1, values = (size_t)p->graph->n_value + 1;
    maker m = {p, s, backward, {fa_arena_array(&p->arena, values, sizeof(int32_t)), fa_arena_array(&p->arena, values, sizeof(int32_t))}};
    s->turn = fa_arena_array(&p->arena, 2 * (size_t)count + 1, sizeof *s->turn);
    s->stretch = fa_arena_array(&p->arena, 2 * (size_t)count + 1, sizeof *s->stretch);
    s->begin = fa_arena_array(&p->arena, nodes, sizeof *s->begin);
    s->end = fa_arena_array(&p->arena, nodes, sizeof *s->end);
    if (!m.at.rows || !m.at.whole || !s->turn || !s->stretch || !s->begin || !s->end) return FA_ERR_MEMORY;
    for (size_t v = 0; v < values; v++) m.at.rows[v] = m.at.whole[v] = -1;
    for (size_t n = 0; n < nodes; n++) s->begin[n] = s->end[n] = -1;
    for (int32_t k = 0; k < count; k++) {
        if (backward && is_left(&p->step[order[k]])) {
            s->begin[order[k]] = s->end[order[k]] = s->n_stretch ? s->n_stretch - 1 : 0;
            continue;
        }
        const fa_op *op = p->step[order[k]].op;
        const bool prepares = !backward && k < p->n_prepare, reduces = backward ? op->reduce_backward != NULL : op->reduce_forward != NULL;
        const int64_t rows = prepares ? 0 : rows_of(&m, order[k]);
        if (rows && reduces) append(&m, order[k], true, rows, false);
        append(&m, order[k], false, rows, rows && reduces);
    }
    return FA_OK;
}

/* Gradients that one stretch makes and uses up row by row, and nobody else asks for. */
static fa_status find_short(fa_plan *p)
{
    const fa_schedule *s = &p->backwards;
    const size_t values = (size_t)p->graph->n_value + 1;
    int32_t *in = fa_arena_array(&p->arena, values, sizeof *in); /* the stretch; -1: none yet, -2: several, or not row by row */
    p->short_grad = fa_arena_array(&p->arena, values, sizeof *p->short_grad);
    if (!in || !p->short_grad) return FA_ERR_MEMORY;
    for (size_t v = 0; v < values; v++) in[v] = -1;
    for (int32_t k = 0; k < p->n_backward; k++) {
        const int32_t n = p->backward[k], at = s->begin[n];
        const fa_node *node = &p->graph->node[n];
        const fa_op *op = p->step[n].op;
        for (int32_t i = 0; i < node->n_in + node->n_out && !is_left(&p->step[n]); i++) {
            const bool input = i < node->n_in, cut = s->stretch[at].all && at == s->end[n] && (input ? fa_op_bit(op->cut_in, i) : fa_op_bit(op->cut_out, i - node->n_in));
            const int32_t v = input ? node->in[i] : node->out[i - node->n_in], root = v >= 0 ? p->grad_root[v] : -1;
            if (root >= 0 && (!input || p->step[n].want_grad[i])) in[root] = cut && (in[root] == -1 || in[root] == at) ? at : -2;
        }
    }
    if (p->loss >= 0) in[p->loss] = -2;
    for (int32_t i = 0; i < p->n_wrt; i++) in[p->wrt[i]] = -2;
    for (int32_t v = 0; v < p->graph->n_value; v++) p->short_grad[v] = in[p->grad_root[v]] >= 0;
    return FA_OK;
}

fa_status fa_plan_schedule(fa_plan *p)
{
    FA_TRY(make(p, false, p->forward, p->n_forward, &p->forwards));
    FA_TRY(make(p, true, p->backward, p->n_backward, &p->backwards));
    return find_short(p);
}
