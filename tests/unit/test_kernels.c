/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"
#include "base/half.h"
#include "base/rng.h"
#include "kernels/conv.h"
#include "kernels/cpu.h"
#include "kernels/nhwc.h"
#include "kernels/normal.h"
#include "kernels/outer.h"
#include "kernels/patches.h"
#include "kernels/weights.h"
#include "shared_pool.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const fa_isa isas[] = {FA_ISA_NONE, FA_ISA_AVX2, FA_ISA_AVX512};
#define N_ISA 3

static fa_context *context;
static fa_pool *pool;
static uint64_t stream;

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
    pool = shared_pool(context, 3);
}

static void teardown(void)
{
    fa_pool_destroy(pool);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* Exactly as many floats as asked for, so that a sanitizer sees the first one too far. */
static float *numbers(int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fa_normal(7, stream++, 0, n, x);
    return x;
}

static int64_t pick(int64_t low, int64_t high)
{
    uint32_t r[4];
    fa_philox(11, stream++, 0, r);
    return low + (int64_t)(r[0] % (uint32_t)(high - low + 1));
}

static void close_to(float got, double want, double scale, const char *what, fa_isa isa, int64_t at)
{
    ck_assert_msg(fabs(got - want) <= 2e-5 * (1 + scale), "%s, set %d, element %lld: %.9g where %.9g is right", what, (int)isa, (long long)at, (double)got, want);
}

/* Minimal filtering mixes the sums of a tile: its errors are relative to the largest. */
static void close_to_largest(float got, double want, double largest, const char *what, fa_isa isa, int64_t at)
{
    ck_assert_msg(fabs(got - want) <= 2e-6 * (1 + largest), "%s, set %d, element %lld: %.9g where %.9g is right", what, (int)isa, (long long)at, (double)got, want);
}

static double largest_of(int64_t n, const double *x)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

/* The definition: y[o, i] += w[o, c, k] x[c, i * stride + k * dilation - pad], or its transpose. `magnitude` adds absolute values. */
static void by_definition(const fa_conv_geometry *g, int64_t n, bool gradient, const float *in, const float *w, double *out, double *magnitude)
{
    const int64_t cg = g->c / g->groups, og = g->out / g->groups;
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < g->out; o++)
            for (int64_t c = 0; c < cg; c++)
                for (int64_t y = 0; y < g->oh; y++)
                    for (int64_t x = 0; x < g->ow; x++)
                        for (int64_t ky = 0; ky < g->kh; ky++)
                            for (int64_t kx = 0; kx < g->kw; kx++) {
                                const int64_t iy = y * g->stride_h + ky * g->dilation_h - g->pad_top, ix = x * g->stride_w + kx * g->dilation_w - g->pad_left;
                                if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) continue;
                                const int64_t big = ((i * g->h + iy) * g->w + ix) * g->c + o / og * cg + c, small = ((i * g->oh + y) * g->ow + x) * g->out + o;
                                const double term = (double)w[((o * cg + c) * g->kh + ky) * g->kw + kx] * in[gradient ? small : big];
                                out[gradient ? big : small] += term;
                                magnitude[gradient ? big : small] += fabs(term);
                            }
}

/* Whether the set makes objects for this geometry: bfloat16 in pairs belongs to one alone. */
static bool serves(fa_isa isa, const fa_conv_geometry *g)
{
    return fa_kernels_have(isa) && (g->bf16 != FA_BF16_PAIRS || (isa == FA_ISA_AVX512 && fa_cpu_bf16()));
}

static void round_all(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = fa_bfloat16_nearest(x[i]);
}

typedef struct shared_run {
    const fa_conv *conv;
    fa_conv_data data;
} shared_run;

static void run_shared(void *user)
{
    const shared_run *r = user;
    fa_conv_run(r->conv, &r->data);
}

