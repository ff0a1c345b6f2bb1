/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "backend/fast_rewrite.h"

#include <math.h>
#include <string.h>

static bool is_one_of(const char *op, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(op, *list) == 0) return true;
    return false;
}

static int32_t twin_of(const fa_fast *f, int32_t value)
{
    return value >= 0 && value < f->base->n_value ? f->image[value].twin : -1;
}

/* Functions of each element; inputs beyond the first are scalars. */
fa_status fa_fast_unary(fa_fast *f, int32_t n, bool *done)
{
    static const char *const ops[] = {"Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh",
                                      "Gelu", "Erf", "Softplus", "Softsign", "Mish", "Clip", "Neg", "Abs", "Sqrt", "Exp", "Log", "Reciprocal", "Identity",
                                      "Dropout", NULL};
    const fa_node *node = &f->base->node[n];
    if (!is_one_of(node->op, ops) || twin_of(f, node->in[0]) < 0 || node->out[0] < 0) return FA_OK;
    for (int32_t o = 1; o < node->n_out; o++)
        if (node->out[o] >= 0) return FA_OK;
    for (int32_t i = 1; i < node->n_in; i++)
        if (twin_of(f, node->in[i]) >= 0) return FA_OK;
    const fa_image from = f->image[node->in[0]];
    int32_t made, y;
    FA_TRY(fa_fast_new_node(f, n, node->op, "", node->n_in, 0, &made));
    FA_TRY(fa_fast_new_twin(f, node->out[0], from.space, from.channels, &y));
    fa_node *to = &f->edit.graph->node[made];
    memcpy(to->in, node->in, (size_t)node->n_in * sizeof *to->in);
    to->in[0] = from.twin;
    to->out[0] = y;
    *done = true;
    return FA_OK;
}

/* Number of channels of a constant [c, 1, 1] or [1, c, 1, 1], 1 for a single number, or 0. */
static int64_t per_channel(const fa_fast *f, int32_t value)
{
    const fa_view *v = value < f->base->n_value ? fa_graph_constant(f->base, value) : NULL;
    if (!v || !fa_dtype_is_real(v->dtype) || v->ndim > 4) return 0;
    if (v->count == 1) return 1;
    return v->ndim >= 3 && v->dim[v->ndim - 3] == v->count ? v->count : 0;
}

/* `data` [channels] as an initialiser, which stretches along the last dimension. */
static fa_status new_row(fa_fast *f, const char *name, int64_t channels, int32_t *value, float **data)
{
    void *elements;
    FA_TRY(fa_edit_initialiser(&f->edit, name, FA_FLOAT32, 1, &channels, value, &elements));
    *data = elements;
    return FA_OK;
}

/* The same of a value that varies. */
static fa_status as_row(fa_fast *f, int32_t value, int64_t channels, int32_t *row)
{
    const char *name = f->base->value[value].name;
    int32_t shape, node;
    void *data;
    FA_TRY(fa_edit_initialiser(&f->edit, "row", FA_INT64, 1, (int64_t[]){1}, &shape, &data));
    memcpy(data, (int64_t[]){-1}, sizeof(int64_t));
    FA_TRY(fa_edit_varying(&f->edit, name, 1, &channels, row));
    FA_TRY(fa_edit_node(&f->edit, name, "Reshape", "", 14, 2, 1, 0, &node));
    f->edit.graph->node[node].in[0] = value;
    f->edit.graph->node[node].in[1] = shape;
    f->edit.graph->node[node].out[0] = *row;
    return FA_OK;
}

/* An operand beside images: what it is among channels-last ones. */
static fa_status operand(fa_fast *f, int32_t value, int32_t *out)
{
    *out = twin_of(f, value);
    if (*out >= 0) return FA_OK;
    const fa_view *v = &f->base->value[value].view;
    if (f->base->value[value].varies) return as_row(f, value, v->count, out);
    float *to;
    const float *from = fa_fast_floats(f, v);
    if (!from) return FA_ERR_MEMORY;
    FA_TRY(new_row(f, f->base->value[value].name, v->count, out, &to));
    memcpy(to, from, (size_t)v->count * sizeof *to);
    return FA_OK;
}

