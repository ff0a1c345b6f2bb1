/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_UNROLL_H
#define FA_GRAPH_UNROLL_H

#include "graph/op.h"

/*
 * If, Loop and Scan are no operators: where the branch taken or the number of rounds is known before a run, their bodies are copied into the graph
 * around them, once for each round. `ends` are the values that what is wanted depends on; only nodes they depend on are looked at.
 *
 * `inputs` [graph->n_input] as in a plan's request: what they bind and what follows from their shapes decides. NULL: only initialisers decide, and
 * a node that they do not decide stays. With inputs such a node is FA_ERR_UNSUPPORTED with its name; a graph that would grow beyond
 * FA_UNROLL_NODES is FA_ERR_LIMIT. `*out` is NULL when there was nothing to do; else a graph with `graph` as its base, in which values keep their
 * indices and nodes do not.
 */
#define FA_UNROLL_NODES 200000

fa_status fa_unroll(const fa_graph *graph, fa_context *context, const fa_op_table *ops, const fa_view *inputs, const int32_t *ends, int32_t n_ends,
                    fa_graph **out);

/* Frees what fa_unroll() made of `graph`; NULL is nothing. */
void fa_unroll_destroy(fa_graph *unrolled, const fa_graph *graph);

#endif