/* The same bits by several threads that share all there is to share. `d` has been run; `add`: what lay in its output, if it adds to that. */
static void check_shared(fa_isa isa, const fa_conv_geometry *g, fa_conv_direction direction, const fa_conv *conv, const fa_conv_data *d, const float *add, int64_t n_out)
{
    shared_run r = {conv, *d};
    const size_t bytes = fa_conv_scratch(conv, fa_pool_threads(pool));
    r.data.pool = pool;
    r.data.out = malloc((size_t)n_out * sizeof(float));
    r.data.scratch = bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    ck_assert(r.data.out && (r.data.scratch || !bytes));
    if (bytes) memset(r.data.scratch, 0xff, bytes);
    if (d->residual == d->out) memcpy(r.data.out, add, (size_t)n_out * sizeof(float)), r.data.residual = r.data.out;
    fa_pool_lead(pool, run_shared, &r);
    ck_assert_msg(memcmp(r.data.out, d->out, (size_t)n_out * sizeof(float)) == 0, "other bits by three threads, set %d, direction %d, %lld images [%lld, %lld, %lld] -> [%lld, %lld, %lld] in %lld groups, kernel %lld x %lld, stride %lld, %lld, form %lld", (int)isa, (int)direction, (long long)d->n, (long long)g->h, (long long)g->w, (long long)g->c,
                  (long long)g->oh, (long long)g->ow, (long long)g->out, (long long)g->groups, (long long)g->kh, (long long)g->kw, (long long)g->stride_h, (long long)g->stride_w, (long long)g->bf16);
    free(r.data.out), free(r.data.scratch);
}

/* `chosen`: the chain whose slope multiplies the sums, 0: none. Slopes are tested by themselves (test_elementwise.c). */
static void check_conv(const fa_conv_geometry *g, int64_t n, bool gradient, bool bias, int residual, bool relu, int32_t chosen)
{
    static const fa_chain_step chains[][3] = {{{0}}, {{FA_STEP_RELU, 0, 0}}, {{FA_STEP_HARD_SWISH, 0, 0}}, {{FA_STEP_TANH, 0, 0}}, {{FA_STEP_AFFINE, 2, 1}, {FA_STEP_SIGMOID, 0, 0}}};
    const int32_t n_step = chosen == 4 ? 2 : chosen > 0;
    ck_assert(fa_conv_supported(g));
    const int64_t cg = g->c / g->groups, small = n * g->oh * g->ow * g->out, big = n * g->h * g->w * g->c;
    const int64_t n_in = gradient ? small : big, n_out = gradient ? big : small, pixel = gradient ? g->c : g->out;
    float *in = numbers(n_in), *w = numbers(g->out * cg * g->kh * g->kw), *b = numbers(pixel), *add = numbers(n_out), *out = numbers(n_out), *before = numbers(n_out), *slope = numbers(n_out);
    for (int64_t i = 0; i < n_out; i++) before[i] *= i % 5 ? 4 : 0, slope[i] = 1;
    fa_chain_kernels_for(0)->gradient(chains[chosen], n_step, n_step ? n_out : 0, before, slope, slope, false);
    double *want = calloc((size_t)n_out, sizeof *want), *size = calloc((size_t)n_out, sizeof *size);
    const fa_conv_direction direction = gradient ? FA_CONV_DATA_GRADIENT : FA_CONV_FORWARD;
    float *packed = malloc(fa_conv_packed_floats(g, direction) * sizeof *packed);
    ck_assert(want && size && packed);
    fa_conv_pack(g, direction, w, cg * g->kh * g->kw, g->kh * g->kw, 1, packed);
    float *given = malloc((size_t)n_in * sizeof *given);
    ck_assert_ptr_nonnull(given);
    const int64_t zeros = g->bf16 && pick(0, 1) ? n_in / 2 : 0; /* as a loss at some positions leaves them */
    memset(in + pick(0, n_in - zeros), 0, (size_t)zeros * sizeof *in);
    memcpy(given, in, (size_t)n_in * sizeof *given);
    if (g->bf16) round_all(n_in, in), round_all(g->out * cg * g->kh * g->kw, w);
    by_definition(g, n, gradient, in, w, want, size);
    const double largest = largest_of(n_out, size);
    for (int k = 0; k < N_ISA; k++) {
        if (!serves(isas[k], g)) continue;
        fa_arena arena = {.context = context};
        const fa_conv *conv = fa_conv_new(&arena, isas[k], g, direction);
        ck_assert_ptr_nonnull(conv);
        void *scratch = NULL;
        const size_t bytes = fa_conv_scratch(conv, 1);
        if (bytes) ck_assert_ptr_nonnull(scratch = malloc(bytes));
        if (bytes) memset(scratch, 0xff, bytes);
        if (residual == 2) memcpy(out, add, (size_t)n_out * sizeof *out);
        fa_conv_data d = {n, given, packed, bias ? b : NULL, residual == 2 ? out : residual ? add : NULL, out, relu, scratch, {n_step, chains[chosen], before}};
        fa_conv_run(conv, &d);
        check_shared(isas[k], g, direction, conv, &d, add, n_out);
        for (int64_t i = 0; i < n_out; i++) {
            double right = want[i] + (bias ? b[i % pixel] : 0) + (residual ? add[i] : 0);
            if (relu && right < 0) right = 0;
            right *= slope[i];
            if (g->winograd) close_to_largest(out[i], right, largest, gradient ? "filtered data gradient" : "filtered convolution", isas[k], i);
            else close_to(out[i], right, size[i], gradient ? "data gradient" : "convolution", isas[k], i);
        }
        free(scratch);
        fa_arena_clear(&arena);
    }
    free(in), free(given), free(w), free(b), free(add), free(out), free(before), free(slope), free(want), free(size), free(packed);
}