/* Functions of elements of several tensors that stretch to each other's shape: images, constants per channel, single numbers. */
fa_status fa_fast_broadcast(fa_fast *f, int32_t n, bool *done)
{
    static const char *const ops[] = {"Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min", "Sum", "Mean", NULL};
    const fa_node *node = &f->base->node[n];
    if (!is_one_of(node->op, ops) || node->opset < 7 || node->n_in < 1) return FA_OK;
    int32_t images = 0, space = 0;
    int64_t channels = 0;
    bool same = true;
    for (int32_t i = 0; i < node->n_in; i++) {
        if (twin_of(f, node->in[i]) < 0) {
            if (!per_channel(f, node->in[i])) return FA_OK;
            continue;
        }
        const fa_image *image = &f->image[node->in[i]];
        if (images++ == 0) space = image->space, channels = image->channels;
        same &= image->space == space && image->channels == channels;
    }
    /* A constant with more channels than the images stretches them. */
    for (int32_t i = 0; i < node->n_in; i++) {
        const int64_t c = twin_of(f, node->in[i]) < 0 ? per_channel(f, node->in[i]) : 1;
        if (c > 1 && c != channels) channels = -1;
    }
    if (!images) return FA_OK;
    int32_t made, y, in;
    FA_TRY(fa_fast_new_node(f, n, node->op, "", node->n_in, 0, &made));
    for (int32_t i = 0; i < node->n_in; i++) {
        FA_TRY(operand(f, node->in[i], &in));
        f->edit.graph->node[made].in[i] = in;
    }
    FA_TRY(fa_fast_new_twin(f, node->out[0], same ? space : fa_fast_new_space(f), same ? channels : -1, &y));
    f->edit.graph->node[made].out[0] = y;
    *done = true;
    return FA_OK;
}

fa_status fa_fast_concat(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    if (strcmp(node->op, "Concat") != 0 || node->n_in < 1) return FA_OK;
    const fa_attr *axis = fa_node_attr(node, "axis");
    if (!axis || (axis->i != 1 && axis->i != -3)) return FA_OK;
    int64_t channels = 0;
    bool same = true;
    for (int32_t i = 0; i < node->n_in; i++) {
        if (twin_of(f, node->in[i]) < 0) return FA_OK;
        const fa_image *image = &f->image[node->in[i]];
        same &= image->space == f->image[node->in[0]].space;
        channels = channels < 0 || image->channels < 0 ? -1 : channels + image->channels;
    }
    int32_t made, y;
    const int32_t space = same ? f->image[node->in[0]].space : fa_fast_new_space(f);
    FA_TRY(fa_fast_new_node(f, n, "Concat", "", node->n_in, 0, &made));
    FA_TRY(fa_fast_new_twin(f, node->out[0], space, channels, &y));
    fa_node *to = &f->edit.graph->node[made];
    for (int32_t i = 0; i < node->n_in; i++) to->in[i] = f->image[node->in[i]].twin;
    for (int32_t a = 0; a < to->n_attr; a++)
        if (strcmp(to->attr[a].name, "axis") == 0) to->attr[a].i = 3;
    to->out[0] = y;
    *done = true;
    return FA_OK;
}

static double element(const fa_view *v, int64_t i)
{
    return v->dtype == FA_FLOAT64 ? ((const double *)v->data)[i] : (double)((const float *)v->data)[i];
}

/* Factor and summand of each channel, from a normalisation's inputs 1 to 4. */
static fa_status fold(fa_fast *f, const fa_node *node, const fa_view *const *v, double epsilon, int32_t *factor, int32_t *summand)
{
    float *a, *b;
    FA_TRY(new_row(f, f->base->value[node->in[1]].name, v[1]->count, factor, &a));
    FA_TRY(new_row(f, f->base->value[node->in[2]].name, v[1]->count, summand, &b));
    for (int64_t c = 0; c < v[1]->count; c++) {
        const double scale = element(v[1], c) / sqrt(element(v[4], c) + epsilon);
        a[c] = (float)scale;
        b[c] = (float)(element(v[2], c) - element(v[3], c) * scale);
    }
    return FA_OK;
}

