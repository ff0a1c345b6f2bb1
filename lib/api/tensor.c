/* SPDX-License-Identifier: Apache-2.0 */
#include "api/tensor.h"

#include "api/check.h"
#include "graph/array.h"

#include <string.h>

static size_t padded(size_t size)
{
    return (size + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

fa_status fa_tensor_new(fa_context *context, const char *name, int32_t dtype, int32_t ndim, const int64_t *shape, fa_tensor **out)
{
    size_t name_size = strlen(name) + 1, head = padded(sizeof(fa_tensor) + name_size), size = fa_dtype_size(dtype);
    for (int32_t i = 0; i < ndim; i++)
        if (!fa_mul_size(size, (size_t)shape[i], &size)) return fa_fail_memory(SIZE_MAX);
    if (!fa_add_size(size, head, &size)) return fa_fail_memory(SIZE_MAX);
    fa_tensor *t = fa_new_uncleared(context, size);
    if (!t) return FA_ERR_MEMORY;
    *t = (fa_tensor){.context = fa_context_retain(context), .name = (char *)(t + 1), .dtype = dtype, .ndim = ndim, .data = (char *)t + head};
    memcpy(t + 1, name, name_size);
    for (int32_t i = 0; i < ndim; i++) t->shape[i] = shape[i];
    *out = t;
    return FA_OK;
}

fa_status fa_tensor_view(const fa_tensor *tensor, fa_array *view)
{
    FA_CHECK(tensor);
    FA_CHECK(view);
    *view = (fa_array){.data = tensor->data, .shape = tensor->shape, .ndim = tensor->ndim, .dtype = tensor->dtype, .name = tensor->name};
    return FA_OK;
}

void fa_tensor_release(fa_tensor *tensor)
{
    if (!tensor) return;
    fa_context *context = tensor->context;
    fa_delete(context, tensor);
    fa_context_release(context);
}
