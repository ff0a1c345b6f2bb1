/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_CPU_H
#define FA_KERNELS_CPU_H

#include <stdbool.h>

#ifndef FA_HAVE_KERNELS
#define FA_HAVE_KERNELS 0
#endif
#ifndef FA_HAVE_BLIS
#define FA_HAVE_BLIS 0
#endif

/* What the CPU has and the operating system saves. */
bool fa_cpu_avx2(void);   /* AVX2 and FMA */
bool fa_cpu_avx512(void); /* AVX-512 F, DQ, BW, VL */
bool fa_cpu_bf16(void);   /* those and AVX-512 BF16 */
bool fa_cpu_vnni(void);   /* those of fa_cpu_avx512() and AVX-512 VNNI */

#if defined(__x86_64__) && defined(__GNUC__)
#define FA_HAVE_AVX2 1
#define FA_AVX2 __attribute__((target("avx2,fma")))
#define FA_INLINE static inline __attribute__((always_inline))
#else
#define FA_HAVE_AVX2 0
#endif

/* Loops of at most 16 or 32 rounds whose number is a constant after inlining. */
#if defined(__clang__)
#define FA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FA_UNROLL _Pragma("GCC unroll 16")
#endif

/* Under sanitizers every access is a check, and what has so many rounds takes minutes to compile. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FA_UNROLL_32
#elif defined(__clang__)
#define FA_UNROLL_32 FA_UNROLL
#else
#define FA_UNROLL_32 _Pragma("GCC unroll 32")
#endif

#endif
