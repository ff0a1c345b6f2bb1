/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_SCAN_H
#define FA_ONNX_SCAN_H

#include <fattr/status.h>
#include <protobuf-c/protobuf-c.h>

#define FA_ONNX_MAX_DEPTH 64

/*
 * Checks bytes against a message type before protobuf-c sees them, so that protobuf-c can fail for want of memory only: lengths, wire types,
 * nesting of at most FA_ONNX_MAX_DEPTH messages, strings without NUL and in UTF-8, no single message given in pieces (protobuf-c would merge
 * them, which costs quadratic time). Fields that the type does not know are stepped over. FA_ERR_FORMAT names the byte and the field.
 */
fa_status fa_onnx_scan(const ProtobufCMessageDescriptor *type, const void *data, size_t size);

#endif
