/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_RNG_H
#define FA_BASE_RNG_H

#include <stdint.h>

/* Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random numbers as a function of key and counter,
 * so that any thread can make any element. */
void fa_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4]);

#endif
