/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_UNROLL_COPY_H
#define FA_GRAPH_UNROLL_COPY_H

#include "graph/edit.h"

/* Bodies of If, Loop and Scan copied into a graph, and joined to what the node read and gave. `work` is for what is needed on the way. The caller
 * removes the node. FA_ERR_FORMAT for a body that does not fit its node, FA_ERR_LIMIT beyond FA_UNROLL_NODES. */
fa_status fa_unroll_if(fa_edit *edit, fa_arena *work, const fa_node *node, bool condition);
fa_status fa_unroll_loop(fa_edit *edit, fa_arena *work, const fa_node *node, int64_t rounds);
fa_status fa_unroll_scan(fa_edit *edit, fa_arena *work, const fa_node *node, int64_t rounds);

/* What the body of a Loop that has begun makes of its condition; FA_ERR_UNSUPPORTED when that depends on anything. */
typedef enum fa_loop_condition { FA_LOOP_GOES_ON, FA_LOOP_ENDS } fa_loop_condition;
fa_status fa_unroll_loop_condition(const fa_graph *body, fa_loop_condition *out);

/* Element `i` of an attribute of Scan that lists axes or directions; 0 without it. */
int64_t fa_scan_number(const fa_node *node, const char *attribute, int32_t i);

#endif
