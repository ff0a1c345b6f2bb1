/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_ENGINE_H
#define FA_BACKEND_ENGINE_H

#include "backend/program.h"

/* Behind the pass interface: what differs between the ways of running a network. pass.c and varied.c have what does not: inputs, losses, the gradient at the output. */

/* An input of the network, as the engine's forward reads it. */
typedef struct fa_pass_input {
    const char *name;
    const fa_view *view; /* [batch, ...] */
    void *to;            /* where its elements go, float or int64_t; NULL: the logits do not depend on it */
    int64_t rows;        /* of the table that its elements are looked up in, by `node`; 0: in none */
    const char *node;
} fa_pass_input;

struct fa_pass {
    fa_arena arena;
    const fa_program *program;
    void *state; /* the engine's */
    int64_t batch, n; /* n: inputs of the current forward */
    fa_head head;
    fa_output_gradient output_gradient; /* of FA_LOSS_HOST */
    void *output_gradient_user;
    bool gradient; /* of the parameters */
    int32_t n_input;
    fa_pass_input *input; /* [n_input] in graph order */
    const float *logits;  /* [batch, head.outputs], after forward */
    float *at_logits;     /* the gradient there, for backward; NULL in a pass that goes forward alone */
    fa_tap *geometry;     /* [layer_count]; of tapped layers */
    double flops_forward, flops_backward; /* of one input */
    void *workspace;
    size_t bytes; /* of values and gradients; 0: unknown */
    fa_position *position; /* [head.positions] of one input */
    int64_t *target;       /* [head.positions] */
    float *weight;         /* [head.positions] */
    /* during fa_pass_backward */
    fa_tap_fn visit;
    void *user;
};

/* A way of running a network. The pass it is given lives in an arena of its own; what it makes elsewhere, destroy() frees, also after a create() that failed. */
struct fa_engine {
    fa_status (*vary)(const fa_program *program, const fa_varied_options *options, fa_program **out);
    /* Fills in state, batch, head, input, geometry and the FLOPs, and begins at the trained weights. program and gradient are set. */
    fa_status (*create)(fa_pass *pass, const fa_pass_request *request);
    void (*destroy)(fa_pass *pass);
    /* n inputs, which lie where `input` says (and rows beyond them, up to batch, repeat the first); sets logits and at_logits. */
    fa_status (*forward)(fa_pass *pass);
    /* From at_logits, whose rows beyond n are 0: visits every tapped layer. */
    fa_status (*backward)(fa_pass *pass);
    /* Of a varied program. add_gradient: from at_logits, as backward. */
    fa_status (*add_gradient)(fa_pass *pass, float scale, float *gradient);
    fa_status (*set_weights)(fa_pass *pass, const float *weights, const float *statistics);
    void (*move_statistics)(const fa_pass *pass, float *statistics); /* called with `reestimate` alone */
    size_t (*kept_bytes)(const fa_pass *pass); /* 0: nothing to keep, and the next two are not called */
    void (*keep_weights)(const fa_pass *pass, void *kept);
    void (*use_weights)(fa_pass *pass, const void *kept);
};

extern const fa_engine fa_engine_graph, fa_engine_host; /* executor.c: the graph executor; host_pass.c: a host's callbacks */

/* Copies inputs index[0] ... index[n - 1], or first ... first + n - 1 without an index, in, and runs forward. */
fa_status fa_pass_run_forward(fa_pass *pass, const fa_array *inputs, int64_t first, const int64_t *index, int64_t n);
/* output.c. After a forward: holds its outputs against what is asked of them, tells `outputs` and sets at_logits, where there is one. */
fa_status fa_pass_judge_outputs(fa_pass *pass, const fa_array *inputs, const int64_t *index, int64_t first, const fa_asked *asked, const fa_pass_outputs *outputs);
/* Looks at the output of input `i` of the batch, row `row` of the arrays, into `out` (until the next) and pass->position. FA_ERR_NOT_FINITE and FA_ERR_ARGUMENT call the input by its row. */
fa_status fa_pass_look(fa_pass *pass, const fa_array *inputs, const fa_asked *asked, int64_t i, int64_t row, fa_head_row *out, fa_loss *loss);
/* The shapes of a request's inputs at so many of them, in the pass's arena. */
fa_status fa_pass_input_views(fa_pass *pass, const fa_pass_request *request, const fa_graph *graph, fa_view **out);

#endif
