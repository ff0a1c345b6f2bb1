/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_rewrite.h"

#include "backend/fast_ops.h"

#include <string.h>

fa_status fa_fast_new_node(fa_fast *f, int32_t n, const char *op, const char *domain, int32_t n_in, int32_t more, int32_t *node)
{
    const fa_node *from = &f->base->node[n];
    FA_TRY(fa_edit_node(&f->edit, from->name, op, domain, domain[0] ? 1 : from->opset, n_in, 1, from->n_attr + more, node));
    fa_node *to = &f->edit.graph->node[*node];
    if (from->n_attr) memcpy(to->attr, from->attr, (size_t)from->n_attr * sizeof *to->attr);
    to->n_attr = from->n_attr; /* the rest as they are set */
    to->bf16 = from->bf16;
    return FA_OK;
}

fa_attr *fa_fast_int_attr(fa_fast *f, int32_t node, int32_t index, const char *name, int64_t value)
{
    fa_node *n = &f->edit.graph->node[node];
    if (index >= n->n_attr) n->n_attr = index + 1;
    n->attr[index] = (fa_attr){.name = name, .kind = FA_ATTR_INT, .i = value};
    return &n->attr[index];
}

fa_status fa_fast_new_twin(fa_fast *f, int32_t value, int32_t space, int64_t channels, int32_t *twin)
{
    FA_TRY(fa_edit_value(&f->edit, f->base->value[value].name, f->base->value[value].dtype, twin));
    f->image[value].twin = *twin;
    f->image[value].space = space;
    f->image[value].channels = channels;
    return FA_OK;
}

static fa_status change_layout(fa_fast *f, const char *op, int32_t from, int32_t to)
{
    int32_t node;
    FA_TRY(fa_edit_node(&f->edit, op, op, FA_FAST_DOMAIN, 1, 1, 1, 0, &node));
    f->edit.graph->node[node].in[0] = from;
    f->edit.graph->node[node].out[0] = to;
    return FA_OK;
}

fa_status fa_fast_need_twin(fa_fast *f, int32_t value, int64_t channels, int32_t *twin)
{
    if (f->image[value].twin < 0) {
        FA_TRY(fa_fast_new_twin(f, value, fa_fast_new_space(f), channels, twin));
        FA_TRY(change_layout(f, channels == 1 ? "ToNhwcFlat" : "ToNhwc", value, *twin));
        f->image[value].exists = true;
    }
    *twin = f->image[value].twin;
    return FA_OK;
}

/* The value itself, for nodes that know nothing of channels-last images. */
static fa_status need_value(fa_fast *f, int32_t value)
{
    if (value < 0 || value >= f->base->n_value) return FA_OK;
    fa_image *i = &f->image[value];
    if (i->exists || i->twin < 0) return FA_OK;
    i->exists = true;
    return change_layout(f, i->channels == 1 || i->space < 0 ? "ToNchwFlat" : "ToNchw", i->twin, value);
}

int32_t fa_fast_new_space(fa_fast *f)
{
    return ++f->n_space;
}

static bool two_ints(const fa_node *node, const char *name, int64_t out[2])
{
    int64_t count;
    const int64_t *v = fa_node_ints(node, name, &count);
    out[0] = v && count == 2 ? v[0] : 1;
    out[1] = v && count == 2 ? v[1] : 1;
    return !v || count == 2;
}

int32_t fa_fast_window_space(fa_fast *f, int32_t from, const fa_node *node, const int64_t kernel[2])
{
    int64_t stride[2], dilation[2], count, grow[2] = {0, 0};
    const char *mode = fa_node_string(node, "auto_pad", "NOTSET");
    const int64_t *pads = fa_node_ints(node, "pads", &count);
    if (!two_ints(node, "strides", stride) || !two_ints(node, "dilations", dilation) || (pads && count != 4) || fa_node_int(node, "ceil_mode", 0))
        return fa_fast_new_space(f);
    for (int i = 0; i < 2 && strncmp(mode, "SAME", 4) != 0; i++) {
        const bool padded = pads && strcmp(mode, "VALID") != 0;
        grow[i] = (padded ? pads[i] + pads[i + 2] : 0) - (kernel[i] - 1) * dilation[i];
    }
    if (grow[0] == 0 && grow[1] == 0 && stride[0] == 1 && stride[1] == 1) return from;
    for (int32_t i = 0; i < f->n_effect; i++) {
        const fa_window_effect *e = &f->effect[i];
        if (e->from == from && e->grow_h == grow[0] && e->grow_w == grow[1] && e->stride_h == stride[0] && e->stride_w == stride[1]) return e->to;
    }
    const int32_t to = fa_fast_new_space(f);
    f->effect[f->n_effect++] = (fa_window_effect){from, to, grow[0], stride[0], grow[1], stride[1]};
    return to;
}

