/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include <string.h>

fa_status FA_R(fa_op_need)(const fa_op_setup *s, int32_t min_in, int32_t max_in, int32_t max_out)
{
    if (s->n_in < min_in || s->n_in > max_in) return fa_fail(FA_ERR_FORMAT, "%d inputs where %d to %d are taken", s->n_in, min_in, max_in);
    for (int32_t i = 0; i < min_in; i++)
        if (!s->in[i]) return fa_fail(FA_ERR_FORMAT, "input %d is missing", i);
    if (s->n_out < 1 || s->n_out > max_out) return fa_fail(FA_ERR_FORMAT, "%d outputs where 1 to %d are given", s->n_out, max_out);
    return FA_OK;
}

fa_status FA_R(fa_op_need_real)(const fa_op_setup *s)
{
    for (int32_t i = 0; i < s->n_in; i++)
        if (s->in[i] && !fa_dtype_is_real(s->in[i]->dtype))
            return fa_fail(FA_ERR_DTYPE, "%s of %s (input %d) is not supported", s->node->op, fa_dtype_name(s->in[i]->dtype), i);
    return FA_OK;
}

fa_status FA_R(fa_op_need_count)(const fa_op_setup *s, int32_t input, int64_t count)
{
    char text[FA_SHAPE_TEXT];
    const fa_view *v = s->in[input];
    if (v->count == count) return FA_OK;
    return fa_fail(FA_ERR_SHAPE, "input %d has shape %s, %lld elements are needed", input, fa_shape_text(v->ndim, v->dim, text, sizeof text),
                   (long long)count);
}

fa_status FA_R(fa_op_constant_ints)(const fa_op_setup *s, int32_t input, const char *what, const int64_t **data, int64_t *count)
{
    const fa_view *v = s->in[input];
    if (fa_dtype_is_real(v->dtype)) return fa_fail(FA_ERR_DTYPE, "%s (input %d) is %s, not an integer type", what, input, fa_dtype_name(v->dtype));
    if (!v->data && v->count) return fa_fail(FA_ERR_UNSUPPORTED, "%s (input %d) is computed from the data; it must be known beforehand", what, input);
    *data = v->data;
    *count = v->count;
    return FA_OK;
}

fa_status FA_R(fa_op_axis)(int64_t axis, int32_t ndim, int32_t *out)
{
    if (axis < -ndim || axis >= ndim) return fa_fail(FA_ERR_SHAPE, "axis %lld of a tensor with %d dimensions", (long long)axis, ndim);
    *out = (int32_t)(axis < 0 ? axis + ndim : axis);
    return FA_OK;
}

void FA_R(fa_op_around)(const fa_view *v, int32_t axis, int64_t *outer, int64_t *n, int64_t *inner)
{
    *outer = *inner = 1;
    *n = v->dim[axis];
    for (int32_t d = 0; d < v->ndim; d++) *(d < axis ? outer : inner) *= d == axis ? 1 : v->dim[d];
}

fa_status FA_R(fa_op_choice)(const fa_op_setup *s, const char *attribute, const char *fallback, const char *const *names, int32_t n, int32_t *out)
{
    const char *text = fa_node_string(s->node, attribute, fallback);
    for (int32_t i = 0; i < n; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = i;
        return FA_OK;
    }
    return fa_fail(FA_ERR_FORMAT, "%s is '%.40s'", attribute, text);
}

void FA_R(fa_op_strides)(const fa_view *v, int64_t *stride)
{
    int64_t step = 1;
    for (int32_t i = v->ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= v->dim[i];
    }
}
