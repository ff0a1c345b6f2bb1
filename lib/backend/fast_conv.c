/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/conv_once.h"
#include "kernels/multiply.h"
#include "kernels/nhwc.h"
#include "kernels/weights.h"
#include "ops/window.h"

#include <string.h>

typedef struct conv {
    const fa_conv *forward, *gradient;
    fa_conv_geometry geometry;
    int64_t n, stride_out, stride_in; /* strides: of the weights as their gradient is wanted */
    bool relu;
    bool turned; /* the data-gradient too reads the weights as they are packed for forward: rows times a matrix */
    bool once;   /* the same of a convolution; they are packed for direct sums whatever the kernel */
} conv;

/* A kernel of one element at every position. */
static bool is_rows(const fa_conv_geometry *g)
{
    return g->kh * g->kw == 1 && g->h == g->oh && g->w == g->ow && !g->pad_top && !g->pad_left && g->stride_h * g->stride_w == 1;
}

static fa_status finish(fa_op_setup *s, const fa_conv_geometry *g, int64_t n)
{
    char have[FA_SHAPE_TEXT], want[FA_SHAPE_TEXT];
    const fa_view *residual = s->in[FA_FAST_RESIDUAL], *y = &s->out[0];
    if (residual && (residual->ndim != y->ndim || memcmp(residual->dim, y->dim, (size_t)y->ndim * sizeof *y->dim) != 0))
        return fa_fail(FA_ERR_SHAPE, "%s is added to %s", fa_shape_text(residual->ndim, residual->dim, have, sizeof have),
                       fa_shape_text(y->ndim, y->dim, want, sizeof want));
    if (!fa_conv_supported(g)) return fa_fail(FA_ERR_LIMIT, "sizes beyond what the fast kernels take; the reference kernels do");
    conv *c = fa_arena_new(s->arena, sizeof *c);
    if (!c) return FA_ERR_MEMORY;
    const fa_isa isa = fa_kernels_isa();
    c->forward = fa_conv_new(s->arena, isa, g, FA_CONV_FORWARD);
    c->gradient = fa_conv_new(s->arena, isa, g, FA_CONV_DATA_GRADIENT);
    if (!c->forward || !c->gradient) return FA_ERR_MEMORY;
    c->geometry = *g;
    c->n = n;
    c->relu = fa_node_int(s->node, "relu", 0) != 0;
    c->once = fa_node_int(s->node, "once", 0) != 0;
    c->turned = fa_node_int(s->node, "turned", 0) || (c->once && is_rows(g));
    s->params = c;
    const int32_t threads = s->threads > 1 ? s->threads : 1;
    s->scratch = c->once ? fa_conv_once_scratch(c->forward, g, FA_CONV_FORWARD) : fa_conv_scratch(c->forward, threads);
    const bool goes_back = fa_op_bit(s->wants, FA_FAST_X);
    const size_t back = c->turned || !goes_back ? 0 : c->once ? fa_conv_once_scratch(c->gradient, g, FA_CONV_DATA_GRADIENT) : fa_conv_scratch(c->gradient, threads);
    if (back > s->scratch) s->scratch = back;
    if (c->turned && goes_back && s->scratch < (size_t)threads * FA_MULTIPLY_TURNED) s->scratch = (size_t)threads * FA_MULTIPLY_TURNED;
    if (s->in[FA_FAST_WEIGHT]) {
        int64_t count;
        const int64_t *strides = fa_node_ints(s->node, "weight_strides", &count);
        c->stride_out = strides[0];
        c->stride_in = strides[1];
        if (fa_weights_scratch(g, n) > s->scratch) s->scratch = fa_weights_scratch(g, n);
    }
    s->flops = 2.0 * (double)n * (double)(g->oh * g->ow) * (double)g->out * (double)(g->c / g->groups) * (double)(g->kh * g->kw);
    return FA_OK;
}

