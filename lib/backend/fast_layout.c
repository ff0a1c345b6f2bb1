/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/nhwc.h"

#include <string.h>

/* A batch of matrices to be transposed; rows 0 for operators that leave the order of elements alone. */
typedef struct layout {
    int64_t n, rows, columns;
} layout;

static fa_status prepare(fa_op_setup *s, const int64_t order[4], bool to_last)
{
    const fa_view *x = s->in[0];
    char text[FA_SHAPE_TEXT];
    if (x->ndim != 4 || !fa_dtype_is_real(x->dtype))
        return fa_fail(FA_ERR_SHAPE, "%s %s where images of reals are taken", fa_dtype_name(x->dtype), fa_shape_text(x->ndim, x->dim, text, sizeof text));
    const int64_t dim[] = {x->dim[order[0]], x->dim[order[1]], x->dim[order[2]], x->dim[order[3]]};
    layout *l = fa_arena_new(s->arena, sizeof *l);
    if (!l) return FA_ERR_MEMORY;
    const int64_t channels = x->dim[to_last ? 1 : 3], pixels = x->dim[to_last ? 2 : 1] * x->dim[to_last ? 3 : 2];
    *l = (layout){x->dim[0], to_last ? channels : pixels, to_last ? pixels : channels};
    s->params = l;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 4, dim);
}

static fa_status to_nhwc_prepare(fa_op_setup *s)
{
    return prepare(s, (const int64_t[]){0, 2, 3, 1}, true);
}

static fa_status to_nchw_prepare(fa_op_setup *s)
{
    return prepare(s, (const int64_t[]){0, 3, 1, 2}, false);
}

static void transpose_forward(const fa_op_call *call)
{
    const layout *l = call->params;
    fa_transpose(l->n, l->rows, l->columns, call->in[0]->data, call->out[0]->data, false);
}

/* Without a gradient above there is nothing to add, and nothing but zeros to write. */
static bool no_gradient(const fa_op_call *call)
{
    if (call->grad_out[0] && call->grad_in[0]) return false;
    float *g = call->grad_in[0];
    for (int64_t i = 0; g && !call->accumulate[0] && i < call->in[0]->count; i++) g[i] = 0;
    return true;
}

static void transpose_backward(const fa_op_call *call)
{
    const layout *l = call->params;
    if (!no_gradient(call)) fa_transpose(l->n, l->columns, l->rows, call->grad_out[0], call->grad_in[0], call->accumulate[0]);
}

static void same_forward(const fa_op_call *call)
{
    fa_copy_or_add(call->in[0]->count, call->in[0]->data, call->out[0]->data, false);
}

static void same_backward(const fa_op_call *call)
{
    if (!no_gradient(call)) fa_copy_or_add(call->in[0]->count, call->grad_out[0], call->grad_in[0], call->accumulate[0]);
}

static fa_status relu_prepare(fa_op_setup *s)
{
    return FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, s->in[0]->ndim, s->in[0]->dim);
}

/* Elements of a row of the batch, where a call does not do all. */
static int64_t row_of(const fa_op_call *call)
{
    return call->rows ? call->in[0]->count / call->in[0]->dim[0] : 0;
}

static int64_t relu_pieces(const fa_op_call *call, bool backward, double *cost)
{
    (void)backward;
    *cost = FA_FAST_MOVED * (double)call->in[0]->count;
    return (call->in[0]->count + FA_FAST_PIECE - 1) / FA_FAST_PIECE;
}

/* Elements of a call: from `at` on. */
static int64_t part_of(const fa_op_call *call, int64_t row, int64_t *at)
{
    int64_t end;
    *at = call->first * row;
    if (row) return call->rows * row;
    fa_op_part(call, FA_FAST_PIECE, call->in[0]->count, at, &end);
    return end - *at;
}

static void relu_forward(const fa_op_call *call)
{
    int64_t at, n = part_of(call, row_of(call), &at);
    fa_copy_or_add(n, (const float *)call->in[0]->data + at, (float *)call->out[0]->data + at, false);
}

static void relu_backward(const fa_op_call *call)
{
    const int64_t row = row_of(call);
    int64_t at, n = part_of(call, row, &at);
    const float *y = (const float *)call->out[0]->data + at, *g = call->grad_out[0];
    float *gx = call->grad_in[0];
    if (!gx) return;
    gx += row ? fa_op_first(call, call->short_in, 0) * row : at;
    if (g) fa_relu_gradient(n, y, g + (row ? fa_op_first(call, call->short_out, 0) * row : at), gx, call->accumulate[0]);
    else if (!call->accumulate[0]) memset(gx, 0, (size_t)n * sizeof *gx);
}

