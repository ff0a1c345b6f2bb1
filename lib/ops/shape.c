/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* Operators that give elements another shape, tell a shape, or stretch to one. */

static void copy_forward(const fa_op_call *c)
{
    const fa_view *x = c->in[0];
    if (c->out[0] && x->count && c->out[0]->data != x->data) memcpy(c->out[0]->data, x->data, (size_t)x->count * fa_op_size(x->dtype));
}

static void copy_backward(const fa_op_call *c)
{
    FA_R(fa_op_pass)(c->in[0]->count, c->grad_in[0], c->grad_out[0], c->accumulate[0]);
}

/* Flatten */

static fa_status flatten_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_view *x = s->in[0];
    int64_t asked = fa_node_int(s->node, "axis", 1), dim[2] = {1, 1};
    int32_t axis = x->ndim;
    if (asked != x->ndim) FA_TRY(FA_R(fa_op_axis)(asked, x->ndim, &axis));
    for (int32_t d = 0; d < x->ndim; d++) dim[d >= axis] *= x->dim[d];
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 2, dim);
}

/* Reshape: 0 takes the input's dimension (unless `allowzero`), -1 what is left. */

static fa_status reshape_prepare(fa_op_setup *s)
{
    bool by_input = s->node->opset >= 5;
    FA_TRY(FA_R(fa_op_need)(s, by_input ? 2 : 1, by_input ? 2 : 1, 1));
    const fa_view *x = s->in[0];
    const int64_t *to = NULL;
    int64_t n = 0, dim[FA_MAX_DIMS], known = 1;
    if (by_input) FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "the new shape", &to, &n));
    else if (!(to = fa_node_ints(s->node, "shape", &n)) && !fa_node_attr(s->node, "shape")) return fa_fail(FA_ERR_FORMAT, "attribute 'shape' is missing");
    if (n > FA_MAX_DIMS) return fa_fail(FA_ERR_LIMIT, "%lld dimensions; at most %d are supported", (long long)n, FA_MAX_DIMS);
    char want[FA_SHAPE_TEXT], have[FA_SHAPE_TEXT];
    fa_shape_text((int32_t)n, to, want, sizeof want);
    fa_shape_text(x->ndim, x->dim, have, sizeof have);
    bool zero = fa_node_int(s->node, "allowzero", 0) != 0;
    int32_t rest = -1;
    for (int32_t d = 0; d < n; d++) {
        dim[d] = to[d];
        if (to[d] == -1 && rest < 0) {
            rest = d;
            continue;
        }
        if (to[d] == 0 && !zero) {
            if (d >= x->ndim) return fa_fail(FA_ERR_SHAPE, "shape %s takes dimension %d of an input of shape %s", want, d, have);
            dim[d] = x->dim[d];
        }
        if (dim[d] < 0) return fa_fail(FA_ERR_SHAPE, "shape %s is none", want);
        if (!fa_mul_i64(known, dim[d], &known)) return fa_fail(FA_ERR_LIMIT, "shape %s is too large", want);
    }
    if (rest >= 0) dim[rest] = known ? x->count / known : 0;
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, (int32_t)n, dim));
    if (s->out[0].count != x->count) return fa_fail(FA_ERR_SHAPE, "shape %s does not fit the elements of shape %s", want, have);
    return FA_OK;
}

/* Squeeze and Unsqueeze: axes by attribute, by input from operator set 13 on. */

static fa_status axes_of(const fa_op_setup *s, bool needed, const int64_t **axes, int64_t *n)
{
    bool by_input = s->node->opset >= 13;
    FA_TRY(FA_R(fa_op_need)(s, by_input && needed ? 2 : 1, by_input ? 2 : 1, 1));
    if (by_input && s->n_in > 1 && s->in[1]) return FA_R(fa_op_constant_ints)(s, 1, "axes", axes, n);
    *axes = by_input ? NULL : fa_node_ints(s->node, "axes", n);
    if (!*axes) *n = 0;
    if (!*axes && needed) return fa_fail(FA_ERR_FORMAT, "attribute 'axes' is missing");
    return FA_OK;
}

