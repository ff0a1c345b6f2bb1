/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_SHARDS_H
#define FA_SKETCH_SHARDS_H

#include "sketch/moments.h"
#include "sketch/refset.h"

/* Sketches over parts of one set of references, in the order in which their moments are added up and their references follow each other. */
typedef struct fa_shards {
    const fa_sketch_body *const *body; /* [count] */
    int32_t count;
} fa_shards;

/* Adds the shards' moments to `total` [blocks->total_doubles]. FA_ERR_MISMATCH for a shard that has not those of every block. */
fa_status fa_shards_sum(const fa_shards *shards, const fa_program *program, const fa_blocks *blocks, double *total);

/* How many references the shards have. */
int64_t fa_shards_references(const fa_shards *shards);

/* The references that the shards were built on, by their ids in order, out of all those they were given (some may have been dropped then).
 * FA_ERR_MISMATCH when one is not there. */
fa_status fa_shards_select(fa_context *context, const fa_shards *shards, const fa_refset *all, fa_refset **out);

#endif
