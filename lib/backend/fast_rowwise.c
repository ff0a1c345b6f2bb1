/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/rowwise.h"
#include "ops/table.h"

#include <string.h>

/* Softmax along the last axis, LayerNormalization, RMSNormalization and Gelu. The reference operators prepare them, and keep the cases that have no kernel. */
typedef struct rowwise {
    const fa_op *reference;
    const void *params; /* the reference's */
    int64_t rows, n;
    float epsilon;
    bool fits, tanh, raw; /* raw: RMSNormalization */
} rowwise;

static const fa_rowwise *kernels(void)
{
    return fa_rowwise_for(fa_kernels_isa());
}

static fa_status prepare(fa_op_setup *s, rowwise **out)
{
    rowwise *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->reference = fa_op_find(&fa_op_table_f32, s->node);
    FA_TRY(p->reference->prepare(s));
    p->params = s->params;
    s->params = *out = p;
    return FA_OK;
}

/* The input as rows of everything from `axis` on. */
static void set_rows(const fa_op_setup *s, int64_t axis, rowwise *p)
{
    const fa_view *x = s->in[0];
    p->rows = p->n = 1;
    for (int32_t d = 0; d < x->ndim; d++) *(d < (axis < 0 ? axis + x->ndim : axis) ? &p->rows : &p->n) *= x->dim[d];
    p->fits = x->count > 0;
}

static fa_status softmax_prepare(fa_op_setup *s)
{
    rowwise *p;
    FA_TRY(prepare(s, &p));
    const bool flat = s->node->opset < 13; /* everything from the axis on is one row */
    const int64_t axis = fa_node_int(s->node, "axis", flat ? 1 : -1), last = s->in[0]->ndim - 1;
    set_rows(s, axis, p);
    p->fits &= flat || axis == -1 || axis == last;
    return FA_OK;
}

static fa_status norm_prepare(fa_op_setup *s)
{
    rowwise *p;
    FA_TRY(prepare(s, &p));
    set_rows(s, fa_node_int(s->node, "axis", -1), p);
    p->epsilon = fa_node_float(s->node, "epsilon", 1e-5f);
    p->raw = strcmp(s->node->op, "RMSNormalization") == 0;
    for (int32_t o = 0; o < s->n_out; o++) p->fits &= (s->node->out[o] >= 0) == !o; /* mean and deviation are the reference's to give */
    return FA_OK;
}

static fa_status gelu_prepare(fa_op_setup *s)
{
    rowwise *p;
    FA_TRY(prepare(s, &p));
    p->tanh = strcmp(fa_node_string(s->node, "approximate", "none"), "tanh") == 0;
    p->fits = true;
    return FA_OK;
}

static bool by_reference(const fa_op_call *call, bool backward)
{
    const rowwise *p = call->params;
    if (p->fits) return false;
    fa_op_call c = *call;
    c.params = p->params;
    for (int32_t i = 0; backward && i < call->n_in; i++)
        if (call->grad_in[i] && !call->accumulate[i]) memset(call->grad_in[i], 0, (size_t)call->in[i]->count * sizeof(float));
    if (backward) p->reference->backward(&c);
    else p->reference->forward(&c);
    return true;
}

static const float *contents(const fa_op_call *call, int32_t input)
{
    return input < call->n_in && call->in[input] ? call->in[input]->data : NULL;
}

/* The rows, or (gelu) elements, of a call. */
static void part_of(const fa_op_call *call, int64_t unit, int64_t all, int64_t *begin, int64_t *n)
{
    fa_op_part(call, unit, all, begin, n);
    *n -= *begin;
}

static int64_t row_pieces(const fa_op_call *call, bool backward, double *cost)
{
    const rowwise *p = call->params;
    bool sums = false; /* over rows: gradients of scale and bias */
    for (int32_t i = 1; backward && i < call->n_in; i++) sums |= call->grad_in[i] != NULL;
    *cost = FA_FAST_FUNCTION * (double)p->rows * (double)p->n;
    return p->fits && !sums ? p->rows : 1;
}

