/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/value.h"

#include "base/error.h"
#include "graph/array.h"
#include "onnx/tensor.h"

fa_status fa_onnx_declare(const Onnx__TypeProto *type, fa_value *value)
{
    if (!type) return FA_OK;
    switch (type->value_case) {
    case ONNX__TYPE_PROTO__VALUE__NOT_SET: return FA_OK;
    case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE: break;
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE: return fa_fail(FA_ERR_UNSUPPORTED, "it is a sequence");
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE: return fa_fail(FA_ERR_UNSUPPORTED, "it is a map");
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE: return fa_fail(FA_ERR_UNSUPPORTED, "it is optional");
    default: return fa_fail(FA_ERR_UNSUPPORTED, "it is no dense tensor");
    }
    const Onnx__TypeProto__Tensor *t = type->tensor_type;
    const Onnx__TensorShapeProto *shape = t->shape;
    if (t->elem_type) FA_TRY(fa_onnx_check_type(t->elem_type));
    if (shape && shape->n_dim > FA_MAX_DIMS) return fa_fail(FA_ERR_UNSUPPORTED, "%zu dimensions, at most %d are supported", shape->n_dim, FA_MAX_DIMS);
    value->dtype = t->elem_type;
    value->has_shape = shape != NULL;
    value->declared_ndim = shape ? (int32_t)shape->n_dim : 0;
    for (int32_t i = 0; i < value->declared_ndim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        value->declared[i] = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value >= 0 ? d->dim_value : -1;
    }
    return FA_OK;
}