const float *fa_fast_floats(fa_fast *f, const fa_view *view)
{
    if (view->dtype != FA_FLOAT64) return view->data;
    float *to = fa_arena_array(&f->work, (size_t)view->count + 1, sizeof *to);
    if (!to) return NULL;
    for (int64_t i = 0; i < view->count; i++) to[i] = (float)((const double *)view->data)[i];
    return to;
}

static fa_status replace(fa_fast *f, int32_t n)
{
    static fa_status (*const rules[])(fa_fast *, int32_t, bool *) = {fa_fast_conv,  fa_fast_gemm,      fa_fast_join_relu, fa_fast_join_add, fa_fast_chain, fa_fast_unary,
                                                                     fa_fast_broadcast, fa_fast_concat, fa_fast_batchnorm, fa_fast_pool,     fa_fast_mean, fa_fast_upsample};
    const fa_node *node = &f->base->node[n];
    bool done = node->n_out < 1 || node->out[0] < 0; /* nobody wants what the rules would make: it is computed as it stands */
    if (done) {
        for (int32_t i = 0; i < node->n_in; i++) FA_TRY(need_value(f, node->in[i]));
        return FA_OK;
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules && !done && !node->domain[0]; i++) FA_TRY(rules[i](f, n, &done));
    if (done) {
        fa_edit_remove_node(&f->edit, n);
        return FA_OK;
    }
    for (int32_t i = 0; i < node->n_in; i++) FA_TRY(need_value(f, node->in[i]));
    return FA_OK;
}

static fa_status begin(fa_fast *f, int32_t logits, const int32_t *layer_node)
{
    const fa_graph *g = f->base;
    const size_t values = (size_t)g->n_value + 1;
    f->image = fa_arena_array(&f->work, values, sizeof *f->image);
    f->kept = fa_arena_array(&f->work, values, sizeof *f->kept);
    f->readers = fa_arena_array(&f->work, values, sizeof *f->readers);
    f->maker = fa_arena_array(&f->work, values, sizeof *f->maker);
    f->chain = fa_arena_array(&f->work, values, sizeof *f->chain);
    f->effect = fa_arena_array(&f->work, (size_t)g->n_node + 1, sizeof *f->effect);
    f->layer = fa_arena_array(&f->work, (size_t)f->n_layer + 1, sizeof *f->layer);
    if (!f->image || !f->kept || !f->readers || !f->maker || !f->chain || !f->effect || !f->layer) return FA_ERR_MEMORY;
    for (int32_t v = 0; v < g->n_value; v++) f->image[v].twin = f->maker[v] = -1;
    for (int32_t v = 0; v < g->n_value; v++) f->image[v].exists = g->value[v].producer < 0;
    for (int32_t i = 0; i < g->n_output; i++) f->kept[g->output[i]] = true;
    for (int32_t l = 0; l < f->n_layer; l++) f->layer[l] = layer_node[l];
    f->kept[logits] = true;
    for (int32_t n = 0; n < g->n_node; n++)
        for (int32_t i = 0; i < g->node[n].n_in; i++)
            if (g->node[n].in[i] >= 0) f->readers[g->node[n].in[i]]++;
    return fa_edit_begin(g, &f->edit);
}

fa_status fa_rewrite_fast(const fa_graph *graph, int32_t logits, int32_t *layer_node, int32_t n_layer, const fa_graph *source, fa_packings *packings, bool once, fa_graph **out)
{
    fa_fast f = {.base = graph, .source = source, .packings = packings, .once = once, .work = {.context = graph->arena.context}, .n_layer = n_layer};
    int32_t *layer_value = fa_arena_array(&f.work, (size_t)n_layer + 1, sizeof *layer_value);
    fa_status status = layer_value ? begin(&f, logits, layer_node) : FA_ERR_MEMORY;
    for (int32_t n = 0; n < graph->n_node && status == FA_OK; n++) status = replace(&f, n);
    for (int32_t v = 0; v < graph->n_value && status == FA_OK; v++)
        if (f.kept[v]) status = need_value(&f, v);
    /* Nodes move when the edit ends; what they make does not. */
    for (int32_t l = 0; l < n_layer && status == FA_OK; l++) layer_value[l] = f.edit.graph->node[f.layer[l]].out[0];
    fa_graph *made = NULL;
    if (status == FA_OK) status = fa_edit_finish(&f.edit, &made);
    else if (f.edit.graph) fa_edit_discard(&f.edit);
    for (int32_t l = 0; l < n_layer && status == FA_OK; l++) layer_node[l] = made->value[layer_value[l]].producer;
    if (status == FA_OK) *out = made;
    fa_arena_clear(&f.work);
    return status;
}
