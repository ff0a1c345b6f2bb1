/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_API_MODEL_H
#define FA_API_MODEL_H

#include "sketch/network.h"

#include <fattr/model.h>
#include <stdatomic.h>

struct fa_model {
    atomic_int references;
    fa_context *context; /* retained */
    fa_graph *graph;     /* as the file has it */
    fa_program *program; /* as the passes run it */
    int32_t logits;      /* value of `graph` */
    fa_arena arena;      /* of what `network` points to */
    fa_network network;  /* what sketches and scorers see of it */
    fa_model_info info;
};

#endif