/* Factors rounded to bfloat16, in every form. */
static void check_rounded(const fa_conv_geometry *g, int64_t n)
{
    fa_conv_geometry form = *g;
    for (form.bf16 = FA_BF16_ROUNDED; form.bf16 <= FA_BF16_PAIRS; form.bf16++) {
        check_conv(&form, n, false, pick(0, 1), (int)pick(0, 2), pick(0, 1), 0);
        check_conv(&form, n, true, pick(0, 3) == 0, (int)pick(0, 2), pick(0, 3) == 0, (int32_t)pick(0, 4));
    }
}

/* The weight gradient, [out, c, k] or [c, k, out], added to what was there; and the bias's. */
static void check_weights(const fa_conv_geometry *g, int64_t n, bool turned)
{
    const int64_t cg = g->c / g->groups, og = g->out / g->groups, kernel = g->kh * g->kw, n_in = n * g->h * g->w * g->c, n_d = n * g->oh * g->ow * g->out,
                  count = g->out * cg * kernel;
    const int64_t stride_out = turned ? 1 : cg * kernel, stride_in = turned ? kernel * g->out : kernel, stride_position = turned ? g->out : 1;
    float *in = numbers(n_in), *d = numbers(n_d), *before = numbers(count), *got = malloc((size_t)count * sizeof *got), *bias = calloc((size_t)g->out, sizeof *bias);
    double *want = calloc((size_t)count, sizeof *want), *size = calloc((size_t)count, sizeof *size), *want_bias = calloc((size_t)g->out, sizeof *want_bias);
    ck_assert(got && want && size && bias && want_bias);
    for (int64_t i = 0; i < n; i++)
        for (int64_t p = 0; p < g->oh * g->ow; p++)
            for (int64_t o = 0; o < g->out; o++) {
                const double at = d[(i * g->oh * g->ow + p) * g->out + o];
                want_bias[o] += at;
                for (int64_t t = 0; t < kernel; t++) {
                    const int64_t iy = p / g->ow * g->stride_h + t / g->kw * g->dilation_h - g->pad_top, ix = p % g->ow * g->stride_w + t % g->kw * g->dilation_w - g->pad_left;
                    if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) continue;
                    for (int64_t c = 0; c < cg; c++) {
                        const double term = at * in[((i * g->h + iy) * g->w + ix) * g->c + o / og * cg + c];
                        want[o * stride_out + c * stride_in + t * stride_position] += term;
                        size[o * stride_out + c * stride_in + t * stride_position] += fabs(term);
                    }
                }
            }
    const double largest = largest_of(count, size);
    for (int k = 0; k < N_ISA; k++) {
        if (!fa_kernels_have(isas[k])) continue;
        const size_t bytes = fa_weights_scratch(g, n);
        void *scratch = fa_new_uncleared(context, bytes);
        ck_assert_ptr_nonnull(scratch);
        memset(scratch, 0xff, bytes);
        memcpy(got, before, (size_t)count * sizeof *got);
        memset(bias, 0, (size_t)g->out * sizeof *bias);
        fa_weights_run(isas[k], g, &(fa_weights_data){n, in, d, stride_out, stride_in, stride_position, got, scratch, n % 2 ? bias : NULL});
        for (int64_t o = 0; o < g->out; o++) close_to(bias[o], n % 2 ? want_bias[o] : 0, (double)(n * g->oh * g->ow), "bias gradient", isas[k], o);
        for (int64_t i = 0; i < count; i++)
            if (g->winograd) close_to_largest(got[i], want[i] + before[i], largest, "filtered weight gradient", isas[k], i);
            else close_to(got[i], want[i] + before[i], size[i], "weight gradient", isas[k], i);
        fa_delete(context, scratch);
    }
    memset(bias, 0, (size_t)g->out * sizeof *bias);
    fa_weights_bias(n * g->oh * g->ow, g->out, d, bias);
    for (int64_t o = 0; o < g->out; o++) close_to(bias[o], want_bias[o], (double)(n * g->oh * g->ow), "bias gradient", FA_ISA_NONE, o);
    free(in), free(d), free(before), free(got), free(bias), free(want), free(size), free(want_bias);
}

