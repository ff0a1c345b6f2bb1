/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/tile.h"

#if FA_HAVE_AVX2
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma")))
#define ADD_PRODUCT(acc, x, w) _mm512_dpbf16_ps(acc, (__m512bh)(x), (__m512bh)(w))
#include "kernels/tile_rows_body.h"

void fa_grid_bf16(const fa_grid *g, const fa_grid_data *d)
{
    if (fa_grid_is_rows(g)) run_rows(g, d);
    else run_grid(g, d);
}
#endif
