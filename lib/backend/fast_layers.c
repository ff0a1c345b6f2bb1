/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "backend/fast_rewrite.h"
#include "kernels/conv_once.h"

#include <stdio.h>
#include <string.h>

/* Matrices of more weights than this are packed once, for both directions: turning them around costs a backward pass of a hundred rows a seventh, but large models
 * are not held three times. */
#define TWICE_MOST 400000

static const fa_view *constant(const fa_fast *f, int32_t value)
{
    const fa_view *v = value < f->base->n_value ? fa_graph_constant(f->base, value) : NULL;
    return v && fa_dtype_is_real(v->dtype) && v->count > 0 ? v : NULL;
}

/* True when the attributes stay within what fa_conv_supported() takes at any size of image. */
static bool window_fits(const fa_node *node, const int64_t kernel[2])
{
    int64_t n_stride, n_dilation, n_pad;
    const int64_t *stride = fa_node_ints(node, "strides", &n_stride), *dilation = fa_node_ints(node, "dilations", &n_dilation),
                  *pad = fa_node_ints(node, "pads", &n_pad);
    if ((stride && n_stride != 2) || (dilation && n_dilation != 2) || (pad && n_pad != 4) || kernel[0] * kernel[1] > 1024) return false;
    for (int i = 0; i < 2; i++) {
        if (stride && (stride[i] < 1 || stride[i] > 8)) return false;
        if (dilation && (dilation[i] < 1 || dilation[i] > 1024)) return false;
        if ((kernel[i] - 1) * (dilation ? dilation[i] : 1) >= 1024) return false;
        if (pad && (pad[i] < 0 || pad[i] >= 1024 || pad[i + 2] < 0 || pad[i + 2] >= 1024)) return false;
    }
    return true;
}

/* A layer's weights as they stand in the file. */
typedef struct weights {
    int32_t value;    /* in the new graph */
    const float *data; /* NULL where they vary */
    int64_t stride_out, stride_in;
} weights;

static fa_status set_ints(fa_fast *f, int32_t node, int32_t index, const char *name, int64_t count, const int64_t *from)
{
    int64_t *ints = fa_arena_array(&f->edit.graph->arena, (size_t)count, sizeof *ints);
    if (!ints) return FA_ERR_MEMORY;
    memcpy(ints, from, (size_t)count * sizeof *ints);
    fa_attr *a = fa_fast_int_attr(f, node, index, name, 0);
    a->kind = FA_ATTR_INTS;
    a->count = count;
    a->ints = ints;
    return FA_OK;
}

/* Weights in the order of the kernels, as an initialiser of the new graph, or from a node. `late`: an initialiser that has its elements later. */
static fa_status pack(fa_fast *f, const fa_conv_geometry *g, fa_conv_direction direction, const weights *w, bool late, int32_t *value)
{
    char text[400];
    int32_t node;
    void *data;
    const int64_t count = (int64_t)fa_conv_packed_floats(g, direction);
    snprintf(text, sizeof text, "%.300s.%s", f->edit.graph->value[w->value].name, direction == FA_CONV_FORWARD ? "packed" : "packed-gradient");
    if (late) {
        FA_TRY(fa_edit_value(&f->edit, text, FA_FLOAT32, value));
        fa_edit_make_initialiser(&f->edit, *value, &(fa_view){.dtype = FA_FLOAT32, .ndim = 1, .dim = {count}, .count = count});
        return FA_OK;
    }
    if (w->data) {
        FA_TRY(fa_edit_initialiser(&f->edit, text, FA_FLOAT32, 1, &count, value, &data));
        fa_conv_pack(g, direction, w->data, w->stride_out, w->stride_in, 1, data);
        return FA_OK;
    }
    FA_TRY(fa_edit_varying(&f->edit, text, 1, &count, value));
    FA_TRY(fa_edit_node(&f->edit, text, "PackConv", FA_FAST_DOMAIN, 1, 1, 1, 3, &node));
    f->edit.graph->node[node].in[0] = w->value;
    f->edit.graph->node[node].out[0] = *value;
    fa_fast_int_attr(f, node, 0, "gradient", direction == FA_CONV_DATA_GRADIENT);
    FA_TRY(set_ints(f, node, 1, "weight_strides", 2, (int64_t[]){w->stride_out, w->stride_in}));
    return set_ints(f, node, 2, "geometry", sizeof *g / sizeof(int64_t), (const int64_t *)(const void *)g);
}

