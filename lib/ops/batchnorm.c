/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include <math.h>
#include <string.h>

/*
 * BatchNormalization (Ioffe and Szegedy, arXiv 1502.03167), y = (x - mean) / sqrt(variance + epsilon) scale + bias for each channel. At inference
 * mean and variance are inputs. In training mode they are those of the whole batch, population variance, and the further outputs are
 *   1, 2: running mean and variance, momentum * (input 3, 4) + (1 - momentum) * (the batch's)
 *   3, 4: the batch's own, before operator set 14
 */
typedef struct batch_norm {
    int64_t n, channels, inner;
    double epsilon, momentum;
    bool training;
} batch_norm;

/* Before operator set 14 it is the further outputs that ask for training, and before 7 also is_test. */
static bool is_training(const fa_node *node)
{
    bool more = false;
    for (int32_t i = 1; i < node->n_out; i++) more |= node->out[i] >= 0;
    if (node->opset >= 14) return fa_node_int(node, "training_mode", 0) != 0;
    return more && (node->opset >= 7 || !fa_node_int(node, "is_test", 0));
}

static fa_status prepare(fa_op_setup *s)
{
    const fa_node *node = s->node;
    FA_TRY(FA_R(fa_op_need)(s, 5, 5, node->opset >= 14 ? 3 : 5));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    if (x->ndim < 2) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, at least 2 are needed", x->ndim);
    batch_norm *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    bool spatial = node->opset >= 9 || fa_node_int(node, "spatial", 1) != 0; /* without: statistics of each element apart */
    p->n = x->dim[0];
    p->channels = x->dim[1];
    p->inner = 1;
    for (int32_t i = 2; i < x->ndim; i++) *(spatial ? &p->inner : &p->channels) *= x->dim[i];
    p->epsilon = (double)fa_node_float(node, "epsilon", 1e-5F);
    p->momentum = (double)fa_node_float(node, "momentum", 0.9F);
    p->training = is_training(node);
    for (int32_t i = 1; i < 5; i++) FA_TRY(FA_R(fa_op_need_count)(s, i, p->channels));
    if (p->training && !x->count) return fa_fail(FA_ERR_SHAPE, "the statistics of an empty batch");
    if (!x->count) p->n = 0;
    for (int32_t i = 0; i < s->n_out; i++) {
        const fa_view *like = i ? s->in[i % 2 ? 3 : 4] : x;
        s->out[i] = *like;
        s->out[i].data = NULL;
    }
    s->params = p;
    return FA_OK;
}

typedef struct statistics {
    double mean, variance, inv; /* 1 / sqrt(variance + epsilon) */
} statistics;

static statistics given(const batch_norm *p, const fa_op_call *call, int64_t c)
{
    const fa_real *mean = call->in[3]->data, *variance = call->in[4]->data;
    return (statistics){(double)mean[c], (double)variance[c], 1 / sqrt((double)variance[c] + p->epsilon)};
}

/* Channel c of image n. */
static int64_t plane(const batch_norm *p, int64_t n, int64_t c)
{
    return (n * p->channels + c) * p->inner;
}

static statistics of_batch(const batch_norm *p, const fa_real *x, int64_t c)
{
    double sum = 0, squares = 0, count = (double)(p->n * p->inner);
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t i = plane(p, n, c); i < plane(p, n, c) + p->inner; i++) sum += (double)x[i];
    double mean = sum / count;
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t i = plane(p, n, c); i < plane(p, n, c) + p->inner; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (statistics){mean, squares / count, 1 / sqrt(squares / count + p->epsilon)};
}

/* Of what output i adds up, how much is input 3 or 4, and how much the batch's. */
static void shares(const batch_norm *p, int32_t i, double *input, double *batch)
{
    *input = !p->training ? 1 : i < 3 ? p->momentum : 0;
    *batch = 1 - *input;
}

static void forward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const fa_real *x = call->in[0]->data, *scale = call->in[1]->data, *bias = call->in[2]->data;
    fa_real *y = call->out[0] ? call->out[0]->data : NULL;
    for (int64_t c = 0; c < p->channels; c++) {
        statistics s = given(p, call, c), b = p->training ? of_batch(p, x, c) : s;
        for (int32_t i = 1; i < call->n_out; i++) {
            double input, batch;
            shares(p, i, &input, &batch);
            if (call->out[i] && call->out[i]->data)
                ((fa_real *)call->out[i]->data)[c] = (fa_real)(i % 2 ? input * s.mean + batch * b.mean : input * s.variance + batch * b.variance);
        }
        fa_real a = (fa_real)((double)scale[c] * b.inv), m = (fa_real)b.mean, shift = bias[c];
        for (int64_t n = 0; y && n < p->n; n++)
            for (int64_t i = plane(p, n, c); i < plane(p, n, c) + p->inner; i++) y[i] = (x[i] - m) * a + shift;
    }
}

/* With z = (x - mean) inv and N elements in a channel: dx = scale inv g at inference, scale inv (g - mean(g) - z mean(g z)) in training, where what
 * comes from the further outputs passes through mean and variance too. */
static void backward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const fa_real *x = call->in[0]->data, *scale = call->in[1]->data, *g = call->grad_out[0];
    fa_real *gx = call->grad_in[0], *gs = call->grad_in[1], *gb = call->grad_in[2], *gm = call->grad_in[3], *gv = call->grad_in[4];
    double count = (double)(p->n * p->inner);
    for (int64_t c = 0; c < p->channels; c++) {
        statistics s = p->training ? of_batch(p, x, c) : given(p, call, c);
        double sum = 0, moment = 0, through_mean = 0, through_variance = 0, a = (double)scale[c] * s.inv;
        for (int64_t n = 0; g && n < p->n; n++)
            for (int64_t i = plane(p, n, c); i < plane(p, n, c) + p->inner; i++) {
                sum += (double)g[i];
                moment += (double)g[i] * ((double)x[i] - s.mean) * s.inv;
            }
        for (int32_t i = 1; i < call->n_out; i++) {
            double input, batch;
            shares(p, i, &input, &batch);
            if (!call->grad_out[i]) continue;
            double from = (double)((const fa_real *)call->grad_out[i])[c];
            if (i % 2 && gm) gm[c] += (fa_real)(from * input);
            if (i % 2 == 0 && gv) gv[c] += (fa_real)(from * input);
            *(i % 2 ? &through_mean : &through_variance) += from * batch;
        }
        if (gs) gs[c] += (fa_real)moment;
        if (gb) gb[c] += (fa_real)sum;
        if (gm && !p->training) gm[c] -= (fa_real)(sum * a);
        if (gv && !p->training) gv[c] -= (fa_real)(0.5 * moment * a * s.inv);
        double level = p->training ? (through_mean - a * sum) / count : 0, slope = p->training ? (2 * through_variance - a * s.inv * moment) / count : 0;
        for (int64_t n = 0; gx && n < p->n; n++)
            for (int64_t i = plane(p, n, c); i < plane(p, n, c) + p->inner; i++)
                gx[i] += (fa_real)((g ? a * (double)g[i] : 0) + level + slope * ((double)x[i] - s.mean));
    }
}

const fa_op FA_R(fa_ops_batchnorm)[] = {
    {.name = "BatchNormalization", .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = 1 | 2 | 8 | 16, .prepare = prepare, .forward = forward,
     .backward = backward},
    {0},
};
