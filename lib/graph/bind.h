/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_BIND_H
#define FA_GRAPH_BIND_H

#include "graph/graph.h"

/* Inputs that never change become initialisers with the arrays' elements, copied: each array has the name of an input, and at least one input is left. `graph` must
 * outlive the result. FA_ERR_ARGUMENT, FA_ERR_SHAPE, FA_ERR_DTYPE, FA_ERR_NOT_FINITE name the input. */
fa_status fa_graph_bind(const fa_graph *graph, const fa_array *array, int32_t count, fa_graph **out);

#endif
