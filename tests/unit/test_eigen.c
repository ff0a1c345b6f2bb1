/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/normal.h"
#include "sketch/eigen.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static fa_context *context;
static uint64_t stream;

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static double *memory(int64_t n)
{
    double *p = calloc((size_t)(n ? n : 1), sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* The lower triangle of Q diag(value) Q', Q a product of random reflections: a matrix whose eigenvalues are known. */
static double *with_spectrum(int64_t n, const double *value)
{
    double *a = memory(n * n), *v = memory(n), *w = memory(n), *lower = memory(n * (n + 1) / 2);
    float *x = calloc((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++) a[i * n + i] = value[i];
    for (int t = 0; t < 3; t++) {
        double norm = 0, vw = 0;
        fa_normal(9, stream++, 0, n, x);
        for (int64_t i = 0; i < n; i++) norm += (double)x[i] * x[i];
        for (int64_t i = 0; i < n; i++) v[i] = x[i] * sqrt(2 / norm);
        for (int64_t i = 0; i < n; i++) {
            w[i] = 0;
            for (int64_t j = 0; j < n; j++) w[i] += a[i * n + j] * v[j];
            vw += v[i] * w[i];
        }
        for (int64_t i = 0; i < n; i++) w[i] -= vw / 2 * v[i];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) a[i * n + j] -= v[i] * w[j] + w[i] * v[j];
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) lower[i * (i + 1) / 2 + j] = (a[i * n + j] + a[j * n + i]) / 2;
    free(a);
    free(v);
    free(w);
    free(x);
    return lower;
}

static double element(const double *lower, int64_t i, int64_t j)
{
    return i >= j ? lower[i * (i + 1) / 2 + j] : lower[j * (j + 1) / 2 + i];
}

/* Orthonormal vectors, small residuals, and the eigenvalues `want` (descending) within `tolerance` of the largest. */
static void check(const double *lower, int64_t n, int64_t k, const double *want, double tolerance)
{
    for (int s = 0; s < 2; s++) {
        double *value = memory(k), *vector = memory(n * k), top = want[0] > 0 ? want[0] : 1;
        const fa_dot_kernels *kernels = fa_dot_kernels_for(s ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE);
        ck_assert_int_eq(fa_eigen_top(context, kernels, lower, n, k, 1, value, vector), FA_OK);
        for (int64_t r = 0; r < k; r++) {
            ck_assert_msg(fabs(value[r] - want[r]) <= tolerance * top, "n %lld k %lld: eigenvalue %lld is %.15g, not %.15g", (long long)n,
                          (long long)k, (long long)r, value[r], want[r]);
            ck_assert(value[r] >= 0);
            if (r) ck_assert(value[r] <= value[r - 1] + tolerance * top);
            double residual = 0;
            for (int64_t i = 0; i < n; i++) {
                double t = -value[r] * vector[i * k + r];
                for (int64_t j = 0; j < n; j++) t += element(lower, i, j) * vector[j * k + r];
                residual += t * t;
            }
            ck_assert_msg(sqrt(residual) <= 10 * tolerance * top, "n %lld k %lld: residual %lld is %g", (long long)n, (long long)k,
                          (long long)r, sqrt(residual) / top);
            for (int64_t q = 0; q <= r; q++) {
                double d = 0;
                for (int64_t i = 0; i < n; i++) d += vector[i * k + r] * vector[i * k + q];
                ck_assert_msg(fabs(d - (q == r)) < 1e-12, "n %lld k %lld: vectors %lld and %lld: %g", (long long)n, (long long)k, (long long)q, (long long)r, d);
            }
        }
        /* The same again gives the same bits. */
        double *again = memory(n * k);
        ck_assert_int_eq(fa_eigen_top(context, kernels, lower, n, k, 1, value, again), FA_OK);
        ck_assert(memcmp(again, vector, sizeof *again * (size_t)(n * k)) == 0);
        free(again);
        free(value);
        free(vector);
    }
}

/* Sizes on both sides of where the dense solver ends. */
static const struct {
    int64_t n, k;
} sizes[] = {{1, 1}, {2, 1}, {3, 3}, {7, 4}, {64, 16}, {160, 16}, {161, 16}, {170, 40}, {200, 1}, {256, 20}, {288, 90}, {301, 100}, {333, 16}};
#define SIZES ((int)(sizeof sizes / sizeof sizes[0]))

static double spectrum(int kind, int64_t i, int64_t k)
{
    switch (kind) {
    case 0: return 1 / pow(1 + (double)i, 1.5);                            /* slow decay */
    case 1: return i < 3 ? 5 : i < 2 * k / 3 ? 2 : i < k ? 2 - 1e-7 : 0.3; /* clusters */
    case 2: return i < k / 2 ? 1 + (double)(k - i) : 0;                    /* rank below k */
    case 3: return 1;                                                      /* all the same */
    case 4: return i == 0 ? 1 : 0;                                         /* rank one */
    case 5: return pow(0.5, (double)i);                                    /* fast decay */
    default: return 0;                                                     /* zero */
    }
}

START_TEST(known_spectra)
{
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s].n, k = sizes[s].k;
        double *value = memory(n);
        for (int64_t i = 0; i < n; i++) value[i] = spectrum(_i, i, k);
        double *lower = with_spectrum(n, value);
        /* Large matrices are read as floats. */
        check(lower, n, k, value, n > 160 && n >= 48 * ((k + 15) / 16) ? 2e-7 : 1e-13);
        free(lower);
        free(value);
    }
}
END_TEST

