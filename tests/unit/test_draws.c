/* SPDX-License-Identifier: Apache-2.0 */
/* Draws kept as differences: what is lost, layout of the bytes, and bytes that nobody encoded. */
#include "base/half.h"
#include "base/rng.h"
#include "kernels/normal.h"
#include "sampler/draws.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int32_t storages[] = {FA_DRAWS_F32, FA_DRAWS_BF16, FA_DRAWS_INT8};

static const int64_t rows[] = {3, 1, 16, 5, 2}, length[] = {144, 7, 9, 1, 0};
static const fa_draw_layout layout = {5, rows, length, 3 * 144 + 7 + 16 * 9 + 5, 3 + 1 + 16 + 5 + 2};

static float *floats(size_t n)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}

/* Exactly as many bytes as announced, so that a sanitizer sees one too far. */
static void *encoded(const fa_draw_layout *l, int32_t storage, const float *trained, const float *weights)
{
    const size_t bytes = fa_draw_bytes(l, storage);
    ck_assert_uint_eq(bytes % 4, 0);
    void *draw = malloc(bytes);
    ck_assert_ptr_nonnull(draw);
    memset(draw, 0xa5, bytes);
    fa_draw_encode(l, storage, trained, weights, draw);
    return draw;
}

/* Each weight within what its storage may lose: bf16 keeps 8 binary digits of the difference, int8 half a scale; then one rounding of the sum. */
START_TEST(round_trip)
{
    const int32_t storage = storages[_i];
    const int64_t n = layout.n_weight;
    float *trained = floats((size_t)n), *weights = floats((size_t)n), *back = floats((size_t)n);
    fa_normal(1, 0, 0, n, trained);
    fa_normal(1, 1, 0, n, weights);
    int64_t at = 0;
    for (int32_t p = 0; p < layout.n_parameter; p++)
        for (int64_t r = 0; r < rows[p]; r++)
            for (int64_t j = 0; j < length[p]; j++, at++) weights[at] = trained[at] + weights[at] * powf(10, -(float)(r % 6)) * (p == 3 && r == 2 ? 0 : 1);
    void *draw = encoded(&layout, storage, trained, weights);
    fa_draw_decode(&layout, storage, trained, draw, back);
    const float *scale = draw;
    double lost = 0;
    at = 0;
    for (int32_t p = 0; p < layout.n_parameter; p++)
        for (int64_t r = 0; r < rows[p]; r++) {
            float most = 0;
            for (int64_t j = 0; j < length[p]; j++) most = fmaxf(most, fabsf(weights[at + j] - trained[at + j]));
            if (storage == FA_DRAWS_INT8) ck_assert(*scale++ == most / 127);
            for (int64_t j = 0; j < length[p]; j++, at++) {
                const double d = (double)weights[at] - trained[at], error = fabs((double)back[at] - weights[at]);
                const double may = storage == FA_DRAWS_INT8 ? most / 254.0 : storage == FA_DRAWS_BF16 ? fabs(d) / 256 : 0;
                ck_assert_msg(error <= 1.001 * may + 1.2e-7 * fabs(weights[at]) + 1.2e-7 * fabs(d), "weight %lld: %g lost", (long long)at, error);
                lost = fmax(lost, error / (fabs(d) + 1e-30));
            }
        }
    if (storage != FA_DRAWS_F32) ck_assert(lost > 1e-3);
    free(trained), free(weights), free(back), free(draw);
}
END_TEST

START_TEST(layout_of_bytes)
{
    ck_assert_uint_eq(fa_draw_bytes(&layout, FA_DRAWS_REPLAY), 0);
    ck_assert_uint_eq(fa_draw_bytes(&layout, FA_DRAWS_F32), 588 * 4);
    ck_assert_uint_eq(fa_draw_bytes(&layout, FA_DRAWS_BF16), 588 * 2);
    ck_assert_uint_eq(fa_draw_bytes(&layout, FA_DRAWS_INT8), 27 * 4 + 588);
    static const int64_t r[] = {2, 1}, l[] = {2, 1};
    static const fa_draw_layout small = {2, r, l, 5, 3};
    static const float trained[5] = {1, 1, 1, 1, 1}, weights[5] = {1 + 127 * 0.125f, 1 - 3 * 0.125f, 1, 1 + 254 * 0.25f, 0.5f};
    static const float scales[3] = {0.125f, 0.5f, 0.5f / 127};
    static const int8_t bytes[8] = {127, -3, 0, 127, -127, 0, 0, 0};
    char *draw = encoded(&small, FA_DRAWS_INT8, trained, weights);
    ck_assert_mem_eq(draw, scales, sizeof scales);
    ck_assert_mem_eq(draw + sizeof scales, bytes, sizeof bytes);
    free(draw);
    draw = encoded(&small, FA_DRAWS_BF16, trained, weights);
    static const uint16_t halves[6] = {0x417e, 0xbec0, 0, 0x427e, 0xbf00, 0};
    ck_assert_mem_eq(draw, halves, sizeof halves);
    free(draw);
}
END_TEST

