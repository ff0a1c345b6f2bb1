/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_ONNX_H
#define FA_ONNX_ONNX_H

#include "graph/graph.h"

/*
 * ONNX files to graphs. What a file asks for and the reader does not have (strings, sparse tensors, sequences, training) is collected into one
 * FA_ERR_UNSUPPORTED; operators are kept as they are, and it is the plan that reports those without an implementation. Hostile files end in
 * FA_ERR_FORMAT with the byte offset or the name, in FA_ERR_LIMIT or in FA_ERR_MEMORY, with nothing held.
 */

/* The graph is finished; release it with fa_graph_destroy(). External data must lie in the file's folder. */
fa_status fa_onnx_read_file(fa_context *context, const char *path, fa_graph **out);

/* The same from memory; nothing of `data` is kept. `folder` holds external data; NULL: external data is FA_ERR_UNSUPPORTED. */
fa_status fa_onnx_read_memory(fa_context *context, const void *data, size_t size, const char *folder, fa_graph **out);

/* A lone TensorProto. Elements (stored as a graph's initialisers are) and name ("" when it has none) live in `arena`. */
fa_status fa_onnx_read_tensor(fa_context *context, const void *data, size_t size, fa_arena *arena, fa_view *out, const char **name);

#endif