/* The same weights packed in the same way for an earlier layer, or NULL. */
static const fa_packing *packed_before(const fa_fast *f, const fa_packing *like, bool turned)
{
    for (int32_t i = 0; i < f->packings->count; i++) {
        const fa_packing *p = &f->packings->packing[i];
        if (p->weights == like->weights && p->stride_out == like->stride_out && p->stride_in == like->stride_in && (p->gradient == p->forward) == turned &&
            memcmp(&p->geometry, &like->geometry, sizeof p->geometry) == 0)
            return p;
    }
    return NULL;
}

/* The initialiser of the model's graph that has the elements of `w`, or -1. */
static int32_t source_of(const fa_fast *f, const weights *w)
{
    const fa_view *v = w->value < f->source->n_value && f->source->value[w->value].is_initialiser ? &f->source->value[w->value].view : NULL;
    return v && v->dtype != FA_FLOAT64 && v->data == w->data ? w->value : -1;
}

/* Both directions of weights that do not vary; gradients later where there will be something to make them from. */
static fa_status pack_once(fa_fast *f, const fa_conv_geometry *g, const weights *w, bool turned, fa_packing *made)
{
    *made = (fa_packing){.geometry = *g, .stride_out = w->stride_out, .stride_in = w->stride_in, .weights = w->value, .source = source_of(f, w)};
    const fa_packing *before = packed_before(f, made, turned);
    if (before) {
        *made = *before;
        return FA_OK;
    }
    FA_TRY(pack(f, g, FA_CONV_FORWARD, w, false, &made->forward));
    made->gradient = made->forward;
    made->late = !turned && (made->source >= 0 || fa_conv_unpacks(g));
    if (!turned) FA_TRY(pack(f, g, FA_CONV_DATA_GRADIENT, w, made->late, &made->gradient));
    f->packings->packing[f->packings->count++] = *made;
    return FA_OK;
}

/* A node for base's layer `n` with packed weights, and its attributes beside those of the node. `turned`: the data-gradient makes do with those of forward. */
static fa_status make_layer(fa_fast *f, int32_t n, const char *op, const fa_conv_geometry *g, const weights *w, bool turned, int32_t *node)
{
    fa_packing packed;
    if (f->packings && w->data) {
        FA_TRY(pack_once(f, g, w, turned, &packed));
    } else {
        FA_TRY(pack(f, g, FA_CONV_FORWARD, w, false, &packed.forward));
        packed.gradient = packed.forward;
        if (!turned) FA_TRY(pack(f, g, FA_CONV_DATA_GRADIENT, w, false, &packed.gradient));
    }
    FA_TRY(fa_fast_new_node(f, n, op, FA_FAST_DOMAIN, FA_FAST_INPUTS, 6, node));
    FA_TRY(set_ints(f, *node, f->base->node[n].n_attr, "weight_shape", 4, (int64_t[]){g->out, g->c / g->groups, g->kh, g->kw}));
    FA_TRY(set_ints(f, *node, f->base->node[n].n_attr + 1, "weight_strides", 2, (int64_t[]){w->stride_out, w->stride_in}));
    fa_node *made = &f->edit.graph->node[*node];
    made->in[FA_FAST_PACKED] = packed.forward;
    made->in[FA_FAST_PACKED_GRADIENT] = packed.gradient;
    if (!w->data) made->in[FA_FAST_WEIGHT] = w->value;
    for (int32_t l = 0; l < f->n_layer; l++)
        if (f->layer[l] == n) f->layer[l] = *node;
    return FA_OK;
}

/* What decides, beside the weights, how they are packed. */
static void set_window(const fa_node *node, fa_conv_geometry *g)
{
    int64_t count;
    const int64_t *stride = fa_node_ints(node, "strides", &count), *dilation = fa_node_ints(node, "dilations", &count);
    if (stride) g->stride_h = stride[0], g->stride_w = stride[1];
    if (dilation) g->dilation_h = dilation[0], g->dilation_w = dilation[1];
}

