/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_PASS_H
#define FA_BACKEND_PASS_H

#include "backend/head.h"
#include "base/pool.h"
#include "graph/graph.h"

#include <fattr/model.h>

/*
 * The pass interface: what a sketch and a scorer ask of a network. A program is the network as one implementation runs it (shared, immutable); a
 * pass is one thread's memory for running it on up to `batch` inputs at a time. Two engines stand behind it (engine.h): the graph executor, on reference or on fast
 * kernels, and the callbacks of a host (host.h), which is why running and setting weights may fail.
 */

/* A layer with weights. Its weight gradient for one input is sum over positions p of d_p a_p', `[out, in]` (per group: in is one group's). */
typedef struct fa_layer {
    const char *name, *op, *weight;
    int64_t in;  /* kernel volume * channels per group, in the order (channel, kernel row, kernel column), then 1 for the bias */
    int64_t out;    /* of all groups */
    int64_t kh, kw; /* kernel rows and columns; 1 for a fully connected layer */
    int64_t groups;
    bool has_bias;
    int32_t block; /* layers that share a weight share a block: index of the first of them, its own index otherwise */
    bool lookup;   /* Gather from a table [in, out]: an input is one-hot, and comes as the index of a row for each position */
    bool turned;   /* the table of a lookup is a product's weights too: in and out are the product's, so the gradient is on the side of `in` and the index on that of `out` */
} fa_layer;

/* One layer's taps for a batch, or (a, d NULL) its geometry. A fully connected layer is a 1 x 1 convolution over `h` positions. */
typedef struct fa_tap {
    int32_t layer;
    int64_t n;                  /* inputs in the batch */
    const float *a, *d;         /* layer input and gradient at the layer's output */
    const int64_t *index;       /* of a lookup in place of `a`, with its strides: rows of the table, from its end where negative; NULL otherwise and in a geometry */
    int64_t c, h, w;            /* input: channels of all groups, rows, columns; of a lookup `c` is the table's rows */
    int64_t out, oh, ow;        /* output; of a lookup `out` is the table's columns, also where it is turned */
    int64_t groups, kh, kw, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t a_n, a_c, a_h, a_w; /* strides of `a` in elements */
    int64_t d_n, d_c, d_h, d_w; /* strides of `d` */
    bool has_bias;
    bool lookup, turned;        /* as in fa_layer */
    fa_pool *pool;       /* whose threads blocks() may share its work with; NULL: none. scratch() is for all of them */
    bool padded;                /* positions whose gradient is zero may be padding and do not count in moments */
} fa_tap;

typedef void (*fa_tap_fn)(void *user, const fa_tap *tap);

/* Work on taps, by the kernels of the program. `scratch` is FA_ALIGN-aligned and of scratch() bytes. */
typedef struct fa_tap_ops {
    size_t (*scratch)(const fa_tap *geometry, int64_t k_in, int64_t k_out); /* of blocks() */
    size_t (*moments_scratch)(const fa_tap *geometry);                      /* of moments(): a square of the input side in places, which no scorer needs */
    /* Adds the batch's sum_i sum_p a a' to `A` [in, in] and sum_i sum_p d d' to `G` [out, out] (sides exchanged where the tap is turned); lower triangles; either may be
     * NULL. Groups: `A` sums over groups. */
    void (*moments)(const fa_tap *tap, float *A, float *G, void *scratch);
    /* Projections in the form that blocks() wants: p_in [in, k_in], p_out [out, k_out], row-major. */
    size_t (*packed_size)(const fa_tap *geometry, int64_t k_in, int64_t k_out);
    void (*pack)(const fa_tap *geometry, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed);
    /* Adds P_in' (weight gradient of input i)' P_out to block[i * stride], [k_in, k_out] row-major, for every input of the batch. */
    void (*blocks)(const fa_tap *tap, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch);
    double (*flops)(const fa_tap *geometry, int64_t k_in, int64_t k_out); /* of blocks(), for one input */
} fa_tap_ops;

/* What is asked of the outputs: integers and weights [rows, positions] with a row for each row of the inputs; either may be NULL. Under FA_LOSS_NEXT_TOKEN both belong to tokens:
 * the output at position i is held against target i + 1 with weight i + 1. */
typedef struct fa_asked {
    const fa_array *target; /* the class of each position, below 0 for none; NULL: the model's own, FA_LOSS_NEXT_TOKEN: the model's first input of integers [n, positions] */
    const fa_array *mask;   /* what each position counts, >= 0; NULL: all alike */
    /* Either may be NULL: what fa_pass_outputs said of these rows at other weights, in the place of target, and what losses of numbers are held against. */
    const int64_t *own_target;
    const float *own_output; /* [rows, outputs] */
} fa_asked;

