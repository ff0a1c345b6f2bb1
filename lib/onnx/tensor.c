/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/tensor.h"

#include "base/error.h"
#include "graph/array.h"
#include "onnx/external.h"

#include <string.h>

fa_status fa_onnx_check_type(int32_t dtype)
{
    static const char *const other[] = {[8] = "strings", [14] = "complex64", [15] = "complex128", [17] = "float8e4m3fn", [18] = "float8e4m3fnuz",
                                        [19] = "float8e5m2", [20] = "float8e5m2fnuz", [21] = "uint4", [22] = "int4", [23] = "float4e2m1"};
    if (fa_dtype_size(dtype)) return FA_OK;
    bool known = dtype >= 0 && (size_t)dtype < sizeof other / sizeof other[0] && other[dtype];
    if (known) return fa_fail(FA_ERR_UNSUPPORTED, "its elements are %s", other[dtype]);
    return fa_fail(FA_ERR_UNSUPPORTED, "its elements are of the unknown type %d", dtype);
}

/* Weights of four bits, two to a byte, become weights of eight. */
#define UINT4 21
#define INT4 22

static fa_status read_header(const Onnx__TensorProto *t, fa_view *view, bool *halves)
{
    int32_t dtype = t->data_type;
    if (!t->has_data_type || dtype == 0) return fa_fail(FA_ERR_FORMAT, "the tensor has no element type");
    *halves = dtype == UINT4 || dtype == INT4;
    if (*halves) dtype = dtype == INT4 ? FA_INT8 : FA_UINT8;
    FA_TRY(fa_onnx_check_type(dtype));
    if (t->segment) return fa_fail(FA_ERR_UNSUPPORTED, "the tensor is one segment of a larger one");
    if (t->n_dims > FA_MAX_DIMS) return fa_fail(FA_ERR_UNSUPPORTED, "%zu dimensions, at most %d are supported", t->n_dims, FA_MAX_DIMS);
    for (size_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] < 0) return fa_fail(FA_ERR_FORMAT, "dimension %zu of the tensor is %lld", i, (long long)t->dims[i]);
    if (!fa_view_set_shape(view, (int32_t)t->n_dims, t->dims)) return fa_fail(FA_ERR_FORMAT, "the tensor has more than 2^40 elements");
    view->dtype = dtype;
    return FA_OK;
}

/* Lists hold small types in 32 or 64 bits each. In place to the width that raw data has; a bool that is not 0 becomes 1. */
static void *narrow(void *list, size_t count, size_t from, int32_t dtype)
{
    size_t to = fa_dtype_size(dtype);
    char *p = list;
    for (size_t i = 0; i < count && to < from; i++) {
        uint64_t x = 0;
        if (from == 4) {
            uint32_t half;
            memcpy(&half, p + i * 4, 4);
            x = half;
        } else {
            memcpy(&x, p + i * 8, 8);
        }
        uint8_t x8 = dtype == FA_BOOL ? x != 0 : (uint8_t)x;
        uint16_t x16 = (uint16_t)x;
        uint32_t x32 = (uint32_t)x;
        memcpy(p + i * to, to == 1 ? (void *)&x8 : to == 2 ? (void *)&x16 : (void *)&x32, to);
    }
    return list;
}

/* The list that the type uses, as raw data; `stored` elements. */
static fa_status read_list(Onnx__TensorProto *t, const fa_view *view, int64_t stored, const void **raw)
{
    const char *field;
    size_t n, width;
    void *list;
    switch (view->dtype) {
#define LIST(name)                                                                                                                                       \
    field = #name, n = t->n_##name, width = sizeof *t->name, list = t->name;                                                                             \
    break
    case FA_FLOAT32: LIST(float_data);
    case FA_FLOAT64: LIST(double_data);
    case FA_INT64: LIST(int64_data);
    case FA_UINT32:
    case FA_UINT64: LIST(uint64_data);
    default: LIST(int32_data);
#undef LIST
    }
    if (n != (size_t)stored) {
        char shape[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_FORMAT, "%s has %zu elements for the shape %s", field, n, fa_shape_text(view->ndim, view->dim, shape, sizeof shape));
    }
    *raw = narrow(list, n, width, view->dtype);
    return FA_OK;
}

static fa_status store_halves(const uint8_t *raw, fa_arena *arena, fa_view *view)
{
    int64_t *data = fa_arena_array(arena, (size_t)view->count, sizeof *data);
    if (!data) return FA_ERR_MEMORY;
    view->data = data;
    for (int64_t i = 0; i < view->count; i++) {
        const int64_t x = raw[i / 2] >> i % 2 * 4 & 15;
        data[i] = view->dtype == FA_INT8 && x > 7 ? x - 16 : x;
    }
    return FA_OK;
}

static fa_status store(const void *raw, bool halves, fa_arena *arena, fa_view *view)
{
    if (halves) return store_halves(raw, arena, view);
    fa_array a = {raw, view->dim, view->ndim, view->dtype, NULL};
    size_t width = fa_dtype_is_real(view->dtype) && view->dtype != FA_FLOAT64 ? sizeof(float) : 8;
    void *data = fa_arena_array(arena, (size_t)view->count, width);
    if (!data) return FA_ERR_MEMORY;
    view->data = data;
    if (!view->count) return FA_OK; /* `raw` may be NULL */
    if (view->dtype == FA_FLOAT64) {
        memcpy(data, raw, (size_t)view->count * width);
    } else if (fa_dtype_is_real(view->dtype)) {
        fa_array_to_float(&a, 0, view->count, data);
    } else {
        fa_array_to_int64(&a, 0, view->count, data);
        const int64_t *x = data;
        for (int64_t i = 0; i < view->count && view->dtype == FA_UINT64; i++)
            if (x[i] < 0) return fa_fail(FA_ERR_UNSUPPORTED, "element %lld is above 2^63 - 1", (long long)i);
    }
    return FA_OK;
}

fa_status fa_onnx_tensor(Onnx__TensorProto *t, const char *folder, fa_arena *arena, fa_view *out)
{
    fa_view view = {0};
    bool halves;
    FA_TRY(read_header(t, &view, &halves));
    const int64_t stored = halves ? (view.count + 1) / 2 : view.count;
    size_t size = (size_t)stored * fa_dtype_size(view.dtype); /* at most 2^43 */
    if (t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        void *raw = NULL;
        FA_TRY(fa_onnx_external_read(arena->context, folder, t, size, &raw));
        fa_status status = store(raw, halves, arena, &view);
        fa_delete(arena->context, raw);
        FA_TRY(status);
    } else {
        const void *raw = t->raw_data.data;
        if (!t->raw_data.len) {
            FA_TRY(read_list(t, &view, stored, &raw));
        } else if (t->raw_data.len != size) {
            char shape[FA_SHAPE_TEXT];
            return fa_fail(FA_ERR_FORMAT, "raw_data has %zu bytes, %s %s takes %zu", t->raw_data.len, fa_dtype_name(view.dtype),
                           fa_shape_text(view.ndim, view.dim, shape, sizeof shape), size);
        }
        FA_TRY(store(raw, halves, arena, &view));
    }
    *out = view;
    return FA_OK;
}
