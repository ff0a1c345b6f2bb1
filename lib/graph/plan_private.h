/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_PLAN_PRIVATE_H
#define FA_GRAPH_PLAN_PRIVATE_H

#include "graph/plan.h"

#define FA_NOWHERE SIZE_MAX

/* A node as the plan runs it. */
typedef struct fa_step {
    const fa_op *op;
    void *params;
    double flops;
    size_t scratch, scratch_offset;
    bool required;      /* something wanted depends on it */
    bool folded;        /* its outputs are constants of the plan */
    bool skip_forward;  /* a view: its output lies where its input lies */
    bool cheap;         /* fa_op_setup.cheap */
    int32_t tap;        /* index into request->tap, or -1 */
    int32_t tap_input;  /* which input the tap reads */
    bool run_backward;  /* an input needs its gradient; a tapped node may be visited without */
    bool *want_grad;    /* [n_in] */
    bool *accumulate;   /* [n_in] not the first contribution to that gradient */
    bool *zero;         /* [n_in] zero the gradient before this node's backward */
    int32_t *slope;     /* [n_in] the function whose derivative it multiplies that gradient by, a node, or -1; NULL: none */
} fa_step;

/* A node's turn in a pass: its reduction over the batch (op->reduce_forward or reduce_backward), or what comes behind, or both as one. */
typedef struct fa_turn {
    int32_t node;
    bool reduce;
} fa_turn;

/* A node that is run forward again before a backward stretch, the first that reads its output: until then its output has no place. */
typedef struct fa_again {
    int32_t stretch, node;
} fa_again;

/* Turns first ... end - 1, run together on `rows` of the batch's `all` rows at a time; all and rows 0: one turn, run on the whole of it. */
typedef struct fa_stretch {
    int32_t first, end;
    int64_t all, rows;
} fa_stretch;

/* The order of a forward or backward pass. */
typedef struct fa_schedule {
    fa_turn *turn;
    fa_stretch *stretch;
    int32_t n_turn, n_stretch;
    int32_t *begin, *end; /* [n_node] the stretches in which a node has its first and its last turn */
} fa_schedule;

struct fa_plan {
    fa_arena arena;
    const fa_graph *graph;
    fa_graph *unrolled; /* `graph` when If, Loop or Scan had to go first; `base` is then what the request gave */
    const fa_graph *base;
    const fa_op_table *ops;
    fa_view *view;      /* [n_value] */
    fa_step *step;      /* [n_node] */
    bool *needs_grad;   /* [n_value] some tapped output or wrt value flows into it */
    bool *active;       /* [n_value] ... and it flows into the loss: it has a gradient */
    int32_t *forward;   /* nodes to run, in order: the first n_prepare of them once per set of contents of the initialisers that vary */
    int32_t n_forward, n_prepare;
    int32_t *backward;  /* nodes to visit or run backward, in order */
    int32_t n_backward;
    fa_again *again;    /* in order */
    int32_t n_again;
    fa_schedule forwards, backwards; /* the same in stretches; preparing steps are one each */
    int64_t slice;
    int32_t threads;
    bool *short_grad;   /* [n_value] the gradient is made and used up within slices of one stretch, and has place for one slice */
    int32_t loss;
    int32_t *wrt;
    int32_t n_wrt;
    int32_t *root;      /* [n_value] the value in whose memory this one lies: itself, or a view's input */
    size_t *offset;     /* [n_value] in the arena of a run; FA_NOWHERE for constants and what is not computed */
    int32_t *grad_root; /* [n_value] the value whose gradient's memory this one's has too */
    size_t *grad_offset;
    size_t *kept_offset; /* [n_value] in a copy of what fa_run_prepare() leaves behind; FA_NOWHERE for what does not belong to it */
    size_t kept_bytes;
    size_t arena_bytes;
    size_t shared_at;   /* in the arena: the workspace of all nodes that keep nothing in theirs, up to its end */
    size_t live_bytes, placed_bytes; /* most of values and gradients that is alive at one step, and what their places take */
    double flops_forward, flops_backward;
};

static inline size_t fa_plan_element_bytes(const fa_plan *plan, const fa_view *view)
{
    return fa_dtype_is_real(view->dtype) ? plan->ops->real_size : sizeof(int64_t);
}

/* plan_slices.c: p->forwards, p->backwards and p->short_grad. */
fa_status fa_plan_schedule(fa_plan *plan);

/* plan_memory.c: lifetimes to offsets. `wanted` as in the request. */
fa_status fa_plan_place(fa_plan *plan, const int32_t *wanted, int32_t n_wanted);

/* fa_plan_create() for a request that depends on no If, Loop or Scan, and whose operators are known to exist. */
fa_status fa_plan_create_straight(const fa_plan_request *request, fa_plan **out);

#endif
