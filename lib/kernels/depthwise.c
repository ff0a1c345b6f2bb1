/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/depthwise.h"

#include "kernels/cpu.h"

#if FA_HAVE_AVX2
#include <immintrin.h>

/* Outputs that are summed beside each other, enough to keep the multiply-add units busy, and the widest kernel row whose weights have registers beside them. */
#define OUTPUTS 8
#define MOST_TAPS 7

/* What runs kernels with so many taps along a row and so many inputs from output to output; taps 0: any. */
typedef struct passes {
    int64_t taps, step;
    void (*run)(const fa_depthwise *p, const fa_depthwise_data *d);
    void (*weights)(const fa_depthwise *p, const float *in, const float *d, float *sum);
} passes;

/* Kernel rows that lie in the image for one row of outputs; `at`: the input row of kernel row 0. */
typedef struct kernel_rows {
    int64_t at, begin, end;
} kernel_rows;

static inline kernel_rows rows_inside(const fa_depthwise_axis *a, int64_t o)
{
    kernel_rows k = {.at = a->first + o * a->step, .begin = 0, .end = a->taps};
    if (k.at < 0) k.begin = (a->gap - 1 - k.at) / a->gap;
    if (k.at + (a->taps - 1) * a->gap >= a->in) k.end = k.at < a->in ? (a->in - 1 - k.at) / a->gap + 1 : 0;
    return k;
}

#include "kernels/vectors_avx2.h"
#include "kernels/depthwise_body.h"

#include "kernels/vectors_avx512.h"
#include "kernels/depthwise_body.h"

static const passes *find(fa_isa isa, const fa_depthwise *p)
{
    const passes *at = isa == FA_ISA_XSMM && fa_cpu_avx512() ? passes_avx512 : passes_avx2;
    while (at->taps && (p->x.gap != 1 || at->taps != p->x.taps || at->step != p->x.step)) at++;
    return at;
}

void fa_depthwise_run(fa_isa isa, const fa_depthwise *p, const fa_depthwise_data *d)
{
    find(isa, p)->run(p, d);
}

void fa_depthwise_weights(fa_isa isa, const fa_depthwise *p, const float *in, const float *d, float *sum)
{
    find(isa, p)->weights(p, in, d, sum);
}
#endif
