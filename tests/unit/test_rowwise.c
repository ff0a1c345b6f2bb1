/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/multiply.h"
#include "kernels/normal.h"
#include "kernels/rowwise.h"
#include "base/context.h"
#include "base/rng.h"
#include "shared_pool.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What transformers do to rows, and products of computed matrices, against the definitions in double precision. */

static const fa_isa isas[] = {FA_ISA_AVX2, FA_ISA_AVX512};
#define N_ISA 2
static uint64_t stream;

/* Exactly as many floats as asked for, so that a sanitizer sees the first one too far. */
static float *numbers(int64_t n, float scale)
{
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fa_normal(7, stream++, 0, n, x);
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
    return x;
}

static int64_t pick(int64_t low, int64_t high)
{
    uint32_t r[4];
    fa_philox(13, stream++, 0, r);
    return low + (int64_t)(r[0] % (uint32_t)(high - low + 1));
}

static void close_to(float got, double want, double scale, const char *what, fa_isa isa, int64_t at)
{
    ck_assert_msg(fabs(got - want) <= 4e-6 * (1e-3 + scale), "%s, set %d, element %lld: %.9g where %.9g is right", what, (int)isa, (long long)at, (double)got, want);
}

/* Distance in units of the last place of the right number. */
static double ulps(float got, double want)
{
    if (isnan(got) || isnan(want)) return isnan(got) && isnan(want) ? 0 : INFINITY;
    const float nearest = (float)want;
    if (isinf(nearest) || isinf(got)) return got == nearest ? 0 : INFINITY;
    int e;
    frexp(fabs(want) < 0x1p-126 ? 0x1p-126 : want, &e);
    return fabs(got - want) / ldexp(1, e - 24);
}

/* Every 997th float there is, infinities and NaN among them. */
START_TEST(functions_of_all_floats)
{
    enum { BLOCK = 1021 };
    static const char *const name[] = {"exp", "tanh", "erf"};
    static double (*const right[])(double) = {exp, tanh, erf};
    static const double most[] = {1.1, 2.0, 2.0};
    for (int k = 0; k < N_ISA; k++) {
        if (!fa_kernels_have(isas[k])) continue;
        const fa_rowwise *r = fa_rowwise_for(isas[k]);
        void (*const made[])(int64_t, const float *, float *) = {r->exp, r->tanh, r->erf};
        for (int f = 0; f < 3; f++) {
            double worst = 0;
            float at = 0;
            for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
                float x[BLOCK], y[BLOCK];
                for (int i = 0; i < BLOCK; i++, bits += 997) {
                    const uint32_t b = bits < UINT64_C(1) << 32 ? (uint32_t)bits : 0x7f800000;
                    memcpy(&x[i], &b, sizeof b);
                }
                made[f](BLOCK, x, y);
                for (int i = 0; i < BLOCK; i++) {
                    const double e = ulps(y[i], right[f](x[i]));
                    if (e > worst) worst = e, at = x[i];
                }
            }
            ck_assert_msg(worst <= most[f], "%s, set %d: %g ulp at %.9g", name[f], (int)isas[k], worst, (double)at);
        }
    }
}
END_TEST

