/* SPDX-License-Identifier: Apache-2.0 */
/* GFLOP/s of the kernels on one thread, for the layers of the example networks, and their share of the multiply-adds that the core was measured to do; an object of JSON a
 * line: bench-kernels */
#include "bench.h"
#include "base/context.h"
#include "kernels/cpu.h"
#include "kernels/conv.h"
#include "kernels/normal.h"
#include "kernels/outer.h"
#include "peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static float *numbers(int64_t n)
{
    float *x = memory((size_t)n * sizeof *x);
    fa_normal(1, 2, 0, n, x);
    return x;
}

typedef struct conv_job {
    const fa_conv *conv;
    fa_conv_data data;
} conv_job;

static void run_conv(void *user)
{
    const conv_job *j = user;
    fa_conv_run(j->conv, &j->data);
}

static void run_outer(void *user)
{
    fa_outer_run(FA_ISA_AVX2, user);
}

static void run_symmetric(void *user)
{
    const fa_outer *o = user;
    fa_outer_symmetric(FA_ISA_AVX2, o->n, o->ni, o->x, o->ldx, o->c, o->ldc);
}

static double conv_rate(fa_context *context, fa_isa isa, const fa_conv_geometry *g, int64_t n, fa_conv_direction direction)
{
    fa_arena arena = {.context = context};
    const fa_conv *conv = fa_conv_new(&arena, isa, g, direction);
    const int64_t big = n * g->h * g->w * g->c, small = n * g->oh * g->ow * g->out, most = big > small ? big : small;
    float *in = numbers(most), *out = numbers(most), *w = numbers((int64_t)fa_conv_packed_floats(g, direction)), *bias = numbers(g->out + g->c);
    float *scratch = numbers((int64_t)fa_conv_scratch(conv, 1) / 4 + 16);
    conv_job j = {conv, {.n = n, .in = in, .packed = w, .bias = bias, .out = out, .relu = true, .scratch = scratch}};
    const double rate = fa_conv_flops(conv) * (double)n / seconds(run_conv, &j) * 1e-9;
    free(in), free(out), free(w), free(bias), free(scratch);
    fa_arena_clear(&arena);
    return rate;
}

static const char *const isa_name[] = {[FA_ISA_AVX2] = "avx2", [FA_ISA_AVX512] = "avx512"};
static double most[2]; /* fma_peak() of both */

static void print_rate(const char *key, fa_isa isa, double rate)
{
    printf(", \"%s_%s_gflops\": %.1f, \"%s_%s_share\": %.3f", key, isa_name[isa], rate, key, isa_name[isa], rate / most[isa == FA_ISA_AVX512]);
}

static void print_shape(const int64_t *v, int64_t n)
{
    printf("{\"batch\": %lld, \"channels\": %lld, \"side\": %lld, \"out\": %lld, \"kernel\": %lld, \"stride\": %lld, \"groups\": %lld", (long long)n, (long long)v[0],
           (long long)v[1], (long long)v[2], (long long)v[3], (long long)v[4], (long long)v[6]);
}

