/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_CREW_H
#define FA_SKETCH_CREW_H

#include "sketch/extract.h"
#include "sketch/network.h"
#include "sketch/waves.h"

/* Threads with a pass each, for long work on many inputs. */
typedef struct fa_crew {
    fa_context *context;
    const fa_network *network;
    fa_pool *pool;
    int32_t threads;
    int64_t batch;              /* of the passes: what was asked for, or what the model takes */
    fa_progress_state progress;
    fa_extraction *member;      /* [threads] */
    fa_projector *projector;    /* shared by the members; NULL until fa_crew_project() */
} fa_crew;

typedef struct fa_crew_request {
    const fa_network *network;
    const fa_sketch_options *options; /* as used */
    const fa_array *inputs;           /* [network->n_input] shapes; any leading dimension */
    const bool *tapped;               /* [layers] */
    int64_t most;                     /* inputs of the longest piece of work: no more threads than it has chunks */
    int64_t units;                    /* of progress */
} fa_crew_request;

int32_t fa_crew_threads(const fa_context *context, int64_t batch, int64_t most);

/* `crew` is zeroed; fa_crew_end() in any case. */
fa_status fa_crew_begin(fa_crew *crew, const fa_crew_request *request);

/* Readies every member for fa_extract() with a body's projections. */
fa_status fa_crew_project(fa_crew *crew, const fa_sketch_body *body);

void fa_crew_end(fa_crew *crew);

#endif
