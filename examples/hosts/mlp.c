/* SPDX-License-Identifier: Apache-2.0 */
#include "mlp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One thread's memory. */
typedef struct mlp_pass {
    const float *weights;            /* the network's, or `own` */
    float *own;                      /* set by set_weights() */
    const float *act[MLP_LAYERS];    /* what each layer reads, [n, in]; act[0] is libfattr's */
    float *hidden[MLP_LAYERS];       /* [batch, in] of layers behind the first */
    float *gradient[MLP_LAYERS + 1]; /* [batch, in] at what each layer reads; behind the last layer: at the logits */
} mlp_pass;

static int64_t offset(const mlp *net, int32_t layer)
{
    int64_t at = 0;
    for (int32_t l = 0; l < layer; l++) at += net->size[l + 1] * (net->size[l] + 1);
    return at;
}

float *mlp_weight(const mlp *net, int32_t layer)
{
    return net->weights + offset(net, layer);
}

float *mlp_bias(const mlp *net, int32_t layer)
{
    return mlp_weight(net, layer) + net->size[layer + 1] * net->size[layer];
}

bool mlp_init(mlp *net, int32_t layers, const int64_t *size)
{
    memset(net, 0, sizeof *net);
    net->layers = layers;
    memcpy(net->size, size, (size_t)(layers + 1) * sizeof *size);
    net->weight_count = offset(net, layers);
    net->weights = calloc((size_t)net->weight_count, sizeof *net->weights);
    return net->weights != NULL;
}

void mlp_end(mlp *net)
{
    free(net->weights);
}

static void destroy_pass(void *user, void *pass)
{
    mlp_pass *p = pass;
    (void)user;
    for (int32_t l = 0; l < MLP_LAYERS; l++) free(p->hidden[l]);
    for (int32_t l = 0; l <= MLP_LAYERS; l++) free(p->gradient[l]);
    free(p->own);
    free(p);
}

/* All layers are fully connected at one position, which is what `geometry` says already. */
static fa_status create_pass(void *user, const fa_backend_request *request, fa_backend_geometry *geometry, void **pass)
{
    const mlp *net = user;
    mlp_pass *p = calloc(1, sizeof *p);
    (void)geometry;
    if (!p) return fa_error_set(FA_ERR_MEMORY, "no room for a pass");
    bool room = true, backward = request->weight_gradient;
    for (int32_t l = 0; l < net->layers; l++) backward |= request->tapped[l];
    for (int32_t l = 0; l < net->layers; l++) {
        size_t floats = (size_t)(request->batch * net->size[l]);
        if (l > 0) room &= (p->hidden[l] = calloc(floats, sizeof(float))) != NULL;
        if (l > 0 && backward) room &= (p->gradient[l] = calloc(floats, sizeof(float))) != NULL;
    }
    if (backward) room &= (p->gradient[net->layers] = calloc((size_t)(request->batch * net->size[net->layers]), sizeof(float))) != NULL;
    if (request->weights) room &= (p->own = calloc((size_t)net->weight_count, sizeof(float))) != NULL;
    p->weights = net->weights;
    if (!room) {
        destroy_pass(user, p);
        return fa_error_set(FA_ERR_MEMORY, "no room for the activations");
    }
    *pass = p;
    return FA_OK;
}

static fa_status set_weights(void *user, void *pass, const float *weights)
{
    const mlp *net = user;
    mlp_pass *p = pass;
    memcpy(p->own, weights, (size_t)net->weight_count * sizeof *weights);
    p->weights = p->own;
    return FA_OK;
}

static fa_status forward(void *user, void *pass, const void *const *inputs, int64_t n, float *logits)
{
    const mlp *net = user;
    mlp_pass *p = pass;
    p->act[0] = inputs[0];
    for (int32_t l = 0; l < net->layers; l++) {
        const int64_t in = net->size[l], out = net->size[l + 1];
        const float *w = p->weights + offset(net, l), *bias = w + out * in;
        const bool last = l == net->layers - 1;
        float *to = last ? logits : p->hidden[l + 1];
        for (int64_t i = 0; i < n; i++)
            for (int64_t o = 0; o < out; o++) {
                double sum = (double)bias[o];
                for (int64_t k = 0; k < in; k++) sum += (double)w[o * in + k] * (double)p->act[l][i * in + k];
                to[i * out + o] = last || sum > 0 ? (float)sum : 0;
            }
        if (!last) p->act[l + 1] = to;
    }
    return FA_OK;
}

