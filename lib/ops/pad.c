/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* Pad: attribute `paddings` in operator set 1, `pads` from 2 on, inputs from 11 on, with axes from 18 on. Negative pads crop. CenterCropPad: to given sizes, as
 * much at both ends, at the end one more. */

typedef enum mode { CONSTANT, REFLECT, EDGE, WRAP } mode;

typedef struct pads {
    mode mode;
    int64_t before[FA_MAX_DIMS], stride[FA_MAX_DIMS]; /* of the input */
    fa_walk inside; /* operand 0: output, 1: input; the elements that both hold */
    float value;    /* without input 2 */
} pads;

static fa_status read_mode(fa_op_setup *s, mode *out)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *name = fa_node_string(s->node, "mode", "constant");
    for (int32_t m = 0; m < (s->node->opset < 19 ? 3 : 4); m++) {
        if (strcmp(name, names[m]) != 0) continue;
        *out = (mode)m;
        return FA_OK;
    }
    return fa_fail(FA_ERR_UNSUPPORTED, "padding mode '%s'", name);
}

/* The elements before and behind each axis. */
static fa_status read_pads(fa_op_setup *s, int64_t *before, int64_t *after)
{
    const int32_t opset = s->node->opset, ndim = s->in[0]->ndim;
    const int64_t *pad, *axes = NULL;
    int64_t n, n_axis = ndim;
    if (opset >= 11) FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "pads", &pad, &n));
    else pad = fa_node_ints(s->node, opset < 2 ? "paddings" : "pads", &n);
    if (s->n_in > 3 && s->in[3]) FA_TRY(FA_R(fa_op_constant_ints)(s, 3, "axes", &axes, &n_axis));
    if (n != 2 * n_axis || n_axis > ndim) return fa_fail(FA_ERR_FORMAT, "%lld pads for %lld of %d axes", (long long)n, (long long)n_axis, ndim);
    for (int32_t i = 0; i < n_axis; i++) {
        int32_t d = i;
        if (axes) FA_TRY(FA_R(fa_op_axis)(axes[i], ndim, &d));
        before[d] = pad[i];
        after[d] = pad[i + n_axis];
        if (before[d] < -FA_MAX_ELEMENTS || before[d] > FA_MAX_ELEMENTS || after[d] < -FA_MAX_ELEMENTS || after[d] > FA_MAX_ELEMENTS)
            return fa_fail(FA_ERR_LIMIT, "pads %lld and %lld of axis %d", (long long)before[d], (long long)after[d], d);
    }
    return FA_OK;
}

/* Shape and walk for `before` and `after`. */
static fa_status lay_out(fa_op_setup *s, pads *p, const int64_t *after)
{
    const fa_view *x = s->in[0];
    int64_t dim[FA_MAX_DIMS], to = 1;
    for (int32_t d = 0; d < x->ndim; d++) {
        dim[d] = x->dim[d] + p->before[d] + after[d];
        if (dim[d] < 0)
            return fa_fail(FA_ERR_SHAPE, "axis %d of %lld elements cropped by %lld and %lld", d, (long long)x->dim[d], (long long)-p->before[d], (long long)-after[d]);
        if (x->dim[d] == 0 && dim[d] > 0 && p->mode != CONSTANT) return fa_fail(FA_ERR_SHAPE, "axis %d is empty: there is nothing to pad with", d);
    }
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim));
    FA_R(fa_op_strides)(x, p->stride);
    p->inside.operands = 2;
    p->inside.ndim = x->ndim;
    for (int32_t d = x->ndim - 1; d >= 0; d--) {
        int64_t skip = p->before[d] < 0 ? -p->before[d] : 0, lead = p->before[d] > 0 ? p->before[d] : 0;
        int64_t n = x->dim[d] - skip + (after[d] < 0 ? after[d] : 0);
        p->inside.dim[d] = n > 0 ? n : 0;
        p->inside.step[0][d] = to;
        p->inside.step[1][d] = p->stride[d];
        if (n > 0) {
            p->inside.start[0] += lead * to;
            p->inside.start[1] += skip * p->stride[d];
        }
        to *= dim[d];
    }
    fa_walk_pack(&p->inside);
    s->params = p;
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s)
{
    const int32_t opset = s->node->opset;
    FA_TRY(FA_R(fa_op_need)(s, opset < 11 ? 1 : 2, opset < 11 ? 1 : opset < 18 ? 3 : 4, 1));
    const fa_view *x = s->in[0], *value = s->n_in > 2 ? s->in[2] : NULL;
    if (value && (value->count != 1 || fa_dtype_is_real(value->dtype) != fa_dtype_is_real(x->dtype)))
        return fa_fail(FA_ERR_DTYPE, "the padding value (input 2) is %lld elements of %s beside %s", (long long)value->count,
                       fa_dtype_name(value->dtype), fa_dtype_name(x->dtype));
    pads *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    int64_t after[FA_MAX_DIMS] = {0};
    FA_TRY(read_mode(s, &p->mode));
    FA_TRY(read_pads(s, p->before, after));
    p->value = fa_node_float(s->node, "value", 0);
    return lay_out(s, p, after);
}

