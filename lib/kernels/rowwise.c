/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/rowwise.h"

#include "kernels/cpu.h"

#if FA_HAVE_AVX2
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/vectors_avx2.h"
#include "kernels/rowwise_body.h"

#include "kernels/vectors_avx512.h"
#include "kernels/rowwise_body.h"
#endif

const fa_rowwise *fa_rowwise_for(fa_isa isa)
{
#if FA_HAVE_AVX2
    if (isa == FA_ISA_AVX512) return &table_avx512;
    if (isa != FA_ISA_NONE) return &table_avx2;
#endif
    (void)isa;
    return NULL;
}