START_TEST(softmax_and_its_gradient)
{
    for (int round = 0; round < 60; round++) {
        const int64_t rows = pick(1, 5), n = pick(1, 70);
        const float scale = round % 3 ? 0.3f : 1.0f;
        const bool masked = pick(0, 1), shared = pick(0, 1), add = pick(0, 1);
        float *x = numbers(rows * n, 4), *mask = numbers(shared ? n : rows * n, 1), *g = numbers(rows * n, 1), *before = numbers(rows * n, 1), *y = numbers(rows * n, 1),
              *gx = numbers(rows * n, 1);
        if (masked && n > 1) mask[n / 2] = -INFINITY;
        for (int k = 0; k < N_ISA; k++) {
            if (!fa_kernels_have(isas[k])) continue;
            const fa_rowwise *kernels = fa_rowwise_for(isas[k]);
            kernels->softmax(rows, n, scale, masked ? mask : NULL, shared ? 0 : n, x, y);
            memcpy(gx, before, (size_t)(rows * n) * sizeof *gx);
            kernels->softmax_gradient(rows, n, scale, y, g, gx, add);
            for (int64_t r = 0; r < rows; r++) {
                double sum = 0, top = -INFINITY, mean = 0, v[70];
                for (int64_t i = 0; i < n; i++) {
                    v[i] = (double)scale * x[r * n + i] + (masked ? mask[(shared ? 0 : r * n) + i] : 0);
                    top = v[i] > top ? v[i] : top;
                }
                for (int64_t i = 0; i < n; i++) sum += v[i] = exp(v[i] - top);
                for (int64_t i = 0; i < n; i++) mean += v[i] / sum * g[r * n + i];
                for (int64_t i = 0; i < n; i++) {
                    const double p = v[i] / sum, want = scale * p * (g[r * n + i] - mean) + (add ? before[r * n + i] : 0);
                    close_to(y[r * n + i], p, p, "softmax", isas[k], r * n + i);
                    close_to(gx[r * n + i], want, 1 + fabs(want), "its gradient", isas[k], r * n + i);
                }
            }
        }
        free(x), free(mask), free(g), free(before), free(y), free(gx);
    }
}
END_TEST

START_TEST(normalisation_and_its_gradient)
{
    for (int round = 0; round < 60; round++) {
        const int64_t rows = pick(1, 5), n = pick(1, 70);
        const float epsilon = 1e-5f;
        const bool biased = pick(0, 1), add = pick(0, 1), raw = pick(0, 1);
        float *x = numbers(rows * n, 2), *scale = numbers(n, 1), *bias = numbers(n, 1), *g = numbers(rows * n, 1), *before = numbers(rows * n, 1), *y = numbers(rows * n, 1),
              *gx = numbers(rows * n, 1), *gs = numbers(n, 1), *gb = numbers(n, 1);
        for (int k = 0; k < N_ISA; k++) {
            if (!fa_kernels_have(isas[k])) continue;
            const fa_rowwise *kernels = fa_rowwise_for(isas[k]);
            double want_s[70] = {0}, want_b[70] = {0};
            kernels->normalise(rows, n, raw, epsilon, x, scale, biased ? bias : NULL, y);
            memcpy(gx, before, (size_t)(rows * n) * sizeof *gx);
            memset(gs, 0, (size_t)n * sizeof *gs);
            memset(gb, 0, (size_t)n * sizeof *gb);
            kernels->normalise_gradient(rows, n, raw, epsilon, x, scale, g, gx, add, gs, round % 4 ? gb : NULL);
            for (int64_t r = 0; r < rows; r++) {
                const float *xr = x + r * n, *gr = g + r * n;
                double mean = 0, variance = 0, sum = 0, moment = 0;
                for (int64_t i = 0; i < n && !raw; i++) mean += xr[i] / (double)n;
                for (int64_t i = 0; i < n; i++) variance += (xr[i] - mean) * (xr[i] - mean) / (double)n;
                const double inverse = 1 / sqrt(variance + (double)epsilon);
                for (int64_t i = 0; i < n; i++) {
                    const double z = (xr[i] - mean) * inverse, h = gr[i] * (double)scale[i];
                    sum += raw ? 0 : h / (double)n;
                    moment += h * z / (double)n;
                    want_s[i] += gr[i] * z;
                    want_b[i] += gr[i];
                }
                for (int64_t i = 0; i < n; i++) {
                    const double z = (xr[i] - mean) * inverse, want = (gr[i] * (double)scale[i] - sum - z * moment) * inverse + (add ? before[r * n + i] : 0);
                    if (n > 1) close_to(y[r * n + i], z * scale[i] + (biased ? bias[i] : 0), 1 + fabs(z * scale[i]), "normalisation", isas[k], r * n + i);
                    if (n > 2) close_to(gx[r * n + i], want, (1 + fabs(want)) * (1 + inverse), "its gradient", isas[k], r * n + i);
                }
            }
            for (int64_t i = 0; i < n && n > 1; i++) {
                close_to(gs[i], want_s[i], 4, "gradient of the scale", isas[k], i);
                if (round % 4) close_to(gb[i], want_b[i], 4, "gradient of the bias", isas[k], i);
            }
        }
        free(x), free(scale), free(bias), free(g), free(before), free(y), free(gx), free(gs), free(gb);
    }
}
END_TEST