/* To nearest, ties to even: against the two neighbours. */
START_TEST(bfloat16)
{
    static const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x00008000, 0x00018000, 0x80000001, 0x7f7fffff, 0xff7f8000, 0, 0x80000000};
    static const uint16_t right[] = {0x3f80, 0x3f82, 0x3f81, 0x3f80, 0x0000, 0x0002, 0x8000, 0x7f80, 0xff80, 0, 0x8000};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) ck_assert_uint_eq(fa_bfloat16_from_float(fa_float_from_bits(bits[i])), right[i]);
    for (uint64_t b = 0; b < 20000; b++) {
        uint32_t word[4];
        fa_philox(4, b, 0, word);
        const float x = fa_float_from_bits((word[0] & 0x807fffff) | (1 + word[1] % 253) << 23);
        const uint16_t h = fa_bfloat16_from_float(x);
        const double error = fabs((double)fa_float_from_bfloat16(h) - x);
        ck_assert(error <= fabs((double)fa_float_from_bfloat16((uint16_t)(h + 1)) - x) && error <= fabs((double)fa_float_from_bfloat16((uint16_t)(h - 1)) - x));
    }
}
END_TEST

/* Weights that are not finite are kept as the trained ones; differences so small that their scale has no digits left stay small. */
START_TEST(extremes)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 1e-45f, -1e-45f, 3e-44f, 1e-40f, 0, 1};
    const int64_t n = sizeof odd / sizeof *odd, one = 1;
    for (int64_t first = 0; first < n; first++) {
        const int64_t left = n - first;
        const fa_draw_layout l = {1, &one, &left, left, 1};
        float *zero = calloc((size_t)left, sizeof *zero), *back = floats((size_t)left);
        void *draw = encoded(&l, storages[_i], zero, odd + first);
        fa_draw_decode(&l, storages[_i], zero, draw, back);
        float most = 0;
        for (int64_t i = 0; i < left; i++)
            if (isfinite(odd[first + i])) most = fmaxf(most, fabsf(odd[first + i]));
        for (int64_t i = 0; i < left; i++) {
            const float want = isfinite(odd[first + i]) ? odd[first + i] : 0;
            /* int8: half a scale, and the scale is off by half the smallest number; bf16: as many digits as its subnormal numbers have. */
            const double may = storages[_i] == FA_DRAWS_INT8 ? most / 254.0 + 127 * 0x1p-150 : fabs(want) / 256 + 0x1p-134;
            if (storages[_i] == FA_DRAWS_F32) ck_assert(back[i] == want);
            else ck_assert(fabsf(want) == FLT_MAX ? back[i] == 0 : fabs((double)back[i] - want) <= may); /* rounded beyond FLT_MAX */
        }
        free(zero), free(back), free(draw);
    }
}
END_TEST

/* Whatever a file holds. */
START_TEST(any_bytes)
{
    const int32_t storage = storages[_i];
    const size_t bytes = fa_draw_bytes(&layout, storage);
    uint32_t *draw = malloc(bytes);
    float *trained = floats((size_t)layout.n_weight), *weights = floats((size_t)layout.n_weight);
    for (int64_t i = 0; i < layout.n_weight; i++) trained[i] = 1;
    ck_assert_ptr_nonnull(draw);
    for (uint64_t round = 0; round < 300; round++) {
        for (size_t i = 0; i < bytes / 4; i++) {
            uint32_t word[4];
            fa_philox(8, round * 1000 + i, 0, word);
            draw[i] = word[1] % 3 ? word[0] : word[0] | 0x7f807f80u; /* many that are NaN and infinite */
        }
        fa_draw_decode(&layout, storage, trained, draw, weights);
        for (int64_t i = 0; i < layout.n_weight; i++) ck_assert(isfinite(weights[i]));
    }
    free(draw), free(trained), free(weights);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("draws");
    TCase *t = tcase_create("draws");
    tcase_add_loop_test(t, round_trip, 0, 3);
    tcase_add_test(t, layout_of_bytes);
    tcase_add_test(t, bfloat16);
    tcase_add_loop_test(t, extremes, 0, 3);
    tcase_add_loop_test(t, any_bytes, 0, 3);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
