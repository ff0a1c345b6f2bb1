/* SPDX-License-Identifier: Apache-2.0 */
/* The same as vectors_avx2.h, for AVX-512. */
#define NAME(f) f##_avx512
#define LABEL "avx512"
#define TARGET __attribute__((target("avx512f,avx512dq,fma")))
#define FLOATS 16
#define FMA_F(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define SPLAT_F(x) ((vf)_mm512_set1_ps(x))
#define MIN_F(a, b) ((vf)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define MAX_F(a, b) ((vf)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define SQRT_F(x) ((vf)_mm512_sqrt_ps((__m512)(x)))
#define SELECT(mask, a, b) ((vf)(((vi)(mask) & (vi)(a)) | (~(vi)(mask) & (vi)(b))))
#define MASK __mmask16
#define MASK_OF(n) (__mmask16)((1u << (n)) - 1)
#define MASK_LOAD(p, mask) ((vf)_mm512_maskz_loadu_ps(mask, p))
#define MASK_STORE(p, mask, v) _mm512_mask_storeu_ps(p, mask, (__m512)(v))