static double gelu(double x, bool by_tanh)
{
    return x / 2 * (1 + (by_tanh ? tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)) : erf(x / sqrt(2))));
}

START_TEST(gelu_and_its_gradient)
{
    for (int round = 0; round < 40; round++) {
        const int64_t n = pick(1, 100);
        const bool by_tanh = round % 2, add = pick(0, 1);
        float *x = numbers(n, 3), *g = numbers(n, 1), *before = numbers(n, 1), *y = numbers(n, 1), *gx = numbers(n, 1);
        for (int k = 0; k < N_ISA; k++) {
            if (!fa_kernels_have(isas[k])) continue;
            fa_rowwise_for(isas[k])->gelu(n, by_tanh, x, y);
            memcpy(gx, before, (size_t)n * sizeof *gx);
            fa_rowwise_for(isas[k])->gelu_gradient(n, by_tanh, x, g, gx, add);
            for (int64_t i = 0; i < n; i++) {
                const double step = 1e-4, slope = (gelu(x[i] + step, by_tanh) - gelu(x[i] - step, by_tanh)) / (2 * step);
                close_to(y[i], gelu(x[i], by_tanh), 1 + fabs((double)x[i]), "gelu", isas[k], i);
                close_to(gx[i], g[i] * slope + (add ? before[i] : 0), 2 + fabs((double)g[i]), "its gradient", isas[k], i);
            }
        }
        free(x), free(g), free(before), free(y), free(gx);
    }
}
END_TEST

typedef struct shared_run {
    fa_isa isa;
    fa_multiply multiply;
} shared_run;

static void run_shared(void *user)
{
    const shared_run *r = user;
    fa_multiply_run(r->isa, &r->multiply);
}

/* The same bits by three threads. `x` has been run on what lay in `before`. */
static void check_shared(fa_pool *pool, fa_isa isa, const fa_multiply *x, const float *before, int64_t count)
{
    shared_run r = {isa, *x};
    char *scratch = aligned_alloc(64, fa_multiply_scratch(x->n, x->k) + 3 * FA_MULTIPLY_TURNED);
    float *c = malloc((size_t)count * sizeof *c);
    ck_assert(scratch && c);
    memcpy(c, before, (size_t)count * sizeof *c);
    r.multiply.c = c;
    r.multiply.scratch = scratch;
    r.multiply.pool = pool;
    fa_pool_lead(pool, run_shared, &r);
    ck_assert_mem_eq(c, x->c, (size_t)count * sizeof *c);
    free(c), free(scratch);
}

