/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_ATTRIBUTE_H
#define FA_ONNX_ATTRIBUTE_H

#include "graph/graph.h"
#include "onnx/onnx.pb-c.h"

/*
 * An AttributeProto as an attribute with its contents in `arena`. `*kept` is false for what no operator of the library reads (types, lists of
 * tensors or graphs), and for a graph, which model.c reads: the node is kept without it and reported, if at all, for its operator. Messages do not
 * name the attribute: the caller does.
 */
fa_status fa_onnx_attribute(Onnx__AttributeProto *attribute, const char *folder, fa_arena *arena, fa_attr *out, bool *kept);

/* Whether it holds a graph. */
bool fa_onnx_is_graph(const Onnx__AttributeProto *attribute);

#endif
