/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/broadcast.h"

#include "kernels/cpu.h"

#if FA_HAVE_AVX2
#include <immintrin.h>
#include <stddef.h>

/* Masks of 0 to 8 lanes: lanes [8 - n, 16 - n). */
static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

#define NAME(f) f##_avx2
#define TARGET FA_AVX2
#define FLOATS 8
#define SPLAT_F(x) ((vf)_mm256_set1_ps(x))
#define MASK __m256i
#define MASK_OF(n) _mm256_loadu_si256((const __m256i *)(const void *)(lanes + 8 - (n)))
#define MASK_LOAD(p, mask) ((vf)_mm256_maskload_ps(p, mask))
#define MASK_STORE(p, mask, v) _mm256_maskstore_ps(p, mask, (__m256)(v))
#include "kernels/broadcast_body.h"

#define NAME(f) f##_avx512
#define TARGET __attribute__((target("avx512f,avx512dq,fma")))
#define FLOATS 16
#define SPLAT_F(x) ((vf)_mm512_set1_ps(x))
#define MASK __mmask16
#define MASK_OF(n) (__mmask16)((1u << (n)) - 1)
#define MASK_LOAD(p, mask) ((vf)_mm512_maskz_loadu_ps(mask, p))
#define MASK_STORE(p, mask, v) _mm512_mask_storeu_ps(p, mask, (__m512)(v))
#include "kernels/broadcast_body.h"
#endif

const fa_broadcast_kernels *fa_broadcast_kernels_for(fa_isa isa)
{
#if FA_HAVE_AVX2
    if (isa == FA_ISA_XSMM && fa_cpu_avx512()) return &table_avx512;
    if (isa != FA_ISA_NONE) return &table_avx2;
#endif
    (void)isa;
    return NULL;
}