static fa_status conv_prepare(fa_op_setup *s)
{
    const fa_view *x = s->in[FA_FAST_X];
    int64_t count;
    const int64_t *weight = fa_node_ints(s->node, "weight_shape", &count), groups = fa_node_int(s->node, "group", 1);
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "a convolution of %s is not supported", fa_dtype_name(x->dtype));
    if (x->ndim != 4 || x->dim[3] != groups * weight[1])
        return fa_fail(FA_ERR_SHAPE, "the input has %lld channels where the weights take %lld", (long long)(x->ndim == 4 ? x->dim[3] : -1),
                       (long long)(groups * weight[1]));
    const fa_view nchw = {.ndim = 4, .dim = {x->dim[0], x->dim[3], x->dim[1], x->dim[2]}};
    int32_t auto_pad;
    fa_window w;
    FA_TRY(FA_R(fa_window_auto_pad)(s->node, &auto_pad));
    FA_TRY(FA_R(fa_window_read)(s->node, &nchw, weight + 2, &w));
    FA_TRY(FA_R(fa_window_fit)(&w, auto_pad, false));
    const int64_t dim[] = {x->dim[0], w.out[1], w.out[2], weight[0]};
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, 4, dim));
    fa_conv_geometry g = {.c = x->dim[3], .h = w.in[1], .w = w.in[2], .out = weight[0], .oh = w.out[1], .ow = w.out[2], .groups = groups,
                                .kh = weight[2], .kw = weight[3], .stride_h = w.stride[1], .stride_w = w.stride[2], .dilation_h = w.dilation[1],
                                .dilation_w = w.dilation[2], .pad_top = w.pad[1], .pad_left = w.pad[2], .bf16 = fa_layer_bf16(s->node)};
    g.winograd = fa_conv_should_filter(&g);
    return finish(s, &g, x->dim[0]);
}

static fa_status gemm_prepare(fa_op_setup *s)
{
    const fa_view *x = s->in[FA_FAST_X];
    int64_t count, dim[FA_MAX_DIMS] = {0};
    const int64_t *weight = fa_node_ints(s->node, "weight_shape", &count);
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "a matrix product of %s is not supported", fa_dtype_name(x->dtype));
    const int64_t last = x->ndim ? x->dim[x->ndim - 1] : 0;
    if (x->ndim < 1 || (x->ndim != 2 && fa_node_int(s->node, "matrix", 0)) || last != weight[1])
        return fa_fail(FA_ERR_SHAPE, "rows of %lld in %d dimensions where the weights take rows of %lld%s", (long long)last, x->ndim, (long long)weight[1],
                       fa_node_int(s->node, "matrix", 0) ? " in 2" : "");
    memcpy(dim, x->dim, sizeof dim);
    dim[x->ndim - 1] = weight[0];
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim));
    const fa_conv_geometry g = {weight[1], 1, 1, weight[0], 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, .bf16 = fa_layer_bf16(s->node)};
    return finish(s, &g, x->count / last);
}

/* Elements of an image. */
static int64_t size_in(const conv *c)
{
    return c->geometry.c * c->geometry.h * c->geometry.w;
}

static int64_t size_out(const conv *c)
{
    return c->geometry.out * c->geometry.oh * c->geometry.ow;
}

static const float *from(const fa_view *view, int64_t first)
{
    return view ? (const float *)view->data + first : NULL;
}

static void run(const conv *c, fa_conv_direction direction, const fa_conv_data *data)
{
    const fa_conv *kernel = direction == FA_CONV_FORWARD ? c->forward : c->gradient;
    if (c->once) fa_conv_once_run(kernel, &c->geometry, direction, data);
    else fa_conv_run(kernel, data);
}

static void forward(const fa_op_call *call)
{
    const conv *c = call->params;
    const int64_t first = call->first * size_out(c);
    run(c, FA_CONV_FORWARD, &(fa_conv_data){
                                .n = call->rows ? call->rows : c->n,
                                .in = from(call->in[FA_FAST_X], call->first * size_in(c)),
                                .packed = call->in[FA_FAST_PACKED]->data,
                                .bias = from(call->in[FA_FAST_BIAS], 0),
                                .residual = from(call->in[FA_FAST_RESIDUAL], first),
                                .out = (float *)call->out[0]->data + first,
                                .relu = c->relu,
                                .scratch = call->scratch,
                                .pool = c->once ? NULL : call->pool,
                            });
}

/* Begins a gradient with zeros: of what is summed over the batch with the first images. */
static void clear(const fa_op_call *call, int32_t input)
{
    const int64_t count = call->in[input] ? call->in[input]->count : 0, row = call->rows && count ? count / call->in[input]->dim[0] : 0;
    const bool sum = input == FA_FAST_BIAS || input == FA_FAST_WEIGHT;
    if (!call->grad_in[input] || call->accumulate[input] || (sum && call->first)) return;
    if (sum || !call->rows) memset(call->grad_in[input], 0, (size_t)count * sizeof(float));
    else memset((float *)call->grad_in[input] + fa_op_first(call, call->short_in, input) * row, 0, (size_t)(call->rows * row) * sizeof(float));
}