/* Windows side by side over an image that nothing has brought channels-last yet, as a vision transformer cuts it up: each is a row that a matrix multiplies. */
static bool is_patchwise(const fa_fast *f, const fa_node *node, const fa_view *w)
{
    int64_t count;
    const int64_t *stride = fa_node_ints(node, "strides", &count), *dilation = fa_node_ints(node, "dilations", &count), *pad = fa_node_ints(node, "pads", &count);
    const char *mode = fa_node_string(node, "auto_pad", "NOTSET");
    if (!stride || stride[0] != w->dim[2] || stride[1] != w->dim[3] || w->dim[2] * w->dim[3] < 2 || fa_node_int(node, "group", 1) != 1) return false;
    for (int i = 0; i < 2; i++)
        if ((dilation && dilation[i] != 1) || (pad && strcmp(mode, "VALID") != 0 && (pad[i] || pad[i + 2]))) return false;
    return strncmp(mode, "SAME", 4) != 0 && w->dim[1] * w->dim[2] * w->dim[3] <= INT32_MAX && f->image[node->in[0]].twin < 0;
}

/* The patches as images of [c * kh * kw] channels, and a kernel of 1. */
static fa_status cut_patches(fa_fast *f, int32_t n, fa_conv_geometry *g, weights *w, int32_t *x)
{
    const fa_node *node = &f->base->node[n];
    int32_t patches;
    FA_TRY(fa_edit_value(&f->edit, f->base->value[node->in[0]].name, FA_FLOAT32, x));
    FA_TRY(fa_edit_node(&f->edit, node->name, "Patches", FA_FAST_DOMAIN, 1, 1, 1, 1, &patches));
    f->edit.graph->node[patches].in[0] = node->in[0];
    f->edit.graph->node[patches].out[0] = *x;
    f->edit.graph->node[patches].n_attr = 0;
    FA_TRY(set_ints(f, patches, 0, "kernel_shape", 2, (int64_t[]){g->kh, g->kw}));
    *g = (fa_conv_geometry){g->c * g->kh * g->kw, 1, 1, g->out, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, .bf16 = g->bf16};
    w->stride_in = 1;
    return FA_OK;
}

/* A kernel of 1 has no window: those attributes go. */
static void drop_window(fa_fast *f, int32_t node)
{
    static const char *const gone[] = {"kernel_shape", "strides", "pads", "dilations", "auto_pad"};
    fa_node *to = &f->edit.graph->node[node];
    int32_t kept = 0;
    for (int32_t a = 0; a < to->n_attr; a++) {
        bool drop = false;
        for (size_t k = 0; k < sizeof gone / sizeof *gone; k++) drop |= strcmp(to->attr[a].name, gone[k]) == 0;
        if (!drop) to->attr[kept++] = to->attr[a];
    }
    to->n_attr = kept;
}