static fa_status squeeze_prepare(fa_op_setup *s)
{
    const int64_t *axes;
    int64_t n, dim[FA_MAX_DIMS];
    bool gone[FA_MAX_DIMS] = {false};
    int32_t ndim = 0;
    FA_TRY(axes_of(s, false, &axes, &n));
    const fa_view *x = s->in[0];
    for (int64_t i = 0; i < n; i++) {
        int32_t d;
        FA_TRY(FA_R(fa_op_axis)(axes[i], x->ndim, &d));
        if (x->dim[d] != 1) return fa_fail(FA_ERR_SHAPE, "axis %d has %lld elements, not one", d, (long long)x->dim[d]);
        gone[d] = true;
    }
    for (int32_t d = 0; d < x->ndim; d++)
        if (axes ? !gone[d] : x->dim[d] != 1) dim[ndim++] = x->dim[d];
    return FA_R(fa_op_set)(&s->out[0], x->dtype, ndim, dim);
}

static fa_status unsqueeze_prepare(fa_op_setup *s)
{
    const int64_t *axes;
    int64_t n, dim[FA_MAX_DIMS];
    bool added[FA_MAX_DIMS] = {false};
    FA_TRY(axes_of(s, true, &axes, &n));
    const fa_view *x = s->in[0];
    if (n > FA_MAX_DIMS - x->ndim) return fa_fail(FA_ERR_LIMIT, "%lld more dimensions than %d; at most %d are supported", (long long)n, x->ndim, FA_MAX_DIMS);
    int32_t ndim = x->ndim + (int32_t)n;
    for (int64_t i = 0; i < n; i++) {
        int32_t d;
        FA_TRY(FA_R(fa_op_axis)(axes[i], ndim, &d));
        if (added[d]) return fa_fail(FA_ERR_FORMAT, "axis %d is named twice", d);
        added[d] = true;
    }
    for (int32_t d = 0, from = 0; d < ndim; d++) dim[d] = added[d] ? 1 : x->dim[from++];
    return FA_R(fa_op_set)(&s->out[0], x->dtype, ndim, dim);
}

static fa_status identity_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    return FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, s->in[0]->ndim, s->in[0]->dim);
}

/* Dropout of inference, or with a ratio of 0: nothing is dropped, and the mask, when it is wanted, is all ones. */

static fa_status need_zero_ratio(const fa_op_setup *s)
{
    const fa_view *ratio = s->in[1];
    if (ratio && fa_dtype_is_real(ratio->dtype) && !ratio->data) return fa_fail(FA_ERR_UNSUPPORTED, "training_mode is on and the ratio is computed; it must be known beforehand");
    if (ratio && fa_dtype_is_real(ratio->dtype) && ratio->count == 1 && *(const fa_real *)ratio->data == 0) return FA_OK;
    return fa_fail(FA_ERR_UNSUPPORTED, "training_mode is on, and what is dropped is random; export the network for inference");
}

static fa_status dropout_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, s->node->opset >= 12 ? 3 : 1, 2));
    const fa_view *x = s->in[0];
    if (s->n_in > 2 && s->in[2]) {
        const int64_t *training;
        int64_t n;
        FA_TRY(FA_R(fa_op_constant_ints)(s, 2, "training_mode", &training, &n));
        if (n != 1) return fa_fail(FA_ERR_SHAPE, "training_mode holds %lld elements, not one", (long long)n);
        if (training[0]) FA_TRY(need_zero_ratio(s));
    }
    if (s->n_out > 1) FA_TRY(FA_R(fa_op_set)(&s->out[1], s->node->opset < 10 ? x->dtype : FA_BOOL, x->ndim, x->dim));
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

static void dropout_forward(const fa_op_call *c)
{
    copy_forward(c);
    if (c->n_out < 2 || !c->out[1]) return;
    const fa_view *mask = c->out[1];
    if (fa_dtype_is_real(mask->dtype)) for (int64_t i = 0; i < mask->count; i++) ((fa_real *)mask->data)[i] = 1;
    else for (int64_t i = 0; i < mask->count; i++) ((int64_t *)mask->data)[i] = 1;
}

