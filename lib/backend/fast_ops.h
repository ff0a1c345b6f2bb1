/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_FAST_OPS_H
#define FA_BACKEND_FAST_OPS_H

#define FA_REAL float
#define FA_REAL_SUFFIX f32
#include "ops/walk.h"

/*
 * Operators that the rewrite onto fast kernels makes; domain "fattr", operator set 1. Images are channels-last, [n, h, w, c].
 *   ConvNhwc       (x, packed weights, bias?, residual?, packed weights of the data-gradient) -> y; attributes of Conv, and
 *                  weight_shape [out, c / group, kh, kw]; relu: y = max(0, x * w + bias + residual)
 *   GemmFast       the same of [..., k]; weight_shape [out, k, 1, 1]; matrix: x must have two dimensions
 *   ReluDone       y = x where x already is max(0, ...); backward is Relu's. It is what gives a tap the gradient before the activation
 *   MaxPoolNhwc, AveragePoolNhwc, GlobalMaxPoolNhwc, GlobalAveragePoolNhwc; keepdims 0 (global): [n, c]
 *   ToNhwc, ToNchw, ToNhwcFlat, ToNchwFlat: the flat ones for images of one channel or one pixel, whose elements keep their order
 */
#define FA_FAST_DOMAIN "fattr"

extern const fa_op fa_fast_ops_conv[], fa_fast_ops_pool[], fa_fast_ops_layout[];

#endif
