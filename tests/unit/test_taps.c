/* SPDX-License-Identifier: Apache-2.0 */
/* Tap projections and second moments on fast kernels against the plain loops, on channels-last layers of random shapes. */
#include "backend/rewrite.h"
#include "base/context.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "kernels/normal.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t stream;

static int64_t pick(int64_t low, int64_t high)
{
    uint32_t r[4];
    fa_philox(13, stream++, 0, r);
    return low + (int64_t)(r[0] % (uint32_t)(high - low + 1));
}

static float *numbers(int64_t n)
{
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fa_normal(9, stream++, 0, n, x);
    return x;
}

/* A channels-last convolution of any kind; false where the kernel does not fit the image. */
static bool random_layer(fa_tap *t)
{
    *t = (fa_tap){.n = pick(1, 3), .groups = pick(0, 2) ? pick(1, 5) : 1, .kh = pick(1, 5), .kw = pick(1, 5), .stride_h = pick(1, 3), .stride_w = pick(1, 3), .dilation_h = pick(1, 2),
                  .dilation_w = pick(1, 2), .pad_top = pick(0, 2), .pad_left = pick(0, 2), .h = pick(1, 12), .w = pick(1, 12), .has_bias = pick(0, 1)};
    t->c = t->groups * pick(1, 6);
    t->out = t->groups * pick(1, 6);
    if (pick(0, 1)) t->groups = t->c = t->out = pick(2, 70);
    const int64_t span_h = (t->kh - 1) * t->dilation_h + 1, span_w = (t->kw - 1) * t->dilation_w + 1, bottom = pick(0, 2), right = pick(0, 2);
    if (t->h + t->pad_top + bottom < span_h || t->w + t->pad_left + right < span_w) return false;
    t->oh = (t->h + t->pad_top + bottom - span_h) / t->stride_h + 1;
    t->ow = (t->w + t->pad_left + right - span_w) / t->stride_w + 1;
    t->a_c = t->d_c = 1;
    t->a_w = t->c, t->a_h = t->w * t->c, t->a_n = t->h * t->a_h;
    t->d_w = t->out, t->d_h = t->ow * t->out, t->d_n = t->oh * t->d_h;
    return true;
}

/* A layer that multiplies rows: of inputs one after the other, [n, h, w, c], of all inputs at each position, [h, n, w, c], which is [t, n, c] where w is 1. The batch of the pass may
 * hold more inputs than the tap. */
static void random_rows(fa_tap *t)
{
    *t = (fa_tap){.n = pick(1, 4), .groups = 1, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .h = pick(0, 3) ? pick(1, 20) : pick(1, 300),
                  .w = pick(0, 1) ? 1 : pick(1, 4), .c = pick(1, 40), .out = pick(1, 40), .has_bias = pick(0, 1), .a_c = 1, .d_c = 1};
    const int64_t batch = t->n + pick(0, 1);
    const bool first = pick(0, 1);
    t->oh = t->h, t->ow = t->w;
    t->a_w = t->c, t->d_w = t->out;
    t->a_n = (first ? t->h : 1) * t->w * t->c, t->d_n = (first ? t->h : 1) * t->w * t->out;
    t->a_h = (first ? 1 : batch) * t->w * t->c, t->d_h = (first ? 1 : batch) * t->w * t->out;
}

static int64_t reach(int64_t n, int64_t step_n, int64_t h, int64_t step_h, int64_t w, int64_t step_w, int64_t c)
{
    return (n - 1) * step_n + (h - 1) * step_h + (w - 1) * step_w + c;
}

static void agree(const float *got, const float *want, int64_t n, double scale, const char *what, const fa_tap *t)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - (double)want[i]) <= 2e-5 * scale, "%s, element %lld: %g where %g is right; %lld groups of %lld channels, %lldx%lld", what, (long long)i,
                      (double)got[i], (double)want[i], (long long)t->groups, (long long)t->c, (long long)t->kh, (long long)t->kw);
}

