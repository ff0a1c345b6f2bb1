/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "kernels/conv.h"

#include <string.h>

static int64_t int_of(const fa_node *node, const char *name, int32_t index)
{
    int64_t count;
    const int64_t *v = fa_node_ints(node, name, &count);
    return v && index < count ? v[index] : 1;
}

/* Whether the kernels that round would be taken for it. Where it is filtered instead, transforms of rounded images would leave nothing of what rounding spares. */
static bool rounds_conv(const fa_node *node, const fa_view *w)
{
    const fa_conv_geometry g = {.c = w->dim[1], .h = 1, .w = 1, .out = w->dim[0], .oh = 1, .ow = 1, .groups = 1, .kh = w->dim[2], .kw = w->dim[3], .stride_h = int_of(node, "strides", 0),
                                .stride_w = int_of(node, "strides", 1), .dilation_h = int_of(node, "dilations", 0), .dilation_w = int_of(node, "dilations", 1)};
    return fa_node_int(node, "group", 1) == 1 && !fa_conv_should_filter(&g);
}

static bool rounds(const fa_graph *g, const fa_node *node)
{
    if (node->domain[0] || node->n_in < 2 || node->in[0] < 0 || node->in[1] < 0 || g->value[node->in[0]].is_parameter) return false;
    const fa_view *w = fa_graph_constant(g, node->in[1]);
    if (!w || !fa_dtype_is_real(w->dtype)) return false;
    if (strcmp(node->op, "Conv") == 0) return w->ndim == 4 && rounds_conv(node, w);
    return w->ndim == 2 && (strcmp(node->op, "Gemm") == 0 || strcmp(node->op, "MatMul") == 0);
}

void fa_mark_bf16(fa_graph *g)
{
    for (int32_t n = 0; n < g->n_node; n++) g->node[n].bf16 = rounds(g, &g->node[n]);
}
