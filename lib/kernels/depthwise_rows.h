/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_DEPTHWISE_ROWS_H
#define FA_KERNELS_DEPTHWISE_ROWS_H

#include "kernels/depthwise.h"

/* What kernels of depthwise convolutions and of their weights' gradients share. */

/* Outputs that are summed beside each other, enough to keep the multiply-add units busy; images of mobile networks are 7 wide, or a multiple of it. */
#define FA_DEPTHWISE_OUTPUTS 7

/* The widest kernel row whose weights have registers beside them. */
#define FA_DEPTHWISE_TAPS 7

/* Has a compiler load x once, instead of with every multiplication by it: what the load units do is what bounds these kernels. */
#define FA_IN_REGISTER(x) __asm__("" : "+v"(x))

/* Kernel rows that lie in the image for one row of outputs; `at`: the input row of kernel row 0. */
typedef struct fa_depthwise_rows {
    int64_t at, begin, end;
} fa_depthwise_rows;

static inline fa_depthwise_rows fa_depthwise_rows_of(const fa_depthwise_axis *a, int64_t o)
{
    fa_depthwise_rows k = {.at = a->first + o * a->step, .begin = 0, .end = a->taps};
    if (k.at < 0) k.begin = (a->gap - 1 - k.at) / a->gap;
    if (k.at + (a->taps - 1) * a->gap >= a->in) k.end = k.at < a->in ? (a->in - 1 - k.at) / a->gap + 1 : 0;
    return k;
}

/* Whether all that `n` outputs from `o` on meet lies in the image. */
static inline bool fa_depthwise_inside(const fa_depthwise_axis *a, int64_t o, int64_t n)
{
    const int64_t at = a->first + o * a->step;
    return at >= 0 && at + (n - 1) * a->step + (a->taps - 1) * a->gap < a->in;
}

#endif
