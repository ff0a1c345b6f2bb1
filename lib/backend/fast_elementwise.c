/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/broadcast.h"
#include "kernels/chain.h"
#include "ops/table.h"

#include <string.h>

/* Add, Sub, Mul and Div of reals, and chains of functions of one number. */

/* Sums of two tensors and the like are prepared by the reference operators, which keep integers. */
typedef struct pair {
    const fa_op *reference;
    const fa_walk *walk; /* the reference's: over output, input 0 and input 1 */
    fa_walk blocks;      /* the same over blocks of rows */
    int64_t rows;
    int32_t op;
    bool fits;
} pair;

static const fa_broadcast_kernels *kernels(void)
{
    return fa_broadcast_kernels_for(fa_kernels_isa());
}

static fa_status prepare(fa_op_setup *s, int32_t op)
{
    pair *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->reference = fa_op_find(&fa_op_table_f32, s->node);
    FA_TRY(p->reference->prepare(s));
    p->walk = s->params;
    p->op = op;
    p->fits = fa_dtype_is_real(s->out[0].dtype) && !p->walk->empty && p->walk->row_step[1] <= 1 && p->walk->row_step[2] <= 1 && kernels();
    p->blocks = *p->walk;
    p->rows = 1;
    if (p->walk->ndim > 1) {
        p->blocks.ndim--;
        p->rows = p->walk->dim[p->walk->ndim - 2];
    }
    s->params = p;
    s->cheap = p->fits && op == FA_PAIR_MUL; /* sums need not be kept at all */
    return FA_OK;
}

#define PREPARE(id, op)                                                                                                                                  \
    static fa_status id##_prepare(fa_op_setup *s)                                                                                                        \
    {                                                                                                                                                    \
        return prepare(s, op);                                                                                                                           \
    }
PREPARE(add, FA_PAIR_ADD)
PREPARE(sub, FA_PAIR_SUB)
PREPARE(mul, FA_PAIR_MUL)
PREPARE(div, FA_PAIR_DIV)

static fa_op_call as_reference(const fa_op_call *call)
{
    fa_op_call c = *call;
    c.params = ((const pair *)call->params)->walk;
    return c;
}

/* From row to row of a block. */
static int64_t row_step(const pair *p, int32_t operand)
{
    return p->walk->ndim > 1 ? p->walk->step[operand][p->walk->ndim - 2] : 0;
}

static fa_operand operand(const pair *p, const fa_op_call *call, const fa_walk_place *place, int32_t i)
{
    return (fa_operand){fa_real_at(call->in[i]->data, place->at[i + 1]), row_step(p, i + 1), p->walk->row_step[i + 1]};
}

/* A pair whose outermost dimension is a call's pieces of it. */
static const pair *part_of(const fa_op_call *call, pair *part, fa_walk *walk)
{
    const pair *p = call->params;
    int64_t begin, end;
    fa_op_part(call, p->walk->ndim == 1 ? FA_FAST_PIECE : 1, p->walk->dim[0], &begin, &end);
    if (end - begin == p->walk->dim[0]) return p;
    *part = *p;
    *walk = *p->walk;
    part->walk = walk;
    for (int32_t k = 0; k < walk->operands; k++) {
        walk->start[k] += begin * walk->step[k][0];
        part->blocks.start[k] += begin * walk->step[k][0];
    }
    walk->dim[0] = part->blocks.dim[0] = end - begin;
    if (walk->ndim == 1) walk->row = end - begin;
    if (walk->ndim == 2) part->rows = end - begin;
    return part;
}

static void forward(const fa_op_call *call)
{
    pair some;
    fa_walk walk;
    const pair *p = call->params;
    const fa_broadcast_kernels *k = kernels();
    fa_walk_place at;
    if (p->fits) p = part_of(call, &some, &walk);
    if (!p->fits) {
        const fa_op_call c = as_reference(call);
        p->reference->forward(&c);
        return;
    }
    FA_WALK_ROWS(&p->blocks, at)
        k->pair(p->op, p->rows, p->walk->row, operand(p, call, &at, 0), operand(p, call, &at, 1), (float *)call->out[0]->data + at.at[0]);
}

/* True where the gradient of input i is no sum. */
static bool is_whole(const fa_op_call *call, int32_t i)
{
    return call->in[i]->count == call->out[0]->count;
}

/* Of input i: g, -g, g times or by the other input, added up where the input was stretched; rows r ... r + rows - 1 of a block. */
static void side(const pair *p, const fa_op_call *call, const fa_walk_place *at, int64_t r, int64_t rows, int32_t i)
{
    static const float one = 1, minus_one = -1;
    const fa_broadcast_kernels *k = kernels();
    const bool divide = p->op == FA_PAIR_DIV;
    const float *g = (const float *)call->grad_out[0] + at->at[0] + r * p->walk->row;
    float *to = (float *)call->grad_in[i] + at->at[i + 1] + r * row_step(p, i + 1);
    fa_operand a = {p->op == FA_PAIR_SUB && i ? &minus_one : &one, 0, 0};
    if (p->op >= FA_PAIR_MUL) a = operand(p, call, at, !i);
    a.data += r * a.row;
    if (is_whole(call, i)) k->product(divide, rows, p->walk->row, g, a, to, call->accumulate[i]);
    else k->reduce(divide, rows, p->walk->row, g, a, to, row_step(p, i + 1), p->walk->row_step[i + 1]);
}

/* Elements whose gradients for both inputs are made while they are in the second-level cache. */
#define PIECE 32768

