/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/nhwc.h"
#include "ops/window.h"

#include <string.h>

typedef struct pool {
    fa_pool2d p;
    int64_t n;
} pool;

/* Which taps of each window along an axis lie inside the image, and one over the number that an average counts. */
static bool set_axis(fa_arena *arena, const fa_window *w, int32_t axis, bool count_pads, const int64_t **first, const int64_t **end, const float **share)
{
    const size_t n = (size_t)w->out[axis];
    int64_t *f = fa_arena_array(arena, n, sizeof *f), *e = fa_arena_array(arena, n, sizeof *e);
    float *s = fa_arena_array(arena, n, sizeof *s);
    if (!f || !e || !s) return false;
    for (int64_t o = 0; o < w->out[axis]; o++) {
        int64_t ignored, taps;
        fa_window_taps(w, axis, o, w->in[axis], &f[o], &e[o]);
        taps = e[o] - f[o];
        if (count_pads) fa_window_taps(w, axis, o, w->in[axis] + w->pad_end[axis], &ignored, &taps);
        s[o] = taps > 0 ? 1.0f / (float)taps : 0.0f;
    }
    *first = f;
    *end = e;
    *share = s;
    return true;
}

static fa_status prepare(fa_op_setup *s, bool global)
{
    const fa_view *x = s->in[0];
    char text[FA_SHAPE_TEXT];
    if (x->ndim != 4 || !fa_dtype_is_real(x->dtype) || x->count == 0)
        return fa_fail(FA_ERR_SHAPE, "%s %s where images of reals are taken", fa_dtype_name(x->dtype), fa_shape_text(x->ndim, x->dim, text, sizeof text));
    fa_window w = {.rank = 2, .in = {1, x->dim[1], x->dim[2]}, .out = {1, 1, 1}, .kernel = {1, x->dim[1], x->dim[2]}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
    if (!global) {
        const fa_view nchw = {.ndim = 4, .dim = {x->dim[0], x->dim[3], x->dim[1], x->dim[2]}};
        int32_t auto_pad;
        FA_TRY(FA_R(fa_window_auto_pad)(s->node, &auto_pad));
        FA_TRY(FA_R(fa_window_read)(s->node, &nchw, NULL, &w));
        FA_TRY(FA_R(fa_window_fit)(&w, auto_pad, fa_node_int(s->node, "ceil_mode", 0) != 0));
        for (int32_t i = 1; i < 3; i++)
            if (w.pad[i] >= fa_window_reach(&w, i) || w.pad_end[i] >= fa_window_reach(&w, i)) return fa_fail(FA_ERR_SHAPE, "pads are as large as the kernel");
    }
    const bool flat = global && !fa_node_int(s->node, "keepdims", 1);
    const int64_t image[] = {x->dim[0], w.out[1], w.out[2], x->dim[3]}, row[] = {x->dim[0], x->dim[3]};
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, flat ? 2 : 4, flat ? row : image));
    if (s->out[0].count == 0) return fa_fail(FA_ERR_SHAPE, "a pool without windows");
    pool *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->n = x->dim[0];
    p->p = (fa_pool2d){.c = x->dim[3], .h = w.in[1], .w = w.in[2], .oh = w.out[1], .ow = w.out[2], .stride_h = w.stride[1], .stride_w = w.stride[2],
                       .dilation_h = w.dilation[1], .dilation_w = w.dilation[2], .pad_top = w.pad[1], .pad_left = w.pad[2]};
    const bool count_pads = fa_node_int(s->node, "count_include_pad", 0) != 0;
    if (!set_axis(s->arena, &w, 1, count_pads, &p->p.row_first, &p->p.row_end, &p->p.row_share) ||
        !set_axis(s->arena, &w, 2, count_pads, &p->p.col_first, &p->p.col_end, &p->p.col_share))
        return FA_ERR_MEMORY;
    s->params = p;
    return FA_OK;
}

static fa_status window_prepare(fa_op_setup *s)
{
    return prepare(s, false);
}

static fa_status global_prepare(fa_op_setup *s)
{
    return prepare(s, true);
}

static void max_forward(const fa_op_call *call)
{
    const pool *p = call->params;
    fa_pool_max(&p->p, p->n, call->in[0]->data, call->out[0]->data);
}

static void average_forward(const fa_op_call *call)
{
    const pool *p = call->params;
    fa_pool_average(&p->p, p->n, call->in[0]->data, call->out[0]->data);
}

/* Gradients are spread over windows that may overlap, hence added to what is there. */
static void clear(const fa_op_call *call)
{
    if (call->grad_in[0] && !call->accumulate[0]) memset(call->grad_in[0], 0, (size_t)call->in[0]->count * sizeof(float));
}

static void max_backward(const fa_op_call *call)
{
    const pool *p = call->params;
    clear(call);
    if (call->grad_in[0] && call->grad_out[0]) fa_pool_max_gradient(&p->p, p->n, call->in[0]->data, call->grad_out[0], call->grad_in[0]);
}

static void average_backward(const fa_op_call *call)
{
    const pool *p = call->params;
    clear(call);
    if (call->grad_in[0] && call->grad_out[0]) fa_pool_average_gradient(&p->p, p->n, call->grad_out[0], call->grad_in[0]);
    const fa_slope slope = fa_fast_slope(call, 0, 0);
    if (call->grad_in[0]) fa_slope_apply(&slope, 0, call->in[0]->count, call->grad_in[0]);
}

#define FAST(name_, back_in_, slopes_, prepare_, forward_, backward_)                                                                                             \
    {                                                                                                                                                    \
        .name = name_, .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES, .back_in = back_in_, .slopes = slopes_,   \
        .prepare = prepare_, .forward = forward_, .backward = backward_                                                                                  \
    }

const fa_op fa_fast_ops_pool[] = {
    FAST("MaxPoolNhwc", 1, 0, window_prepare, max_forward, max_backward),
    FAST("GlobalMaxPoolNhwc", 1, 0, global_prepare, max_forward, max_backward),
    FAST("AveragePoolNhwc", 0, 1, window_prepare, average_forward, average_backward),
    FAST("GlobalAveragePoolNhwc", 0, 1, global_prepare, average_forward, average_backward),
    {0},
};
