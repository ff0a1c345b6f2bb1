/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_PROJECT_H
#define FA_SKETCH_PROJECT_H

#include "sketch/moments.h"

/*
 * From second moments to projections: the k eigenvectors of the largest eigenvalues of each side, each scaled by
 * (eigenvalue + damping * mean eigenvalue)^-beta. Fills in the body's layers (those with signal first) and offsets.
 * FA_ERR_NO_SIGNAL when no layer has any. `total` as fa_moments_sum() left it over `n` inputs.
 */
fa_status fa_project(fa_crew *crew, const fa_blocks *blocks, const double *total, int64_t n, const fa_sketch_options *options, fa_sketch_body *body);

/* Bytes that fa_project() takes at most beside the projections: the sides that are worked on at once, when no layer is dropped. */
size_t fa_project_bytes(const fa_blocks *blocks, int32_t threads);

#endif
