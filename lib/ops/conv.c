/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/product.h"
#include "ops/window.h"

/*
 * Conv and ConvTranspose. Both join a wide tensor [n, wide channels, in...] and a windowed one [n, windowed channels, out...] through weights
 * [windowed channels, wide channels / groups, kernel...]: Conv reads the wide one and writes the windowed one, ConvTranspose the other way round,
 * and the gradient of each is the forward pass of the other.
 */
typedef struct conv {
    fa_window w;
    int64_t n, groups, wide, windowed; /* channels per group */
    bool bf16;
} conv;

enum direction { TO_WINDOWED, TO_WIDE, TO_WEIGHT };

/* For every weight and every row of windows: windowed += weight * wide, wide += weight * windowed, or weight += wide . windowed. */
static inline __attribute__((always_inline)) void walk(const conv *c, fa_real *wide, fa_real *windowed, fa_real *weight, enum direction to)
{
    const fa_window *w = &c->w;
    int64_t in = fa_window_volume(w->in), out = fa_window_volume(w->out), kernel = fa_window_volume(w->kernel);
    int64_t planes = in && out ? c->n * c->groups * c->windowed : 0, step = w->stride[2];
    for (int64_t p = 0; p < planes; p++) {
        int64_t group = p / c->windowed, channel = p % (c->groups * c->windowed);
        for (int64_t ic = 0; ic < c->wide; ic++) {
            fa_real *from = wide + (group * c->wide + ic) * in, *tap = weight + (channel * c->wide + ic) * kernel;
            for (int64_t k = 0; k < kernel; k++) {
                int64_t k2 = k % w->kernel[2], k1 = k / w->kernel[2] % w->kernel[1], k0 = k / w->kernel[2] / w->kernel[1];
                int64_t first[3], end[3];
                fa_window_outputs(w, 0, k0, &first[0], &end[0]);
                fa_window_outputs(w, 1, k1, &first[1], &end[1]);
                fa_window_outputs(w, 2, k2, &first[2], &end[2]);
                int64_t length = end[2] - first[2];
                fa_real scale = tap[k], sum = 0;
                if (length <= 0) continue;
                for (int64_t o0 = first[0]; o0 < end[0]; o0++) {
                    int64_t i0 = o0 * w->stride[0] + k0 * w->dilation[0] - w->pad[0];
                    for (int64_t o1 = first[1]; o1 < end[1]; o1++) {
                        int64_t i1 = o1 * w->stride[1] + k1 * w->dilation[1] - w->pad[1];
                        fa_real *x = from + (i0 * w->in[1] + i1) * w->in[2] + first[2] * step + k2 * w->dilation[2] - w->pad[2];
                        fa_real *y = windowed + p * out + (o0 * w->out[1] + o1) * w->out[2] + first[2];
                        if (step == 1) {
                            if (to == TO_WINDOWED) fa_axpy(length, scale, x, y);
                            if (to == TO_WIDE) fa_axpy(length, scale, y, x);
                            if (to == TO_WEIGHT) sum += fa_dot(length, x, y);
                        } else {
                            for (int64_t i = 0; i < length; i++) {
                                if (to == TO_WINDOWED) y[i] += scale * x[i * step];
                                if (to == TO_WIDE) x[i * step] += scale * y[i];
                                if (to == TO_WEIGHT) sum += x[i * step] * y[i];
                            }
                        }
                    }
                }
                if (to == TO_WEIGHT) tap[k] += sum;
            }
        }
    }
}

static void set_bias(int64_t planes, int64_t channels, int64_t size, const fa_view *bias, fa_real *y)
{
    const fa_real *b = bias ? bias->data : NULL;
    if (!size) return;
    for (int64_t p = 0; p < planes; p++) {
        fa_real value = b ? b[p % channels] : 0;
        for (int64_t i = 0; i < size; i++) y[p * size + i] = value;
    }
}

static void bias_gradient(int64_t planes, int64_t channels, int64_t size, const fa_real *g, fa_real *out)
{
    if (!size) return;
    for (int64_t p = 0; p < planes; p++) {
        fa_real sum = 0;
        for (int64_t i = 0; i < size; i++) sum += g[p * size + i];
        out[p % channels] += sum;
    }
}

/* Pointwise convolutions see one long row. */
static void join_rows(fa_window *w)
{
    for (int32_t i = 0; i < 3; i++)
        if (w->kernel[i] != 1 || w->stride[i] != 1 || w->in[i] != w->out[i] || w->pad[i]) return;
    w->in[2] = w->out[2] = fa_window_volume(w->in);
    w->in[0] = w->in[1] = w->out[0] = w->out[1] = 1;
}

