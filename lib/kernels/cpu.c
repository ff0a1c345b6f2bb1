/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"

#include "kernels/kernels.h"

bool fa_cpu_avx2(void)
{
#if FA_HAVE_AVX2
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

bool fa_cpu_avx512(void)
{
#if FA_HAVE_AVX2
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

bool fa_cpu_bf16(void)
{
#if FA_HAVE_AVX2
    return fa_cpu_avx512() && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

bool fa_cpu_vnni(void)
{
#if FA_HAVE_AVX2
    return fa_cpu_avx512() && __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

bool fa_kernels_have(fa_isa isa)
{
    /* A build without them is the one that runs the same everywhere: it takes the reference operators. */
    if (isa == FA_ISA_AVX2) return FA_HAVE_KERNELS && fa_cpu_avx2();
    if (isa == FA_ISA_AVX512) return FA_HAVE_KERNELS && fa_cpu_avx2() && fa_cpu_avx512();
    return true;
}

fa_isa fa_kernels_isa(void)
{
    if (fa_kernels_have(FA_ISA_AVX512)) return FA_ISA_AVX512;
    return fa_kernels_have(FA_ISA_AVX2) ? FA_ISA_AVX2 : FA_ISA_NONE;
}

int64_t fa_kernels_bf16(void)
{
    return fa_kernels_isa() == FA_ISA_AVX512 && fa_cpu_bf16() ? FA_BF16_PAIRS : FA_BF16_ROUNDED;
}

bool fa_kernels_available(void)
{
    return fa_kernels_isa() != FA_ISA_NONE;
}

const char *fa_kernels_name(void)
{
    switch (fa_kernels_isa()) {
    case FA_ISA_AVX2: return FA_HAVE_BLIS ? "avx2+blis" : "avx2";
    case FA_ISA_AVX512: return FA_HAVE_BLIS ? "avx512+blis" : "avx512";
    default: return "none";
    }
}
