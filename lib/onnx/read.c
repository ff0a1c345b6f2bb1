/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/onnx.h"

#include "base/error.h"
#include "base/file.h"
#include "onnx/model.h"
#include "onnx/tensor.h"
#include "onnx/unpack.h"

#include <string.h>

static fa_status unpack(const void *data, size_t size, fa_arena *scratch, ProtobufCMessage **model)
{
    if (!size) return fa_fail(FA_ERR_FORMAT, "it is no ONNX model: it is empty");
    fa_status status = fa_onnx_unpack(scratch, &onnx__model_proto__descriptor, data, size, model);
    return status == FA_ERR_FORMAT ? fa_fail_at(status, "it is no ONNX model") : status;
}

fa_status fa_onnx_read_memory(fa_context *context, const void *data, size_t size, const char *folder, fa_graph **out)
{
    fa_arena scratch = {.context = context};
    ProtobufCMessage *model = NULL;
    fa_status status = unpack(data, size, &scratch, &model);
    if (status == FA_OK) status = fa_onnx_model((Onnx__ModelProto *)model, folder, &scratch, out);
    fa_arena_clear(&scratch);
    return status;
}

/* The folder of a path, allocated. */
static char *folder_of(fa_context *context, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = fa_new(context, n + 1);
    if (folder) memcpy(folder, path, n);
    return folder;
}

fa_status fa_onnx_read_file(fa_context *context, const char *path, fa_graph **out)
{
    char *folder = folder_of(context, path);
    if (!folder) return FA_ERR_MEMORY;
    void *data = NULL;
    size_t size = 0;
    fa_status status = fa_file_read(context, path, &data, &size);
    if (status == FA_OK) {
        fa_arena scratch = {.context = context};
        ProtobufCMessage *model = NULL;
        status = unpack(data, size, &scratch, &model);
        fa_delete(context, data); /* the message has copies: weights are held twice at most */
        if (status == FA_OK) status = fa_onnx_model((Onnx__ModelProto *)model, folder, &scratch, out);
        fa_arena_clear(&scratch);
        if (status != FA_OK) fa_fail_at(status, "'%s'", path);
    }
    fa_delete(context, folder);
    return status;
}

fa_status fa_onnx_read_tensor(fa_context *context, const void *data, size_t size, fa_arena *arena, fa_view *out, const char **name)
{
    fa_arena scratch = {.context = context};
    ProtobufCMessage *message = NULL;
    fa_view view;
    char *own = NULL;
    fa_status status = fa_onnx_unpack(&scratch, &onnx__tensor_proto__descriptor, data, size, &message);
    if (status == FA_ERR_FORMAT) status = fa_fail_at(status, "it is no ONNX tensor");
    if (status == FA_OK) {
        Onnx__TensorProto *tensor = (Onnx__TensorProto *)message;
        status = fa_onnx_tensor(tensor, NULL, arena, &view);
        if (status == FA_OK && !(own = fa_arena_string(arena, tensor->name ? tensor->name : ""))) status = FA_ERR_MEMORY;
    }
    if (status == FA_OK) {
        *out = view;
        *name = own;
    }
    fa_arena_clear(&scratch);
    return status;
}