static fa_status check_inputs(const fa_op_setup *s, const fa_view **x, const fa_view **weight, const fa_view **bias, int64_t *groups)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 3, 1));
    *x = s->in[0];
    *weight = s->in[1];
    *bias = s->n_in > 2 ? s->in[2] : NULL;
    if (!fa_dtype_is_real((*x)->dtype) || !fa_dtype_is_real((*weight)->dtype) || (*bias && !fa_dtype_is_real((*bias)->dtype)))
        return fa_fail(FA_ERR_DTYPE, "%s of %s is not supported", s->node->op, fa_dtype_name((*x)->dtype));
    if ((*weight)->ndim != (*x)->ndim)
        return fa_fail(FA_ERR_SHAPE, "the weight has %d dimensions, the input %d", (*weight)->ndim, (*x)->ndim);
    *groups = fa_node_int(s->node, "group", 1);
    if (*groups < 1 || *groups > INT32_MAX) return fa_fail(FA_ERR_FORMAT, "group is %lld", (long long)*groups);
    return FA_OK;
}

static fa_status check_channels(const fa_view *x, const fa_view *weight, const fa_view *bias, int64_t from, int64_t to)
{
    char xs[FA_SHAPE_TEXT], ws[FA_SHAPE_TEXT];
    if (x->dim[1] != from)
        return fa_fail(FA_ERR_SHAPE, "input %s and weight %s do not have the same channels", fa_shape_text(x->ndim, x->dim, xs, sizeof xs),
                       fa_shape_text(weight->ndim, weight->dim, ws, sizeof ws));
    if (bias && (bias->ndim != 1 || bias->dim[0] != to))
        return fa_fail(FA_ERR_SHAPE, "bias has shape %s, not [%lld]", fa_shape_text(bias->ndim, bias->dim, xs, sizeof xs), (long long)to);
    return FA_OK;
}

static fa_status finish(fa_op_setup *s, const conv *c)
{
    conv *kept = fa_arena_new(s->arena, sizeof *kept);
    if (!kept) return FA_ERR_MEMORY;
    *kept = *c;
    join_rows(&kept->w);
    s->params = kept;
    s->flops = 2.0 * (double)(c->n * c->groups * c->windowed) * (double)c->wide * (double)fa_window_volume(c->w.out) *
               (double)fa_window_volume(c->w.kernel);
    return FA_OK;
}

static fa_status conv_prepare(fa_op_setup *s)
{
    const fa_view *x, *weight, *bias;
    int64_t groups;
    int32_t auto_pad;
    conv c = {0};
    FA_TRY(check_inputs(s, &x, &weight, &bias, &groups));
    FA_TRY(FA_R(fa_window_auto_pad)(s->node, &auto_pad));
    FA_TRY(FA_R(fa_window_read)(s->node, x, weight->dim + 2, &c.w));
    FA_TRY(FA_R(fa_window_fit)(&c.w, auto_pad, false));
    int64_t channels = weight->dim[0];
    if (channels % groups) return fa_fail(FA_ERR_SHAPE, "%lld output channels in %lld groups", (long long)channels, (long long)groups);
    c.n = x->dim[0];
    c.groups = groups;
    c.wide = weight->dim[1];
    c.windowed = channels / groups;
    int64_t from;
    if (!fa_mul_i64(c.wide, groups, &from)) return fa_fail(FA_ERR_SHAPE, "%lld groups", (long long)groups);
    FA_TRY(check_channels(x, weight, bias, from, channels));
    FA_TRY(FA_R(fa_window_shape)(&c.w, c.n, channels, c.w.out, x->dtype, &s->out[0]));
    c.bf16 = s->node->bf16;
    s->scratch = fa_factor_scratch(c.bf16, weight->count, x->count, s->out[0].count);
    return finish(s, &c);
}

/* The factors of a Conv; walk() writes to none of them. The input or the gradient goes behind the weights. */
static fa_real *weights(const fa_op_call *call)
{
    const conv *c = call->params;
    return (fa_real *)fa_factor(c->bf16, call->in[1]->count, call->in[1]->data, call->scratch);
}

static fa_real *rounded(const fa_op_call *call, int64_t n, const fa_real *x)
{
    const conv *c = call->params;
    return (fa_real *)fa_factor(c->bf16, n, x, c->bf16 ? (fa_real *)call->scratch + call->in[1]->count : NULL);
}

static void conv_forward(const fa_op_call *call)
{
    const conv *c = call->params;
    set_bias(c->n * c->groups * c->windowed, c->groups * c->windowed, fa_window_volume(c->w.out), call->n_in > 2 ? call->in[2] : NULL, call->out[0]->data);
    walk(c, rounded(call, call->in[0]->count, call->in[0]->data), call->out[0]->data, weights(call), TO_WINDOWED);
}

static void conv_backward(const fa_op_call *call)
{
    const conv *c = call->params;
    fa_real *g = (fa_real *)call->grad_out[0];
    if (!g) return;
    if (call->grad_in[0]) walk(c, call->grad_in[0], rounded(call, call->out[0]->count, g), weights(call), TO_WIDE);
    if (call->grad_in[1]) walk(c, call->in[0]->data, g, call->grad_in[1], TO_WEIGHT);
    if (call->n_in > 2 && call->grad_in[2])
        bias_gradient(c->n * c->groups * c->windowed, c->groups * c->windowed, fa_window_volume(c->w.out), g, call->grad_in[2]);
}

