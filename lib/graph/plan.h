/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_PLAN_H
#define FA_GRAPH_PLAN_H

#include "graph/op.h"

/*
 * A plan is a graph bound to concrete input shapes: shapes inferred, constants folded, the order of forward and backward steps and the place of
 * every tensor in one arena fixed. Immutable; many runs share it. A run is the memory for one pass at a time: it allocates when created, never
 * when used.
 *
 * Initialisers that vary (graph->value[].varies) have no contents in a plan, and what follows from them is not folded: the nodes that depend on
 * initialisers alone are run by fa_run_prepare(), once per set of contents, and what they make stays until the next.
 */
typedef struct fa_plan fa_plan;
typedef struct fa_run fa_run;

typedef struct fa_plan_request {
    const fa_graph *graph;      /* must outlive the plan */
    fa_context *context;        /* whose memory the plan takes; NULL: the graph's */
    const fa_op_table *ops;
    const fa_view *inputs;      /* [graph->n_input] shapes and dtypes; `data` set binds contents at plan time (inputs that determine shapes) */
    const int32_t *wanted;      /* values that can be read after fa_run_forward() */
    int32_t n_wanted;
    int32_t loss;               /* value whose gradient the caller gives to fa_run_backward(), or -1: forward only */
    const int32_t *tap;         /* nodes whose (one input, gradient at output 0) the caller wants to see during backward */
    const int32_t *tap_input;   /* [n_tap] which input that is; NULL: the first of each */
    int32_t n_tap;
    const int32_t *wrt;         /* values whose gradient can be read after backward: inputs or initialisers (gradient checks, samplers) */
    int32_t n_wrt;
    int32_t threads;            /* that a run may share its work with: nodes have workspaces for so many; 0: none */
    int64_t slice;              /* not 0: consecutive steps that can are run together on so many rows of the batch at a time, whose tensors then stay in the cache. What is summed
                                   over the batch is summed slice by slice */
} fa_plan_request;

/* FA_ERR_UNSUPPORTED lists every node without an operator at once; FA_ERR_SHAPE and others name the node. */
fa_status fa_plan_create(const fa_plan_request *request, fa_plan **out);
void fa_plan_destroy(fa_plan *plan);

/* Every node the table has no operator for, in one message: FA_ERR_UNSUPPORTED; else FA_OK. */
fa_status fa_plan_check_ops(const fa_graph *graph, const fa_op_table *ops);

const fa_view *fa_plan_value(const fa_plan *plan, int32_t value); /* shape and dtype; data only where constant. NULL for a value that is not computed */
size_t fa_plan_arena_bytes(const fa_plan *plan);                  /* of one run */
/* What a run's memory is for, in bytes. */
typedef struct fa_plan_memory {
    size_t live;    /* the largest sum of values and gradients that one step needs, by their lifetimes alone: no order of places takes less */
    size_t placed;  /* what the places that they were given take */
    size_t scratch; /* workspaces of nodes: one for all that keep nothing in theirs */
    size_t whole;   /* fa_plan_arena_bytes(): with the calls */
} fa_plan_memory;
fa_plan_memory fa_plan_memory_of(const fa_plan *plan);
double fa_plan_flops_forward(const fa_plan *plan);
double fa_plan_flops_backward(const fa_plan *plan);               /* data gradients that are really computed */

/* For runs made from now on: their workspace, which nodes use while they run, has so many bytes at least, and what is called between nodes (fa_tap_visit) may use it too. */
fa_status fa_plan_reserve(fa_plan *plan, size_t bytes);
void *fa_run_workspace(fa_run *run); /* aligned to FA_ALIGN */

fa_status fa_run_create(const fa_plan *plan, fa_context *context, fa_run **out);
/* The same in the memory of another run, which must outlive it: using either loses what the other holds. Where that is too small, or NULL, in memory of its own. Not for initialisers that vary. */
fa_status fa_run_create_beside(const fa_plan *plan, fa_context *context, const fa_run *beside, fa_run **out);
void fa_run_destroy(fa_run *run);
/* The threads that nodes may share their work with: a pool of fa_plan_request.threads, whose fa_pool_lead() runs what is below; NULL, as a run begins: none. */
void fa_run_share(fa_run *run, fa_pool *pool);
/* Where to write input `i` (index into graph->input) before fa_run_forward(): fa_real or int64_t elements. NULL for an input that nothing wanted
 * depends on, which need not be given a shape either. An input bound at plan time is not written to. */
void *fa_run_input(fa_run *run, int32_t i);
/* Contents of an initialiser that varies: fa_real elements, which must stay where they are until fa_run_prepare() has returned. Every one that something
 * wanted depends on is to be set before fa_run_prepare(), and that is to be called before fa_run_forward(). Others are passed over. */
void fa_run_set(fa_run *run, int32_t value, const void *data);
void fa_run_prepare(fa_run *run);
/* What fa_run_prepare() left behind, for another time: copied to `kept` (FA_ALIGN-aligned, fa_plan_kept_bytes()), and used from there in place of a
 * preparation, until the next fa_run_prepare() or fa_run_use(). `kept` must stay. */
size_t fa_plan_kept_bytes(const fa_plan *plan);
void fa_run_keep(const fa_run *run, void *kept);
void fa_run_use(fa_run *run, const void *kept);
void fa_run_forward(fa_run *run);
/* A wanted value's, a constant's or (inside a tap) a tapped input's contents. */
const fa_view *fa_run_value(const fa_run *run, int32_t value);

/* Called for tap `index` of the request when the gradient at the node's output 0 is complete; `grad` has the shape of that output. */
typedef void (*fa_tap_visit)(void *user, int32_t index, const fa_run *run, const void *grad);
/* Where to write the gradient at `loss` after forward and before backward. */
void *fa_run_loss_gradient(fa_run *run);
void fa_run_backward(fa_run *run, fa_tap_visit visit, void *user);
/* Gradient with regard to request->wrt[i], after backward; zeros where nothing flows, NULL for a value that nothing wanted depends on. */
const void *fa_run_gradient(const fa_run *run, int32_t i);

#endif
