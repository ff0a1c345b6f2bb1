/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/* Constant, ConstantOfShape, Range: what the plan works out before any run. */

/* An attribute's tensor is stored as an initialiser is: reals as float, or as double where that is their type. */
static fa_real real_of(const fa_view *v, int64_t i)
{
    return v->dtype == FA_FLOAT64 ? (fa_real)((const double *)v->data)[i] : (fa_real)((const float *)v->data)[i];
}

static fa_status constant_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 0, 0, 1));
    static const struct {
        const char *name;
        fa_attr_kind kind;
        int32_t dtype, ndim;
    } forms[] = {{"value", FA_ATTR_TENSOR, 0, 0}, {"value_float", FA_ATTR_FLOAT, FA_FLOAT32, 0}, {"value_floats", FA_ATTR_FLOATS, FA_FLOAT32, 1},
                 {"value_int", FA_ATTR_INT, FA_INT64, 0}, {"value_ints", FA_ATTR_INTS, FA_INT64, 1}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const fa_attr *a = fa_node_attr(s->node, forms[i].name);
        if (!a) continue;
        if (a->kind != forms[i].kind) return fa_fail(FA_ERR_FORMAT, "attribute '%s' is of another kind", a->name);
        s->params = (void *)a; /* read only */
        if (a->kind == FA_ATTR_TENSOR) return FA_R(fa_op_set)(&s->out[0], a->tensor.dtype, a->tensor.ndim, a->tensor.dim);
        return FA_R(fa_op_set)(&s->out[0], forms[i].dtype, forms[i].ndim, &a->count);
    }
    return fa_fail(FA_ERR_UNSUPPORTED, "a constant that is not a dense tensor of numbers");
}

static void constant_forward(const fa_op_call *c)
{
    const fa_attr *a = c->params;
    fa_real *reals = c->out[0]->data;
    int64_t *ints = c->out[0]->data;
    for (int64_t i = 0; i < c->out[0]->count; i++) {
        switch (a->kind) {
        case FA_ATTR_FLOAT: reals[i] = a->f; break;
        case FA_ATTR_FLOATS: reals[i] = a->floats[i]; break;
        case FA_ATTR_INT: ints[i] = a->i; break;
        case FA_ATTR_INTS: ints[i] = a->ints[i]; break;
        default:
            if (fa_dtype_is_real(a->tensor.dtype)) reals[i] = real_of(&a->tensor, i);
            else ints[i] = ((const int64_t *)a->tensor.data)[i];
        }
    }
}

static fa_status of_shape_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_attr *a = fa_node_attr(s->node, "value");
    const int64_t *dim;
    int64_t n;
    FA_TRY(FA_R(fa_op_constant_ints)(s, 0, "the shape", &dim, &n));
    if (n > FA_MAX_DIMS) return fa_fail(FA_ERR_LIMIT, "%lld dimensions; at most %d are supported", (long long)n, FA_MAX_DIMS);
    if (a && (a->kind != FA_ATTR_TENSOR || a->tensor.count != 1)) return fa_fail(FA_ERR_FORMAT, "attribute 'value' is not a tensor of one element");
    return FA_R(fa_op_set)(&s->out[0], a ? a->tensor.dtype : FA_FLOAT32, (int32_t)n, dim);
}

static void of_shape_forward(const fa_op_call *c)
{
    const fa_attr *a = fa_node_attr(c->node, "value");
    fa_real *reals = c->out[0]->data;
    int64_t *ints = c->out[0]->data;
    if (fa_dtype_is_real(c->out[0]->dtype)) {
        const fa_real v = a ? real_of(&a->tensor, 0) : 0;
        for (int64_t i = 0; i < c->out[0]->count; i++) reals[i] = v;
    } else {
        const int64_t v = ((const int64_t *)a->tensor.data)[0];
        for (int64_t i = 0; i < c->out[0]->count; i++) ints[i] = v;
    }
}

static double number(const fa_view *v)
{
    return fa_dtype_is_real(v->dtype) ? *(const fa_real *)v->data : (double)*(const int64_t *)v->data;
}

static fa_status range_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    for (int32_t i = 0; i < 3; i++) {
        if (s->in[i]->count != 1) return fa_fail(FA_ERR_SHAPE, "input %d holds %lld elements, not one", i, (long long)s->in[i]->count);
        if (fa_dtype_is_real(s->in[i]->dtype) != fa_dtype_is_real(s->in[0]->dtype)) return fa_fail(FA_ERR_DTYPE, "inputs of different types");
        if (!s->in[i]->data) return fa_fail(FA_ERR_UNSUPPORTED, "input %d is computed from the data; it must be known beforehand", i);
    }
    double delta = number(s->in[2]), n = ceil((number(s->in[1]) - number(s->in[0])) / delta);
    if (!(delta != 0) || !(n <= (double)FA_MAX_ELEMENTS))
        return fa_fail(FA_ERR_SHAPE, "a range from %g to %g in steps of %g", number(s->in[0]), number(s->in[1]), delta);
    return FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, 1, &(int64_t){n > 0 ? (int64_t)n : 0});
}

static void range_forward(const fa_op_call *c)
{
    fa_real *reals = c->out[0]->data;
    int64_t *ints = c->out[0]->data;
    if (fa_dtype_is_real(c->out[0]->dtype)) {
        const double start = number(c->in[0]), delta = number(c->in[2]);
        for (int64_t i = 0; i < c->out[0]->count; i++) reals[i] = (fa_real)(start + (double)i * delta);
    } else {
        const uint64_t start = *(const uint64_t *)c->in[0]->data, delta = *(const uint64_t *)c->in[2]->data;
        for (int64_t i = 0; i < c->out[0]->count; i++) ints[i] = FA_R(fa_op_wrap)((int64_t)(start + (uint64_t)i * delta), c->out[0]->dtype);
    }
}

const fa_op FA_R(fa_ops_constant)[] = {
    {"Constant", "", 1, FA_OPSET_ANY, 0, 0, 0, constant_prepare, constant_forward, NULL},
    {"ConstantOfShape", "", 9, FA_OPSET_ANY, 0, 0, 0, of_shape_prepare, of_shape_forward, NULL},
    {"Range", "", 11, FA_OPSET_ANY, 0, 0, 0, range_prepare, range_forward, NULL},
    {NULL},
};
