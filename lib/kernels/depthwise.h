/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_DEPTHWISE_H
#define FA_KERNELS_DEPTHWISE_H

#include "kernels/chain.h"
#include "kernels/kernels.h"

#include <stdint.h>

/*
 * Depthwise convolutions of channels-last images: every channel by itself. Output o along an axis is the sum over taps t of inputs first + o step + t gap, of which those
 * outside [0, in) are nothing: no padded copy is made. A phase of a data-gradient (conv.c) has this form too.
 */
typedef struct fa_depthwise_axis {
    int64_t in, out;
    int64_t first, step, taps, gap;
} fa_depthwise_axis;

typedef struct fa_depthwise {
    int64_t channels;
    fa_depthwise_axis y, x;
    int64_t out_row, out_col; /* floats from output to output */
} fa_depthwise;

typedef struct fa_depthwise_data {
    const float *in, *w;   /* w [y.taps, x.taps, channels] */
    const float *bias;     /* [channels] or NULL */
    const float *residual; /* laid out as `out`, may be `out` itself, or NULL */
    float *out;
    bool relu;
    const float *before;   /* `out` is multiplied by a derivative there, behind everything else; laid out as `out`, or NULL */
    int32_t function;      /* whose: FA_STEP_RELU or FA_STEP_HARD_SWISH (chain.h) */
} fa_depthwise_data;

/* Not for FA_ISA_NONE. */
void fa_depthwise_run(fa_isa isa, const fa_depthwise *depthwise, const fa_depthwise_data *data);

/* The gradient of the weights, sum [y.taps, x.taps, channels] += over outputs: in[under the output] d[output], and of the bias, of one image; d is [y.out, x.out, channels] whatever out_row
 * and out_col say. */
typedef struct fa_depthwise_sums {
    const float *in, *d;
    float *sum;
    float *bias; /* [channels] or NULL */
} fa_depthwise_sums;

void fa_depthwise_weights(fa_isa isa, const fa_depthwise *depthwise, const fa_depthwise_sums *sums);

#endif
