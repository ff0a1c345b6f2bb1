/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_CONV_ONCE_H
#define FA_KERNELS_CONV_ONCE_H

#include "kernels/conv.h"

/*
 * Convolutions by weights that are packed once, for FA_CONV_FORWARD and direct sums (geometry.winograd 0): what a data-gradient or minimal filtering reads is made of them at each
 * call, for as many outputs at a time as the workspace holds, and has the bits of weights that were packed so beforehand. Of one group, in float.
 */
bool fa_conv_once_takes(const fa_conv_geometry *geometry);

/* `conv` was made of `geometry`, whose `winograd` says how it is computed, for `direction`. Bytes; the workspace in fa_conv_data. */
size_t fa_conv_once_scratch(const fa_conv *conv, const fa_conv_geometry *geometry, fa_conv_direction direction);
void fa_conv_once_run(const fa_conv *conv, const fa_conv_geometry *geometry, fa_conv_direction direction, const fa_conv_data *data);

#endif