fa_status fa_fast_conv(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    if (strcmp(node->op, "Conv") != 0 || node->n_in < 2 || node->in[0] < 0 || f->base->value[node->in[0]].is_parameter) return FA_OK;
    const fa_view *w = constant(f, node->in[1]), *b = node->n_in > 2 && node->in[2] >= 0 ? constant(f, node->in[2]) : NULL;
    const int64_t groups = fa_node_int(node, "group", 1);
    if (!w || w->ndim != 4 || groups < 1 || w->dim[0] % groups || w->dim[1] > INT32_MAX || groups > INT32_MAX) return FA_OK;
    if (node->n_in > 2 && node->in[2] >= 0 && (!b || b->ndim != 1 || b->count != w->dim[0])) return FA_OK;
    const bool patchwise = is_patchwise(f, node, w);
    if (!patchwise && !window_fits(node, w->dim + 2)) return FA_OK;
    fa_conv_geometry g = {.c = w->dim[1] * groups, .h = 1, .w = 1, .out = w->dim[0], .oh = 1, .ow = 1, .groups = groups, .kh = w->dim[2],
                          .kw = w->dim[3], .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .bf16 = fa_layer_bf16(node)};
    if (!patchwise) {
        set_window(node, &g);
        g.winograd = fa_conv_should_filter(&g);
    }
    weights from = {node->in[1], NULL, w->dim[1] * w->dim[2] * w->dim[3], w->dim[2] * w->dim[3]};
    if (!f->base->value[from.value].varies && !(from.data = fa_fast_floats(f, w))) return FA_ERR_MEMORY;
    int32_t x, y, made;
    FA_TRY(patchwise ? cut_patches(f, n, &g, &from, &x) : fa_fast_need_twin(f, node->in[0], g.c, &x));
    const bool once = f->once && from.data && fa_conv_once_takes(&g);
    g.winograd &= !once;
    FA_TRY(make_layer(f, n, "ConvNhwc", &g, &from, once, &made));
    if (once) fa_fast_int_attr(f, made, f->edit.graph->node[made].n_attr, "once", 1);
    if (patchwise) drop_window(f, made);
    const int32_t space = patchwise ? fa_fast_new_space(f) : fa_fast_window_space(f, f->image[node->in[0]].space, node, w->dim + 2);
    FA_TRY(fa_fast_new_twin(f, node->out[0], space, g.out, &y));
    fa_node *to = &f->edit.graph->node[made];
    to->in[FA_FAST_X] = x;
    to->in[FA_FAST_BIAS] = b ? node->in[2] : -1;
    to->out[0] = y;
    f->maker[node->out[0]] = made;
    *done = true;
    return FA_OK;
}

/* factor times a constant, which replaces *value. */
static fa_status scale(fa_fast *f, float factor, int32_t *value)
{
    if (factor == 1) return FA_OK;
    const fa_view view = *fa_graph_constant(f->base, *value);
    const char *name = f->base->value[*value].name;
    int32_t by, node, scaled;
    void *data;
    if (!f->base->value[*value].varies) {
        const float *from = fa_fast_floats(f, &view);
        if (!from) return FA_ERR_MEMORY;
        FA_TRY(fa_edit_initialiser(&f->edit, name, FA_FLOAT32, view.ndim, view.dim, value, &data));
        for (int64_t i = 0; i < view.count; i++) ((float *)data)[i] = from[i] * factor;
        return FA_OK;
    }
    FA_TRY(fa_edit_initialiser(&f->edit, "factor", FA_FLOAT32, 0, NULL, &by, &data));
    memcpy(data, &factor, sizeof factor);
    FA_TRY(fa_edit_varying(&f->edit, name, view.ndim, view.dim, &scaled));
    FA_TRY(fa_edit_node(&f->edit, name, "Mul", "", 14, 2, 1, 0, &node));
    f->edit.graph->node[node].in[0] = *value;
    f->edit.graph->node[node].in[1] = by;
    f->edit.graph->node[node].out[0] = *value = scaled;
    return FA_OK;
}

fa_status fa_fast_gemm(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    const bool gemm = strcmp(node->op, "Gemm") == 0;
    if ((!gemm && strcmp(node->op, "MatMul") != 0) || node->n_in < 2 || node->in[0] < 0 || f->base->value[node->in[0]].is_parameter) return FA_OK;
    const fa_view *w = constant(f, node->in[1]), *b = gemm && node->n_in > 2 && node->in[2] >= 0 ? constant(f, node->in[2]) : NULL;
    if (!w || w->ndim != 2 || (gemm && fa_node_int(node, "transA", 0))) return FA_OK;
    const bool transposed = gemm && fa_node_int(node, "transB", 0);
    const int64_t out = w->dim[transposed ? 0 : 1], in = w->dim[transposed ? 1 : 0];
    if (out > INT32_MAX || in > INT32_MAX) return FA_OK;
    if (f->image[node->in[0]].twin >= 0 && !f->image[node->in[0]].exists) return FA_OK; /* an image times a matrix along its rows */
    if (gemm && node->n_in > 2 && node->in[2] >= 0 && (!b || b->count != out || b->ndim > 2 || b->dim[b->ndim - 1] != out)) return FA_OK;
    const float alpha = gemm ? fa_node_float(node, "alpha", 1) : 1, beta = gemm ? fa_node_float(node, "beta", 1) : 1;
    int32_t bias = b ? node->in[2] : -1, made;
    if (b) FA_TRY(scale(f, beta, &bias));
    weights from = {node->in[1], NULL, transposed ? in : 1, transposed ? 1 : out};
    FA_TRY(scale(f, alpha, &from.value));
    if (!f->base->value[node->in[1]].varies && !(from.data = fa_fast_floats(f, &f->edit.graph->value[from.value].view))) return FA_ERR_MEMORY;
    const fa_conv_geometry g = {in, 1, 1, out, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, .bf16 = fa_layer_bf16(node)};
    const bool turned = (in * out > TWICE_MOST || f->once) && !g.bf16; /* both directions in pairs of bfloat16 take what one of floats takes */
    FA_TRY(make_layer(f, n, "GemmFast", &g, &from, turned, &made));
    fa_fast_int_attr(f, made, node->n_attr + 2, "matrix", gemm);
    fa_fast_int_attr(f, made, node->n_attr + 3, "turned", turned);
    fa_node *to = &f->edit.graph->node[made];
    to->in[FA_FAST_X] = node->in[0];
    to->in[FA_FAST_BIAS] = bias;
    to->out[0] = node->out[0];
    f->maker[node->out[0]] = made;
    f->image[node->out[0]].exists = true;
    *done = true;
    return FA_OK;
}