static void check_directions(const fa_conv_geometry *g, int64_t n)
{
    check_weights(g, n, pick(0, 1));
    check_conv(g, n, false, pick(0, 1), (int)pick(0, 2), pick(0, 1), 0);
    check_conv(g, n, true, pick(0, 3) == 0, (int)pick(0, 2), pick(0, 3) == 0, (int32_t)pick(0, 4));
}

static void check_both(const fa_conv_geometry *g, int64_t n)
{
    fa_conv_geometry way = *g;
    for (; way.winograd <= fa_conv_may_filter(g); way.winograd++) check_directions(&way, n);
    if (g->groups == 1) check_rounded(g, n);
}

static fa_conv_geometry geometry(int64_t c, int64_t h, int64_t out, int64_t k, int64_t stride, int64_t pad)
{
    fa_conv_geometry g = {c, h, h, out, 0, 0, 1, k, k, stride, stride, 1, 1, pad, pad};
    g.oh = g.ow = (h + 2 * pad - k) / stride + 1;
    return g;
}

START_TEST(convolutions_of_known_networks)
{
    static const int64_t shapes[][6] = {{1, 28, 16, 3, 1, 1},  {16, 28, 16, 3, 1, 1}, {16, 28, 32, 3, 2, 1}, {16, 28, 32, 1, 2, 0}, {32, 14, 32, 3, 1, 1},
                                        {32, 14, 64, 3, 2, 1}, {64, 7, 64, 3, 1, 1},  {3, 32, 17, 7, 2, 3},  {64, 1, 10, 1, 1, 0},  {130, 1, 200, 1, 1, 0},
                                        {300, 6, 70, 3, 1, 1}, {150, 9, 34, 3, 2, 1}, {40, 17, 16, 3, 2, 1}, {1100, 3, 40, 2, 1, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i];
        const fa_conv_geometry g = geometry(s[0], s[1], s[2], s[3], s[4], s[5]);
        check_both(&g, 1);
        check_both(&g, 3);
    }
}
END_TEST

