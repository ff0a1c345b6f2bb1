/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/winograd_block.h"

#include <string.h>

/* A number for each of FA_TILE outputs: loops over them become vectors. */
typedef float lanes[FA_TILE];

#define P FA_WINOGRAD_P
#define Q FA_WINOGRAD_Q
#define F0 (1 / (P * P * Q * Q))
#define FP (0.5f / (P * P * (P * P - Q * Q)))
#define FQ (0.5f / (Q * Q * (Q * Q - P * P)))

/* G times a column of three, whose elements are `from_step` lanes apart; the results `to_step`. */
static inline __attribute__((always_inline)) void column(const lanes *g, int64_t from_step, lanes *u, int64_t to_step)
{
    for (int64_t i = 0; i < FA_TILE; i++) {
        const float a = g[0][i], b = g[from_step][i], c = g[2 * from_step][i];
        const float even_p = FP * (a + P * P * c), odd_p = FP * P * b, even_q = FQ * (a + Q * Q * c), odd_q = FQ * Q * b;
        u[0][i] = F0 * a;
        u[to_step][i] = even_p + odd_p;
        u[2 * to_step][i] = even_p - odd_p;
        u[3 * to_step][i] = even_q + odd_q;
        u[4 * to_step][i] = even_q - odd_q;
        u[5 * to_step][i] = c;
    }
}

/* G g G' of FA_TILE kernels; positions are `step` lanes apart. */
static inline __attribute__((always_inline)) void transform(const lanes g[9], lanes *u, int64_t step)
{
    lanes half[FA_WINOGRAD_SIDE][3];
    for (int64_t x = 0; x < 3; x++) column(g + x, 3, half[0] + x, 3);
    for (int64_t y = 0; y < FA_WINOGRAD_SIDE; y++) column(half[y], 1, u + y * FA_WINOGRAD_SIDE * step, step);
}

typedef struct kernels {
    int64_t in_c, out_c;
    const float *weights;
    int64_t stride_out, stride_in, stride_position;
    bool turned;
} kernels;

static inline __attribute__((always_inline)) void pack(const kernels *k, float *packed)
{
    for (int64_t o0 = 0; o0 < k->out_c; o0 += FA_TILE, packed += FA_WINOGRAD_POSITIONS * k->in_c * FA_TILE)
        for (int64_t c = 0; c < k->in_c; c++) {
            lanes g[9] = {{0}};
            const float *from = k->weights + o0 * k->stride_out + c * k->stride_in;
            const bool beside = k->stride_out == 1 && o0 + FA_TILE <= k->out_c && !k->turned;
            for (int64_t t = 0; beside && t < 9; t++) memcpy(g[t], from + t * k->stride_position, sizeof g[t]);
            for (int64_t i = 0; !beside && i < FA_TILE && o0 + i < k->out_c; i++, from += k->stride_out)
                for (int64_t t = 0; t < 9; t++) g[t][i] = from[(k->turned ? 8 - t : t) * k->stride_position];
            transform(g, (lanes *)(void *)(packed + c * FA_TILE), k->in_c);
        }
}

/* G' times a column of six, whose elements are `from_step` lanes apart; the results `to_step`. */
static inline __attribute__((always_inline)) void gradient_column(const lanes *u, int64_t from_step, lanes *g, int64_t to_step)
{
    for (int64_t i = 0; i < FA_TILE; i++) {
        const float a = u[from_step][i], b = u[2 * from_step][i], c = u[3 * from_step][i], d = u[4 * from_step][i];
        const float even_p = FP * (a + b), odd_p = FP * P * (a - b), even_q = FQ * (c + d), odd_q = FQ * Q * (c - d);
        g[0][i] = F0 * u[0][i] + even_p + even_q;
        g[to_step][i] = odd_p + odd_q;
        g[2 * to_step][i] = P * P * even_p + Q * Q * even_q + u[5 * from_step][i];
    }
}

static inline __attribute__((always_inline)) void unpack(const kernels *k, const float *sums, float *gradient)
{
    for (int64_t o0 = 0; o0 < k->out_c; o0 += FA_TILE, sums += FA_WINOGRAD_POSITIONS * k->in_c * FA_TILE)
        for (int64_t c = 0; c < k->in_c; c++) {
            const lanes *u = (const lanes *)(const void *)(sums + c * FA_TILE);
            lanes half[FA_WINOGRAD_SIDE][3], g[9];
            for (int64_t y = 0; y < FA_WINOGRAD_SIDE; y++) gradient_column(u + y * FA_WINOGRAD_SIDE * k->in_c, k->in_c, half[y], 1);
            for (int64_t x = 0; x < 3; x++) gradient_column(half[0] + x, 3, g + x, 3);
            float *to = gradient + o0 * k->stride_out + c * k->stride_in;
            for (int64_t i = 0; i < FA_TILE && o0 + i < k->out_c; i++, to += k->stride_out)
                for (int64_t t = 0; t < 9; t++) to[t * k->stride_position] += g[t][i];
        }
}

static void pack_plain(const kernels *k, float *packed)
{
    pack(k, packed);
}

static void unpack_plain(const kernels *k, const float *sums, float *gradient)
{
    unpack(k, sums, gradient);
}

#if FA_HAVE_AVX2
static FA_AVX2 void pack_avx2(const kernels *k, float *packed)
{
    pack(k, packed);
}

static __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl"))) void pack_avx512(const kernels *k, float *packed)
{
    pack(k, packed);
}

static FA_AVX2 void unpack_avx2(const kernels *k, const float *sums, float *gradient)
{
    unpack(k, sums, gradient);
}
#endif

void fa_winograd_pack(int64_t in_c, int64_t out_c, const float *weights, int64_t stride_out, int64_t stride_in, int64_t stride_position, bool turned, float *packed)
{
    const kernels k = {in_c, out_c, weights, stride_out, stride_in, stride_position, turned};
#if FA_HAVE_AVX2
    if (fa_cpu_avx2()) {
        (fa_cpu_avx512() ? pack_avx512 : pack_avx2)(&k, packed);
        return;
    }
#endif
    pack_plain(&k, packed);
}

void fa_winograd_unpack(int64_t in_c, int64_t out_c, const float *sums, int64_t stride_out, int64_t stride_in, int64_t stride_position, float *gradient)
{
    const kernels k = {in_c, out_c, NULL, stride_out, stride_in, stride_position, false};
#if FA_HAVE_AVX2
    if (fa_cpu_avx2()) {
        unpack_avx2(&k, sums, gradient);
        return;
    }
#endif
    unpack_plain(&k, sums, gradient);
}