/* The same where some of them vary: as if the normalisation stood behind a layer whose weights are 1. */
static fa_status fold_later(fa_fast *f, const fa_node *node, int64_t channels, float epsilon, int32_t *factor, int32_t *summand)
{
    int32_t ones;
    float *one;
    FA_TRY(new_row(f, "ones", channels, &ones, &one));
    for (int64_t c = 0; c < channels; c++) one[c] = 1;
    FA_TRY(fa_edit_varying(&f->edit, f->base->value[node->in[1]].name, 1, &channels, factor));
    FA_TRY(fa_edit_varying(&f->edit, f->base->value[node->in[2]].name, 1, &channels, summand));
    const int32_t in[6] = {ones, -1, node->in[1], node->in[2], node->in[3], node->in[4]};
    return fa_fold_batchnorm(&f->edit, node->name, in, 1, epsilon, *factor, *summand);
}

/* A normalisation by the batch's own statistics, which a residual and a Relu may still be joined to. */
static fa_status batchnorm_train(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    const fa_image from = f->image[node->in[0]];
    int32_t made, y;
    if (node->opset < 14 || node->n_in != 5 || node->n_out != 3 || fa_node_float(node, "momentum", 0.9f) != 0) return FA_OK;
    const fa_view *scale = fa_graph_constant(f->base, node->in[1]), *shift = fa_graph_constant(f->base, node->in[2]);
    if (!scale || !shift || scale->count != from.channels || shift->count != from.channels) return FA_OK;
    FA_TRY(fa_edit_node(&f->edit, node->name, "BatchNormTrainNhwc", FA_FAST_DOMAIN, 1, FA_FAST_RESIDUAL + 1, 3, 2, &made));
    FA_TRY(fa_fast_new_twin(f, node->out[0], from.space, from.channels, &y));
    fa_node *to = &f->edit.graph->node[made];
    to->in[0] = from.twin, to->in[1] = node->in[1], to->in[2] = node->in[2];
    to->out[0] = y, to->out[1] = node->out[1], to->out[2] = node->out[2];
    to->attr[0] = (fa_attr){.name = "epsilon", .kind = FA_ATTR_FLOAT, .f = fa_node_float(node, "epsilon", 1e-5f)};
    to->n_attr = 1; /* the other is room for `relu` */
    f->maker[node->out[0]] = made;
    *done = true;
    return FA_OK;
}

/* A normalisation that no layer in front of it could take: a factor and a summand per channel. */
fa_status fa_fast_batchnorm(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    if (strcmp(node->op, "BatchNormalization") == 0 && fa_node_int(node, "training_mode", 0) && twin_of(f, node->in[0]) >= 0) return batchnorm_train(f, n, done);
    if (strcmp(node->op, "BatchNormalization") != 0 || node->n_in != 5 || twin_of(f, node->in[0]) < 0 || node->n_out != 1 || fa_node_int(node, "training_mode", 0)) return FA_OK;
    if (node->opset < 9) return FA_OK;
    for (int32_t o = 1; o < node->n_out; o++)
        if (node->out[o] >= 0) return FA_OK;
    const fa_view *v[5] = {NULL};
    bool varies = false;
    for (int32_t i = 1; i < 5; i++) {
        v[i] = fa_graph_constant(f->base, node->in[i]);
        if (!v[i] || !fa_dtype_is_real(v[i]->dtype) || v[i]->count != v[1]->count) return FA_OK;
        varies |= f->base->value[node->in[i]].varies;
    }
    const fa_image from = f->image[node->in[0]];
    int32_t factor, summand, scaled, mul, add, y;
    if (from.channels != v[1]->count) return FA_OK;
    const float epsilon = fa_node_float(node, "epsilon", 1e-5f);
    if (varies) FA_TRY(fold_later(f, node, v[1]->count, epsilon, &factor, &summand));
    else FA_TRY(fold(f, node, v, (double)epsilon, &factor, &summand));
    FA_TRY(fa_edit_value(&f->edit, f->base->value[node->out[0]].name, f->base->value[node->out[0]].dtype, &scaled));
    FA_TRY(fa_fast_new_twin(f, node->out[0], from.space, from.channels, &y));
    FA_TRY(fa_edit_node(&f->edit, node->name, "Mul", "", 14, 2, 1, 0, &mul));
    FA_TRY(fa_edit_node(&f->edit, node->name, "Add", "", 14, 2, 1, 0, &add));
    fa_node *to = f->edit.graph->node;
    to[mul].in[0] = from.twin, to[mul].in[1] = factor, to[mul].out[0] = scaled;
    to[add].in[0] = scaled, to[add].in[1] = summand, to[add].out[0] = y;
    *done = true;
    return FA_OK;
}

