/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXAMPLES_HOSTS_MLP_H
#define EXAMPLES_HOSTS_MLP_H

#include <fattr/backend.h>
#include <stdbool.h>

/* A network written by hand: fully connected layers with a ReLU between them, and what libfattr needs to know of it. */

#define MLP_LAYERS 8 /* at most */

typedef struct mlp {
    int32_t layers;
    int64_t size[MLP_LAYERS + 1]; /* inputs, hidden units, classes */
    float *weights;               /* per layer [out, in], then [out] biases */
    int64_t weight_count;
    /* what an fa_backend points to */
    fa_value_info input;
    fa_backend_layer layer[MLP_LAYERS];
    fa_backend_parameter parameter[2 * MLP_LAYERS];
    char name[3 * MLP_LAYERS][16];
} mlp;

/* `size` [layers + 1]. Weights are zeros, to be filled in. False: no memory. */
bool mlp_init(mlp *net, int32_t layers, const int64_t *size);
void mlp_end(mlp *net);

float *mlp_weight(const mlp *net, int32_t layer); /* [out, in] */
float *mlp_bias(const mlp *net, int32_t layer);   /* [out] */

/* The table for fa_model_from_backend(). `net` has its weights already, and must outlive the model. */
void mlp_backend(mlp *net, fa_backend *backend);

#endif