/* The sizes of the wide tensor, from output_shape, output_padding and the pads. */
static fa_status transpose_fit(const fa_node *node, fa_window *w, int32_t auto_pad)
{
    int64_t n_shape, n_extra;
    const int64_t *shape = fa_node_ints(node, "output_shape", &n_shape), *extra = fa_node_ints(node, "output_padding", &n_extra);
    if ((n_shape && n_shape != w->rank && n_shape != w->rank + 2) || (n_extra && n_extra != w->rank))
        return fa_fail(FA_ERR_FORMAT, "output_shape or output_padding does not have %d numbers", w->rank);
    bool same = auto_pad == FA_PAD_SAME_UPPER || auto_pad == FA_PAD_SAME_LOWER;
    for (int32_t i = 0; i < w->rank; i++) {
        int32_t a = 3 - w->rank + i;
        int64_t full, more = n_extra ? extra[i] : 0, asked;
        if (more < 0 || more > INT32_MAX) return fa_fail(FA_ERR_FORMAT, "output_padding[%d] is %lld", i, (long long)more);
        w->out[a] = w->in[a];
        if (!w->in[a] || !fa_mul_i64(w->in[a], w->stride[a], &asked) || asked > FA_MAX_ELEMENTS)
            return fa_fail(FA_ERR_SHAPE, "axis %d has %lld elements", 2 + i, (long long)w->in[a]);
        full = asked - w->stride[a] + more + fa_window_reach(w, a);
        if (n_shape) asked = shape[n_shape - w->rank + i];
        if (asked < 0 || asked > FA_MAX_ELEMENTS) return fa_fail(FA_ERR_SHAPE, "output_shape has %lld for axis %d", (long long)asked, 2 + i);
        if (auto_pad == FA_PAD_VALID) w->pad[a] = w->pad_end[a] = 0;
        if (n_shape || same) {
            int64_t total = full > asked ? full - asked : 0;
            w->pad[a] = auto_pad == FA_PAD_SAME_UPPER ? total / 2 : total - total / 2;
            w->in[a] = asked;
        } else {
            w->in[a] = full - w->pad[a] - w->pad_end[a];
        }
        if (w->in[a] < 0) return fa_fail(FA_ERR_SHAPE, "axis %d of the output would have %lld elements", 2 + i, (long long)w->in[a]);
    }
    return FA_OK;
}

static fa_status transpose_prepare(fa_op_setup *s)
{
    const fa_view *x, *weight, *bias;
    int64_t groups, to;
    int32_t auto_pad;
    conv c = {0};
    FA_TRY(check_inputs(s, &x, &weight, &bias, &groups));
    FA_TRY(FA_R(fa_window_auto_pad)(s->node, &auto_pad));
    FA_TRY(FA_R(fa_window_read)(s->node, x, weight->dim + 2, &c.w));
    FA_TRY(transpose_fit(s->node, &c.w, auto_pad));
    if (weight->dim[0] % groups || !fa_mul_i64(weight->dim[1], groups, &to))
        return fa_fail(FA_ERR_SHAPE, "%lld input channels in %lld groups", (long long)weight->dim[0], (long long)groups);
    FA_TRY(check_channels(x, weight, bias, weight->dim[0], to));
    c.n = x->dim[0];
    c.groups = groups;
    c.wide = weight->dim[1];
    c.windowed = weight->dim[0] / groups;
    FA_TRY(FA_R(fa_window_shape)(&c.w, c.n, to, c.w.in, x->dtype, &s->out[0]));
    return finish(s, &c);
}

static void transpose_forward(const fa_op_call *call)
{
    const conv *c = call->params;
    set_bias(c->n * c->groups * c->wide, c->groups * c->wide, fa_window_volume(c->w.in), call->n_in > 2 ? call->in[2] : NULL, call->out[0]->data);
    walk(c, call->out[0]->data, call->in[0]->data, call->in[1]->data, TO_WIDE);
}

static void transpose_backward(const fa_op_call *call)
{
    const conv *c = call->params;
    fa_real *g = (fa_real *)call->grad_out[0];
    if (!g) return;
    if (call->grad_in[0]) walk(c, g, call->grad_in[0], call->in[1]->data, TO_WINDOWED);
    if (call->grad_in[1]) walk(c, g, call->in[0]->data, call->grad_in[1], TO_WEIGHT);
    if (call->n_in > 2 && call->grad_in[2])
        bias_gradient(c->n * c->groups * c->wide, c->groups * c->wide, fa_window_volume(c->w.in), g, call->grad_in[2]);
}

const fa_op FA_R(fa_ops_conv)[] = {
    {.name = "Conv", .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = 3, .prepare = conv_prepare, .forward = conv_forward,
     .backward = conv_backward},
    {.name = "ConvTranspose", .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = 3, .prepare = transpose_prepare, .forward = transpose_forward,
     .backward = transpose_backward},
    {0},
};