static void backward(const fa_op_call *call)
{
    const conv *c = call->params;
    const fa_conv_geometry *geometry = &c->geometry;
    const float *g = call->grad_out[0];
    const fa_slope slope = fa_fast_slope(call, FA_FAST_X, call->first * size_in(c));
    float *gx = call->grad_in[FA_FAST_X], *gr = call->grad_in[FA_FAST_RESIDUAL], *gb = call->grad_in[FA_FAST_BIAS], *gw = call->grad_in[FA_FAST_WEIGHT];
    const int64_t n = call->rows ? call->rows : c->n;
    const bool passes = gr && gr != g; /* the residual's gradient lies elsewhere */
    for (int32_t i = 0; i < FA_FAST_INPUTS; i++)
        if (!g || i == FA_FAST_BIAS || i == FA_FAST_WEIGHT) clear(call, i);
    if (!g) return;
    g += fa_op_first(call, call->short_out, 0) * size_out(c);
    if (gx) gx += fa_op_first(call, call->short_in, FA_FAST_X) * size_in(c);
    if (gr) gr += fa_op_first(call, call->short_in, FA_FAST_RESIDUAL) * size_out(c);
    if (gw)
        fa_weights_run(fa_kernels_isa(), geometry, &(fa_weights_data){
                                                       .n = n,
                                                       .in = from(call->in[FA_FAST_X], call->first * size_in(c)),
                                                       .d = g,
                                                       .stride_out = c->stride_out,
                                                       .stride_in = c->stride_in,
                                                       .stride_position = 1,
                                                       .gradient = gw,
                                                       .scratch = call->scratch,
                                                   });
    if (gb) fa_weights_bias(n * geometry->oh * geometry->ow, geometry->out, g, gb);
    if (gx && c->turned) {
        const int64_t rows = n * geometry->oh * geometry->ow;
        fa_multiply_run(fa_kernels_isa(), &(fa_multiply){.m = rows, .n = geometry->c, .k = geometry->out, .a = g, .lda = geometry->out, .c = gx, .ldc = geometry->c,
                                                         .add = call->accumulate[FA_FAST_X], .packed_turned = call->in[FA_FAST_PACKED_GRADIENT]->data, .pool = call->pool, .scratch = call->scratch});
        fa_slope_apply(&slope, 0, rows * geometry->c, gx);
    } else if (gx)
        run(c, FA_CONV_DATA_GRADIENT, &(fa_conv_data){
                                          .n = n,
                                          .in = g,
                                          .packed = call->in[FA_FAST_PACKED_GRADIENT]->data,
                                          .residual = call->accumulate[FA_FAST_X] ? gx : NULL,
                                          .out = gx,
                                          .scratch = call->scratch,
                                          .slope = slope,
                                          .pool = c->once ? NULL : call->pool,
                                      });
    if (passes) fa_copy_or_add(n * size_out(c), g, gr, call->accumulate[FA_FAST_RESIDUAL]);
}

typedef struct packing {
    fa_conv_geometry geometry;
    fa_conv_direction direction;
    int64_t stride_out, stride_in;
} packing;

static fa_status pack_prepare(fa_op_setup *s)
{
    int64_t count;
    packing *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    const int64_t *strides = fa_node_ints(s->node, "weight_strides", &count);
    memcpy(&p->geometry, fa_node_ints(s->node, "geometry", &count), sizeof p->geometry);
    p->direction = fa_node_int(s->node, "gradient", 0) ? FA_CONV_DATA_GRADIENT : FA_CONV_FORWARD;
    p->stride_out = strides[0];
    p->stride_in = strides[1];
    s->params = p;
    const int64_t floats = (int64_t)fa_conv_packed_floats(&p->geometry, p->direction);
    return FA_R(fa_op_set)(&s->out[0], FA_FLOAT32, 1, &floats);
}

static void pack_forward(const fa_op_call *call)
{
    const packing *p = call->params;
    fa_conv_pack(&p->geometry, p->direction, call->in[0]->data, p->stride_out, p->stride_in, 1, call->out[0]->data);
}

#define FAST(name_, prepare_, ...)                                                                                                                          \
    {                                                                                                                                                    \
        .name = name_, .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES,                                           \
        .back_in = 1u << FA_FAST_PACKED_GRADIENT | 1u << FA_FAST_X, .back_only = 1u << FA_FAST_PACKED_GRADIENT | 1u << FA_FAST_WEIGHT,                   \
        .first_for = 1u << FA_FAST_WEIGHT, .slopes = 1u << FA_FAST_X, .hands_on = 1u << FA_FAST_RESIDUAL, .prepare = prepare_, .forward = forward,       \
        .backward = backward, __VA_ARGS__                                                                                                                \
    }

const fa_op fa_fast_ops_conv[] = {
    FAST("ConvNhwc", conv_prepare, .cut_in = 1u << FA_FAST_X | 1u << FA_FAST_RESIDUAL, .cut_out = 1),
    FAST("GemmFast", gemm_prepare, .cut_out = 0),
    {.name = "PackConv", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_STOPS, .prepare = pack_prepare, .forward = pack_forward},
    {0},
};
