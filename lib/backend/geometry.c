/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "base/error.h"

#include <string.h>

/* `count` values of an attribute with one entry per spatial axis, or the default; the last two axes are rows and columns. */
static void two_axes(const fa_node *node, const char *name, int32_t axes, int64_t *rows, int64_t *columns)
{
    int64_t count;
    const int64_t *v = fa_node_ints(node, name, &count);
    *rows = v && axes == 2 && count >= 2 ? v[0] : 1;
    *columns = v && count >= axes ? v[axes - 1] : 1;
}

static int64_t same_pad(int64_t in, int64_t stride, int64_t kernel, int64_t dilation, bool upper)
{
    int64_t out = (in + stride - 1) / stride, total = (out - 1) * stride + (kernel - 1) * dilation + 1 - in;
    return total <= 0 ? 0 : upper ? total / 2 : (total + 1) / 2;
}

static void begin_pads(const fa_node *node, int32_t axes, fa_tap *t)
{
    const char *mode = fa_node_string(node, "auto_pad", "NOTSET");
    if (strncmp(mode, "SAME", 4) == 0) {
        bool upper = strcmp(mode, "SAME_UPPER") == 0;
        t->pad_top = same_pad(t->h, t->stride_h, t->kh, t->dilation_h, upper);
        t->pad_left = same_pad(t->w, t->stride_w, t->kw, t->dilation_w, upper);
        return;
    }
    int64_t count;
    const int64_t *v = fa_node_ints(node, "pads", &count);
    if (!v || strcmp(mode, "VALID") == 0) return;
    if (axes == 2 && count >= 4) {
        t->pad_top = v[0];
        t->pad_left = v[1];
    } else if (axes == 1 && count >= 2) {
        t->pad_left = v[0];
    }
}

/* What is taken for input i's part of a layer's input and output must be that: a graph that moves the batch elsewhere would have inputs mixed without a word. */
static fa_status batch_is_elsewhere(const fa_node *node, const fa_view *v, int64_t batch)
{
    char text[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_UNSUPPORTED, "node '%s': its tensors are %s for %lld inputs; it cannot be told which part is which input's", node->name,
                   fa_shape_text(v->ndim, v->dim, text, sizeof text), (long long)batch);
}

static void convolution(const fa_node *node, const fa_view *a, const fa_view *d, bool last, fa_tap *t)
{
    int32_t axes = a->ndim - 2, space = last ? 1 : 2, channel = last ? a->ndim - 1 : 1;
    int64_t count;
    const int64_t *weight = last ? fa_node_ints(node, "weight_shape", &count) : NULL;
    if (weight) t->kh = weight[2], t->kw = weight[3]; /* 1 x 1 where patches have been cut before */
    t->c = a->dim[channel];
    t->h = axes == 2 ? a->dim[space] : 1;
    t->w = a->dim[space + axes - 1];
    t->oh = axes == 2 ? d->dim[space] : 1;
    t->ow = d->dim[space + axes - 1];
    two_axes(node, "strides", axes, &t->stride_h, &t->stride_w);
    two_axes(node, "dilations", axes, &t->dilation_h, &t->dilation_w);
    begin_pads(node, axes, t);
    t->a_n = t->c * t->h * t->w;
    t->d_n = t->out * t->oh * t->ow;
    t->a_c = last ? 1 : t->h * t->w;
    t->a_w = last ? t->c : 1;
    t->a_h = t->w * t->a_w;
    t->d_c = last ? 1 : t->oh * t->ow;
    t->d_w = last ? t->out : 1;
    t->d_h = t->ow * t->d_w;
}

/* Input i has rows [outer, i, inner] of the matrix, `row` elements of `a` each: its positions are outer rows of inner. */
static fa_status product(const fa_node *node, const fa_view *a, int64_t row, int64_t batch, int64_t step, fa_tap *t)
{
    if (!row || step <= 0 || step % row || a->count % (step * batch)) return batch_is_elsewhere(node, a, batch);
    const int64_t inner = step / row, outer = a->count / (step * batch);
    t->h = t->oh = outer > 1 ? outer : inner;
    t->w = t->ow = outer > 1 ? inner : 1;
    t->stride_h = t->stride_w = t->dilation_h = t->dilation_w = 1;
    t->a_c = t->d_c = 1;
    t->a_w = row;
    t->d_w = t->out;
    t->a_n = inner * t->a_w;
    t->d_n = inner * t->d_w;
    t->a_h = outer > 1 ? batch * t->a_n : t->a_w;
    t->d_h = outer > 1 ? batch * t->d_n : t->d_w;
    return FA_OK;
}

fa_status fa_layer_geometry(const fa_layer *layer, const fa_node *node, const fa_view *a, const fa_view *d, int64_t batch, int64_t step, fa_tap *out)
{
    fa_tap t = {.n = batch, .out = layer->out, .groups = layer->groups, .kh = layer->kh, .kw = layer->kw, .has_bias = layer->has_bias,
                .lookup = layer->lookup, .turned = layer->turned};
    if (layer->lookup) {
        t.out = d->dim[d->ndim - 1];
        t.c = layer->turned ? layer->out : layer->in;
        FA_TRY(product(node, a, 1, batch, step, &t));
    } else if (strncmp(node->op, "Conv", 4) == 0) {
        if (a->dim[0] != batch || d->dim[0] != batch || step != a->count / batch) return batch_is_elsewhere(node, a, batch);
        convolution(node, a, d, strcmp(node->domain, "fattr") == 0, &t);
    } else {
        t.c = a->ndim > 1 ? a->dim[a->ndim - 1] : 0;
        FA_TRY(product(node, a, t.c, batch, step, &t));
    }
    *out = t;
    return FA_OK;
}
