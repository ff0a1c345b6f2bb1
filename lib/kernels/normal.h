/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_NORMAL_H
#define FA_KERNELS_NORMAL_H

#include <stdint.h>

/*
 * Standard normal numbers `first` ... `first + n - 1` of stream (key, stream): a function of key, stream and position, whatever piece is asked for and on
 * whatever CPU. Philox (base/rng.h) through the transform of Box and Muller (Annals of Mathematical Statistics 29, 1958) in single precision:
 *
 *   in each run of 64 numbers, the numbers 16 j + i (i < 16, j < 4) come from word j of Philox block 16 * run + i;
 *   words 0 and 1 give numbers j = 0 and 1, words 2 and 3 give numbers j = 2 and 3: with u = (word + 1/2) / 2^32 and the angle a = 2 pi word' / 2^32,
 *   sqrt(-2 ln u) cos a and sqrt(-2 ln u) sin a.
 *
 * The largest is sqrt(66 ln 2) = 6.76. Within 3e-7 * sqrt(-2 ln u) of the exact values (largest seen: 2.3e-7).
 */
void fa_normal(uint64_t key, uint64_t stream, uint64_t first, int64_t n, float *out);

/* The same by a given instruction set, 0 for portable C, 1 for AVX2, 2 for AVX-512; NULL where the CPU has it not. For tests: fa_normal() takes the last. */
typedef void (*fa_normal_function)(uint64_t key, uint64_t stream, uint64_t first, int64_t n, float *out);
#define FA_NORMAL_SETS 3
fa_normal_function fa_normal_for(int32_t set);

#endif
