/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_SAMPLING_H
#define FA_SKETCH_SAMPLING_H

#include "backend/pass.h"
#include "base/pool.h"
#include "sampler/chain.h"
#include "sketch/progress.h"
#include "sketch/trace.h"

/* Runs the chains of a trace sketch: fills in its draws, statistics and distances, and has every draw observed. */
typedef struct fa_sampling {
    const fa_network *network;
    const fa_program *program;    /* fa_trace_program() */
    fa_sketch_body *body;         /* fa_trace_new() done */
    const fa_array *inputs;       /* the sampling set, in graph order */
    int64_t n;
    const fa_asked *asked;        /* of its outputs */
    fa_pool *pool;
    fa_progress_state *progress;
    void *user;
    fa_status (*observe)(void *user, int64_t draw);                            /* losses at a draw that is now part of the body */
    /* May be NULL: called between steps, when the chain (NULL: gaussian) can be written down. `draw`: draws done, of all chains. */
    fa_status (*pause)(void *user, int32_t chain, fa_chain_state *state, int64_t draw);
    /* Where to go on from: state of chain `first_chain`, or NULL arrays to begin at the beginning. */
    int32_t first_chain;
    int64_t first_draw;
    fa_chain_state state;
} fa_sampling;

fa_status fa_sampling_run(const fa_sampling *sampling);

/* Steps of a chain up to its last kept draw. */
int64_t fa_sampling_steps(const fa_trace_options *options);

/* Inputs that gradients see, units of progress: of all chains, and of those before chain `chain` with `step` steps of its own. `n` inputs to sample from. */
int64_t fa_sampling_units(const fa_trace_options *options, int64_t n);
int64_t fa_sampling_units_done(const fa_trace_options *options, int64_t n, int32_t chain, int64_t step);

/* What it holds beside the sketch, in bytes of the context; a pass for gradients is created in `counter` to find out. */
fa_status fa_sampling_bytes(const fa_sampling *sampling, fa_context *counter, size_t *out);

#endif
