/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_VARIED_H
#define FA_BACKEND_VARIED_H

#include "backend/pass.h"

/*
 * Networks whose weights move. In a varied program chosen initialisers, its parameters, take their values from the caller at run time: from one flat
 * vector of floats, parameter after parameter, each in the file's own layout. BatchNormalization is not folded beforehand: its scale and shift are
 * parameters like others; its running mean and variance are the program's statistics, a second flat vector. Setting the weights of a pass packs and
 * folds; forward passes after that cost what those of a plain program cost, and at the trained weights give the same bits. Layers are in float
 * whatever the plain program's precision: weights move by less than the steps of bfloat16.
 *
 * Parameters are real initialisers (or tensors of Constant nodes) from which the logits follow and that stand as weight or bias of Conv, ConvTranspose, Gemm and MatMul, as scale or
 * bias of BatchNormalization, LayerNormalization, InstanceNormalization and GroupNormalization, as slope of PRelu, as table of Gather, or, with rank >= 1 and more than one
 * element, in Add, Sub, Mul and Div; also through nodes that only name, move or shape them (Identity, Transpose, Reshape, Squeeze, Unsqueeze, Flatten). One
 * that stands at several places is one parameter (exporters may merge weights that are equal); a running mean or variance never is one. Their order
 * is that of their first use.
 */

typedef struct fa_parameter {
    const char *name;      /* of the initialiser */
    int64_t offset, count; /* of its elements in the flat vector */
    int64_t rows;          /* leading dimension (1 for a scalar): `rows` rows of count / rows elements */
} fa_parameter;

typedef struct fa_varied_options {
    bool (*select)(void *user, const char *name); /* which parameters move; NULL: all. The others keep their trained values */
    void *user;
    bool reestimate; /* passes for gradients use the minibatch's own mean and variance in every BatchNormalization and move the running ones, as PyTorch's
                        training mode does; FA_ERR_ARGUMENT for a graph without BatchNormalization. Those in training mode in the file stay as they are */
} fa_varied_options;

/* As fa_program_create(), with parameters. FA_ERR_ARGUMENT when nothing is selected, FA_ERR_UNSUPPORTED for a BatchNormalization that cannot be re-estimated
 * (its statistics are computed, or are of each element apart). Only such a program takes the calls below; layers and taps are those of its evaluation. */
fa_status fa_program_create_varied(const fa_graph *graph, int32_t logits, int32_t kernels, const fa_varied_options *options, fa_program **out);

/* The same from a plain program, of any engine, and with its kernels. */
fa_status fa_program_vary(const fa_program *program, const fa_varied_options *options, fa_program **out);

int32_t fa_program_parameter_count(const fa_program *program);
const fa_parameter *fa_program_parameter(const fa_program *program, int32_t index);
int64_t fa_program_weight_count(const fa_program *program);     /* elements of the flat vector of weights */
int64_t fa_program_statistics_count(const fa_program *program); /* of that of running means and variances; 0 unless `reestimate` */
void fa_program_trained(const fa_program *program, float *weights, float *statistics); /* as the file has them; either may be NULL */

/* Takes weights [weight_count] and statistics [statistics_count] (NULL: the trained ones) over; nothing is kept of the caller's arrays. A new pass has the
 * trained ones. Logits and gradients of an earlier call are gone. Allocates nothing. Only a host's callback fails; which weights are set is then not known. */
fa_status fa_pass_set_weights(fa_pass *pass, const float *weights, const float *statistics);

/* The weights as they are set, folded and packed: copied to `kept` (FA_ALIGN-aligned, fa_pass_kept_bytes()) and, another time, used from there instead of being set
 * again. Where fa_pass_kept_bytes() is 0 there is nothing to keep. `kept` must stay until the weights change. For passes of the same program and batch. */
size_t fa_pass_kept_bytes(const fa_pass *pass);
void fa_pass_keep_weights(const fa_pass *pass, void *kept);
void fa_pass_use_weights(fa_pass *pass, const void *kept);

/*
 * For a pass created with fa_pass_request.gradient. Adds scale * sum over k < n of the gradient of the mean cross-entropy (nats) of input index[k] (or k when index is NULL)
 * to what is asked of its outputs to gradient [weight_count], and scale * the sum of those losses to *loss. n <= batch. With `reestimate` the batch is the n inputs, which must fill
 * the pass, and `statistics` [statistics_count] move (NULL: they do not): running <- momentum running + (1 - momentum) of the batch's, the variance with
 * n / (n - 1), n the elements of a channel; once for each node that uses them. `loss` may be NULL. Errors as fa_pass_forward(), which call an input
 * by its index; FA_ERR_ARGUMENT for an index, target or n out of range. Nothing is added or moved then. Allocates nothing.
 */
fa_status fa_pass_mean_gradient(fa_pass *pass, const fa_array *inputs, const int64_t *index, int64_t n, const fa_asked *asked, double scale, float *gradient, double *loss,
                                float *statistics);

#endif
