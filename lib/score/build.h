/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_BUILD_H
#define FA_SCORE_BUILD_H

#include "sketch/network.h"
#include "sketch/refset.h"
#include "sketch/shards.h"
#include "sketch/sketch.h"

/* Building a sketch from end to end. */
typedef struct fa_build_request {
    const fa_network *network;
    const fa_refset *references;
    const fa_refset *calibration;     /* or NULL */
    const fa_sketch_options *options; /* defaults filled in */
    const fa_shards *shards;          /* or NULL: sketches over parts of the references, whose moments and choice of references hold */
} fa_build_request;

fa_status fa_build(const fa_build_request *request, fa_sketch **out);

/* Sizes of everything fa_build() would allocate, and of what comes of it. */
fa_status fa_build_estimate(const fa_build_request *request, fa_memory_estimate *out);

/* Another head over `sketch`'s body, calibrated on `calibration` (NULL: not at all). */
fa_status fa_build_recalibrate(const fa_sketch *sketch, const fa_network *network, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);

#endif
