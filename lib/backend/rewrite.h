/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_REWRITE_H
#define FA_BACKEND_REWRITE_H

#include "backend/packings.h"
#include "backend/pass.h"
#include "graph/edit.h"
#include "graph/op.h"

/* Rewrites make a new graph over an old one (graph/edit.h): value indices of the old graph stay valid in the new one, which may have more. */

/* Values that follow from initialisers alone become initialisers (transposed weights, constants). */
fa_status fa_rewrite_constants(const fa_graph *graph, const fa_op_table *ops, fa_graph **out);

/* Constant nodes that hold a tensor become initialisers: some exporters write all weights so. */
fa_status fa_rewrite_literals(const fa_graph *graph, fa_graph **out);

/* Initialisers behind a Cast between reals or a DequantizeLinear, weights kept in fewer bits, become float initialisers of that node's name and can vary. */
fa_status fa_rewrite_unpacked(const fa_graph *graph, const fa_op_table *ops, fa_graph **out);

/* Folds each BatchNormalization into the Conv or Gemm before it where that is exact: the layer's output goes nowhere else and its weights are
 * initialisers, or vary: then a FoldBatchNorm (lib/ops/fold.c) computes them. The layer then produces the normalised value. `keep` [n_keep]: values
 * that must survive. */
fa_status fa_rewrite_batchnorm(const fa_graph *graph, const int32_t *keep, int32_t n_keep, fa_graph **out);
/* That node: `in` (weight, bias or -1, scale, shift, mean, variance), `weight` and `bias` what it makes. */
fa_status fa_fold_batchnorm(fa_edit *edit, const char *name, const int32_t in[6], int64_t step, float epsilon, int32_t weight, int32_t bias);

/* precision.c: marks (fa_node.bf16) the layers of a canonical graph that are computed in bfloat16: products of an input by constant matrices, and convolutions of images of one group,
 * unless minimal filtering in float is the faster way. */
void fa_mark_bf16(fa_graph *graph);

/* rewrite_einsum.c: Einsums of computed values that are batches of matrix products become MatMul between Transposes. */
fa_status fa_rewrite_einsums(const fa_graph *graph, fa_graph **out);

/* rewrite_patterns.c: operators that are written out as several nodes (LayerNormalization, RMSNormalization, Gelu, attention) become one. `keep` [n_keep]: values that must survive. */
fa_status fa_rewrite_patterns(const fa_graph *graph, const int32_t *keep, int32_t n_keep, fa_graph **out);

/* lib/backend/layers.c: the layers of a canonical graph (constants and BatchNormalization folded). `node` [count] is the node of each. */
typedef struct fa_layers {
    fa_layer *layer;
    int32_t *node;
    int32_t count;
} fa_layers;
fa_status fa_layers_find(const fa_graph *graph, fa_arena *arena, fa_layers *out);

/* The input of a layer's node that is the layer's: an index where it is a lookup. */
static inline int32_t fa_layer_input(const fa_layer *layer)
{
    return layer->lookup ? 1 : 0;
}

/* Geometry of a layer's node at concrete shapes (`a`: its fa_layer_input(), in which the batch lies by `step`, see batch_place.h; `d`: its output 0). Conv is [n, c, h, w]; operators of the domain "fattr" that
 * stand for it ("ConvNhwc", with explicit kernel_shape, strides, pads, dilations, group) are channels-last. */
fa_status fa_layer_geometry(const fa_layer *layer, const fa_node *node, const fa_view *a, const fa_view *d, int64_t batch, int64_t step, fa_tap *out);

/* lib/backend/fast_rewrite.c: the canonical graph on fast kernels. layer_node [n_layer]: in: node index in `graph`, out: in `*out`. The operator
 * table to plan it with is fa_fast_op_table. `packings`: takes what is packed, and leaves data-gradients for later (packings.h); NULL: they are packed too. `once`: what is packed
 * forward serves both directions. `source`: the model's graph. Only in builds with fast kernels. */
fa_status fa_rewrite_fast(const fa_graph *graph, int32_t logits, int32_t *layer_node, int32_t n_layer, const fa_graph *source, fa_packings *packings, bool once, fa_graph **out);
extern const fa_op_table fa_fast_op_table;

/* No gradient at output position (y, x) of input i. */
static inline bool fa_tap_is_silent(const fa_tap *t, int64_t i, int64_t y, int64_t x)
{
    const float *d = t->d + i * t->d_n + y * t->d_h + x * t->d_w;
    for (int64_t o = 0; o < t->out; o++)
        if (d[o * t->d_c] != 0) return false;
    return true;
}

/* tap_ref.c: plain loops over any geometry; tap_fast.c: channels-last and fully connected taps on fast kernels, the rest as the reference. */
extern const fa_tap_ops fa_tap_ops_reference, fa_tap_ops_fast;

#endif
