/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/batchnorm.h"

#include <math.h>
#include <string.h>

enum { X, SCALE, SHIFT, RESIDUAL = FA_FAST_RESIDUAL, INPUTS };
enum { Y, MEAN, VARIANCE, OUTPUTS };

typedef struct batch_norm {
    int64_t rows, pixels, channels; /* pixels of a row of the batch */
    double epsilon;
    bool relu;
} batch_norm;

/* Parts of the scratch, each for all channels: sums over the batch, then what each pixel takes. */
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

/* Pixels of a call, whether they are the last, and the elements in front of them: of an image, of the gradients at x, at the residual and at y. */
typedef struct share {
    int64_t n, at, gx, gr, g;
    bool last;
} share;

static share share_of(const batch_norm *p, const fa_op_call *call)
{
    const int64_t rows = call->rows ? call->rows : p->rows, row = p->pixels * p->channels;
    return (share){.n = rows * p->pixels, .at = call->first * row, .gx = fa_op_first(call, call->short_in, X) * row, .gr = fa_op_first(call, call->short_in, RESIDUAL) * row,
                   .g = fa_op_first(call, call->short_out, Y) * row, .last = call->first + rows == p->rows};
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
    p->rows = x->dim[0];
    p->pixels = x->dim[1] * x->dim[2];
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

static void reduce_forward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const share s = share_of(p, call);
    const float *x = call->in[X]->data, *scale = call->in[SCALE]->data;
    float *mean = call->out[MEAN]->data, *variance = call->out[VARIANCE]->data;
    const parts t = parts_of(p, call->scratch);
    fa_batchnorm_statistics(call->first * p->pixels, s.n, p->channels, x + s.at, t.sum, t.moment);
    for (int64_t c = 0; c < p->channels && s.last; c++) {
        mean[c] = (float)t.sum[c];
        variance[c] = (float)(t.moment[c] / (double)(p->rows * p->pixels));
        t.factor[c] = (float)((double)scale[c] * inverse(p, variance, c));
    }
}

static void forward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const share s = share_of(p, call);
    const float *x = call->in[X]->data, *residual = call->in[RESIDUAL] ? (const float *)call->in[RESIDUAL]->data + s.at : NULL;
    if (!call->rows) reduce_forward(call);
    fa_batchnorm_apply(s.n, p->channels, x + s.at, &(fa_batchnorm_map){call->out[MEAN]->data, parts_of(p, call->scratch).factor, call->in[SHIFT]->data, residual, p->relu},
                       (float *)call->out[Y]->data + s.at);
}

/* As in lib/ops/batchnorm.c: dx = f (g - mean(g) - (x - mean) mean(g (x - mean)) / (variance + epsilon)), f = scale / sqrt(variance + epsilon). */
static void reduce_backward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const share s = share_of(p, call);
    const float *x = call->in[X]->data, *scale = call->in[SCALE]->data, *mean = call->out[MEAN]->data, *variance = call->out[VARIANCE]->data, *g = call->grad_out[Y];
    float *to[] = {[SCALE] = call->grad_in[SCALE], [SHIFT] = call->grad_in[SHIFT]};
    const parts t = parts_of(p, call->scratch);
    if (!call->first) memset(t.sum, 0, 2 * (size_t)p->channels * sizeof *t.sum);
    for (int32_t i = SCALE; i <= SHIFT && !call->first; i++)
        if (to[i] && !call->accumulate[i]) memset(to[i], 0, (size_t)p->channels * sizeof(float));
    if (!g) return;
    fa_batchnorm_sums(s.n, p->channels, x + s.at, g + s.g, mean, t.sum, t.moment);
    for (int64_t c = 0; c < p->channels && s.last; c++) {
        const double inv = inverse(p, variance, c), f = (double)scale[c] * inv, n = (double)(p->rows * p->pixels);
        if (to[SCALE]) to[SCALE][c] += (float)(t.moment[c] * inv);
        if (to[SHIFT]) to[SHIFT][c] += (float)t.sum[c];
        t.factor[c] = (float)f;
        t.level[c] = (float)(-f * t.sum[c] / n);
        t.slope[c] = (float)(-f * inv * inv * t.moment[c] / n);
    }
}

static void backward(const fa_op_call *call)
{
    const batch_norm *p = call->params;
    const share s = share_of(p, call);
    const float *x = call->in[X]->data, *mean = call->out[MEAN]->data, *g = call->grad_out[Y];
    float *gx = call->grad_in[X], *gr = call->grad_in[RESIDUAL];
    const parts t = parts_of(p, call->scratch);
    const size_t bytes = (size_t)(s.n * p->channels) * sizeof(float);
    if (!call->rows) reduce_backward(call);
    if (!g) {
        if (gx && !call->accumulate[X]) memset(gx + s.gx, 0, bytes);
        if (gr && !call->accumulate[RESIDUAL]) memset(gr + s.gr, 0, bytes);
        return;
    }
    if (gx) fa_batchnorm_gradient(s.n, p->channels, x + s.at, g + s.g, mean, t.factor, t.level, t.slope, gx + s.gx, call->accumulate[X]);
    if (gr && gr != g) FA_R(fa_op_pass)(s.n * p->channels, gr + s.gr, g + s.g, call->accumulate[RESIDUAL]);
}

const fa_op fa_fast_ops_batchnorm[] = {
    {.name = "BatchNormTrainNhwc", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES, .back_in = 1u << X | 1u << SCALE,
     .back_out = 1u << MEAN | 1u << VARIANCE, .hands_on = 1u << RESIDUAL, .prepare = prepare, .forward = forward, .backward = backward,
     .cut_in = 1u << X | 1u << RESIDUAL, .cut_out = 1u << Y,
     .reduce_forward = reduce_forward, .reduce_backward = reduce_backward},
    {0},
};
