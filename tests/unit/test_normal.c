/* SPDX-License-Identifier: Apache-2.0 */
/* The generator of normal numbers: every instruction set to the same bits, against double precision, and as a distribution. */
#include "base/rng.h"
#include "kernels/normal.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MANY (1 << 22)

/* Published test vectors of Philox-4x32-10. */
START_TEST(philox)
{
    static const uint64_t in[3][3] = {{0, 0, 0}, {UINT64_MAX, UINT64_MAX, UINT64_MAX}, {0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e}};
    static const uint32_t out[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t word[4];
        fa_philox(in[i][0], in[i][1], in[i][2], word);
        ck_assert_mem_eq(word, out[i], sizeof word);
    }
}
END_TEST

/* Every piece of a stream holds the same numbers, whoever makes it; keys, streams and positions use all their 64 bits. */
START_TEST(same_bits)
{
    static const uint64_t place[][3] = {{1, 2, 0}, {UINT64_MAX, UINT64_MAX - 7, 64}, {1, 2, (uint64_t)1 << 34}, {1ull << 63, 5, UINT64_MAX - 1023}};
    for (size_t p = 0; p < sizeof place / sizeof *place; p++) {
        const uint64_t key = place[p][0], stream = place[p][1], first = place[p][2];
        float whole[1000];
        fa_normal_for(0)(key, stream, first, 1000, whole);
        for (int32_t set = 0; set < FA_NORMAL_SETS; set++) {
            const fa_normal_function make = fa_normal_for(set);
            if (!make) continue;
            for (int64_t at = 0; at < 200; at += 7)
                for (int64_t n = 0; n < 800; n = n * 3 / 2 + 1) {
                    float *piece = malloc((size_t)(n ? n : 1) * sizeof *piece);
                    make(key, stream, first + (uint64_t)at, n, piece);
                    ck_assert_msg(!memcmp(piece, whole + at, (size_t)n * sizeof *piece), "set %d, %lld numbers from %lld", set, (long long)n, (long long)at);
                    free(piece);
                }
        }
        float best[1000];
        fa_normal(key, stream, first, 1000, best);
        ck_assert_mem_eq(best, whole, sizeof best);
    }
    float a[3][64];
    fa_normal(1, 2, 0, 64, a[0]);
    fa_normal(1 | 1ull << 32, 2, 0, 64, a[1]);
    fa_normal(1, 2 | 1ull << 32, 0, 64, a[2]);
    for (int i = 0; i < 64; i++) ck_assert(a[0][i] != a[1][i] && a[0][i] != a[2][i] && a[1][i] != a[2][i]);
}
END_TEST

/* The definition in double precision, as the header has it. */
START_TEST(accuracy)
{
    double worst = 0, smallest = 9, largest = 0;
    for (uint64_t run = 0; run < MANY / 64; run++) {
        float z[64];
        fa_normal(9, 3, run * 64, 64, z);
        for (int i = 0; i < 16; i++) {
            uint32_t word[4];
            fa_philox(9, run * 16 + (uint64_t)i, 3, word);
            for (int p = 0; p < 2; p++) {
                const double r = sqrt(-2 * log((word[2 * p] + 0.5) / 4294967296.0)), a = 6.283185307179586 * word[2 * p + 1] / 4294967296.0;
                worst = fmax(worst, fabs(z[32 * p + i] - r * cos(a)) / r);
                worst = fmax(worst, fabs(z[32 * p + 16 + i] - r * sin(a)) / r);
                smallest = fmin(smallest, r);
                largest = fmax(largest, r);
            }
        }
    }
    ck_assert_msg(worst <= 3e-7, "%g", worst);
    ck_assert(worst > 1e-9 && smallest < 2e-3 && largest > 5.2); /* both ends of the logarithm were seen */
}
END_TEST

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double distribution(double x)
{
    return 0.5 * erfc(-x * 0.7071067811865476);
}

static void within(double got, double want, double deviation, const char *what)
{
    ck_assert_msg(fabs(got - want) <= 4.5 * deviation, "%s: %g, %g standard deviations from %g", what, got, (got - want) / deviation, want);
}

/* Moments, neighbours, Kolmogorov and Smirnov, tails: each within 4.5 standard deviations of what it should be. */
START_TEST(normal)
{
    float *z = malloc(MANY * sizeof *z);
    ck_assert_ptr_nonnull(z);
    fa_normal(2026, (uint64_t)_i, 0, MANY, z);
    const double n = MANY;
    double m[5] = {0}, lag[4] = {0};
    static const int lags[4] = {1, 16, 32, 64};
    for (int64_t i = 0; i < MANY; i++) {
        double power = 1;
        for (int k = 1; k <= 4; k++) m[k] += power *= z[i];
        for (int k = 0; k < 4; k++)
            if (i >= lags[k]) lag[k] += (double)z[i] * z[i - lags[k]];
    }
    within(m[1] / n, 0, sqrt(1 / n), "mean");
    within(m[2] / n, 1, sqrt(2 / n), "variance");
    within(m[3] / n, 0, sqrt(15 / n), "third moment");
    within(m[4] / n, 3, sqrt(96 / n), "fourth moment");
    for (int k = 0; k < 4; k++) within(lag[k] / n, 0, sqrt(1 / n), "neighbours");
    qsort(z, MANY, sizeof *z, ascending);
    double distance = 0;
    for (int64_t i = 0; i < MANY; i++) {
        const double f = distribution(z[i]);
        distance = fmax(distance, fmax(f - (double)i / n, (double)(i + 1) / n - f));
    }
    ck_assert_msg(distance * sqrt(n) < 2.2, "Kolmogorov-Smirnov: %g", distance * sqrt(n)); /* passed once in 8000 */
    for (double x = 2; x < 5.2; x += 0.5) {
        double low = 0, high = 0, p = distribution(-x);
        for (int64_t i = 0; i < MANY && z[i] < -x; i++) low++;
        for (int64_t i = MANY; i > 0 && z[i - 1] > x; i--) high++;
        within(low, n * p, sqrt(n * p) + 0.5, "lower tail");
        within(high, n * p, sqrt(n * p) + 0.5, "upper tail");
    }
    free(z);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("normal");
    TCase *t = tcase_create("normal");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, philox);
    tcase_add_test(t, same_bits);
    tcase_add_test(t, accuracy);
    tcase_add_loop_test(t, normal, 0, 3);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
