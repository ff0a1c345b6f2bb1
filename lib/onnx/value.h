/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_VALUE_H
#define FA_ONNX_VALUE_H

#include "graph/graph.h"
#include "onnx/onnx.pb-c.h"

/* Sets the value's declared element type and shape (-1 where open) from `type`, which may be NULL: then nothing is known. FA_ERR_UNSUPPORTED
 * for sequences and the like, element types and ranks that a view cannot hold; the value is then as it was. */
fa_status fa_onnx_declare(const Onnx__TypeProto *type, fa_value *value);

#endif
