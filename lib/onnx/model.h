/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_MODEL_H
#define FA_ONNX_MODEL_H

#include "graph/graph.h"
#include "onnx/onnx.pb-c.h"

/* An unpacked model as a finished graph that owns all its contents. `scratch` holds what is needed on the way. */
fa_status fa_onnx_model(Onnx__ModelProto *model, const char *folder, fa_arena *scratch, fa_graph **out);

#endif
