/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/* The family that takes statistics from each input itself: rows of elements are brought to mean 0 and variance 1, by RMSNormalization to mean square 1
 * where their mean is. BatchNormalization, whose statistics are given or those of all inputs together, is in batchnorm.c. */

/* Row r covers elements r * length ...; element j of it takes scale and bias number r % period * step + j / span. */
typedef struct row_norm {
    int64_t rows, length, period, step, span;
    double epsilon;
    bool raw; /* the mean stays: it counts as 0 */
} row_norm;

static fa_status row_finish(fa_op_setup *s, const row_norm *from)
{
    row_norm *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = *from;
    p->epsilon = (double)fa_node_float(s->node, "epsilon", 1e-5F);
    if (!p->length) p->rows = 0;
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, s->in[0]->ndim, s->in[0]->dim);
}

static int64_t product(const fa_view *v, int32_t from, int32_t to)
{
    int64_t n = 1;
    for (int32_t i = from; i < to; i++) n *= v->dim[i];
    return n;
}

static fa_status instance_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    if (x->ndim < 3) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, at least 3 are needed", x->ndim);
    for (int32_t i = 1; i < 3; i++) FA_TRY(FA_R(fa_op_need_count)(s, i, x->dim[1]));
    row_norm p = {.rows = x->dim[0] * x->dim[1], .length = product(x, 2, x->ndim), .period = x->dim[1], .step = 1};
    p.span = p.length;
    return row_finish(s, &p);
}

static fa_status group_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    int64_t groups = fa_node_int(s->node, "num_groups", 0);
    if (x->ndim < 2) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, at least 2 are needed", x->ndim);
    if (groups < 1 || x->dim[1] % groups || !x->dim[1])
        return fa_fail(FA_ERR_SHAPE, "%lld channels in %lld groups", (long long)x->dim[1], (long long)groups);
    bool each = s->node->opset >= 21; /* scale and bias of each channel; of each group before */
    int64_t members = x->dim[1] / groups, inner = product(x, 2, x->ndim);
    for (int32_t i = 1; i < 3; i++) FA_TRY(FA_R(fa_op_need_count)(s, i, each ? x->dim[1] : groups));
    row_norm p = {.rows = x->dim[0] * groups, .length = members * inner, .period = groups, .step = each ? members : 1};
    p.span = each ? inner : p.length;
    return row_finish(s, &p);
}

static fa_status layer_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 3, 3));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    int32_t axis;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", -1), x->ndim, &axis));
    row_norm p = {.rows = product(x, 0, axis), .length = product(x, axis, x->ndim), .period = 1, .span = 1};
    for (int32_t i = 1; i < s->n_in; i++)
        if (s->in[i]) FA_TRY(FA_R(fa_op_need_count)(s, i, p.length));
    int64_t dim[FA_MAX_DIMS];
    for (int32_t i = 0; i < x->ndim; i++) dim[i] = i < axis ? x->dim[i] : 1;
    for (int32_t i = 1; i < s->n_out; i++) FA_TRY(FA_R(fa_op_set)(&s->out[i], FA_FLOAT32, x->ndim, dim));
    return row_finish(s, &p);
}

static fa_status rms_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    int32_t axis;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", -1), x->ndim, &axis));
    row_norm p = {.rows = product(x, 0, axis), .length = product(x, axis, x->ndim), .period = 1, .span = 1, .raw = true};
    FA_TRY(FA_R(fa_op_need_count)(s, 1, p.length));
    return row_finish(s, &p);
}

typedef struct moments {
    double mean, inv; /* 1 / standard deviation */
} moments;

static moments row_moments(const row_norm *p, const fa_real *x)
{
    double sum = 0, squares = 0;
    for (int64_t j = 0; j < p->length && !p->raw; j++) sum += (double)x[j];
    double mean = sum / (double)p->length;
    for (int64_t j = 0; j < p->length; j++) squares += ((double)x[j] - mean) * ((double)x[j] - mean);
    moments m = {mean, 1 / sqrt(squares / (double)p->length + p->epsilon)};
    return m;
}

static fa_real *output(const fa_op_call *call, int32_t i)
{
    return i < call->n_out && call->out[i] ? call->out[i]->data : NULL;
}

static void row_forward(const fa_op_call *call)
{
    const row_norm *p = call->params;
    const fa_real *x = call->in[0]->data, *scale = call->in[1]->data, *bias = call->n_in > 2 && call->in[2] ? call->in[2]->data : NULL;
    fa_real *y = output(call, 0), *means = output(call, 1), *invs = output(call, 2);
    for (int64_t r = 0; r < p->rows; r++, x += p->length) {
        moments m = row_moments(p, x);
        int64_t first = r % p->period * p->step;
        if (means) means[r] = (fa_real)m.mean;
        if (invs) invs[r] = (fa_real)m.inv;
        for (int64_t j = 0; y && j < p->length; j++) {
            int64_t a = first + j / p->span;
            y[r * p->length + j] = (fa_real)(((double)x[j] - m.mean) * m.inv * (double)scale[a]) + (bias ? bias[a] : 0);
        }
    }
}

