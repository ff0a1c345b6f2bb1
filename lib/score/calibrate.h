/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_CALIBRATE_H
#define FA_SCORE_CALIBRATE_H

#include "sketch/crew.h"

/* Scores of every kind for `n` inputs (arrays in graph order), sorted, into a sketch that has none yet. The crew is ready for fa_extract(). */
fa_status fa_calibrate(fa_crew *crew, fa_sketch *sketch, const fa_array *inputs, int64_t n);

/* The same of a trace sketch whose calibration_loss is there. */
fa_status fa_calibrate_traces(fa_sketch *sketch, fa_pool *pool);

/* Each reference against the others: out [n_reference]. */
fa_status fa_audit(const fa_sketch *sketch, int32_t score, double *out);

#endif
