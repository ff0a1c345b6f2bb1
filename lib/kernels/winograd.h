/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_WINOGRAD_H
#define FA_KERNELS_WINOGRAD_H

#include "kernels/conv.h"

/*
 * 3 x 3 convolutions of stride 1 by minimal filtering, F(4 x 4, 3 x 3) (Winograd 1980; Lavin and Gray 2016): the 16 outputs of a tile come from 36 products per
 * channel where direct sums take 144. The 6 x 6 inputs d under a tile become B'dB, a kernel g becomes GgG', their products are summed over channels, a matrix
 * product for each of the 36 positions, and A'MA are the outputs. Interpolation is at 0, infinity, +-5/8 and +-3/2, where rounding errors are about twice those of direct
 * sums in float; +-1 and +-2 of the textbooks would make them five times. An error is relative to the largest sums of a tile, not to the output itself.
 */

/* One direction: a data-gradient is the convolution with kernels turned around, channels exchanged and padding 2 - pad. */
typedef struct fa_winograd {
    int64_t in_c, out_c, in_h, in_w, out_h, out_w, pad_top, pad_left;
    fa_isa isa;
    int64_t out_pixel; /* numbers from a pixel of the output to the next; 0: out_c */
} fa_winograd;

/* Transformed kernels: [block of FA_TILE outputs][position][in_c][FA_TILE], filled with zeros. Element (o, c, t) of `weights`, where o and c are output and input of
 * this direction, is at o * stride_out + c * stride_in + t * stride_position; with `turned` kernels are read from their last element. */
size_t fa_winograd_packed_floats(int64_t in_c, int64_t out_c);
void fa_winograd_pack(int64_t in_c, int64_t out_c, const float *weights, int64_t stride_out, int64_t stride_in, int64_t stride_position, bool turned, float *packed);

size_t fa_winograd_scratch(int64_t in_c); /* bytes, for each thread of data->pool */
void fa_winograd_run(const fa_winograd *winograd, const fa_conv_data *data);

/* The gradient of the weights, added to `gradient`, from inputs `in` of the forward direction and gradients `d` at its outputs: the same products, summed over tiles. */
size_t fa_winograd_weights_scratch(int64_t in_c, int64_t out_c); /* bytes */
void fa_winograd_weights(const fa_winograd *forward, int64_t n, const float *in, const float *d, int64_t stride_out, int64_t stride_in, int64_t stride_position,
                         float *gradient, void *scratch);

#endif
