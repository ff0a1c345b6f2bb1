/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_EXTERNAL_H
#define FA_ONNX_EXTERNAL_H

#include "base/alloc.h"
#include "onnx/onnx.pb-c.h"

/*
 * The `size` bytes that a tensor keeps outside the model; free with fa_delete(). The file must be a regular one inside `folder` after all
 * symbolic links are followed. FA_ERR_UNSUPPORTED when `folder` is NULL; FA_ERR_FORMAT for a place outside the folder or a range outside the
 * file; FA_ERR_IO.
 */
fa_status fa_onnx_external_read(fa_context *context, const char *folder, const Onnx__TensorProto *tensor, size_t size, void **data);

#endif
