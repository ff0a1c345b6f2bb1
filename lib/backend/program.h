/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_PROGRAM_H
#define FA_BACKEND_PROGRAM_H

#include "backend/rewrite.h"

#define FA_PROGRAM_STAGES 3

/* A network as one implementation runs it. */
struct fa_program {
    fa_arena arena;
    fa_graph *stage[FA_PROGRAM_STAGES]; /* constants folded; BatchNormalization folded; on fast kernels */
    const fa_graph *graph;              /* the last stage */
    const fa_op_table *ops;
    const fa_tap_ops *tap_ops;
    const char *kernels;
    fa_layers layers; /* layers.node indexes `graph` */
    int32_t logits;
    int32_t kind;     /* FA_KERNELS_REFERENCE or FA_KERNELS_FAST */
};

#endif
