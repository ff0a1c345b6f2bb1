/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_FIT_H
#define FA_SKETCH_FIT_H

#include "sketch/shards.h"

/* Two streaming passes over `n` references: second moments to projections, then raw blocks (not yet normalised) and predicted classes. The crew's
 * passes tap what `blocks` says; its options are the body's. Afterwards the crew is ready for fa_extract(). With `shards` (or NULL), whose references
 * these are, moments come from them and the first pass is left out. */
fa_status fa_fit(fa_crew *crew, const fa_blocks *blocks, const fa_shards *shards, const fa_array *inputs, int64_t n, fa_sketch_body *body);

/* Runs the references forward: predicted [n]. */
fa_status fa_predict(fa_crew *crew, const fa_array *inputs, int64_t n, int64_t *predicted);

#endif
