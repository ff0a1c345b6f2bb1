/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_TRACE_CREW_H
#define FA_SKETCH_TRACE_CREW_H

#include "sketch/tracer.h"
#include "sketch/waves.h"

/* Threads with a tracer each, for long work on many inputs. */
typedef struct fa_trace_crew {
    fa_context *context;
    const fa_program *program;
    fa_pool *pool;
    int32_t threads;
    int64_t batch;
    fa_progress_state progress;
    fa_tracer *tracer; /* [threads] */
    float *column;     /* [most] losses of one draw */
} fa_trace_crew;

/* `crew` is zeroed; fa_trace_crew_end() in any case. `inputs`: shapes; `most`: inputs of the longest piece of work; `units` of progress. */
fa_status fa_trace_crew_begin(fa_trace_crew *crew, const fa_network *network, const fa_program *program, const fa_sketch_options *options, const fa_array *inputs, int64_t most,
                              int64_t units);
void fa_trace_crew_end(fa_trace_crew *crew);

/* Outputs at the trained weights for n inputs. */
fa_status fa_trace_crew_predict(fa_trace_crew *crew, const fa_array *inputs, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs);

/* Losses of n inputs at a draw of the body: loss[i * stride]. */
fa_status fa_trace_crew_losses(fa_trace_crew *crew, const fa_sketch_body *body, int64_t draw, const fa_array *inputs, int64_t n, const fa_asked *asked, float *loss, int64_t stride);

#endif
