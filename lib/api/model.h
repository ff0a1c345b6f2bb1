/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_API_MODEL_H
#define FA_API_MODEL_H

#include "backend/host.h"
#include "backend/run_plans.h"
#include "sketch/network.h"

#include <fattr/model.h>
#include <stdatomic.h>

struct fa_model {
    atomic_int references;
    fa_context *context; /* retained */
    fa_host *host;       /* whose passes run it, or NULL; then `graph` is the host's and names inputs and output alone */
    fa_graph *read;      /* as the file has it; NULL with a host */
    fa_graph *graph;     /* with inputs bound; otherwise `read` itself */
    fa_program *program; /* as the passes run it */
    fa_run_plans *plans; /* of fa_model_run(): the one part that changes, under a mutex of its own */
    int32_t logits;      /* value of `graph` */
    fa_arena arena;      /* of what `network` points to */
    fa_network network;  /* what sketches and scorers see of it */
    fa_model_info info;
};

/* backend.c, model.c: models without a graph. fa_model_from_host() takes the host over, also on failure. */
fa_status fa_model_from_host(fa_context *context, fa_host *host, fa_model **out);
/* The logits of n inputs, `batch` at a time. `inputs` in the model's order, checked. */
fa_status fa_model_run_host(const fa_model *model, const fa_array *inputs, int64_t n, int64_t batch, fa_tensor **out);

#endif