int main(void)
{
    static const int64_t shapes[][7] = {/* c, h, out, k, stride, pad, groups */
                                        {1, 28, 16, 3, 1, 1, 1},   {16, 28, 16, 3, 1, 1, 1}, {16, 28, 32, 3, 2, 1, 1},    {16, 28, 32, 1, 2, 0, 1},
                                        {32, 14, 32, 3, 1, 1, 1},  {32, 14, 64, 3, 2, 1, 1}, {32, 14, 64, 1, 2, 0, 1},    {64, 7, 64, 3, 1, 1, 1},
                                        {3, 32, 64, 7, 2, 3, 1},   {64, 56, 64, 3, 1, 1, 1}, {256, 14, 256, 3, 1, 1, 1},  {256, 14, 64, 1, 1, 0, 1},
                                        {64, 28, 64, 3, 1, 1, 64},
                                        {72, 56, 72, 3, 2, 1, 72}, {240, 14, 240, 5, 1, 2, 240}, {288, 14, 288, 5, 2, 2, 288}, {576, 7, 576, 5, 1, 2, 576}, {128, 48, 128, 3, 1, 1, 128},
                                        {64, 1, 10, 1, 1, 0, 1},  {512, 7, 512, 3, 1, 1, 1}, {784, 1, 512, 1, 1, 0, 1},   {1024, 1, 1024, 1, 1, 0, 1}};
    fa_context *context;
    if (fa_context_create(NULL, &context) != FA_OK) return 1;
    most[0] = fma_peak(FA_ISA_AVX2), most[1] = fma_peak(FA_ISA_AVX512);
    printf("{\"fma_peak_avx2_gflops\": %.1f, \"fma_peak_avx512_gflops\": %.1f}\n", most[0], most[1]);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int64_t n = 1; n <= 32; n += 31) {
            const int64_t *v = shapes[s], o = (v[1] + 2 * v[5] - v[3]) / v[4] + 1;
            const fa_conv_geometry g = {v[0], v[1], v[1], v[2], o, o, v[6], v[3], v[3], v[4], v[4], 1, 1, v[5], v[5]};
            print_shape(v, n);
            for (int direction = 0; direction < 2; direction++)
                for (int isa = FA_ISA_AVX2; isa <= FA_ISA_AVX512; isa++)
                    if (fa_kernels_have(isa)) print_rate(direction ? "gradient" : "forward", isa, conv_rate(context, isa, &g, n, direction));
            fa_conv_geometry rounded = g;
            rounded.bf16 = fa_kernels_bf16();
            for (int direction = 0; direction < 2 && rounded.bf16 == FA_BF16_PAIRS && g.groups == 1; direction++)
                print_rate(direction ? "gradient_bf16" : "forward_bf16", FA_ISA_AVX512, conv_rate(context, FA_ISA_AVX512, &rounded, n, direction));
            printf("}\n");
            fflush(stdout);
        }
    static const int64_t products[][3] = {{784, 16, 16}, {196, 16, 16}, {49, 16, 16}, {784, 32, 8}, {256, 64, 64}};
    for (size_t s = 0; s < sizeof products / sizeof *products; s++) {
        const int64_t n = products[s][0], ni = products[s][1], nj = products[s][2];
        fa_outer o = {n, ni, nj, numbers(n * ni), numbers(n * nj), ni, nj, numbers(ni * nj), nj};
        printf("{\"outer_products\": %lld, \"rows\": %lld, \"columns\": %lld", (long long)n, (long long)ni, (long long)nj);
        print_rate("outer", FA_ISA_AVX2, 2.0 * (double)(n * ni * nj) / seconds(run_outer, &o) * 1e-9);
        printf("}\n");
    }
    static const int64_t triangles[][2] = {{256, 145}, {256, 289}, {256, 577}, {256, 64}};
    for (size_t s = 0; s < sizeof triangles / sizeof *triangles; s++) {
        const int64_t n = triangles[s][0], k = triangles[s][1];
        float *x = numbers(n * k);
        fa_outer o = {n, k, k, x, x, k, k, numbers(k * k), k};
        printf("{\"outer_squares\": %lld, \"rows\": %lld", (long long)n, (long long)k);
        print_rate("triangle", FA_ISA_AVX2, (double)(n * k * k) / seconds(run_symmetric, &o) * 1e-9);
        printf("}\n");
    }
    /* 3 x 3 of stride 1: direct sums, and by minimal filtering; GFLOP/s are those of direct sums. */
    static const int64_t filtered[][3] = {{8, 28, 8}, {8, 28, 32}, {32, 28, 8}, {12, 28, 12}, {24, 14, 24}, {40, 14, 40}, {16, 4, 16}, {16, 28, 16}, {32, 14, 32}, {64, 7, 64}, {64, 56, 64}, {128, 28, 128}, {256, 14, 256}, {512, 7, 512}};
    for (size_t s = 0; s < sizeof filtered / sizeof *filtered; s++)
        for (int64_t n = 1; n <= 32; n *= s < 10 ? 32 : 8) {
            const int64_t *v = filtered[s];
            print_shape((int64_t[]){v[0], v[1], v[2], 3, 1, 1, 1}, n);
            for (int isa = FA_ISA_AVX2; isa <= FA_ISA_AVX512; isa++)
                for (int64_t m = 0; m <= 1 && fa_kernels_have(isa); m++) {
                    const fa_conv_geometry g = {v[0], v[1], v[1], v[2], v[1], v[1], 1, 3, 3, 1, 1, 1, 1, 1, 1, m};
                    print_rate(m ? "filtered" : "direct", isa, conv_rate(context, isa, &g, n, FA_CONV_FORWARD));
                }
            printf("}\n");
            fflush(stdout);
        }
    fa_context_release(context);
    return 0;
}