/* Half of what is missing, or half of what is too much, is at the front. */
static fa_status center_prepare(fa_op_setup *s)
{
    const int64_t *size, *axes;
    int64_t n, n_axis, after[FA_MAX_DIMS] = {0};
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *x = s->in[0];
    FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "the shape", &size, &n));
    axes = fa_node_ints(s->node, "axes", &n_axis);
    if (!axes) n_axis = x->ndim;
    if (n != n_axis || n > x->ndim) return fa_fail(FA_ERR_SHAPE, "%lld sizes for %lld of %d axes", (long long)n, (long long)n_axis, x->ndim);
    pads *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->mode = CONSTANT;
    for (int64_t i = 0; i < n; i++) {
        int32_t d = (int32_t)i;
        if (axes) FA_TRY(FA_R(fa_op_axis)(axes[i], x->ndim, &d));
        if (size[i] < 0 || size[i] > FA_MAX_ELEMENTS) return fa_fail(FA_ERR_SHAPE, "axis %d becomes %lld", d, (long long)size[i]);
        p->before[d] = (size[i] - x->dim[d]) / 2; /* towards 0, so what is odd is at the end */
        after[d] = size[i] - x->dim[d] - p->before[d];
    }
    return lay_out(s, p, after);
}

/* Which of an axis' n elements stands `at` places from its first. */
static int64_t source(mode m, int64_t at, int64_t n)
{
    if (at >= 0 && at < n) return at;
    if (m == EDGE || n == 1) return at < 0 ? 0 : n - 1;
    const int64_t period = m == WRAP ? n : 2 * (n - 1);
    int64_t r = at % period;
    if (r < 0) r += period;
    return r < n ? r : period - r;
}

/* For modes that repeat elements: `statement` for each output element `to` and the input element `from` it repeats. */
#define EACH_SOURCE(statement)                                                                                                                           \
    {                                                                                                                                                    \
        const fa_view *x = c->in[0], *y = c->out[0];                                                                                                     \
        const int32_t last = x->ndim - 1;                                                                                                                \
        int64_t index[FA_MAX_DIMS] = {0};                                                                                                                \
        for (int64_t to = 0; to < y->count;) {                                                                                                           \
            int64_t row = 0;                                                                                                                             \
            for (int32_t d = 0; d < last; d++) row += source(p->mode, index[d] - p->before[d], x->dim[d]) * p->stride[d];                                \
            for (int64_t i = 0; i < (last < 0 ? 1 : y->dim[last]); i++, to++) {                                                                          \
                const int64_t from = last < 0 ? 0 : row + source(p->mode, i - p->before[last], x->dim[last]);                                            \
                statement;                                                                                                                               \
            }                                                                                                                                            \
            for (int32_t d = last - 1; d >= 0 && ++index[d] == y->dim[d]; d--) index[d] = 0;                                                             \
        }                                                                                                                                                \
    }

static void forward(const fa_op_call *c)
{
    const pads *p = c->params;
    const fa_view *value = c->n_in > 2 ? c->in[2] : NULL;
    const int32_t dtype = c->out[0]->dtype;
    fa_real *reals = c->out[0]->data;
    int64_t *ints = c->out[0]->data;
    if (p->mode == CONSTANT) {
        if (fa_dtype_is_real(dtype)) {
            const fa_real v = value ? *(const fa_real *)value->data : p->value;
            for (int64_t i = 0; i < c->out[0]->count; i++) reals[i] = v;
        } else {
            const int64_t v = value ? *(const int64_t *)value->data : 0;
            for (int64_t i = 0; i < c->out[0]->count; i++) ints[i] = v;
        }
        FA_R(fa_walk_copy)(&p->inside, dtype, c->out[0]->data, c->in[0]->data);
    } else if (fa_dtype_is_real(dtype)) {
        EACH_SOURCE(reals[to] = ((const fa_real *)x->data)[from])
    } else {
        EACH_SOURCE(ints[to] = ((const int64_t *)x->data)[from])
    }
}

static void backward(const fa_op_call *c)
{
    const pads *p = c->params;
    const fa_real *g = c->grad_out[0];
    fa_real *t = c->grad_in[0];
    if (t && p->mode == CONSTANT) {
        fa_walk w = FA_R(fa_walk_swap)(&p->inside);
        FA_R(fa_walk_add)(&w, t, g);
    } else if (t) {
        EACH_SOURCE(t[from] += g[to])
    }
    if (c->n_in > 2 && c->grad_in[2] && p->mode == CONSTANT) { /* what is not inside */
        double sum = 0;
        fa_walk_place q;
        for (int64_t i = 0; i < c->out[0]->count; i++) sum += g[i];
        FA_WALK_ROWS(&p->inside, q)
            for (int64_t i = 0; i < p->inside.row; i++) sum -= g[q.at[0] + i * p->inside.row_step[0]];
        *(fa_real *)c->grad_in[2] += (fa_real)sum;
    }
}

const fa_op FA_R(fa_ops_pad)[] = {
    {"Pad", "", 1, FA_OPSET_ANY, 0, 0, 0, prepare, forward, backward},
    {"CenterCropPad", "", 18, FA_OPSET_ANY, 0, 0, 0, center_prepare, forward, backward},
    {NULL},
};
