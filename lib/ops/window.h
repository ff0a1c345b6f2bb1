/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_WINDOW_H
#define FA_OPS_WINDOW_H

#include "ops/ops.h"

/*
 * The sliding window of convolutions and pools: tap k of window o lies at o * stride + k * dilation - pad. Always over three axes; a 1-d or 2-d
 * window has leading axes of one element.
 */
typedef struct fa_window {
    int32_t rank; /* spatial axes of the tensors */
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3];
} fa_window;

enum { FA_PAD_EXPLICIT, FA_PAD_SAME_UPPER, FA_PAD_SAME_LOWER, FA_PAD_VALID };

/* Reads kernel_shape, strides, dilations, pads for a tensor [n, c, ...] and sets `in`. `kernel` [rank] says what the weights have, kernel_shape
 * must then agree; NULL: kernel_shape decides. */
fa_status FA_R(fa_window_read)(const fa_node *node, const fa_view *x, const int64_t *kernel, fa_window *w);
fa_status FA_R(fa_window_auto_pad)(const fa_node *node, int32_t *mode);
/* Sets `out`, and the pads that auto_pad asks for. With `ceil` the last window may reach past the padding, but must not begin in it. */
fa_status FA_R(fa_window_fit)(fa_window *w, int32_t auto_pad, bool ceil);
/* [n, c, sizes...] */
fa_status FA_R(fa_window_shape)(const fa_window *w, int64_t n, int64_t c, const int64_t sizes[3], int32_t dtype, fa_view *out);

static inline int64_t fa_window_volume(const int64_t size[3])
{
    return size[0] * size[1] * size[2];
}

static inline int64_t fa_window_reach(const fa_window *w, int32_t axis) /* elements from the first tap to the last */
{
    return (w->kernel[axis] - 1) * w->dilation[axis] + 1;
}

/* The windows [first, end) whose tap k lies inside the tensor. */
static inline void fa_window_outputs(const fa_window *w, int32_t axis, int64_t k, int64_t *first, int64_t *end)
{
    int64_t shift = w->pad[axis] - k * w->dilation[axis], stride = w->stride[axis], last = w->in[axis] - 1 + shift;
    int64_t f = shift > 0 ? (shift - 1) / stride + 1 : 0, e = last < 0 ? 0 : last / stride + 1;
    *end = e < w->out[axis] ? e : w->out[axis];
    *first = f < *end ? f : *end;
}

/* The taps [first, end) of window o that lie before `limit` (the tensor's end, or the padding's) and from 0, or from the padding's begin. */
static inline void fa_window_taps(const fa_window *w, int32_t axis, int64_t o, int64_t limit, int64_t *first, int64_t *end)
{
    int64_t base = o * w->stride[axis] - w->pad[axis], d = w->dilation[axis];
    int64_t e = base + fa_window_reach(w, axis) <= limit ? w->kernel[axis] : base < limit ? (limit - base - 1) / d + 1 : 0;
    int64_t f = base < 0 ? (-base - 1) / d + 1 : 0;
    *end = e;
    *first = f < e ? f : e;
}

#endif
