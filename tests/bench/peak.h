/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_TESTS_BENCH_PEAK_H
#define FA_TESTS_BENCH_PEAK_H

#include "bench.h"
#include "kernels/cpu.h"
#include "kernels/kernels.h"
#if FA_HAVE_AVX2
#include <immintrin.h>
#endif

#define FA_BANDWIDTH_BLOCK (256 << 20) /* bytes */

/* What one core of this machine can do at most: multiply-adds and bytes from memory. */

/* Of the thread's own time, the fastest of several rounds: the machine is shared. */
static inline double seconds(void (*work)(void *), void *user)
{
    double best = 1e9;
    int calls = 1;
    for (int round = 0; round < 12; round++) {
        const double start = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
        for (int i = 0; i < calls; i++) work(user);
        const double t = clock_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
        if (t / calls < best) best = t / calls;
        if (t < 2e-3) calls *= 4, round = 0;
    }
    return best;
}

/* Independent multiply-adds of registers, nothing else: the most that any kernel can reach. */
#define SUMS 12
#define FMA_ROUNDS 4096
#define FMA_PEAK(name, instructions, vector, splat, fma)                                                                                                 \
    __attribute__((target(instructions))) static void name(void *user)                                                                                   \
    {                                                                                                                                                    \
        const vector a = splat(0.999f), b = splat(1e-3f);                                                                                                \
        vector s[SUMS];                                                                                                                                  \
        for (int i = 0; i < SUMS; i++) s[i] = splat((float)i + *(volatile float *)user); /* or the compiler would find them equal */                    \
        for (int r = 0; r < FMA_ROUNDS; r++) {                                                                                                               \
            FA_UNROLL                                                                                                                                    \
            for (int i = 0; i < SUMS; i++) s[i] = fma(s[i], a, b);                                                                                       \
        }                                                                                                                                                \
        for (int i = 1; i < SUMS; i++) s[0] = fma(s[i], a, s[0]);                                                                                        \
        *(volatile float *)user = s[0][0];                                                                                                               \
    }

#if FA_HAVE_AVX2
FMA_PEAK(fma_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
FMA_PEAK(fma_avx512, "avx512f,fma", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
#endif

static inline double fma_peak(fa_isa isa)
{
    float sink = 0;
#if FA_HAVE_AVX2
    const double flops = 2.0 * SUMS * FMA_ROUNDS * (isa == FA_ISA_AVX512 ? 16 : 8);
    if (fa_kernels_have(isa)) return flops / seconds(isa == FA_ISA_AVX512 ? fma_avx512 : fma_avx2, &sink) * 1e-9;
#endif
    (void)sink, (void)isa;
    return 0;
}

static inline void sum_block(void *user)
{
    const int64_t *x = user;
    int64_t sum[8] = {0};
    for (int64_t i = 0; i < FA_BANDWIDTH_BLOCK / 8; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += x[i + k];
    *(volatile int64_t *)user = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

/* GB/s of reading more than the caches hold. */
static inline double read_bandwidth(void)
{
    void *block = memory(FA_BANDWIDTH_BLOCK);
    const double rate = FA_BANDWIDTH_BLOCK / seconds(sum_block, block) * 1e-9;
    free(block);
    return rate;
}

#endif
