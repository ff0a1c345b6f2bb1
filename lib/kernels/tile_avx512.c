/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/tile.h"

#if FA_HAVE_AVX2
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma")))
#define ADD_PRODUCT(acc, x, w) _mm512_fmadd_ps(x, w, acc)
#include "kernels/tile_rows_body.h"

void fa_grid_avx512(const fa_grid *g, const fa_grid_data *d)
{
    if (fa_grid_is_rows(g)) run_rows(g, d);
    else run_grid(g, d);
}
#endif
