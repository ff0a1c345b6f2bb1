/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "backend/fast_rewrite.h"
#include "kernels/nhwc.h"

#include <string.h>

/* Resize and Upsample that repeat every pixel a whole number of times along rows and columns. */
#define MOST_TIMES 64

/* The node's scales as numbers, where they are known now; NULL otherwise. */
static const float *scales_of(fa_fast *f, const fa_node *node)
{
    const bool resize = strcmp(node->op, "Resize") == 0;
    const int32_t input = resize && node->opset >= 11 ? 2 : 1;
    if (!resize && node->opset < 9) {
        const fa_attr *a = fa_node_attr(node, "scales");
        return a && a->kind == FA_ATTR_FLOATS && a->count == 4 ? a->floats : NULL;
    }
    if (node->n_in <= input || node->in[input] < 0 || node->in[input] >= f->base->n_value || f->base->value[node->in[input]].varies) return NULL;
    if (node->n_in > 3 && node->in[3] >= 0) return NULL; /* sizes */
    const fa_view *v = fa_graph_constant(f->base, node->in[input]);
    return v && v->dtype == FA_FLOAT32 && v->count == 4 ? v->data : NULL;
}

/* Whether output o is of input o / scale for whole scales. */
static bool repeats(const fa_node *node)
{
    const bool old = node->opset < 11;
    const char *coordinates = fa_node_string(node, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    const char *nearest = fa_node_string(node, "nearest_mode", old ? "floor" : "round_prefer_floor");
    if (strcmp(fa_node_string(node, "mode", "nearest"), "nearest") != 0 || fa_node_attr(node, "axes") || fa_node_int(node, "antialias", 0)) return false;
    if (strcmp(coordinates, "asymmetric") == 0 || strcmp(coordinates, "tf_half_pixel_for_nn") == 0) return strcmp(nearest, "floor") == 0;
    return (strcmp(coordinates, "half_pixel") == 0 || strcmp(coordinates, "pytorch_half_pixel") == 0) && strncmp(nearest, "round_prefer_", 13) == 0;
}

fa_status fa_fast_upsample(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    if ((strcmp(node->op, "Resize") != 0 && strcmp(node->op, "Upsample") != 0) || node->n_in < 1 || node->in[0] < 0 || node->in[0] >= f->base->n_value) return FA_OK;
    const float *scale = repeats(node) && f->image[node->in[0]].twin >= 0 ? scales_of(f, node) : NULL;
    int64_t times[4];
    for (int i = 0; scale && i < 4; i++) {
        if (!(scale[i] >= 1 && scale[i] <= (i < 2 ? 1 : MOST_TIMES)) || scale[i] != (float)(int)scale[i]) return FA_OK;
        times[i] = (int64_t)scale[i];
    }
    if (!scale) return FA_OK;
    const fa_image from = f->image[node->in[0]];
    int32_t made, y;
    FA_TRY(fa_edit_node(&f->edit, node->name, "UpsampleNhwc", FA_FAST_DOMAIN, 1, 1, 1, 2, &made));
    FA_TRY(fa_fast_new_twin(f, node->out[0], fa_fast_new_space(f), from.channels, &y));
    f->edit.graph->node[made].in[0] = from.twin;
    f->edit.graph->node[made].out[0] = y;
    f->edit.graph->node[made].n_attr = 0; /* there is room for two */
    fa_fast_int_attr(f, made, 0, "rows", times[2]);
    fa_fast_int_attr(f, made, 1, "columns", times[3]);
    *done = true;
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s)
{
    const fa_view *x = s->in[0];
    fa_upsampling *u = fa_arena_new(s->arena, sizeof *u);
    if (!u) return FA_ERR_MEMORY;
    if (x->ndim != 4 || !fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_SHAPE, "%s in %d dimensions where images of reals are taken", fa_dtype_name(x->dtype), x->ndim);
    if (x->dim[1] > INT32_MAX || x->dim[2] > INT32_MAX) return fa_fail(FA_ERR_LIMIT, "images of more than 2^31 rows or columns");
    *u = (fa_upsampling){x->count ? x->dim[0] * x->dim[1] : 0, x->dim[2], x->dim[3], fa_node_int(s->node, "rows", 1), fa_node_int(s->node, "columns", 1)};
    s->params = u;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 4, (int64_t[]){x->dim[0], x->dim[1] * u->down, x->dim[2] * u->right, x->dim[3]});
}

static void forward(const fa_op_call *call)
{
    fa_upsample(call->params, call->in[0]->data, call->out[0]->data);
}

static void backward(const fa_op_call *call)
{
    fa_upsample_gradient(call->params, call->grad_out[0], call->grad_in[0], call->accumulate[0]);
}

const fa_op fa_fast_ops_upsample[] = {
    {.name = "UpsampleNhwc", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY, .flags = FA_OP_OVERWRITES, .prepare = prepare, .forward = forward, .backward = backward},
    {0},
};
