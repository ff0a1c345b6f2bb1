/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* BitShift and BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot, on integers, stretched to each other as NumPy does. */

static fa_status check(const fa_op_setup *s)
{
    for (int32_t i = 0; i < s->n_in; i++)
        if (fa_dtype_is_real(s->in[i]->dtype) || s->in[i]->dtype == FA_BOOL)
            return fa_fail(FA_ERR_DTYPE, "input %d is %s, not an integer type", i, fa_dtype_name(s->in[i]->dtype));
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    FA_TRY(check(s));
    return FA_R(fa_op_pair)(s, s->in[0]->dtype);
}

static fa_status shift_prepare(fa_op_setup *s)
{
    FA_TRY(prepare(s));
    const char *direction = fa_node_string(s->node, "direction", "");
    if (strcmp(direction, "LEFT") != 0 && strcmp(direction, "RIGHT") != 0) return fa_fail(FA_ERR_FORMAT, "direction is '%.40s', not LEFT or RIGHT", direction);
    if (s->in[0]->dtype != FA_UINT8 && s->in[0]->dtype != FA_UINT16 && s->in[0]->dtype != FA_UINT32 && s->in[0]->dtype != FA_UINT64)
        return fa_fail(FA_ERR_DTYPE, "a shift of %s, which has a sign", fa_dtype_name(s->in[0]->dtype));
    return FA_OK;
}

static fa_status not_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(check(s));
    return FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, s->in[0]->ndim, s->in[0]->dim);
}

/* All bits are shifted out when there are as many as places, or more. */
static uint64_t left(uint64_t x, uint64_t y)
{
    return y < 64 ? x << y : 0;
}

static uint64_t right(uint64_t x, uint64_t y)
{
    return y < 64 ? x >> y : 0;
}

#define PAIRS(formula)                                                                                                                                   \
    {                                                                                                                                                    \
        const fa_walk *w = c->params;                                                                                                                    \
        fa_walk_place p;                                                                                                                                 \
        FA_WALK_ROWS(w, p) {                                                                                                                             \
            const uint64_t *xs = (const uint64_t *)c->in[0]->data + p.at[1], *ys = (const uint64_t *)c->in[1]->data + p.at[2];                           \
            int64_t *z = (int64_t *)c->out[0]->data + p.at[0];                                                                                           \
            for (int64_t i = 0; i < w->row; i++) {                                                                                                       \
                const uint64_t x = xs[i * w->row_step[1]], y = ys[i * w->row_step[2]];                                                                   \
                z[i] = FA_R(fa_op_wrap)((int64_t)(formula), c->out[0]->dtype);                                                                           \
            }                                                                                                                                            \
        }                                                                                                                                                \
    }

static void shift_forward(const fa_op_call *c)
{
    if (fa_node_string(c->node, "direction", "")[0] == 'L') PAIRS(left(x, y))
    else PAIRS(right(x, y))
}

static void and_forward(const fa_op_call *c)
{
    PAIRS(x & y)
}

static void or_forward(const fa_op_call *c)
{
    PAIRS(x | y)
}

static void xor_forward(const fa_op_call *c)
{
    PAIRS(x ^ y)
}

static void not_forward(const fa_op_call *c)
{
    const int64_t *x = c->in[0]->data;
    int64_t *y = c->out[0]->data;
    for (int64_t i = 0; i < c->out[0]->count; i++) y[i] = FA_R(fa_op_wrap)(~x[i], c->out[0]->dtype);
}

const fa_op FA_R(fa_ops_bits)[] = {
    {"BitShift", "", 11, FA_OPSET_ANY, 0, 0, 0, shift_prepare, shift_forward, NULL},
    {"BitwiseAnd", "", 18, FA_OPSET_ANY, 0, 0, 0, prepare, and_forward, NULL},
    {"BitwiseOr", "", 18, FA_OPSET_ANY, 0, 0, 0, prepare, or_forward, NULL},
    {"BitwiseXor", "", 18, FA_OPSET_ANY, 0, 0, 0, prepare, xor_forward, NULL},
    {"BitwiseNot", "", 18, FA_OPSET_ANY, 0, 0, 0, not_prepare, not_forward, NULL},
    {NULL},
};
