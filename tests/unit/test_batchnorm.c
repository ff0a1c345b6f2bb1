/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisation by the batch's own statistics on channels-last data, against its definition. */
#include "kernels/normal.h"
#include "kernels/batchnorm.h"
#include "kernels/kernels.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *numbers(int64_t n, uint64_t stream)
{
    float *x = malloc((size_t)n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fa_normal(7, stream, 0, n, x);
    return x;
}

static void mean_and_variance(int64_t n, int64_t channels, const float *x, int64_t c, double *mean, double *variance)
{
    *mean = *variance = 0;
    for (int64_t p = 0; p < n; p++) *mean += (double)x[p * channels + c] / (double)n;
    for (int64_t p = 0; p < n; p++) *variance += pow((double)x[p * channels + c] - *mean, 2) / (double)n;
}

static const int64_t sizes[][2] = {{2, 1}, {3, 5}, {64, 64}, {65, 65}, {1000, 16}, {777, 130}};
#define SIZES (sizeof sizes / sizeof *sizes)

/* Of all pixels at once, and of two parts one after the other. A mean a thousand deviations from 0 costs the variance no digits. */
START_TEST(statistics)
{
    for (size_t s = 0; s < SIZES; s++)
        for (int way = 0; way < 4; way++) {
            const bool far = way & 1;
            const int64_t n = sizes[s][0], channels = sizes[s][1], before = way & 2 ? n / 3 : 0;
            float *x = numbers(n * channels, s);
            double *mean = malloc((size_t)channels * sizeof *mean), *squares = malloc((size_t)channels * sizeof *mean);
            for (int64_t i = 0; far && i < n * channels; i++) x[i] += 1000;
            if (before) fa_batchnorm_statistics(0, before, channels, x, mean, squares);
            fa_batchnorm_statistics(before, n - before, channels, x + before * channels, mean, squares);
            for (int64_t c = 0; c < channels; c++) {
                double m, v;
                mean_and_variance(n, channels, x, c, &m, &v);
                ck_assert_double_eq_tol(mean[c], m, far ? 3e-4 : 1e-6);
                ck_assert_double_eq_tol(squares[c] / (double)n, v, (far ? 1e-3 : 1e-5) * (1 + v));
            }
            free(x), free(mean), free(squares);
        }
}
END_TEST

START_TEST(maps_and_gradients)
{
    for (size_t s = 0; s < SIZES; s++) {
        const int64_t n = sizes[s][0], channels = sizes[s][1], count = n * channels;
        float *x = numbers(count, 10 * s), *g = numbers(count, 10 * s + 1), *residual = numbers(count, 10 * s + 2), *row[4], *y = malloc((size_t)count * sizeof *y);
        double *sum = calloc((size_t)channels, sizeof *sum), *moment = calloc((size_t)channels, sizeof *sum);
        for (uint64_t i = 0; i < 4; i++) row[i] = numbers(channels, 10 * s + 3 + i);
        for (int way = 0; way < 4; way++) {
            fa_batchnorm_apply(n, channels, x, &(fa_batchnorm_map){row[0], row[1], row[2], way & 1 ? residual : NULL, way & 2}, y);
            for (int64_t i = 0; i < count; i++) {
                const int64_t c = i % channels;
                const double v = ((double)x[i] - (double)row[0][c]) * (double)row[1][c] + (double)row[2][c] + (way & 1 ? (double)residual[i] : 0);
                ck_assert_double_eq_tol((double)y[i], way & 2 && v < 0 ? 0 : v, 1e-5);
            }
        }
        fa_batchnorm_sums(n, channels, x, g, row[0], sum, moment);
        for (int64_t c = 0; c < channels; c++) {
            for (int64_t p = 0; p < n; p++) {
                sum[c] -= (double)g[p * channels + c];
                moment[c] -= (double)g[p * channels + c] * ((double)x[p * channels + c] - (double)row[0][c]);
            }
            ck_assert_double_eq_tol(sum[c], 0, 1e-6 * (double)n);
            ck_assert_double_eq_tol(moment[c], 0, 1e-5 * (double)n);
        }
        for (int add = 0; add < 2; add++) {
            memcpy(y, residual, (size_t)count * sizeof *y);
            fa_batchnorm_gradient(n, channels, x, g, row[0], row[1], row[2], row[3], y, add);
            for (int64_t i = 0; i < count; i++) {
                const int64_t c = i % channels;
                const double v = (double)row[1][c] * (double)g[i] + (double)row[2][c] + (double)row[3][c] * ((double)x[i] - (double)row[0][c]);
                ck_assert_double_eq_tol((double)y[i], v + (add ? (double)residual[i] : 0), 2e-5);
            }
        }
        for (int i = 0; i < 4; i++) free(row[i]);
        free(x), free(g), free(residual), free(y), free(sum), free(moment);
    }
}
END_TEST

int main(void)
{
    if (!fa_kernels_available()) return 0; /* nothing to run them on */
    Suite *suite = suite_create("batch normalisation");
    TCase *t = tcase_create("kernels");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, statistics);
    tcase_add_test(t, maps_and_gradients);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
