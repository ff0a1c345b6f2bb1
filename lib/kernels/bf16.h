/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_BF16_H
#define FA_KERNELS_BF16_H

#include <stdint.h>

/*
 * Factors of products that are rounded to bfloat16, to nearest, ties to even. In pairs two that follow each other make a word of a float's size, the first one in its
 * lower half; of an odd number of channels the last has 0 beside it. Words are moved as floats and never computed with. Pairs are for fa_cpu_bf16(), which takes numbers below
 * 2^-126 as 0; rounded floats serve any CPU.
 */

/* The word of two numbers, for weights. */
float fa_bf16_pair(float first, float second);

/* `pixels` of `channels` floats, one after the other, in the form of FA_BF16_ROUNDED (as many floats) or FA_BF16_PAIRS. */
void fa_bf16_write(int64_t form, int64_t pixels, int64_t channels, const float *in, float *to);

/* Floats or words of a pixel in that form. */
int64_t fa_bf16_pixel(int64_t form, int64_t channels);

/* An image of h rows of w pixels within a larger one, zeros around it: fa_pad_image() in that form. */
typedef struct fa_bf16_padding {
    int64_t h, w, top, left, padded_h, padded_w, channels;
} fa_bf16_padding;

void fa_bf16_pad_image(int64_t form, const fa_bf16_padding *padding, const float *in, float *to);

#endif
