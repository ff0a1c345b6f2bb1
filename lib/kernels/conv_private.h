/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_CONV_PRIVATE_H
#define FA_KERNELS_CONV_PRIVATE_H

#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/tile.h"
#include "kernels/winograd.h"

/* Between conv.c, which plans a convolution, and conv_run.c, which runs it. */

typedef struct fa_conv_phase {
    fa_grid grid;
    fa_depthwise depthwise; /* in its place where there are vectors */
    int64_t in, out, w; /* where it begins, in floats */
} fa_conv_phase;

struct fa_conv {
    bool filters;                          /* by `winograd`; else by the phases */
    fa_winograd winograd;
    int64_t groups;                        /* grids to run beside each other: 1 when depthwise */
    int64_t in_c, out_c;                   /* channels that one of them reads and writes */
    int64_t in_pixel, out_pixel;           /* channels of all groups; in_pixel as the grids read them, in words where they are paired */
    int64_t channels;                      /* of all groups, of the input as it is given */
    int64_t bf16;
    int64_t in_h, in_w, out_h, out_w;
    int64_t top, left, padded_h, padded_w; /* of the scratch image: its rows [0, top) and columns [0, left) are padding */
    int64_t group_floats;                  /* packed weights of one group */
    bool copies, depthwise;
    bool gaps;                             /* there are phases whose outputs no kernel element reaches: three of four in a 1 x 1 data-gradient of stride 2 */
    bool vectors; /* depthwise, by kernels that need no copy */
    fa_isa isa;
    bool rows;                             /* bf16, by a kernel of 1 x 1 (bf16_rows.h) */
    bool flat;                             /* images follow each other as rows of one grid do */
    double flops;
    int32_t n_phase;
    fa_conv_phase phase[];
};

#endif
