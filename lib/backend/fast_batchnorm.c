/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/batchnorm.h"

#include <math.h>
#include <string.h>

enum { X, SCALE, SHIFT, RESIDUAL = FA_FAST_RESIDUAL, INPUTS };
enum { Y, MEAN, VARIANCE, OUTPUTS };

typedef struct batch_norm {
    int64_t n, channels;
    double epsilon;
    bool relu;
} batch_norm;

/* Parts of the scratch, each for all channels. */
typedef struct parts {
    double *sum, *moment;
    float *factor, *level, *slope;
} parts;

static parts parts_of(const batch_norm *p, void *scratch)
{
    double *at = scratch;
    float *behind = (float *)(void *)(at + 2 * p->channels);
    return (parts){at, at + p->channels, behind, behind + p->channels, behind + 2 * p->channels};
}

static fa_status prepare(fa_op_setup *s)
{
    const fa_view *x = s->in[X], *residual = s->in[RESIDUAL];
    if (x->ndim != 4 || !fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_SHAPE, "the input is not an image of reals");
    batch_norm *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->channels = x->dim[3];
    if (!x->count) return fa_fail(FA_ERR_SHAPE, "the statistics of an empty batch");
    for (int32_t i = SCALE; i <= SHIFT; i++) FA_TRY(FA_R(fa_op_need_count)(s, i, p->channels));
    if (residual && (residual->ndim != 4 || memcmp(residual->dim, x->dim, 4 * sizeof *x->dim) != 0)) return fa_fail(FA_ERR_SHAPE, "images of two sizes are added");
    p->n = x->count / p->channels;
    p->epsilon = (double)fa_node_float(s->node, "epsilon", 1e-5F);
    p->relu = fa_node_int(s->node, "relu", 0) != 0;
    s->params = p;
    s->scratch = (size_t)p->channels * (2 * sizeof(double) + 3 * sizeof(float));
    FA_TRY(FA_R(fa_op_set)(&s->out[Y], x->dtype, 4, x->dim));
    FA_TRY(FA_R(fa_op_set)(&s->out[MEAN], FA_FLOAT32, 1, &p->channels));
    return FA_R(fa_op_set)(&s->out[VARIANCE], FA_FLOAT32, 1, &p->channels);
}

static double inverse(const batch_norm *p, const float *variance, int64_t c)
{
    return 1 / sqrt((double)variance[c] + p->epsilon);
}

static void forward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const float *x = call->in[X]->data, *scale = call->in[SCALE]->data;
    float *mean = call->out[MEAN]->data, *variance = call->out[VARIANCE]->data;
    const parts t = parts_of(p, call->scratch);
    fa_batchnorm_statistics(p->n, p->channels, x, mean, variance);
    for (int64_t c = 0; c < p->channels; c++) t.factor[c] = (float)((double)scale[c] * inverse(p, variance, c));
    fa_batchnorm_apply(p->n, p->channels, x,
                       &(fa_batchnorm_map){mean, t.factor, call->in[SHIFT]->data, call->in[RESIDUAL] ? call->in[RESIDUAL]->data : NULL, p->relu}, call->out[Y]->data);
}

/* As in lib/ops/batchnorm.c: dx = f (g - mean(g) - (x - mean) mean(g (x - mean)) / (variance + epsilon)), f = scale / sqrt(variance + epsilon). */
static void backward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const float *x = call->in[X]->data, *scale = call->in[SCALE]->data, *mean = call->out[MEAN]->data, *variance = call->out[VARIANCE]->data, *g = call->grad_out[Y];
    float *gx = call->grad_in[X], *gr = call->grad_in[RESIDUAL];
    const parts t = parts_of(p, call->scratch);
    for (int32_t i = 0; i < INPUTS; i++)
        if (call->grad_in[i] && !call->accumulate[i] && (!g || i == SCALE || i == SHIFT)) memset(call->grad_in[i], 0, (size_t)call->in[i]->count * sizeof(float));
    if (!g) return;
    fa_batchnorm_sums(p->n, p->channels, x, g, mean, t.sum, t.moment);
    for (int64_t c = 0; c < p->channels; c++) {
        const double inv = inverse(p, variance, c), f = (double)scale[c] * inv;
        if (call->grad_in[SCALE]) ((float *)call->grad_in[SCALE])[c] += (float)(t.moment[c] * inv);
        if (call->grad_in[SHIFT]) ((float *)call->grad_in[SHIFT])[c] += (float)t.sum[c];
        t.factor[c] = (float)f;
        t.level[c] = (float)(-f * t.sum[c] / (double)p->n);
        t.slope[c] = (float)(-f * inv * inv * t.moment[c] / (double)p->n);
    }
    if (gx) fa_batchnorm_gradient(p->n, p->channels, x, g, mean, t.factor, t.level, t.slope, gx, call->accumulate[X]);
    if (gr && gr != g) FA_R(fa_op_pass)(call->in[RESIDUAL]->count, gr, g, call->accumulate[RESIDUAL]);
}

const fa_op fa_fast_ops_batchnorm[] = {
    {.name = "BatchNormTrainNhwc", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES, .back_in = 1u << X | 1u << SCALE,
     .back_out = 1u << MEAN | 1u << VARIANCE, .hands_on = 1u << RESIDUAL, .prepare = prepare, .forward = forward, .backward = backward},
    {0},
};
