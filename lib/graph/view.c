/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/view.h"

#include <stdio.h>

const char *fa_dtype_name(int32_t dtype)
{
    switch (dtype) {
    case FA_FLOAT32: return "float32";
    case FA_UINT8: return "uint8";
    case FA_INT8: return "int8";
    case FA_UINT16: return "uint16";
    case FA_INT16: return "int16";
    case FA_INT32: return "int32";
    case FA_INT64: return "int64";
    case FA_BOOL: return "bool";
    case FA_FLOAT16: return "float16";
    case FA_FLOAT64: return "float64";
    case FA_UINT32: return "uint32";
    case FA_UINT64: return "uint64";
    case FA_BFLOAT16: return "bfloat16";
    default: return "unknown";
    }
}

bool fa_view_set_shape(fa_view *view, int32_t ndim, const int64_t *dim)
{
    if (ndim < 0 || ndim > FA_MAX_DIMS) return false;
    int64_t count = 1;
    bool empty = false;
    for (int32_t i = 0; i < ndim; i++) {
        if (dim[i] < 0) return false;
        if (dim[i] == 0) empty = true;
        else if (count > FA_MAX_ELEMENTS / dim[i]) return false;
        else count *= dim[i];
    }
    for (int32_t i = 0; i < ndim; i++) view->dim[i] = dim[i];
    view->ndim = ndim;
    view->count = empty ? 0 : count;
    return true;
}

const char *fa_shape_text(int32_t ndim, const int64_t *dim, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "[");
    for (int32_t i = 0; i < ndim && at < size; i++) at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? ", " : "", (long long)dim[i]);
    if (at < size) snprintf(text + at, size - at, "]");
    return text;
}
