/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include <math.h>

/*
 * FoldBatchNorm, domain "fattr": what rewrites put in place of a BatchNormalization behind a layer whose parameters move (docs/design.md). With
 * f = scale / sqrt(variance + epsilon) for each channel,
 *   (weight, bias?, scale, shift, mean, variance) -> weight' = f weight, bias' = (bias - mean) f + shift
 * Element i of `weight` belongs to channel i / step % channels. In double throughout, so that trained weights fold to the bits that
 * fa_rewrite_batchnorm() computes beforehand.
 */
enum { WEIGHT, BIAS, SCALE, SHIFT, MEAN, VARIANCE, INPUTS };

typedef struct fold {
    int64_t count, channels, step;
    double epsilon;
} fold;

static fa_status prepare(fa_op_setup *s)
{
    if (s->n_in != INPUTS || s->n_out != 2) return fa_fail(FA_ERR_FORMAT, "%d inputs and %d outputs where 6 and 2 are taken", s->n_in, s->n_out);
    for (int32_t i = 0; i < INPUTS; i++)
        if (i != BIAS && !s->in[i]) return fa_fail(FA_ERR_FORMAT, "input %d is missing", i);
    FA_TRY(FA_R(fa_op_need_real)(s));
    fold *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (fold){s->in[WEIGHT]->count, s->in[SCALE]->count, fa_node_int(s->node, "step", 1), (double)fa_node_float(s->node, "epsilon", 1e-5F)};
    for (int32_t i = BIAS; i < INPUTS; i++)
        if (s->in[i]) FA_TRY(FA_R(fa_op_need_count)(s, i, p->channels));
    if (p->step < 1 || p->step > p->count || !p->channels || p->count / p->step % p->channels || p->count % p->step) return fa_fail(FA_ERR_SHAPE, "the weight does not divide into its channels");
    for (int32_t o = 0; o < 2; o++) {
        s->out[o] = *s->in[o ? SCALE : WEIGHT];
        s->out[o].data = NULL;
    }
    s->params = p;
    return FA_OK;
}

static const fa_real *contents(const fa_op_call *call, int32_t input)
{
    return call->in[input] ? call->in[input]->data : NULL;
}

static void forward(const fa_op_call *call)
{
    const fold *p = call->params;
    const fa_real *w = contents(call, WEIGHT), *b = contents(call, BIAS), *scale = contents(call, SCALE), *shift = contents(call, SHIFT),
                  *mean = contents(call, MEAN), *variance = contents(call, VARIANCE);
    fa_real *folded = call->out[0] ? call->out[0]->data : NULL, *bias = call->out[1] ? call->out[1]->data : NULL;
    for (int64_t o = 0; bias && o < p->channels; o++)
        bias[o] = (fa_real)(((b ? (double)b[o] : 0) - (double)mean[o]) * ((double)scale[o] / sqrt((double)variance[o] + p->epsilon)) + (double)shift[o]);
    for (int64_t i = 0, o = 0; folded && i < p->count; o = (o + 1) % p->channels) {
        double f = (double)scale[o] / sqrt((double)variance[o] + p->epsilon);
        for (int64_t end = i + p->step; i < end; i++) folded[i] = (fa_real)((double)w[i] * f);
    }
}

/* The gradient at f, channel by channel, comes from both outputs. */
static void backward(const fa_op_call *call)
{
    const fold *p = call->params;
    const fa_real *w = contents(call, WEIGHT), *b = contents(call, BIAS), *scale = contents(call, SCALE), *mean = contents(call, MEAN),
                  *variance = contents(call, VARIANCE), *g_w = call->grad_out[0], *g_b = call->grad_out[1];
    fa_real *const *to = (fa_real *const *)call->grad_in;
    for (int64_t o = 0; o < p->channels; o++) {
        double root = sqrt((double)variance[o] + p->epsilon), f = (double)scale[o] / root, at_bias = g_b ? (double)g_b[o] : 0;
        double at_f = at_bias * ((b ? (double)b[o] : 0) - (double)mean[o]);
        for (int64_t first = o * p->step; g_w && first < p->count; first += p->channels * p->step)
            for (int64_t i = first; i < first + p->step; i++) {
                at_f += (double)g_w[i] * (double)w[i];
                if (to[WEIGHT]) to[WEIGHT][i] += (fa_real)((double)g_w[i] * f);
            }
        if (to[BIAS]) to[BIAS][o] += (fa_real)(at_bias * f);
        if (to[SCALE]) to[SCALE][o] += (fa_real)(at_f / root);
        if (to[SHIFT]) to[SHIFT][o] += (fa_real)at_bias;
        if (to[MEAN]) to[MEAN][o] -= (fa_real)(at_bias * f);
        if (to[VARIANCE]) to[VARIANCE][o] -= (fa_real)(0.5 * at_f * f / (root * root));
    }
}

const fa_op FA_R(fa_ops_fold)[] = {
    {.name = "FoldBatchNorm", .domain = "fattr", .since = 1, .until = FA_OPSET_ANY, .back_in = 1u << WEIGHT | 1u << BIAS | 1u << SCALE | 1u << MEAN | 1u << VARIANCE,
     .prepare = prepare, .forward = forward, .backward = backward},
    {0},
};