START_TEST(convolutions_of_random_shapes)
{
    for (int i = 0; i < 160; i++) {
        fa_conv_geometry g = {.groups = pick(0, 3) ? 1 : pick(1, 4)};
        g.kh = pick(1, 4), g.kw = pick(1, 4);
        g.stride_h = pick(1, 3), g.stride_w = pick(1, 3);
        g.dilation_h = pick(1, 3), g.dilation_w = pick(0, 1) ? 1 : pick(1, 3);
        g.pad_top = pick(0, 3), g.pad_left = pick(0, 3);
        const int64_t bottom = pick(0, 3), right = pick(0, 3), span_h = (g.kh - 1) * g.dilation_h + 1, span_w = (g.kw - 1) * g.dilation_w + 1;
        g.h = pick(1, 11), g.w = pick(1, 11);
        if (g.h + g.pad_top + bottom < span_h || g.w + g.pad_left + right < span_w) continue;
        g.oh = (g.h + g.pad_top + bottom - span_h) / g.stride_h + 1;
        g.ow = (g.w + g.pad_left + right - span_w) / g.stride_w + 1;
        g.c = g.groups * pick(1, pick(0, 1) ? 4 : 20);
        g.out = g.groups * pick(1, pick(0, 1) ? 10 : 35);
        if (pick(0, 4) == 0) g.groups = g.c = g.out = pick(2, 37);
        check_both(&g, pick(1, 3));
    }
}
END_TEST

/* Rows of kernels and images of every width, so that blocks of outputs hang over both edges and end early. */
START_TEST(depthwise_of_random_shapes)
{
    for (int i = 0; i < 60; i++) {
        fa_conv_geometry g = {.kh = pick(1, 7), .kw = pick(1, 8), .stride_h = pick(1, 3), .stride_w = pick(0, 2) ? pick(1, 2) : pick(1, 4), .dilation_h = pick(1, 2), .dilation_w = pick(0, 3) ? 1 : 2,
                              .pad_top = pick(0, 7), .pad_left = pick(0, 7), .h = pick(1, 9), .w = pick(1, 30)};
        if (i % 3 == 0) g.kh = g.kw = 2 * pick(1, 2) + 1, g.dilation_w = 1; /* all of whose sums stay in registers */
        const int64_t bottom = pick(0, 7), right = pick(0, 7), span_h = (g.kh - 1) * g.dilation_h + 1, span_w = (g.kw - 1) * g.dilation_w + 1;
        if (g.h + g.pad_top + bottom < span_h || g.w + g.pad_left + right < span_w) continue;
        g.oh = (g.h + g.pad_top + bottom - span_h) / g.stride_h + 1;
        g.ow = (g.w + g.pad_left + right - span_w) / g.stride_w + 1;
        g.groups = g.c = g.out = pick(2, 50);
        check_both(&g, pick(1, 2));
    }
}
END_TEST