static void dropout_backward(const fa_op_call *c)
{
    if (c->grad_out[0]) copy_backward(c);
    else if (!c->accumulate[0]) memset(c->grad_in[0], 0, (size_t)c->in[0]->count * sizeof(fa_real));
}

/* Shape, Size */

typedef struct range {
    int32_t start, count;
} range;

static int32_t clamp_axis(int64_t axis, int32_t ndim)
{
    if (axis < 0) axis = axis < -ndim ? 0 : axis + ndim;
    return axis > ndim ? ndim : (int32_t)axis;
}

static fa_status shape_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    range *r = fa_arena_new(s->arena, sizeof *r);
    if (!r) return FA_ERR_MEMORY;
    r->start = clamp_axis(fa_node_int(s->node, "start", 0), s->in[0]->ndim);
    int32_t end = clamp_axis(fa_node_int(s->node, "end", s->in[0]->ndim), s->in[0]->ndim);
    r->count = end > r->start ? end - r->start : 0;
    s->params = r;
    return FA_R(fa_op_set)(&s->out[0], FA_INT64, 1, &(int64_t){r->count});
}

static void shape_forward(const fa_op_call *c)
{
    const range *r = c->params;
    if (r->count) memcpy(c->out[0]->data, c->in[0]->dim + r->start, (size_t)r->count * sizeof(int64_t));
}

static fa_status size_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    return FA_R(fa_op_set)(&s->out[0], FA_INT64, 0, NULL);
}

static void size_forward(const fa_op_call *c)
{
    *(int64_t *)c->out[0]->data = c->in[0]->count;
}

/* Expand: the input and the wanted shape are broadcast to each other. */

static fa_status expand_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *x = s->in[0];
    const int64_t *to;
    int64_t n;
    FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "the new shape", &to, &n));
    fa_view want;
    if (n > FA_MAX_DIMS || !fa_view_set_shape(&want, (int32_t)n, to)) return fa_fail(FA_ERR_SHAPE, "the new shape (input 1) is none, or too large");
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    w->operands = 2;
    FA_TRY(FA_R(fa_op_broadcast)(&w->ndim, w->dim, x));
    FA_TRY(FA_R(fa_op_broadcast)(&w->ndim, w->dim, &want));
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, w->ndim, w->dim));
    FA_R(fa_walk_stretch)(w, 0, w->ndim, s->out[0].dim);
    FA_R(fa_walk_stretch)(w, 1, x->ndim, x->dim);
    fa_walk_pack(w);
    s->params = w;
    return FA_OK;
}

static void expand_forward(const fa_op_call *c)
{
    FA_R(fa_walk_copy)(c->params, c->in[0]->dtype, c->out[0]->data, c->in[0]->data);
}

static void expand_backward(const fa_op_call *c)
{
    fa_walk w = FA_R(fa_walk_swap)(c->params);
    FA_R(fa_walk_add)(&w, c->grad_in[0], c->grad_out[0]);
}

#define VIEW(name, since, id) {name, "", since, FA_OPSET_ANY, FA_OP_VIEW | FA_OP_OVERWRITES, 0, 0, id##_prepare, copy_forward, copy_backward}

const fa_op FA_R(fa_ops_shape)[] = {
    VIEW("Flatten", 1, flatten),
    VIEW("Reshape", 1, reshape),
    VIEW("Squeeze", 1, squeeze),
    VIEW("Unsqueeze", 1, unsqueeze),
    VIEW("Identity", 1, identity),
    {"Dropout", "", 1, FA_OPSET_ANY, FA_OP_VIEW | FA_OP_OVERWRITES, 0, 0, dropout_prepare, dropout_forward, dropout_backward},
    {"Shape", "", 1, FA_OPSET_ANY, 0, 0, 0, shape_prepare, shape_forward, NULL},
    {"Size", "", 1, FA_OPSET_ANY, 0, 0, 0, size_prepare, size_forward, NULL},
    {"Expand", "", 8, FA_OPSET_ANY, 0, 0, 0, expand_prepare, expand_forward, expand_backward},
    {NULL},
};