static double largest(const float *x, int64_t n)
{
    double most = 1;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

static void *memory_of(size_t size)
{
    void *p = aligned_alloc(FA_ALIGN, (size / FA_ALIGN + 1) * FA_ALIGN);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void run_blocks(const fa_tap_ops *ops, const fa_tap *t, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, float *block, int64_t stride)
{
    void *packed = memory_of(ops->packed_size(t, k_in, k_out)), *scratch = memory_of(ops->scratch(t, k_in, k_out));
    ops->pack(t, p_in, k_in, p_out, k_out, packed);
    ops->blocks(t, packed, k_in, k_out, block, stride, scratch);
    free(packed), free(scratch);
}

/* Bytes behind scratch memory that are watched. */
#define BEYOND 65536

/* Lower triangles are the same; what lies above is nobody's. */
static void check_moments(const fa_tap *t, int64_t in)
{
    const fa_tap_ops *ops[2] = {&fa_tap_ops_fast, &fa_tap_ops_reference};
    float *a[2], *g[2];
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_nonnull(a[i] = calloc((size_t)(in * in), sizeof *a[i]));
        ck_assert_ptr_nonnull(g[i] = calloc((size_t)(t->out * t->out), sizeof *g[i]));
        const size_t size = ops[i]->moments_scratch(t);
        unsigned char *scratch = memory_of(size + BEYOND);
        memset(scratch + size, 0x5a, BEYOND);
        ops[i]->moments(t, a[i], g[i], scratch);
        size_t k = 0;
        while (k < BEYOND && scratch[size + k] == 0x5a) k++;
        ck_assert_msg(k == BEYOND, "byte %zu behind the scratch memory of layers of %lld to %lld", k, (long long)t->c, (long long)t->out);
        free(scratch);
    }
    for (int64_t r = 0; r < in; r++) agree(a[0] + r * in, a[1] + r * in, r + 1, largest(a[1], in * in), "input side", t);
    for (int64_t r = 0; r < t->out; r++) agree(g[0] + r * t->out, g[1] + r * t->out, r + 1, largest(g[1], t->out * t->out), "output side", t);
    for (int i = 0; i < 2; i++) free(a[i]), free(g[i]);
}

START_TEST(fast_taps_are_the_plain_ones)
{
    if (!fa_kernels_available()) return;
    for (int round = 0; round < 300; round++) {
        fa_tap t;
        if (round % 3 == 0) random_rows(&t);
        else if (!random_layer(&t)) continue;
        const int64_t in = t.c / t.groups * t.kh * t.kw + t.has_bias, k_in = pick(1, in < 17 ? in : 17), k_out = pick(1, t.out < 17 ? t.out : 17), stride = k_in * k_out + pick(0, 3);
        float *a = numbers(reach(t.n, t.a_n, t.h, t.a_h, t.w, t.a_w, t.c)), *d = numbers(reach(t.n, t.d_n, t.oh, t.d_h, t.ow, t.d_w, t.out)), *p_in = numbers(in * k_in), *p_out = numbers(t.out * k_out), *fast = numbers(t.n * stride), *plain = malloc((size_t)(t.n * stride) * sizeof *plain);
        ck_assert_ptr_nonnull(plain);
        t.padded = t.groups == 1 && pick(0, 1);
        for (int64_t i = 0; t.padded && i < t.n * t.oh * t.ow; i++)
            if (pick(0, 2) == 0)
                for (int64_t o = 0; o < t.out; o++) d[i / (t.oh * t.ow) * t.d_n + i / t.ow % t.oh * t.d_h + i % t.ow * t.d_w + o] = 0;
        memcpy(plain, fast, (size_t)(t.n * stride) * sizeof *plain); /* blocks are added to what is there */
        t.a = a, t.d = d;
        run_blocks(&fa_tap_ops_fast, &t, p_in, k_in, p_out, k_out, fast, stride);
        run_blocks(&fa_tap_ops_reference, &t, p_in, k_in, p_out, k_out, plain, stride);
        agree(fast, plain, t.n * stride, largest(plain, t.n * stride), "blocks", &t);
        ck_assert(fa_tap_ops_fast.flops(&t, k_in, k_out) > 0);
        check_moments(&t, in);
        free(a), free(d), free(p_in), free(p_out), free(fast), free(plain);
    }
}
END_TEST

/* Rows a multiple of 64 wide are spaced out, those with a bias behind are not: either may be the wider. */
START_TEST(moments_of_wide_rows)
{
    static const int64_t widths[][3] = {{64, 64, 1}, {63, 64, 1}, {128, 64, 0}, {65, 64, 0}, {256, 256, 1}};
    if (!fa_kernels_available()) return;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const int64_t c = widths[i][0], out = widths[i][1], rows = 300;
        float *a = numbers(rows * c), *d = numbers(rows * out);
        const fa_tap t = {.n = 1, .groups = 1, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .h = rows, .w = 1, .oh = rows, .ow = 1, .c = c, .out = out,
                          .has_bias = (int32_t)widths[i][2], .a = a, .d = d, .a_n = rows * c, .a_c = 1, .a_h = c, .a_w = c, .d_n = rows * out, .d_c = 1, .d_h = out, .d_w = out};
        check_moments(&t, c + t.has_bias);
        free(a), free(d);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("taps");
    TCase *c = tcase_create("taps");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, fast_taps_are_the_plain_ones);
    tcase_add_test(c, moments_of_wide_rows);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