/* The layer that makes `value`, when nothing else is done with the value. */
static int32_t free_maker(const fa_fast *f, int32_t value)
{
    return value >= 0 && value < f->base->n_value && f->readers[value] == 1 && !f->kept[value] ? f->maker[value] : -1;
}

/* Relu within the layer, and a node behind it that only the backward pass notices: the layer's tap sees the gradient in front of the Relu. */
fa_status fa_fast_join_relu(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    const int32_t layer = node->n_in == 1 && strcmp(node->op, "Relu") == 0 ? free_maker(f, node->in[0]) : -1;
    if (layer < 0) return FA_OK;
    const fa_image from = f->image[node->in[0]];
    int32_t made, y = node->out[0];
    FA_TRY(fa_fast_new_node(f, n, "ReluDone", FA_FAST_DOMAIN, 1, 0, &made));
    if (from.twin >= 0) FA_TRY(fa_fast_new_twin(f, node->out[0], from.space, from.channels, &y));
    else f->image[y].exists = true;
    fa_node *maker = &f->edit.graph->node[layer];
    fa_fast_int_attr(f, layer, maker->n_attr, "relu", 1);
    f->edit.graph->node[made].in[0] = maker->out[0];
    f->edit.graph->node[made].out[0] = y;
    *done = true;
    return FA_OK;
}

/* x + bias behind a product without one, or image + image of certainly the same shape behind a convolution. */
fa_status fa_fast_join_add(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    if (strcmp(node->op, "Add") != 0 || node->n_in != 2 || fa_node_attr(node, "axis") || node->in[0] < 0 || node->in[1] < 0) return FA_OK;
    for (int i = 0; i < 2; i++) {
        const int32_t a = node->in[i], b = node->in[!i], layer = free_maker(f, a);
        if (layer < 0 || a == b) continue;
        fa_node *maker = &f->edit.graph->node[layer];
        const fa_view *bias = constant(f, b);
        const fa_image image = f->image[a], *other = &f->image[b];
        if (image.twin < 0) {
            int64_t count;
            if (!bias || maker->in[FA_FAST_BIAS] >= 0 || bias->ndim != 1 || bias->count != fa_node_ints(maker, "weight_shape", &count)[0]) continue;
            maker->in[FA_FAST_BIAS] = b;
            maker->out[0] = node->out[0];
            f->image[node->out[0]].exists = true;
        } else {
            if (maker->in[FA_FAST_RESIDUAL] >= 0 || other->twin < 0 || other->space != image.space || other->channels != image.channels) continue;
            maker->in[FA_FAST_RESIDUAL] = other->twin;
            f->image[node->out[0]] = (fa_image){image.twin, image.space, image.channels, false};
        }
        f->maker[node->out[0]] = layer;
        *done = true;
        return FA_OK;
    }
    return FA_OK;
}
