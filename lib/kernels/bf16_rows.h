/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_BF16_ROWS_H
#define FA_KERNELS_BF16_ROWS_H

#include "kernels/conv.h"
#include "kernels/tile.h"

/* Convolutions by a kernel of 1 x 1, and fully connected layers, whose factors are rounded: the positions of all images are rows that a matrix multiplies, some at a time. */
typedef struct fa_bf16_rows {
    const fa_grid *grid; /* of any number of positions */
    int64_t form;        /* FA_BF16_ROUNDED or FA_BF16_PAIRS */
    int64_t channels, out;
} fa_bf16_rows;

size_t fa_bf16_rows_scratch(int64_t form, int64_t channels);
/* `total` rows of data->in, whatever data->n. */
void fa_bf16_rows_run(const fa_bf16_rows *rows, int64_t total, const fa_conv_data *data);

#endif
