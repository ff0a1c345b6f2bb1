/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_EDIT_H
#define FA_GRAPH_EDIT_H

#include "graph/graph.h"

/* A graph being rewritten: a copy of `base` that grows. Indices of base's values and nodes stay valid until fa_edit_finish(), which drops removed
 * nodes and sorts; value indices stay valid beyond. Names, attributes and initialisers of `base` are shared, so it must outlive the result. */
typedef struct fa_edit {
    fa_graph *graph; /* graph->value and graph->node may move when something is added */
    int32_t value_room, node_room;
} fa_edit;

fa_status fa_edit_begin(const fa_graph *base, fa_edit *edit);
/* The same with the result's memory from `context`. */
fa_status fa_edit_begin_in(const fa_graph *base, fa_context *context, fa_edit *edit);
void fa_edit_discard(fa_edit *edit);

/* New things. The name is copied, made unique by a suffix where it is taken. `*data`: zeroed elements, float for FA_FLOAT32, int64_t otherwise. */
fa_status fa_edit_value(fa_edit *edit, const char *name, int32_t dtype, int32_t *value);
/* One like `like` under a name as it is given: the caller sees to it that it is new. Quick, for many. */
fa_status fa_edit_copy_value(fa_edit *edit, const char *name, const fa_value *like, int32_t *value);
fa_status fa_edit_initialiser(fa_edit *edit, const char *name, int32_t dtype, int32_t ndim, const int64_t *dim, int32_t *value, void **data);
/* A value to be computed from initialisers of which some vary, of this shape. */
fa_status fa_edit_varying(fa_edit *edit, const char *name, int32_t ndim, const int64_t *dim, int32_t *value);
/* A node (those of `base` too) has room for one input more than it says. This one has room for its inputs, outputs (all -1) and attributes (to be filled in). `*node` is its index. */
fa_status fa_edit_node(fa_edit *edit, const char *name, const char *op, const char *domain, int32_t opset, int32_t n_in, int32_t n_out, int32_t n_attr, int32_t *node);

/* One with the operator, attributes and as many inputs and outputs (all -1) as `like`, both names being used as they are. */
fa_status fa_edit_copy_node(fa_edit *edit, const char *name, const fa_node *like, int32_t *node);

/* Makes value `v` (computed so far) an initialiser with these elements, which the edit does not copy; its producer must be removed. */
void fa_edit_make_initialiser(fa_edit *edit, int32_t value, const fa_view *view);
void fa_edit_remove_node(fa_edit *edit, int32_t node);
bool fa_edit_is_removed(const fa_edit *edit, int32_t node);

/* How many inputs of nodes read `v`, and the last such node; graph outputs do not count. */
int32_t fa_edit_consumers(const fa_edit *edit, int32_t value, int32_t *consumer);

/* Ends the edit; on failure the graph is discarded. */
fa_status fa_edit_finish(fa_edit *edit, fa_graph **out);

#endif