/* Rows times matrices: every tail of tiles, and sums and rows that are taken in several blocks. */
START_TEST(rows_of_random_sizes)
{
    for (int i = 0; i < 80; i++) {
        const bool deep = i % 10 == 0, tall = i % 10 == 5;
        const fa_conv_geometry g = {pick(1, deep ? 700 : 40), 1, 1, pick(1, 90), 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
        const int64_t n = pick(1, tall ? 700 : 45);
        check_conv(&g, n, false, pick(0, 1), (int)pick(0, 2), pick(0, 1), 0);
        check_conv(&g, n, true, pick(0, 1), (int)pick(0, 2), pick(0, 1), (int32_t)pick(0, 4));
        check_rounded(&g, n);
    }
}
END_TEST

/* Numbers are rounded to the nearest, ties to the even one, and what is not finite stays so, in every form. */
START_TEST(rounding_of_special_numbers)
{
    static const float cases[][2] = {{1.0f, 1.0f}, {1.00390625f, 1.0f}, {1.01171875f, 1.015625f}, {1.00390637f, 1.0078125f}, {-1.00390625f, -1.0f}, {3.4e38f, INFINITY},
                                     {INFINITY, INFINITY}, {-INFINITY, -INFINITY}, {NAN, NAN}, {-0.0f, -0.0f}};
    for (int64_t bf16 = FA_BF16_ROUNDED; bf16 <= FA_BF16_PAIRS; bf16++)
        for (int k = 0; k < N_ISA; k++) {
            const fa_conv_geometry g = {.c = 3, .h = 1, .w = 1, .out = 1, .oh = 1, .ow = 1, .groups = 1, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1,
                                        .bf16 = bf16};
            const float ones[] = {1, 1, 1};
            float packed[64], out, scratch[280 * 3];
            if (!serves(isas[k], &g)) continue;
            ck_assert_uint_le(fa_conv_packed_floats(&g, FA_CONV_FORWARD), 64);
            fa_conv_pack(&g, FA_CONV_FORWARD, ones, 3, 1, 1, packed);
            fa_arena arena = {.context = context};
            const fa_conv *conv = fa_conv_new(&arena, isas[k], &g, FA_CONV_FORWARD);
            ck_assert(conv && fa_conv_scratch(conv, 1) <= sizeof scratch);
            for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                for (int place = 0; place < 3; place++) {
                    float in[3] = {0};
                    in[place] = cases[i][0];
                    fa_conv_run(conv, &(fa_conv_data){.n = 1, .in = in, .packed = packed, .out = &out, .scratch = scratch});
                    ck_assert_msg(cases[i][1] == out || (isnan(cases[i][1]) && isnan(out)), "form %d, set %d: %.9g becomes %.9g", (int)bf16, (int)isas[k], (double)cases[i][0], (double)out);
                }
            fa_arena_clear(&arena);
        }
}
END_TEST

START_TEST(transposes)
{
    for (int i = 0; fa_kernels_available() && i < 60; i++) {
        const int64_t n = pick(1, 3), rows = i % 2 ? 3 : pick(1, 20), columns = pick(1, 70);
        const bool add = pick(0, 2) == 0;
        float *from = numbers(n * rows * columns), *to = numbers(n * rows * columns), *before = malloc((size_t)(n * rows * columns) * sizeof *before);
        ck_assert_ptr_nonnull(before);
        memcpy(before, to, (size_t)(n * rows * columns) * sizeof *before);
        fa_transpose(n, rows, columns, from, to, add);
        for (int64_t k = 0; k < n; k++)
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < columns; c++) {
                    const int64_t at = (k * columns + c) * rows + r;
                    ck_assert(to[at] == from[(k * rows + r) * columns + c] + (add ? before[at] : 0.0f));
                }
        free(from), free(to), free(before);
    }
}
END_TEST

/* Tiles that do not fill an image, channels that do not fill a vector, blocks of tiles that span images. */
START_TEST(minimal_filtering_of_random_shapes)
{
    for (int i = 0; i < 60; i++) {
        fa_conv_geometry g = {.c = pick(1, 50), .out = pick(1, 50), .groups = 1, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1};
        g.h = pick(1, 15), g.w = pick(1, 15), g.pad_top = pick(0, 3), g.pad_left = pick(0, 3);
        g.oh = g.h + g.pad_top + pick(0, 3) - 2, g.ow = g.w + g.pad_left + pick(0, 3) - 2;
        if (g.oh < 1 || g.ow < 1) continue;
        g.winograd = 1;
        ck_assert(fa_conv_may_filter(&g));
        check_directions(&g, pick(1, 7));
    }
}
END_TEST