/* On a matrix that floats hold exactly, against the dense solver: sums of outer products of small whole numbers. */
START_TEST(krylov_equals_dense)
{
    int64_t n = 240, m = 300, k = 16;
    float *x = calloc((size_t)(n * m), sizeof *x);
    double *lower = memory(n * (n + 1) / 2), *value = memory(n), *vector = memory(n * n), *top = memory(k), *some = memory(n * k);
    fa_normal(3, 1, 0, n * m, x);
    for (int64_t i = 0; i < n * m; i++) x[i] = rintf(2 * x[i] / (1 + (float)(i % n) / 20));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++)
            for (int64_t e = 0; e < m; e++) lower[i * (i + 1) / 2 + j] += (double)x[e * n + i] * x[e * n + j];
    for (int s = 0; s < 2; s++) {
        const fa_dot_kernels *kernels = fa_dot_kernels_for(s ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE);
        ck_assert_int_eq(fa_eigen_top(context, kernels, lower, n, n, 1, value, vector), FA_OK);
        ck_assert_int_eq(fa_eigen_top(context, kernels, lower, n, k, 1, top, some), FA_OK);
        double apart = 0;
        for (int64_t r = 0; r < k; r++) {
            ck_assert_msg(fabs(top[r] - value[r]) <= 1e-12 * value[0], "eigenvalue %lld is %.15g, not %.15g", (long long)r, top[r], value[r]);
            double inside = 0;
            for (int64_t q = 0; q < k; q++) {
                double d = 0;
                for (int64_t i = 0; i < n; i++) d += some[i * k + r] * vector[i * n + q];
                inside += d * d;
            }
            apart += 1 - inside;
        }
        ck_assert_msg(sqrt(fabs(apart)) < 1e-6, "the two subspaces are %g apart", sqrt(fabs(apart)));
    }
    free(x);
    free(lower);
    free(value);
    free(vector);
    free(top);
    free(some);
}
END_TEST

START_TEST(any_magnitude)
{
    int64_t n = 180, k = 16;
    double *value = memory(n), *small = memory(k), *large = memory(k), *vs = memory(n * k), *vl = memory(n * k);
    for (int64_t i = 0; i < n; i++) value[i] = 1 / (1 + (double)i);
    double *lower = with_spectrum(n, value), *scaled = memory(n * (n + 1) / 2);
    const fa_dot_kernels *kernels = fa_dot_kernels_for(FA_KERNELS_FAST);
    for (int64_t i = 0; i < n * (n + 1) / 2; i++) scaled[i] = ldexp(lower[i], -300);
    ck_assert_int_eq(fa_eigen_top(context, kernels, scaled, n, k, 1, small, vs), FA_OK);
    for (int64_t i = 0; i < n * (n + 1) / 2; i++) scaled[i] = ldexp(lower[i], 300);
    ck_assert_int_eq(fa_eigen_top(context, kernels, scaled, n, k, 1, large, vl), FA_OK);
    for (int64_t r = 0; r < k; r++) ck_assert(ldexp(small[r], 600) == large[r]);
    ck_assert(memcmp(vs, vl, sizeof *vs * (size_t)(n * k)) == 0);
    free(value);
    free(small);
    free(large);
    free(vs);
    free(vl);
    free(lower);
    free(scaled);
}
END_TEST

START_TEST(refused)
{
    double lower[6] = {1, 0, 1, 0, 0, NAN}, value[2] = {-7, -7}, vector[6];
    const fa_dot_kernels *kernels = fa_dot_kernels_for(FA_KERNELS_REFERENCE);
    ck_assert_int_eq(fa_eigen_top(context, kernels, lower, 3, 2, 0, value, vector), FA_ERR_NOT_FINITE);
    lower[5] = INFINITY;
    ck_assert_int_eq(fa_eigen_top(context, kernels, lower, 3, 2, 0, value, vector), FA_ERR_NOT_FINITE);
    ck_assert(value[0] == -7);
}
END_TEST

START_TEST(memory_is_announced)
{
    static const int64_t n[] = {50, 400}, k[] = {16, 20};
    for (int t = 0; t < 2; t++) {
        double *lower = memory(n[t] * (n[t] + 1) / 2), *value = memory(k[t]), *vector = memory(n[t] * k[t]);
        for (int64_t i = 0; i < n[t]; i++) lower[i * (i + 1) / 2 + i] = 1 + (double)i;
        fa_context_memory_peak_reset(context);
        uint64_t before = fa_context_memory_used(context);
        ck_assert_int_eq(fa_eigen_top(context, fa_dot_kernels_for(FA_KERNELS_FAST), lower, n[t], k[t], 0, value, vector), FA_OK);
        ck_assert_uint_eq(fa_context_memory_peak(context) - before, fa_eigen_bytes(n[t], k[t]));
        ck_assert(fabs(value[0] - (double)n[t]) < 1e-5 * (double)n[t]);
        free(lower);
        free(value);
        free(vector);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("eigen");
    TCase *t = tcase_create("eigen");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, known_spectra, 0, 7);
    tcase_add_test(t, krylov_equals_dense);
    tcase_add_test(t, any_magnitude);
    tcase_add_test(t, refused);
    tcase_add_test(t, memory_is_announced);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
