/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <math.h>

void fa_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c[4] = {(uint32_t)counter_low, (uint32_t)(counter_low >> 32), (uint32_t)counter_high, (uint32_t)(counter_high >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++) out[i] = c[i];
}

/* Elements 4 b ... 4 b + 3 of a stream. */
static void normal_block(uint64_t key, uint64_t stream, uint64_t b, double out[4])
{
    uint32_t u[4];
    fa_philox(key, b, stream, u);
    for (int i = 0; i < 2; i++) {
        double r = sqrt(-2 * log((u[2 * i] + 1.0) / 4294967296.0)), t = 6.283185307179586 * (u[2 * i + 1] / 4294967296.0);
        out[2 * i] = r * cos(t);
        out[2 * i + 1] = r * sin(t);
    }
}

void fa_normal(uint64_t key, uint64_t stream, uint64_t first, int64_t n, float *out)
{
    double block[4];
    uint64_t have = UINT64_MAX;
    for (int64_t i = 0; i < n; i++) {
        uint64_t e = first + (uint64_t)i;
        if (e / 4 != have) normal_block(key, stream, have = e / 4, block);
        out[i] = (float)block[e % 4];
    }
}