START_TEST(sizes_beyond_the_kernels)
{
    fa_conv_geometry g = geometry(1, 28, 1, 3, 1, 1);
    ck_assert(fa_conv_supported(&g));
    g.stride_h = 9;
    ck_assert(!fa_conv_supported(&g));
    g = geometry(1, 28, 1, 3, 1, 1);
    g.dilation_w = INT64_MAX;
    ck_assert(!fa_conv_supported(&g));
    g = geometry(1, 28, 1, 3, 1, 1);
    g.oh = INT32_MAX;
    ck_assert(!fa_conv_supported(&g));
    g = geometry(1, 28, 1, 3, 1, 1);
    g.pad_left = INT64_MAX;
    ck_assert(!fa_conv_supported(&g));
    g = geometry(1, 28, 1, 3, 1, 1);
    g.kh = 2000;
    ck_assert(!fa_conv_supported(&g));
}
END_TEST

START_TEST(sums_of_outer_products)
{
    for (int i = 0; i < 300; i++) {
        const int64_t n = pick(1, 40), ni = pick(1, 40), nj = pick(1, 40), ldx = ni + pick(0, 3), ldy = nj + pick(0, 3), ldc = nj + pick(0, 3);
        /* The last row of each array ends with its last number. */
        float *x = numbers((n - 1) * ldx + ni), *y = numbers((n - 1) * ldy + nj), *c = numbers((ni - 1) * ldc + nj), *before = malloc((size_t)(ni * ldc) * sizeof *c);
        memcpy(before, c, (size_t)((ni - 1) * ldc + nj) * sizeof *c);
        for (int k = 0; k < N_ISA; k++) {
            if (!fa_kernels_have(isas[k])) continue;
            memcpy(c, before, (size_t)((ni - 1) * ldc + nj) * sizeof *c);
            fa_outer_run(isas[k], &(fa_outer){n, ni, nj, x, y, ldx, ldy, c, ldc});
            for (int64_t a = 0; a < (ni - 1) * ldc + nj; a++) {
                double want = before[a], size = fabs(want);
                for (int64_t p = 0; p < n && a % ldc < nj; p++) {
                    const double term = (double)x[p * ldx + a / ldc] * y[p * ldy + a % ldc];
                    want += term;
                    size += fabs(term);
                }
                close_to(c[a], want, size, "outer", isas[k], a);
            }
        }
        free(x), free(y), free(c), free(before);
    }
}
END_TEST

START_TEST(lower_triangles)
{
    for (int i = 0; i < 60; i++) {
        const int64_t n = pick(1, 600), k = i % 20 ? pick(1, 70) : pick(180, 230), ldx = k + pick(0, 3);
        float *x = numbers((n - 1) * ldx + k);
        for (int s = 0; s < N_ISA; s++) {
            if (!fa_kernels_have(isas[s])) continue;
            float *c = calloc((size_t)(k * k), sizeof *c);
            fa_outer_symmetric(isas[s], n, k, x, ldx, c, k);
            for (int64_t a = 0; a < k; a++)
                for (int64_t b = 0; b <= a; b++) {
                    double want = 0, size = 0;
                    for (int64_t p = 0; p < n; p++) {
                        const double term = (double)x[p * ldx + a] * x[p * ldx + b];
                        want += term;
                        size += fabs(term);
                    }
                    close_to(c[a * k + b], want, size, "lower triangle", isas[s], a * k + b);
                }
            free(c);
        }
        free(x);
    }
}
END_TEST

