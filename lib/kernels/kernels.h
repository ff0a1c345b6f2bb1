/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_KERNELS_H
#define FA_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* Which fast kernels this build has and this CPU runs. Kernels run on the caller's thread, and on those of a pool
 * where one is given (base/pool.h), and allocate only when an object is made. */
typedef enum fa_isa {
    FA_ISA_NONE,
    FA_ISA_AVX2,   /* and FMA */
    FA_ISA_AVX512, /* F, DQ, BW, VL; what has no kernels of its own there runs on those of AVX2 */
} fa_isa;

/* The widest that the CPU has. FA_ISA_NONE: only the reference operators exist. */
fa_isa fa_kernels_isa(void);
bool fa_kernels_available(void);

/* How factors lie that are rounded to bfloat16 (kernels/bf16.h): not at all, FA_BF16_NONE; as floats, for any set of kernels; in pairs, for CPUs that multiply those. */
enum { FA_BF16_NONE, FA_BF16_ROUNDED, FA_BF16_PAIRS };
/* The faster of the last two on this CPU. */
int64_t fa_kernels_bf16(void);

/* "avx2", "avx512", with "+blis" where second moments go there; "none". */
const char *fa_kernels_name(void);

/* True when this build can make objects for `isa` on this CPU: lets tests reach the sets that are not the first choice. */
bool fa_kernels_have(fa_isa isa);

#endif
