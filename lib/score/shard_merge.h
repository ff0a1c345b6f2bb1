/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_SHARD_MERGE_H
#define FA_SCORE_SHARD_MERGE_H

#include "score/build.h"

/* Gradient sketches over different references made one, in the order of their references' digests. */
typedef struct fa_shard_merge_request {
    const fa_network *network;
    const fa_sketch *const *sketches;    /* [count] gradient sketches */
    const fa_refset *const *references;  /* [count] */
    int32_t count;
    const fa_refset *calibration;        /* or NULL */
    const fa_sketch_options *options;    /* defaults filled in: batch, keep_moments, progress, progress_user, timeout_ms */
} fa_shard_merge_request;

fa_status fa_shard_merge(const fa_shard_merge_request *request, fa_sketch **out);

#endif
