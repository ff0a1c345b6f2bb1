/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_FINISH_H
#define FA_SCORE_FINISH_H

#include "base/pool.h"
#include "score/concordance.h"
#include "score/scores.h"
#include "sketch/sketch.h"

/* The geometry of a body's signatures. */
fa_space fa_body_space(const fa_sketch_body *body);
fa_rows fa_body_rows(const fa_sketch_body *body);
fa_trace_rows fa_body_trace_rows(const fa_sketch_body *body); /* of a trace sketch */

/* What fa_scores_create() asks for over a body's references. */
fa_scores_setup fa_body_scores_setup(const fa_sketch_body *body, int32_t kernels, uint32_t want);

/* From raw blocks to unit blocks, shares, tau, Gram matrix and factor. FA_ERR_NOT_FINITE; FA_ERR_NO_SIGNAL when every signature is zero. */
fa_status fa_body_finish(fa_sketch_body *body, int32_t kernels, fa_pool *pool);

/* What a file does not hold: tau and factor; of a trace sketch the signatures too. */
fa_status fa_body_derive(fa_sketch_body *body, int32_t kernels);

#endif