/* The definition: every patch gathered, its products added up. */
static void moments_by_definition(const fa_conv_geometry *g, int64_t n, const float *images, bool one, double *m, double *magnitude)
{
    const int64_t c = g->c / g->groups, in = c * g->kh * g->kw + one;
    double *patch = malloc((size_t)in * sizeof *patch);
    for (int64_t at = 0; at < n * g->groups * g->oh * g->ow; at++) {
        const int64_t i = at / (g->groups * g->oh * g->ow), group = at / (g->oh * g->ow) % g->groups, y = at / g->ow % g->oh, x = at % g->ow;
        for (int64_t k = 0; k < in - one; k++) {
            const int64_t row = y * g->stride_h - g->pad_top + k / c / g->kw * g->dilation_h, col = x * g->stride_w - g->pad_left + k / c % g->kw * g->dilation_w;
            const bool inside = row >= 0 && row < g->h && col >= 0 && col < g->w;
            patch[k] = inside ? (double)images[((i * g->h + row) * g->w + col) * g->c + group * c + k % c] : 0;
        }
        if (one) patch[in - 1] = 1;
        for (int64_t a = 0; a < in; a++)
            for (int64_t b = 0; b <= a; b++) {
                m[a * in + b] += patch[a] * patch[b];
                magnitude[a * in + b] += fabs(patch[a] * patch[b]);
            }
    }
    free(patch);
}

START_TEST(moments_of_patches)
{
    for (int round = 0; round < 200; round++) {
        const int64_t kh = pick(1, 5), kw = pick(1, 5), groups = round % 2 ? 1 : pick(1, 20), c = round % 4 ? pick(1, 100 / (kh * kw)) : 1, n = pick(1, 2);
        fa_conv_geometry g = {.c = c * groups, .h = pick(1, 11), .w = pick(1, 11), .out = groups, .groups = groups, .kh = kh, .kw = kw, .stride_h = pick(1, 3), .stride_w = pick(1, 3),
                              .dilation_h = pick(1, 2), .dilation_w = pick(1, 2), .pad_top = pick(0, 3), .pad_left = pick(0, 3)};
        g.oh = (g.h + g.pad_top + pick(0, 3) - (g.kh - 1) * g.dilation_h - 1) / g.stride_h + 1;
        g.ow = (g.w + g.pad_left + pick(0, 3) - (g.kw - 1) * g.dilation_w - 1) / g.stride_w + 1;
        if (g.h + g.pad_top < (g.kh - 1) * g.dilation_h + 1 || g.w + g.pad_left < (g.kw - 1) * g.dilation_w + 1) continue;
        const bool one = pick(0, 1);
        const int64_t in = c * g.kh * g.kw + one;
        float *images = numbers(n * g.h * g.w * g.c), *scratch = malloc(fa_patches_scratch(&g));
        double *want = calloc((size_t)(2 * in * in), sizeof *want);
        moments_by_definition(&g, n, images, one, want, want + in * in);
        for (int s = 0; s < N_ISA; s++) {
            if (!fa_kernels_have(isas[s])) continue;
            float *m = calloc((size_t)(in * in), sizeof *m);
            fa_patches_moments(isas[s], &g, n, images, one, m, in, scratch);
            for (int64_t a = 0; a < in; a++)
                for (int64_t b = 0; b <= a; b++) close_to(m[a * in + b], want[a * in + b], want[in * in + a * in + b], "moments of patches", isas[s], a * in + b);
            free(m);
        }
        free(images), free(scratch), free(want);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *t = tcase_create("kernels");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 100);
    tcase_add_test(t, convolutions_of_known_networks);
    tcase_add_test(t, convolutions_of_random_shapes);
    tcase_add_test(t, depthwise_of_random_shapes);
    tcase_add_test(t, rows_of_random_sizes);
    tcase_add_test(t, rounding_of_special_numbers);
    tcase_add_test(t, transposes);
    tcase_add_test(t, minimal_filtering_of_random_shapes);
    tcase_add_test(t, sizes_beyond_the_kernels);
    tcase_add_test(t, sums_of_outer_products);
    tcase_add_test(t, lower_triangles);
    tcase_add_test(t, moments_of_patches);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
