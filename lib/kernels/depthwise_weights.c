/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/depthwise_rows.h"

#include <stddef.h>

#if FA_HAVE_AVX2
#include <immintrin.h>

/* The largest kernel all of whose sums stay in registers. */
#define SQUARE 5

/* What runs kernels with so many taps along a row and so many inputs from output to output; taps 0: any. `square`: those with as many taps along y, or NULL. */
typedef struct sums {
    int64_t taps, step;
    void (*rows)(const fa_depthwise *p, const fa_depthwise_sums *s);
    void (*square)(const fa_depthwise *p, const fa_depthwise_sums *s);
} sums;

#include "kernels/vectors_avx2.h"
#include "kernels/depthwise_weights_body.h"

#include "kernels/vectors_avx512.h"
#include "kernels/depthwise_weights_body.h"

void fa_depthwise_weights(fa_isa isa, const fa_depthwise *p, const fa_depthwise_sums *s)
{
    const sums *at = isa == FA_ISA_AVX512 ? sums_avx512 : sums_avx2;
    while (at->taps && (p->x.gap != 1 || at->taps != p->x.taps || at->step != p->x.step)) at++;
    (at->square && p->y.taps == at->taps ? at->square : at->rows)(p, s);
}
#endif