/* What a pass says of each input besides taps; arrays of the caller, [n] or [n, positions], any of them NULL. */
typedef struct fa_pass_outputs {
    int64_t *predicted;    /* fa_result.predicted */
    float *confidence;     /* fa_result.confidence */
    float *loss;           /* mean cross-entropy to the target over the positions that count, each log1p(sum_{k != y} exp(z_k - z_y)), nats */
    int64_t *target;       /* [n, positions] the class of each position, -1 where none counts */
    float *output;         /* [n, outputs] */
    float *position_loss;  /* [n, positions] the cross-entropy of each, 0 where none counts */
} fa_pass_outputs;

typedef struct fa_program fa_program;
typedef struct fa_pass fa_pass;

/* `kernels`: FA_KERNELS_REFERENCE or FA_KERNELS_FAST. `logits`: value index. The graph must outlive the program.
 * BatchNormalization is folded into the layer before it where that is exact. */
fa_status fa_program_create(const fa_graph *graph, int32_t logits, int32_t kernels, fa_program **out);
/* The same with layers in FA_PRECISION_... and weights in FA_PACKING_... (fattr/model.h), which of fa_program_create() are FA_PRECISION_F32 and FA_PACKING_FAST. */
fa_status fa_program_create_in(const fa_graph *graph, int32_t logits, int32_t kernels, int32_t precision, int32_t packing, fa_program **out);
void fa_program_destroy(fa_program *program);
int32_t fa_program_layer_count(const fa_program *program);
const fa_layer *fa_program_layer(const fa_program *program, int32_t index);
const fa_tap_ops *fa_program_tap_ops(const fa_program *program);
int32_t fa_program_precision(const fa_program *program);   /* FA_PRECISION_... */
const char *fa_program_kernels(const fa_program *program); /* "reference", "avx2", ... */

/* The shape of one input of the graph, without the batch: taken from declared dimensions, and from the caller's arrays where they are open. */
typedef struct fa_pass_request {
    const fa_program *program;
    fa_context *context;
    const fa_array *inputs; /* [n_inputs] in graph order: shapes with any leading n; data is not read */
    int32_t n_inputs;
    int64_t batch;
    const bool *tapped; /* [layer_count] which layers to tap; NULL: none (losses only) */
    bool gradient;      /* fa_pass_mean_gradient() will be called (backend/varied.h); of a program with `reestimate` it is all that such a pass is for */
    int32_t loss;       /* FA_LOSS_...: what fa_pass_backward() starts from */
    fa_output_gradient output_gradient; /* of FA_LOSS_HOST; NULL in passes that do not go back */
    void *output_gradient_user;
    size_t (*workspace)(void *user, const struct fa_pass *pass); /* bytes that what is visited wants to work in; asked when the geometry is known. NULL: none */
    void *workspace_user;
    fa_pool *pool; /* whose threads the pass may share its work with, where fa_pool_lead() runs it; NULL: none */
    const struct fa_pass *beside; /* of a program without parameters that move: a pass of the same program, not used at the same time and destroyed later, in whose memory this one may run; NULL: none */
} fa_pass_request;

/* A pass of a varied program begins at the trained weights. */
fa_status fa_pass_create(const fa_pass_request *request, fa_pass **out);
void fa_pass_destroy(fa_pass *pass);
int64_t fa_pass_batch(const fa_pass *pass);             /* inputs it can take at a time: what was asked for, or what a model with a fixed batch takes */
const fa_head *fa_pass_head(const fa_pass *pass);
const fa_tap *fa_pass_geometry(const fa_pass *pass, int32_t layer); /* of a tapped layer; a, d NULL, n = batch */
double fa_pass_flops_forward(const fa_pass *pass);  /* of one input */
double fa_pass_flops_backward(const fa_pass *pass);
void *fa_pass_workspace(const fa_pass *pass); /* of fa_pass_request.workspace, FA_ALIGN-aligned: holds nothing from one visit to the next; NULL: none */
size_t fa_pass_bytes(const fa_pass *pass);          /* values and gradients of the whole batch; 0 where a host has them */

/* Copies inputs `first` ... `first + n - 1` of the arrays (graph order; n <= batch) in, casting, and runs forward. `asked` may be NULL.
 * FA_ERR_SHAPE, FA_ERR_DTYPE, FA_ERR_NOT_FINITE and FA_ERR_ARGUMENT name the array, input and element. */
fa_status fa_pass_forward(fa_pass *pass, const fa_array *inputs, int64_t first, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs);
/* The same for inputs index[0 ... n - 1] of the arrays; index NULL: first ... first + n - 1. */
fa_status fa_pass_forward_some(fa_pass *pass, const fa_array *inputs, const int64_t *index, int64_t first, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs);
/* After fa_pass_forward: the outputs [n, outputs] in the model's layout, until the next. */
const float *fa_pass_logits(const fa_pass *pass);
/* After fa_pass_forward: backward from the unit-length gradient at the output (docs/method.md), `visit` once per tapped layer, latest layer first. */
fa_status fa_pass_backward(fa_pass *pass, fa_tap_fn visit, void *user);

#endif
