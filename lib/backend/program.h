/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_PROGRAM_H
#define FA_BACKEND_PROGRAM_H

#include "backend/rewrite.h"
#include "backend/varied.h"
#include "graph/plan.h"

/* parameters.c: what moves in a varied program, and where it lies in the flat vectors. Values are initialisers of the model's graph. */
typedef struct fa_parameters {
    fa_parameter *parameter;
    int32_t *value; /* [count] of each parameter */
    int32_t count;
    int64_t weights;
    int32_t *statistic;    /* [n_statistic] running means and variances */
    int64_t *statistic_at; /* [n_statistic] offsets in the flat vector */
    int32_t n_statistic;
    int64_t statistics;
    float *trained; /* [weights], then [statistics] */
} fa_parameters;

fa_status fa_parameters_find(const fa_graph *graph, int32_t logits, const fa_varied_options *options, fa_arena *arena, fa_parameters *out);
/* A node whose output 0 has the elements of its input 0 under another name, order or shape. */
bool fa_node_moves(const fa_node *node);
/* The initialiser whose elements `value` holds, by nodes that only name, move or shape them; or -1. */
int32_t fa_parameter_source(const fa_graph *graph, int32_t value);
/* A node that is BatchNormalization by the mean and variance it is given. */
bool fa_is_batchnorm(const fa_node *node);
/* lookup_range.c: which rows the elements of graph input `input` can name: those of the shortest constant table that they index as they stand, under any shape. `node` looks them
 * up. 0: of no table. */
int64_t fa_lookup_rows(const fa_graph *graph, const fa_plan *plan, int32_t input, const char **node);
/* FA_ERR_ARGUMENT for one of n elements (of `row` each input, the first of them input number `first`) that is no row, counted from either end. */
fa_status fa_lookup_check(const char *node, const char *input, int64_t rows, const int64_t *elements, int64_t n, int64_t row, int64_t first);
/* The graph with these initialisers marked as varying. */
fa_status fa_rewrite_vary(const fa_graph *graph, const fa_parameters *parameters, fa_graph **out);

/* rewrite_statistics.c: BatchNormalization by the batch's own statistics. */
typedef struct fa_batchnorm {
    const char *name;
    int32_t mean, variance;       /* values: the batch's */
    int64_t mean_at, variance_at; /* of the running ones in the flat vector of statistics */
    int64_t channels;
    double momentum;
} fa_batchnorm;
typedef struct fa_batchnorms {
    fa_batchnorm *norm;
    int32_t count;
} fa_batchnorms;
fa_status fa_rewrite_statistics(const fa_graph *graph, const fa_parameters *parameters, fa_arena *arena, fa_batchnorms *norms, fa_graph **out);

/* fa_engine.vary of graphs. */
fa_status fa_program_vary_graph(const fa_program *program, const fa_varied_options *options, fa_program **out);

/* A graph that is run, and its layers (layers.node indexes `graph`). */
typedef struct fa_program_graph {
    const fa_graph *graph; /* NULL: none */
    fa_layers layers;
} fa_program_graph;

#define FA_PROGRAM_STAGES 10

typedef struct fa_program_late fa_program_late;

typedef struct fa_engine fa_engine;

/* A network as one engine runs it. */
struct fa_program {
    fa_arena arena;
    const fa_engine *engine;
    const fa_graph *source;     /* the model's */
    const struct fa_host *host; /* of fa_engine_host: whose graphs hold inputs and layers, no nodes */
    fa_graph *restored;                 /* the source again, where it is the program's own: fa_program_restore() */
    fa_graph *unrolled;                 /* If, Loop and Scan that initialisers decide; NULL: there are none */
    fa_graph *stage[FA_PROGRAM_STAGES]; /* rewrites, each over an earlier one or the model's graph, unrolled */
    int32_t n_stage;
    fa_program_graph evaluation; /* for passes that go forward alone */
    fa_packings packings;        /* of `evaluation` */
    fa_program_late *late;       /* what fa_program_with_gradients() makes; NULL of a host */
    fa_program_graph training; /* with `reestimate`: what gradients are taken of */
    fa_batchnorms norms; /* of `training` */
    fa_parameters parameters;
    const fa_op_table *ops;
    const fa_tap_ops *tap_ops;
    const char *kernels;
    int32_t logits;
    int32_t kind;      /* FA_KERNELS_REFERENCE or FA_KERNELS_FAST */
    int32_t precision; /* FA_PRECISION_... */
    int32_t packing;   /* FA_PACKING_... */
};

/*
 * program_weights.c. A program keeps weights as its kernels read them. What was only rewritten (folded weights, for one) is freed when it has been packed, data-gradients are packed when
 * the first pass wants them, and the model's graph gives up what can be unpacked.
 */

/* The evaluation's graph with what only a backward pass reads. Any thread; the first call packs it, and where that fails nothing has changed. */
fa_status fa_program_with_gradients(const fa_program *program, const fa_program_graph **out);

/* Takes weights out of `graph`, the model's, that the program can make again. When nothing reads that graph but for names and shapes; what needs more calls fa_program_restore(). */
fa_status fa_program_take_weights(fa_program *program, fa_graph *graph);
bool fa_program_has_taken(const fa_program *program);
/* The model's graph with all its weights, over the one without, as it was read, bit by bit; NULL where that one has them. Any thread. */
fa_status fa_program_restore(const fa_program *program, fa_graph **out);

/* Of the same network, kernels and precision, ending at value `end` of the model's graph, from its weights as they were read. `kernels`: FA_KERNELS_... */
fa_status fa_program_create_tail(const fa_program *program, int32_t end, int32_t kernels, fa_program **out);

/* For program.c. Frees what only the rewriting has read. */
fa_status fa_program_trim(fa_program *program);
fa_status fa_program_late_create(fa_program *program);
void fa_program_late_destroy(fa_program *program);

#endif
