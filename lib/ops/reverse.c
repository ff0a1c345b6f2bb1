/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* ReverseSequence: of each sequence of a batch the first so many elements in reverse order. It is its own inverse. */

typedef struct sequences {
    int64_t a, b, inner; /* the input as [a, b, inner], time and batch being axes 0 and 1 in either order */
    bool time_first;
} sequences;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *x = s->in[0];
    int64_t time = fa_node_int(s->node, "time_axis", 0), batch = fa_node_int(s->node, "batch_axis", 1);
    if (x->ndim < 2) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, at least 2 are needed", x->ndim);
    if (time < 0 || time > 1 || batch != 1 - time) return fa_fail(FA_ERR_FORMAT, "time_axis %lld and batch_axis %lld", (long long)time, (long long)batch);
    if (fa_dtype_is_real(s->in[1]->dtype)) return fa_fail(FA_ERR_DTYPE, "lengths (input 1) are %s", fa_dtype_name(s->in[1]->dtype));
    FA_TRY(FA_R(fa_op_need_count)(s, 1, x->dim[batch]));
    sequences *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (sequences){x->dim[0], x->dim[1], 1, time == 0};
    for (int32_t d = 2; d < x->ndim; d++) p->inner *= x->dim[d];
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

/* Where the run of elements that belongs at [i, j] comes from. */
static int64_t source(const fa_op_call *c, int64_t i, int64_t j)
{
    const sequences *p = c->params;
    int64_t t = p->time_first ? i : j, n = p->time_first ? j : i, length = ((const int64_t *)c->in[1]->data)[n], steps = p->time_first ? p->a : p->b;
    length = length < 0 ? 0 : length > steps ? steps : length;
    if (t < length) t = length - 1 - t;
    return (p->time_first ? t * p->b + n : n * p->b + t) * p->inner;
}

static void forward(const fa_op_call *c)
{
    const sequences *p = c->params;
    const size_t size = fa_op_size(c->in[0]->dtype);
    for (int64_t i = 0; i < p->a && p->inner; i++)
        for (int64_t j = 0; j < p->b; j++)
            memcpy((char *)c->out[0]->data + (size_t)((i * p->b + j) * p->inner) * size, (const char *)c->in[0]->data + (size_t)source(c, i, j) * size,
                   (size_t)p->inner * size);
}

static void backward(const fa_op_call *c)
{
    const sequences *p = c->params;
    for (int64_t i = 0; i < p->a; i++)
        for (int64_t j = 0; j < p->b; j++)
            FA_R(fa_op_pass)(p->inner, (fa_real *)c->grad_in[0] + source(c, i, j), (const fa_real *)c->grad_out[0] + (i * p->b + j) * p->inner, true);
}

const fa_op FA_R(fa_ops_reverse)[] = {
    {"ReverseSequence", "", 10, FA_OPSET_ANY, 0, 2, 0, prepare, forward, backward},
    {NULL},
};
