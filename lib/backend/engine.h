/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_ENGINE_H
#define FA_BACKEND_ENGINE_H

#include "backend/program.h"

/* Behind the pass interface: what differs between the ways of running a network. pass.c and varied.c have what does not: inputs, losses, the gradient at the logits. */

/* An input of the network, as the engine's forward reads it. */
typedef struct fa_pass_input {
    const char *name;
    const fa_view *view; /* [batch, ...] */
    void *to;            /* where its elements go, float or int64_t; NULL: the logits do not depend on it */
} fa_pass_input;

struct fa_pass {
    fa_arena arena;
    const fa_program *program;
    void *state; /* the engine's */
    int64_t batch, n; /* n: inputs of the current forward */
    int64_t classes;
    int32_t loss;  /* FA_LOSS_... */
    bool gradient; /* of the parameters */
    int32_t n_input;
    fa_pass_input *input; /* [n_input] in graph order */
    const float *logits;  /* [batch, classes], after forward */
    float *at_logits;     /* the gradient there, for backward; NULL in a pass that goes forward alone */
    fa_tap *geometry;     /* [layer_count]; of tapped layers */
    double flops_forward, flops_backward; /* of one input */
    /* during fa_pass_backward */
    fa_tap_fn visit;
    void *user;
};

/* A way of running a network. The pass it is given lives in an arena of its own; what it makes elsewhere, destroy() frees, also after a create() that failed. */
struct fa_engine {
    fa_status (*vary)(const fa_program *program, const fa_varied_options *options, fa_program **out);
    /* Fills in state, batch, classes, input, geometry and the FLOPs, and begins at the trained weights. program, loss and gradient are set. */
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
/* FA_ERR_NOT_FINITE or FA_ERR_ARGUMENT, which call the input number `input`, for its logits and target (NULL: none). */
fa_status fa_pass_check_row(const fa_pass *pass, const float *logits, int64_t input, const int64_t *target);
/* The shapes of a request's inputs at so many of them, in the pass's arena. */
fa_status fa_pass_input_views(fa_pass *pass, const fa_pass_request *request, const fa_graph *graph, fa_view **out);

#endif
