/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_PATCHES_H
#define FA_KERNELS_PATCHES_H

#include "kernels/conv.h"

/*
 * Second moments of the patches that a convolution takes from channels-last images, without gathering them: two places of a kernel see products of an image with the image shifted by
 * their distance, and every pair of the same distance sees the same products but for rows and columns at the border. 13 distances of 3 x 3 stand for 45 pairs.
 */
bool fa_patches_may(const fa_conv_geometry *geometry);
size_t fa_patches_scratch(const fa_conv_geometry *geometry); /* bytes */

/*
 * The lower triangle of m += the sum over `n` images, groups and output positions of p p', p the patch in the order (kernel row, kernel column, channel of the group), and 1 behind
 * where `one`. m has rows of ld >= their length; what is right of the diagonal may be written too, within a row's length.
 */
void fa_patches_moments(fa_isa isa, const fa_conv_geometry *geometry, int64_t n, const float *images, bool one, float *m, int64_t ld, float *scratch);

#endif
