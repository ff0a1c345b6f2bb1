/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_PASS_PRIVATE_H
#define FA_BACKEND_PASS_PRIVATE_H

#include "backend/program.h"
#include "graph/plan.h"

struct fa_pass {
    fa_arena arena;
    const fa_program *program;
    const fa_program_graph *network; /* the program's that this pass runs */
    fa_plan *plan;
    fa_run *run;
    int64_t batch, n; /* n: inputs of the current forward */
    int64_t classes;
    int32_t loss;       /* FA_LOSS_... */
    bool gradient;      /* of the parameters */
    int32_t n_tap;
    int32_t *tap_layer; /* [n_tap] layer of each tap */
    fa_tap *geometry;   /* [layer_count]; of tapped layers */
    /* during fa_pass_backward */
    fa_tap_fn visit;
    void *user;
};

/* Copies inputs index[0] ... index[n - 1], or first ... first + n - 1 without an index, in. */
fa_status fa_pass_copy_in(fa_pass *pass, const fa_array *inputs, int64_t first, const int64_t *index, int64_t n);
/* varied.c: the trained weights, and checks of what mean gradients need. */
fa_status fa_pass_begin_varied(fa_pass *pass);
/* FA_ERR_NOT_FINITE or FA_ERR_ARGUMENT, which call the input number `input`, for its logits and target (NULL: none). */
fa_status fa_pass_check_row(const fa_pass *pass, const float *logits, int64_t input, const int64_t *target);

#endif
