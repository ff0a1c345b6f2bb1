/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_TURNED_H
#define FA_KERNELS_TURNED_H

#include "kernels/multiply.h"

/*
 * Single rows times matrices whose transposes are packed, fa_multiply.packed_turned: nothing is turned around. A row's numbers are dot products with rows of the packed blocks, and
 * blocks that meet only zeros of the row are not read, which are nearly all where it is a margin's gradient at many logits.
 */

/* Row `i` of the product. */
void fa_turned_row(const fa_multiply *multiply, int64_t i);

/* True when that reads few of the blocks. */
bool fa_turned_is_sparse(const fa_multiply *multiply, int64_t i);

#endif
