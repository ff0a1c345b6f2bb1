/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_TRACE_GATHER_H
#define FA_SCORE_TRACE_GATHER_H

#include "base/pool.h"
#include "sketch/trace.h"

/* The first `draws` draws of a chain of a trace sketch. */
typedef struct fa_trace_piece {
    const fa_sketch *from;
    int32_t chain;
    int64_t draws;
} fa_trace_piece;

/*
 * A trace sketch made of pieces [n] of others over the same model, references and calibration inputs, in the order given. Everything that follows from
 * traces is computed anew. `with_draws` false: the draws themselves are left out, so the result can judge traces but not make them.
 */
fa_status fa_trace_gather(const fa_trace_piece *pieces, int32_t n, bool with_draws, fa_pool *pool, fa_sketch **out);

/* All chains of `sketches` [count] in one. */
fa_status fa_trace_merge(const fa_sketch *const *sketches, int32_t count, fa_sketch **out);

#endif