static fa_status new_pool(fa_fast *f, int32_t n, const char *op, int32_t space, bool flat)
{
    const fa_node *node = &f->base->node[n];
    const fa_image from = f->image[node->in[0]];
    int32_t made, y = node->out[0];
    FA_TRY(fa_fast_new_node(f, n, op, FA_FAST_DOMAIN, 1, 0, &made));
    if (flat) f->image[y].exists = true;
    else FA_TRY(fa_fast_new_twin(f, node->out[0], space, from.channels, &y));
    f->edit.graph->node[made].in[0] = from.twin;
    f->edit.graph->node[made].out[0] = y;
    return FA_OK;
}

fa_status fa_fast_pool(fa_fast *f, int32_t n, bool *done)
{
    static const struct {
        const char *op, *made;
        bool global;
    } pools[] = {{"MaxPool", "MaxPoolNhwc", false},
                 {"AveragePool", "AveragePoolNhwc", false},
                 {"GlobalMaxPool", "GlobalMaxPoolNhwc", true},
                 {"GlobalAveragePool", "GlobalAveragePoolNhwc", true}};
    const fa_node *node = &f->base->node[n];
    if (node->n_in < 1 || twin_of(f, node->in[0]) < 0 || (node->n_out > 1 && node->out[1] >= 0)) return FA_OK;
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        int64_t count;
        if (strcmp(node->op, pools[i].op) != 0) continue;
        const int64_t *kernel = fa_node_ints(node, "kernel_shape", &count);
        if (!pools[i].global && (!kernel || count != 2)) return FA_OK;
        const int32_t space = pools[i].global ? -fa_fast_new_space(f) : fa_fast_window_space(f, f->image[node->in[0]].space, node, kernel);
        FA_TRY(new_pool(f, n, pools[i].made, space, false));
        *done = true;
        return FA_OK;
    }
    return FA_OK;
}

/* The mean over rows and columns, which is how some exporters write a global pool. */
fa_status fa_fast_mean(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    if (strcmp(node->op, "ReduceMean") != 0 || node->n_in < 1 || twin_of(f, node->in[0]) < 0) return FA_OK;
    int64_t count;
    const int64_t *axes = fa_node_ints(node, "axes", &count);
    if (!axes && node->n_in > 1 && node->in[1] >= 0 && f->base->value[node->in[1]].is_initialiser) {
        const fa_view *v = &f->base->value[node->in[1]].view;
        if (fa_dtype_is_real(v->dtype)) return FA_OK;
        axes = v->data;
        count = v->count;
    }
    if (!axes || count != 2) return FA_OK;
    const int64_t a = axes[0] < 0 ? axes[0] + 4 : axes[0], b = axes[1] < 0 ? axes[1] + 4 : axes[1];
    if (a + b != 5 || a < 2 || a > 3) return FA_OK;
    FA_TRY(new_pool(f, n, "GlobalAveragePoolNhwc", -fa_fast_new_space(f), fa_node_int(node, "keepdims", 1) == 0));
    *done = true;
    return FA_OK;
}
