/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_TENSOR_H
#define FA_ONNX_TENSOR_H

#include "base/alloc.h"
#include "graph/view.h"
#include "onnx/onnx.pb-c.h"

/*
 * A TensorProto's elements into `arena`, stored as a graph's initialisers are; `data` is never NULL. `tensor` is used up: its lists may be
 * rewritten. `folder` as in fa_onnx_read_memory(). FA_ERR_FORMAT unless there are exactly as many elements as the shape says;
 * FA_ERR_UNSUPPORTED for an element type, rank or encoding that a view cannot hold. Messages do not name the tensor: the caller does.
 */
fa_status fa_onnx_tensor(Onnx__TensorProto *tensor, const char *folder, fa_arena *arena, fa_view *out);

/* FA_ERR_UNSUPPORTED with its name for an element type that a view does not have. */
fa_status fa_onnx_check_type(int32_t dtype);

#endif
