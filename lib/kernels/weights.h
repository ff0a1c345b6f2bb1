/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_WEIGHTS_H
#define FA_KERNELS_WEIGHTS_H

#include "kernels/conv.h"

/* The gradients of a convolution's weights and bias on channels-last images: sums over the images of a batch and the positions of their outputs. */

size_t fa_weights_scratch(const fa_conv_geometry *geometry, int64_t n); /* bytes for n images */

/*
 * Adds the sum over output positions of d[position, o] in[under it at kernel position t, c] for `n` images. Element (o, c of o's group, t) of `gradient`
 * is at o * stride_out + c * stride_in + t * stride_position, as in fa_conv_pack(); where kernel and groups are 1, one of the first two strides is 1.
 */
typedef struct fa_weights_data {
    int64_t n;
    const float *in, *d;
    int64_t stride_out, stride_in, stride_position;
    float *gradient;
    void *scratch; /* FA_ALIGN-aligned */
    float *bias;   /* to which fa_weights_bias() of `d` is added, or NULL; depthwise kernels have its numbers at hand */
} fa_weights_data;

void fa_weights_run(fa_isa isa, const fa_conv_geometry *geometry, const fa_weights_data *data);

/* gradient[c] += sum over p < n of d[p * channels + c], for c < channels. */
void fa_weights_bias(int64_t n, int64_t channels, const float *d, float *gradient);

#endif