static int64_t gelu_pieces(const fa_op_call *call, bool backward, double *cost)
{
    (void)backward;
    *cost = 2 * FA_FAST_FUNCTION * (double)call->in[0]->count;
    return (call->in[0]->count + FA_FAST_PIECE - 1) / FA_FAST_PIECE;
}

static void softmax_forward(const fa_op_call *call)
{
    const rowwise *p = call->params;
    int64_t row, rows;
    if (by_reference(call, false)) return;
    part_of(call, 1, p->rows, &row, &rows);
    kernels()->softmax(rows, p->n, 1, NULL, 0, contents(call, 0) + row * p->n, (float *)call->out[0]->data + row * p->n);
}

static void softmax_backward(const fa_op_call *call)
{
    const rowwise *p = call->params;
    int64_t row, rows;
    if (by_reference(call, true)) return;
    part_of(call, 1, p->rows, &row, &rows);
    const int64_t at = row * p->n;
    kernels()->softmax_gradient(rows, p->n, 1, (const float *)call->out[0]->data + at, (const float *)call->grad_out[0] + at, (float *)call->grad_in[0] + at, call->accumulate[0]);
}

static void norm_forward(const fa_op_call *call)
{
    const rowwise *p = call->params;
    int64_t row, rows;
    if (by_reference(call, false)) return;
    part_of(call, 1, p->rows, &row, &rows);
    kernels()->normalise(rows, p->n, p->raw, p->epsilon, contents(call, 0) + row * p->n, contents(call, 1), contents(call, 2), (float *)call->out[0]->data + row * p->n);
}

static void norm_backward(const fa_op_call *call)
{
    const rowwise *p = call->params;
    int64_t row, rows;
    if (by_reference(call, true)) return;
    float *to[3] = {call->grad_in[0], call->grad_in[1], call->n_in > 2 ? call->grad_in[2] : NULL};
    for (int i = 1; i < 3; i++)
        if (to[i] && !call->accumulate[i]) memset(to[i], 0, (size_t)p->n * sizeof *to[i]);
    part_of(call, 1, p->rows, &row, &rows);
    const int64_t at = row * p->n;
    kernels()->normalise_gradient(rows, p->n, p->raw, p->epsilon, contents(call, 0) + at, contents(call, 1), (const float *)call->grad_out[0] + at, to[0] ? to[0] + at : NULL,
                                  call->accumulate[0], to[1], to[2]);
}

static void gelu_forward(const fa_op_call *call)
{
    const rowwise *p = call->params;
    int64_t at, n;
    part_of(call, FA_FAST_PIECE, call->in[0]->count, &at, &n);
    kernels()->gelu(n, p->tanh, contents(call, 0) + at, (float *)call->out[0]->data + at);
}

static void gelu_backward(const fa_op_call *call)
{
    const rowwise *p = call->params;
    int64_t at, n;
    part_of(call, FA_FAST_PIECE, call->in[0]->count, &at, &n);
    kernels()->gelu_gradient(n, p->tanh, contents(call, 0) + at, (const float *)call->grad_out[0] + at, (float *)call->grad_in[0] + at, call->accumulate[0]);
}

#define FAST(name_, first, back_in_, back_out_, id, pieces_)                                                                                                      \
    {                                                                                                                                                    \
        .name = name_, .domain = "", .since = first, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES, .back_in = back_in_, .back_out = back_out_,       \
        .prepare = id##_prepare, .forward = id##_forward, .backward = id##_backward, .pieces = pieces_                                                 \
    }

const fa_op fa_fast_ops_rowwise[] = {
    FAST("Softmax", 1, 0, 1, softmax, row_pieces),
    FAST("LayerNormalization", 17, 3, 0, norm, row_pieces),
    FAST("RMSNormalization", 23, 3, 0, norm, row_pieces),
    FAST("Gelu", 20, 1, 0, gelu, gelu_pieces),
    {0},
};