START_TEST(products_of_random_sizes)
{
    fa_context *context;
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
    fa_pool *pool = shared_pool(context, 3);
    for (int round = 0; round < 150; round++) {
        const int64_t m = pick(1, round % 20 ? 40 : 600), n = pick(1, round % 10 ? 50 : 300), k = pick(1, round % 4 ? 40 : 600), more = pick(0, 3);
        const bool a_turned = round % 3 == 0, b_turned = !a_turned && pick(0, 1), add = pick(0, 1);
        const int64_t lda = (a_turned ? m : k) + more, ldb = (b_turned ? k : n) + pick(0, 3), ldc = n + pick(0, 3);
        const int64_t a_rows = a_turned ? k : m, b_rows = b_turned ? n : k, count = (m - 1) * ldc + n;
        /* The last row of each array ends with its last number. */
        float *a = numbers((a_rows - 1) * lda + (a_turned ? m : k), 1), *b = numbers((b_rows - 1) * ldb + (b_turned ? k : n), 1), *before = numbers(count, 1), *c = numbers(count, 1), *bias = numbers(n, 1);
        const bool packed = !a_turned && pick(0, 1), turned = packed && pick(0, 1), biased = !a_turned && pick(0, 1);
        /* Rows of few numbers, as a margin's gradient has them, go another way than full ones beside them. */
        for (int64_t i = 0; turned && i < m; i++)
            for (int64_t p = 0, one = pick(0, (int)k - 1), sparse = pick(0, 1); sparse && p < k; p++)
                if (p != one) a[i * lda + p] = 0;
        for (int s = -1; s < N_ISA; s++) {
            const fa_isa isa = s < 0 ? FA_ISA_NONE : isas[s];
            if (!fa_kernels_have(isa)) continue;
            const size_t bytes = fa_multiply_scratch(n, k) + fa_multiply_scratch(k, n) + FA_MULTIPLY_TURNED;
            char *scratch = aligned_alloc(64, bytes);
            ck_assert_ptr_nonnull(scratch);
            memset(scratch, 0xff, bytes);
            memcpy(c, before, (size_t)count * sizeof *c);
            fa_multiply x = {.m = m, .n = n, .k = k, .a = a, .b = b, .lda = lda, .b_row = b_turned ? 1 : ldb, .b_col = b_turned ? ldb : 1, .a_turned = a_turned, .c = c, .ldc = ldc,
                             .add = add, .bias = biased ? bias : NULL, .scratch = scratch};
            if (packed && s >= 0 && turned) {
                x.packed_turned = (float *)(void *)(scratch + FA_MULTIPLY_TURNED);
                fa_multiply_pack(&(fa_multiply){.n = k, .k = n, .b = b, .b_row = x.b_col, .b_col = x.b_row}, (float *)(void *)(scratch + FA_MULTIPLY_TURNED));
                x.b = NULL;
            } else if (packed && s >= 0) {
                fa_multiply_pack(&x, (float *)(void *)scratch);
                x.packed = (const float *)(const void *)scratch;
                x.b = x.scratch = NULL;
            }
            fa_multiply_run(isa, &x);
            check_shared(pool, isa, &x, before, count);
            for (int64_t at = 0; at < count; at++) {
                const int64_t i = at / ldc, j = at % ldc;
                double want = (j < n && !add ? 0 : before[at]) + (j < n && biased ? bias[j] : 0), size = fabs(want);
                for (int64_t p = 0; p < k && j < n; p++) {
                    const double term = (double)a[a_turned ? p * lda + i : i * lda + p] * b[b_turned ? j * ldb + p : p * ldb + j];
                    want += term;
                    size += fabs(term);
                }
                close_to(c[at], want, size, "product", isa, at);
            }
            free(scratch);
        }
        free(a), free(b), free(before), free(c), free(bias);
    }
    fa_pool_destroy(pool);
    fa_context_release(context);
}
END_TEST

/* More terms than are gone through at once (lib/kernels/turned.c), of a full row and of one with two numbers. */
START_TEST(rows_of_many_terms)
{
    enum { M = 2, N = 11, K = 40003 };
    float *a = numbers(M * K, 1), *b = numbers(K * N, 1), c[M * N];
    for (int64_t p = 0; p < K; p++)
        if (p != 7 && p != K - 1) a[K + p] = 0;
    for (int s = 0; s < N_ISA; s++) {
        if (!fa_kernels_have(isas[s])) continue;
        float *packed = aligned_alloc(64, fa_multiply_scratch(K, N)), *scratch = aligned_alloc(64, FA_MULTIPLY_TURNED);
        ck_assert(packed && scratch);
        fa_multiply_pack(&(fa_multiply){.n = K, .k = N, .b = b, .b_row = 1, .b_col = N}, packed);
        fa_multiply_run(isas[s], &(fa_multiply){.m = M, .n = N, .k = K, .a = a, .lda = K, .c = c, .ldc = N, .packed_turned = packed, .scratch = scratch});
        for (int64_t at = 0; at < M * N; at++) {
            double want = 0, size = 0;
            for (int64_t p = 0; p < K; p++) want += (double)a[at / N * K + p] * b[p * N + at % N], size += fabs((double)a[at / N * K + p] * b[p * N + at % N]);
            close_to(c[at], want, size, "product", isas[s], at);
        }
        free(packed), free(scratch);
    }
    free(a), free(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows and products");
    TCase *t = tcase_create("kernels");
    tcase_set_timeout(t, 100);
    tcase_add_test(t, functions_of_all_floats);
    tcase_add_test(t, softmax_and_its_gradient);
    tcase_add_test(t, normalisation_and_its_gradient);
    tcase_add_test(t, gelu_and_its_gradient);
    tcase_add_test(t, products_of_random_sizes);
    tcase_add_test(t, rows_of_many_terms);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