/* Patches that do not overlap: images [n, c, oh * kh + ..., ow * kw + ...] as [n, oh, ow, c * kh * kw], each patch in the order of a convolution's weights. */
typedef struct patches {
    int64_t n, c, h, w, oh, ow, kh, kw;
} patches;

static fa_status patches_prepare(fa_op_setup *s)
{
    const fa_view *x = s->in[0];
    int64_t count;
    const int64_t *kernel = fa_node_ints(s->node, "kernel_shape", &count);
    char text[FA_SHAPE_TEXT];
    if (x->ndim != 4 || !fa_dtype_is_real(x->dtype) || x->dim[2] < kernel[0] || x->dim[3] < kernel[1])
        return fa_fail(FA_ERR_SHAPE, "%s %s where images of reals, at least %lld x %lld, are taken", fa_dtype_name(x->dtype), fa_shape_text(x->ndim, x->dim, text, sizeof text),
                       (long long)kernel[0], (long long)kernel[1]);
    patches *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (patches){x->dim[0], x->dim[1], x->dim[2], x->dim[3], x->dim[2] / kernel[0], x->dim[3] / kernel[1], kernel[0], kernel[1]};
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 4, (int64_t[]){p->n, p->oh, p->ow, p->c * p->kh * p->kw});
}

/* The run of kw numbers in the image that is number `i` of the patches' runs. */
static int64_t run_at(const patches *p, int64_t i)
{
    const int64_t ky = i % p->kh, c = i / p->kh % p->c, patch = i / p->kh / p->c, x = patch % p->ow, y = patch / p->ow % p->oh, n = patch / p->ow / p->oh;
    return ((n * p->c + c) * p->h + y * p->kh + ky) * p->w + x * p->kw;
}

static int64_t patches_pieces(const fa_op_call *call, bool backward, double *cost)
{
    const patches *p = call->params;
    *cost = FA_FAST_MOVED * (double)call->out[0]->count;
    return backward ? 1 : p->n * p->oh * p->ow;
}

static void patches_forward(const fa_op_call *call)
{
    const patches *p = call->params;
    const float *x = call->in[0]->data;
    const int64_t runs = p->c * p->kh;
    int64_t i, end;
    fa_op_part(call, runs, p->n * p->oh * p->ow * runs, &i, &end);
    float *y = (float *)call->out[0]->data + i * p->kw;
    for (; i < end; i++, y += p->kw) memcpy(y, x + run_at(p, i), (size_t)p->kw * sizeof *y);
}

static void patches_backward(const fa_op_call *call)
{
    const patches *p = call->params;
    const float *g = call->grad_out[0];
    float *gx = call->grad_in[0];
    if (!call->accumulate[0]) memset(gx, 0, (size_t)call->in[0]->count * sizeof *gx);
    for (int64_t i = 0; g && i < p->n * p->oh * p->ow * p->c * p->kh; i++, g += p->kw)
        for (int64_t k = 0, at = run_at(p, i); k < p->kw; k++) gx[at + k] += g[k];
}

#define FAST(name_, flags_, back_out_, prepare_, forward_, backward_)                                                                                    \
    {                                                                                                                                                    \
        .name = name_, .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES | (flags_), .back_out = back_out_,         \
        .prepare = prepare_, .forward = forward_, .backward = backward_                                                                                  \
    }

const fa_op fa_fast_ops_layout[] = {
    FAST("ToNhwc", 0, 0, to_nhwc_prepare, transpose_forward, transpose_backward),
    FAST("ToNchw", 0, 0, to_nchw_prepare, transpose_forward, transpose_backward),
    FAST("ToNhwcFlat", FA_OP_VIEW, 0, to_nhwc_prepare, same_forward, same_backward),
    FAST("ToNchwFlat", FA_OP_VIEW, 0, to_nchw_prepare, same_forward, same_backward),
    {.name = "ReluDone", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES | FA_OP_VIEW | FA_OP_FUNCTION, .back_out = 1,
     .prepare = relu_prepare, .forward = relu_forward, .backward = relu_backward, .cut_in = 1, .cut_out = 1, .pieces = relu_pieces},
    {.name = "Patches", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES, .prepare = patches_prepare, .forward = patches_forward,
     .backward = patches_backward, .pieces = patches_pieces},
    {0},
};