/* With z = (x - mean) / deviation and h = g scale: dx = (h - mean(h) - z mean(h z)) / deviation, and what comes through mean and deviation. */
static void row_backward(const fa_op_call *call)
{
    const row_norm *p = call->params;
    const fa_real *x = call->in[0]->data, *scale = call->in[1]->data, *g = call->grad_out[0];
    const fa_real *g_mean = call->n_out > 1 ? call->grad_out[1] : NULL, *g_inv = call->n_out > 2 ? call->grad_out[2] : NULL;
    fa_real *gx = call->grad_in[0], *gs = call->grad_in[1], *gb = call->n_in > 2 ? call->grad_in[2] : NULL;
    double n = (double)p->length;
    for (int64_t r = 0; r < p->rows; r++, x += p->length) {
        moments m = row_moments(p, x);
        int64_t first = r % p->period * p->step, at = r * p->length;
        double sum = 0, moment = 0;
        for (int64_t j = 0; g && j < p->length; j++) {
            int64_t a = first + j / p->span;
            double z = ((double)x[j] - m.mean) * m.inv, h = (double)g[at + j] * (double)scale[a];
            sum += h;
            moment += h * z;
            if (gs) gs[a] += (fa_real)((double)g[at + j] * z);
            if (gb) gb[a] += g[at + j];
        }
        sum = p->raw ? 0 : sum * m.inv - (g_mean ? (double)g_mean[r] : 0);
        moment = moment * m.inv + (g_inv ? (double)g_inv[r] * m.inv * m.inv : 0);
        for (int64_t j = 0; gx && j < p->length; j++) {
            double h = g ? (double)g[at + j] * (double)scale[first + j / p->span] : 0;
            gx[at + j] += (fa_real)(h * m.inv - sum / n - ((double)x[j] - m.mean) * m.inv * moment / n);
        }
    }
}

/* LRN: every element is divided by a power of the squares of its neighbours among the channels. */
typedef struct lrn {
    int64_t n, channels, inner, before, after;
    double alpha, beta, bias; /* alpha already divided by the size */
} lrn;

static fa_status lrn_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0];
    int64_t size = fa_node_int(s->node, "size", 0);
    if (x->ndim < 2) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, at least 2 are needed", x->ndim);
    if (size < 1) return fa_fail(FA_ERR_FORMAT, "size is %lld or missing", (long long)size);
    lrn *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->n = x->count ? x->dim[0] : 0;
    p->channels = x->dim[1];
    p->inner = product(x, 2, x->ndim);
    p->before = (size - 1) / 2;
    p->after = size / 2;
    p->alpha = (double)fa_node_float(s->node, "alpha", 1e-4F) / (double)size;
    p->beta = (double)fa_node_float(s->node, "beta", 0.75F);
    p->bias = (double)fa_node_float(s->node, "bias", 1);
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

/* First and last channel of the `before` below c and the `after` above. */
static void reach(const lrn *p, int64_t c, int64_t before, int64_t after, int64_t *first, int64_t *last)
{
    *first = c > before ? c - before : 0;
    *last = after < p->channels - 1 - c ? c + after : p->channels - 1;
}

static double divisor(const lrn *p, const fa_real *x, int64_t c)
{
    int64_t first, last;
    double sum = 0;
    reach(p, c, p->before, p->after, &first, &last);
    for (int64_t k = first; k <= last; k++) sum += (double)x[k * p->inner] * (double)x[k * p->inner];
    return p->bias + p->alpha * sum;
}

static void lrn_forward(const fa_op_call *call)
{
    const lrn *p = call->params;
    const fa_real *x = call->in[0]->data;
    fa_real *y = call->out[0]->data;
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t c = 0; c < p->channels; c++)
            for (int64_t i = 0; i < p->inner; i++) {
                int64_t first = n * p->channels * p->inner + i, at = first + c * p->inner;
                y[at] = (fa_real)((double)x[at] * pow(divisor(p, x + first, c), -p->beta));
            }
}

static void lrn_backward(const fa_op_call *call)
{
    const lrn *p = call->params;
    const fa_real *x = call->in[0]->data, *g = call->grad_out[0];
    fa_real *gx = call->grad_in[0];
    for (int64_t n = 0; g && gx && n < p->n; n++)
        for (int64_t c = 0; c < p->channels; c++)
            for (int64_t i = 0; i < p->inner; i++) {
                int64_t start = n * p->channels * p->inner + i, at = start + c * p->inner, first, last;
                double d = divisor(p, x + start, c), common;
                gx[at] += (fa_real)((double)g[at] * pow(d, -p->beta));
                common = -2 * p->alpha * p->beta * (double)g[at] * (double)x[at] * pow(d, -p->beta - 1);
                reach(p, c, p->before, p->after, &first, &last);
                for (int64_t k = first; k <= last; k++) gx[start + k * p->inner] += (fa_real)(common * (double)x[start + k * p->inner]);
            }
}

#define ROWS(op, first, last, prepare_) \
    {.name = op, .domain = "", .since = first, .until = last, .back_in = 3, .prepare = prepare_, .forward = row_forward, .backward = row_backward}

const fa_op FA_R(fa_ops_norm)[] = {
    ROWS("InstanceNormalization", 1, FA_OPSET_ANY, instance_prepare),
    ROWS("LayerNormalization", 17, FA_OPSET_ANY, layer_prepare),
    ROWS("RMSNormalization", 23, FA_OPSET_ANY, rms_prepare),
    ROWS("GroupNormalization", 18, FA_OPSET_ANY, group_prepare),
    {.name = "LRN", .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = 1, .prepare = lrn_prepare, .forward = lrn_forward,
     .backward = lrn_backward},
    {0},
};