static void backward(const fa_op_call *call)
{
    pair some;
    fa_walk walk;
    const pair *p = call->params;
    /* A summand's gradient may lie where the sum's does: nothing is to be done there. */
    void *const wanted[2] = {call->grad_in[0] == call->grad_out[0] ? NULL : call->grad_in[0], call->grad_in[1] == call->grad_out[0] ? NULL : call->grad_in[1]};
    fa_op_call c = *call;
    c.grad_in = wanted;
    if (!p->fits || (p->op == FA_PAIR_DIV && wanted[1])) { /* a divisor's gradient is rare */
        c.params = p->walk;
        p->reference->backward(&c);
        return;
    }
    p = part_of(call, &some, &walk);
    for (int32_t i = 0; i < 2; i++)
        if (wanted[i] && !is_whole(call, i) && !call->accumulate[i]) memset(wanted[i], 0, (size_t)call->in[i]->count * sizeof(float));
    const int64_t fit = PIECE / p->walk->row, step = fit ? fit : 1;
    fa_walk_place at;
    FA_WALK_ROWS(&p->blocks, at)
        for (int64_t r = 0; r < p->rows; r += step)
            for (int32_t i = 0; i < 2; i++)
                if (wanted[i]) side(p, &c, &at, r, p->rows - r < step ? p->rows - r : step, i);
}

/* The gradient of an operand that was stretched is a sum. */
static int64_t pieces(const fa_op_call *call, bool backward, double *cost)
{
    const pair *p = call->params;
    bool whole = p->fits;
    for (int32_t i = 0; backward && i < 2; i++) whole &= !call->grad_in[i] || call->grad_in[i] == call->grad_out[0] || (is_whole(call, i) && p->op != FA_PAIR_DIV);
    *cost = FA_FAST_MOVED * (double)call->out[0]->count;
    return !whole ? 1 : p->walk->ndim > 1 ? p->walk->dim[0] : (p->walk->dim[0] + FA_FAST_PIECE - 1) / FA_FAST_PIECE;
}

fa_slope fa_fast_slope(const fa_op_call *call, int32_t i, int64_t first)
{
    static const fa_chain_step relu = {FA_STEP_RELU, 0, 0};
    const fa_op_call *function = fa_op_slope(call, i);
    if (!function) return (fa_slope){0, NULL, NULL};
    if (strcmp(function->node->op, "Chain") != 0) return (fa_slope){1, &relu, fa_real_at(function->out[0]->data, first)}; /* ReluDone, which keeps the sign of what it leaves */
    const fa_fast_steps *steps = function->params;
    return (fa_slope){steps->n_step, steps->step, fa_real_at(function->in[0]->data, first)};
}

static fa_status chain_prepare(fa_op_setup *s)
{
    const fa_view *x = s->in[0];
    int64_t count;
    const int64_t *function = fa_node_ints(s->node, "functions", &count);
    const fa_attr *numbers = fa_node_attr(s->node, "numbers");
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "input 0 is %s, not a real type", fa_dtype_name(x->dtype));
    fa_fast_steps *c = fa_arena_new(s->arena, sizeof *c);
    if (!c) return FA_ERR_MEMORY;
    c->n_step = (int32_t)count;
    s->cheap = true;
    for (int32_t k = 0; k < c->n_step; k++) s->cheap &= fa_chain_is_cheap((int32_t)function[k]);
    for (int32_t k = 0; k < c->n_step; k++) c->step[k] = (fa_chain_step){(int32_t)function[k], numbers->floats[2 * k], numbers->floats[2 * k + 1]};
    s->params = c;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

static int64_t chain_pieces(const fa_op_call *call, bool backward, double *cost)
{
    const fa_fast_steps *c = call->params;
    (void)backward;
    *cost = (FA_FAST_MOVED + FA_FAST_FUNCTION / 4 * (double)c->n_step) * (double)call->in[0]->count;
    return (call->in[0]->count + FA_FAST_PIECE - 1) / FA_FAST_PIECE;
}

static void chain_forward(const fa_op_call *call)
{
    const fa_fast_steps *c = call->params;
    int64_t at, end;
    fa_op_part(call, FA_FAST_PIECE, call->in[0]->count, &at, &end);
    fa_chain_kernels_best()->forward(c->step, c->n_step, end - at, (const float *)call->in[0]->data + at, (float *)call->out[0]->data + at);
}

static void chain_backward(const fa_op_call *call)
{
    const fa_fast_steps *c = call->params;
    int64_t at, end;
    fa_op_part(call, FA_FAST_PIECE, call->in[0]->count, &at, &end);
    fa_chain_kernels_best()->gradient(c->step, c->n_step, end - at, (const float *)call->in[0]->data + at, (const float *)call->grad_out[0] + at, (float *)call->grad_in[0] + at,
                                      call->accumulate[0]);
}

#define PAIR(name_, in_, hands_on_, id)                                                                                                                  \
    {                                                                                                                                                    \
        .name = name_, .domain = "", .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES, .back_in = in_, .hands_on = hands_on_,                \
        .prepare = id##_prepare, .forward = forward, .backward = backward, .pieces = pieces                                                             \
    }

const fa_op fa_fast_ops_elementwise[] = {
    PAIR("Add", 0, 3, add),
    PAIR("Sub", 0, 1, sub),
    PAIR("Mul", 3, 0, mul),
    PAIR("Div", 3, 0, div),
    {.name = "Chain", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES | FA_OP_FUNCTION, .back_in = 1, .prepare = chain_prepare, .forward = chain_forward,
     .backward = chain_backward, .pieces = chain_pieces},
    {0},
};