/* The gradient at every layer's output, from that at the logits. */
static void backward(const mlp *net, mlp_pass *p, const float *at_logits, int64_t n)
{
    memcpy(p->gradient[net->layers], at_logits, (size_t)(n * net->size[net->layers]) * sizeof *at_logits);
    for (int32_t l = net->layers - 1; l > 0; l--) {
        const int64_t in = net->size[l], out = net->size[l + 1];
        const float *w = p->weights + offset(net, l), *d = p->gradient[l + 1];
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < in; k++) {
                double sum = 0;
                for (int64_t o = 0; o < out; o++) sum += (double)w[o * in + k] * (double)d[i * out + o];
                p->gradient[l][i * in + k] = p->act[l][i * in + k] > 0 ? (float)sum : 0; /* through the ReLU */
            }
    }
}

static fa_status taps(void *user, void *pass, const float *at_logits, int64_t n, fa_backend_tap *tap)
{
    const mlp *net = user;
    mlp_pass *p = pass;
    backward(net, p, at_logits, n);
    for (int32_t l = 0; l < net->layers; l++) tap[l] = (fa_backend_tap){.a = p->act[l], .d = p->gradient[l + 1]};
    return FA_OK;
}

static fa_status weight_gradient(void *user, void *pass, const float *at_logits, int64_t n, float *gradient)
{
    const mlp *net = user;
    mlp_pass *p = pass;
    backward(net, p, at_logits, n);
    for (int32_t l = 0; l < net->layers; l++) {
        const int64_t in = net->size[l], out = net->size[l + 1];
        float *w = gradient + offset(net, l), *bias = w + out * in;
        for (int64_t i = 0; i < n; i++)
            for (int64_t o = 0; o < out; o++) {
                const float d = p->gradient[l + 1][i * out + o];
                bias[o] += d;
                for (int64_t k = 0; k < in; k++) w[o * in + k] += d * p->act[l][i * in + k];
            }
    }
    return FA_OK;
}

void mlp_backend(mlp *net, fa_backend *b)
{
    net->input = (fa_value_info){.name = "x", .dtype = FA_FLOAT32, .ndim = 2, .shape = {-1, net->size[0]}};
    for (int32_t l = 0; l < net->layers; l++) {
        const int64_t in = net->size[l], out = net->size[l + 1];
        snprintf(net->name[3 * l], sizeof net->name[0], "fc%d", l);
        snprintf(net->name[3 * l + 1], sizeof net->name[0], "fc%d.weight", l);
        snprintf(net->name[3 * l + 2], sizeof net->name[0], "fc%d.bias", l);
        net->layer[l] = (fa_backend_layer){.name = net->name[3 * l], .in = in, .out = out, .groups = 1, .kernel_h = 1, .kernel_w = 1, .has_bias = 1};
        net->parameter[2 * l] = (fa_backend_parameter){net->name[3 * l + 1], out, out * in, mlp_weight(net, l)};
        net->parameter[2 * l + 1] = (fa_backend_parameter){net->name[3 * l + 2], out, out, mlp_bias(net, l)};
    }
    *b = (fa_backend){.struct_size = sizeof *b, .abi = FA_BACKEND_ABI, .input_count = 1, .layer_count = net->layers, .parameter_count = 2 * net->layers,
                      .classes = net->size[net->layers], .name = "mlp", .user = net, .inputs = &net->input, .layers = net->layer, .parameters = net->parameter,
                      .create_pass = create_pass, .destroy_pass = destroy_pass, .forward = forward, .taps = taps, .weight_gradient = weight_gradient, .set_weights = set_weights};
}
