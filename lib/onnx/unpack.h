/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_UNPACK_H
#define FA_ONNX_UNPACK_H

#include "base/alloc.h"

#include <protobuf-c/protobuf-c.h>

/* Scans `data` and unpacks it into `arena`, where the message lives until the arena is cleared. FA_ERR_FORMAT; FA_ERR_LIMIT when it would take
 * far more memory than any honest file of this size; FA_ERR_MEMORY. */
fa_status fa_onnx_unpack(fa_arena *arena, const ProtobufCMessageDescriptor *type, const void *data, size_t size, ProtobufCMessage **out);

#endif
