/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_BUILD_PARTS_H
#define FA_SCORE_BUILD_PARTS_H

#include "score/build.h"

/* What building a gradient sketch and building a trace sketch have in common. */

/* A set's arrays in graph order. `what` names the set in messages. */
fa_status fa_build_order(const fa_network *network, const fa_refset *set, fa_arena *arena, const char *what, fa_array **out);

/* Options, digests, logits and inputs of a new body. */
fa_status fa_build_describe(const fa_build_request *request, int64_t classes, const fa_array *inputs, fa_sketch_body *body);

/* Checks on the references alone. */
fa_status fa_build_check(const fa_build_request *request);

/* The references that the model classifies, as `predicted` [n] says, the way their labels do; those without a label are kept. */
fa_status fa_build_drop(fa_context *context, const fa_refset *set, const int64_t *predicted, fa_refset **out);

/* Ids and labels of the references. */
void fa_build_name_references(const fa_refset *set, fa_sketch_body *body);

/* A context with the host's allocator and limit, and counters of its own: to find out what things take. */
void fa_build_shadow(const fa_context *of, fa_context *out);

#endif
