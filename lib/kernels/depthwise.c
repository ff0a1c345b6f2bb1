/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/depthwise_rows.h"

#if FA_HAVE_AVX2
#include <immintrin.h>

/* What runs kernels with so many taps along a row and so many inputs from output to output; taps 0: any. */
typedef struct passes {
    int64_t taps, step;
    void (*run)(const fa_depthwise *p, const fa_depthwise_data *d);
} passes;

#include "kernels/vectors_avx2.h"
#include "kernels/depthwise_body.h"

#include "kernels/vectors_avx512.h"
#include "kernels/depthwise_body.h"

void fa_depthwise_run(fa_isa isa, const fa_depthwise *p, const fa_depthwise_data *d)
{
    const passes *at = isa == FA_ISA_AVX512 ? passes_avx512 : passes_avx2;
    while (at->taps && (p->x.gap != 1 || at->taps != p->x.taps || at->step != p->x.step)) at++;
    at->run(p, d);
}
#endif
