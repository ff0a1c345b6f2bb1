/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/attribute.h"

#include "base/error.h"
#include "onnx/tensor.h"

#include <string.h>

#define TYPE(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name

/* Files before IR version 2 do not say the type: it is that of the field that is set. */
static Onnx__AttributeProto__AttributeType type_of(const Onnx__AttributeProto *a)
{
    if (a->has_type && a->type != TYPE(UNDEFINED)) return a->type;
    if (a->has_f) return TYPE(FLOAT);
    if (a->has_i) return TYPE(INT);
    if (a->has_s) return TYPE(STRING);
    if (a->t) return TYPE(TENSOR);
    if (a->g) return TYPE(GRAPH);
    if (a->sparse_tensor) return TYPE(SPARSE_TENSOR);
    if (a->n_floats) return TYPE(FLOATS);
    if (a->n_ints) return TYPE(INTS);
    if (a->n_strings) return TYPE(STRINGS);
    if (a->n_tensors) return TYPE(TENSORS);
    if (a->n_graphs) return TYPE(GRAPHS);
    return TYPE(UNDEFINED);
}

bool fa_onnx_is_graph(const Onnx__AttributeProto *a)
{
    return type_of(a) == TYPE(GRAPH) && a->g;
}

static fa_status copy(fa_arena *arena, const void *data, size_t count, size_t size, void **out)
{
    void *p = fa_arena_array(arena, count, size);
    if (!p) return FA_ERR_MEMORY;
    if (count) memcpy(p, data, count * size);
    *out = p;
    return FA_OK;
}

static fa_status copy_strings(fa_arena *arena, const Onnx__AttributeProto *a, const char *const **out)
{
    const char **list = fa_arena_array(arena, a->n_strings, sizeof *list);
    if (!list) return FA_ERR_MEMORY;
    for (size_t i = 0; i < a->n_strings; i++)
        if (!(list[i] = fa_arena_bytes(arena, a->strings[i].data, a->strings[i].len))) return FA_ERR_MEMORY;
    *out = list;
    return FA_OK;
}

fa_status fa_onnx_attribute(Onnx__AttributeProto *a, const char *folder, fa_arena *arena, fa_attr *out, bool *kept)
{
    fa_attr own = {0};
    void *data = NULL;
    if (a->ref_attr_name && *a->ref_attr_name)
        return fa_fail(FA_ERR_FORMAT, "it stands for the attribute '%s' of a function, and this is no function", a->ref_attr_name);
    switch (type_of(a)) {
    case TYPE(FLOAT):
        own.kind = FA_ATTR_FLOAT;
        own.f = a->f;
        break;
    case TYPE(INT):
        own.kind = FA_ATTR_INT;
        own.i = a->i;
        break;
    case TYPE(STRING):
        own.kind = FA_ATTR_STRING;
        own.count = (int64_t)a->s.len;
        if (!(own.s = fa_arena_bytes(arena, a->s.data, a->s.len))) return FA_ERR_MEMORY;
        break;
    case TYPE(TENSOR):
        own.kind = FA_ATTR_TENSOR;
        if (!a->t) return fa_fail(FA_ERR_FORMAT, "the tensor is missing");
        FA_TRY(fa_onnx_tensor(a->t, folder, arena, &own.tensor));
        break;
    case TYPE(FLOATS):
        own.kind = FA_ATTR_FLOATS;
        own.count = (int64_t)a->n_floats;
        FA_TRY(copy(arena, a->floats, a->n_floats, sizeof *a->floats, &data));
        own.floats = data;
        break;
    case TYPE(INTS):
        own.kind = FA_ATTR_INTS;
        own.count = (int64_t)a->n_ints;
        FA_TRY(copy(arena, a->ints, a->n_ints, sizeof *a->ints, &data));
        own.ints = data;
        break;
    case TYPE(STRINGS):
        own.kind = FA_ATTR_STRINGS;
        own.count = (int64_t)a->n_strings;
        FA_TRY(copy_strings(arena, a, &own.strings));
        break;
    case TYPE(SPARSE_TENSOR): return fa_fail(FA_ERR_UNSUPPORTED, "the tensor is sparse");
    case TYPE(GRAPH):
        if (!a->g) return fa_fail(FA_ERR_FORMAT, "the graph is missing");
        *kept = false;
        return FA_OK;
    case TYPE(UNDEFINED): return fa_fail(FA_ERR_FORMAT, "it has no value");
    default: *kept = false; return FA_OK;
    }
    if (!(own.name = fa_arena_string(arena, a->name))) return FA_ERR_MEMORY;
    *out = own;
    *kept = true;
    return FA_OK;
}
