/* SPDX-License-Identifier: Apache-2.0 */
/* What the bodies of kernels (*_body.h) call vectors of AVX2 by; once in a file, before the body, behind kernels/cpu.h and <immintrin.h>. The body defines vf and vi, vectors of FLOATS floats
 * and of as many integers, and ends with vectors_end.h. MIN_F and MAX_F are the second operand where one is NaN. Of vectors of which the first n floats exist, 0 to FLOATS: MASK_OF(n), MASK_LOAD
 * (zeros beyond), MASK_STORE. */
static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0}; /* a mask of n: lanes [8 - n, 16 - n) */

#define NAME(f) f##_avx2
#define LABEL "avx2"
#define TARGET FA_AVX2
#define FLOATS 8
#define FMA_F(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define SPLAT_F(x) ((vf)_mm256_set1_ps(x))
#define MIN_F(a, b) ((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define MAX_F(a, b) ((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define SQRT_F(x) ((vf)_mm256_sqrt_ps((__m256)(x)))
#define SELECT(mask, a, b) ((vf)(((vi)(mask) & (vi)(a)) | (~(vi)(mask) & (vi)(b))))
#define MASK __m256i
#define MASK_OF(n) _mm256_loadu_si256((const __m256i *)(const void *)(lanes + 8 - (n)))
#define MASK_LOAD(p, mask) ((vf)_mm256_maskload_ps(p, mask))
#define MASK_STORE(p, mask, v) _mm256_maskstore_ps(p, mask, (__m256)(v))
