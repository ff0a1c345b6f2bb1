/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_FAST_OPS_H
#define FA_BACKEND_FAST_OPS_H

#define FA_REAL float
#define FA_REAL_SUFFIX f32
#include "kernels/chain.h"
#include "kernels/kernels.h"
#include "ops/walk.h"

/*
 * Operators that the rewrite onto fast kernels makes; domain "fattr", operator set 1. Images are channels-last, [n, h, w, c].
 *   ConvNhwc       (x, packed weights, bias?, residual?, packed weights of the data-gradient, weights?) -> y; attributes of Conv, and
 *                  weight_shape [out, c / group, kh, kw]; relu: y = max(0, x * w + bias + residual); once: weights packed for forward by direct sums serve everything. The weights themselves are there only for
 *                  their gradient; weight_strides: of an output and of an input channel in them
 *   GemmFast       the same of [..., k]; weight_shape [out, k, 1, 1]; matrix: x must have two dimensions; turned: the data-gradient reads the weights packed for forward
 *   PackConv       (weights) -> packed weights, for weights that vary; no gradient flows through it. geometry: a fa_conv_geometry; gradient: 1 for
 *                  the data-gradient; weight_strides
 *   BatchNormTrainNhwc (x, scale, shift, residual?) -> y, mean, variance: normalised by the batch's own statistics; epsilon; relu as in ConvNhwc
 *   ReluDone       y = x where x already is max(0, ...); backward is Relu's. It is what gives a tap the gradient before the activation
 *   Chain          functions of each element one after the other (kernels/chain.h): functions [n], numbers [2 n]
 *   MaxPoolNhwc, AveragePoolNhwc, GlobalMaxPoolNhwc, GlobalAveragePoolNhwc; keepdims 0 (global): [n, c]
 *   UpsampleNhwc   every pixel `rows` times down and `columns` times to the right
 *   ToNhwc, ToNchw, ToNhwcFlat, ToNchwFlat: the flat ones for images of one channel or one pixel, whose elements keep their order
 *   Patches        (images [n, c, h, w]) -> [n, h / kh, w / kw, c * kh * kw]; kernel_shape [kh, kw]: what a convolution by windows that do not overlap multiplies,
 *                  which then is a ConvNhwc of kernel 1
 */
#define FA_FAST_DOMAIN "fattr"

/* fa_conv_geometry.bf16 of a layer's node. */
static inline int64_t fa_layer_bf16(const fa_node *node)
{
    return node->bf16 ? fa_kernels_bf16() : FA_BF16_NONE;
}

/* Inputs of ConvNhwc and GemmFast; whatever takes a residual takes it there. */
enum { FA_FAST_X, FA_FAST_PACKED, FA_FAST_BIAS, FA_FAST_RESIDUAL, FA_FAST_PACKED_GRADIENT, FA_FAST_WEIGHT, FA_FAST_INPUTS };

/* Elements of a piece (fa_op.pieces) of what is done to each by itself: whole vectors; and what one costs, that is moved or is a function. */
#define FA_FAST_PIECE 1024
#define FA_FAST_MOVED 24.0
#define FA_FAST_FUNCTION 150.0

/* What a Chain's params are. */
typedef struct fa_fast_steps {
    int32_t n_step;
    fa_chain_step step[FA_CHAIN_MOST];
} fa_fast_steps;

/* The derivative that fa_op_slope() of input i asks for, from element `first` of the input on; n_step 0: none. */
fa_slope fa_fast_slope(const fa_op_call *call, int32_t i, int64_t first);

/* Beside those, fast entries for MatMul, Softmax, LayerNormalization, RMSNormalization, Gelu, Attention, Add, Sub, Mul and Div of the default operator set and for
 * Attention of "fattr": they stand first in the table, so no rewrite is needed. */
extern const fa_op fa_fast_ops_matmul[], fa_fast_ops_rowwise[], fa_fast_ops_elementwise[], fa_fast_ops_attention[], fa_fast_ops_multihead[];

extern const fa_op fa_fast_ops_conv[], fa_fast_ops_batchnorm[], fa_fast_ops_pool[], fa_fast_ops_upsample[], fa_fast_ops_layout[];

#endif
