/* SPDX-License-Identifier: Apache-2.0 */
/* Diagnostics of loss traces: against NumPy, on traces whose answer is known, on degenerate ones; verdicts. */
#include "../data/oracle_sampler.h"
#include "base/context.h"
#include "kernels/normal.h"
#include "one_context.h"
#include "sampler/chain.h"
#include "sampler/diagnose.h"
#include "sampler/mixing.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void near(double got, double want, double relative, const char *what, int64_t at)
{
    ck_assert_msg(fabs(got - want) <= relative * (fabs(want) + 1e-12), "%s %lld: %.9g where %.9g is right", what, (long long)at, got, want);
}

static void centre(const float *x, int64_t n, float *out)
{
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i];
    for (int64_t i = 0; i < n; i++) out[i] = (float)(x[i] - mean / (double)n);
}

START_TEST(oracle)
{
    for (int64_t i = 0; i < ORACLE_REFERENCES; i++) {
        float row[ORACLE_DRAWS];
        double ess = 0;
        for (int c = 0; c < 2; c++) {
            const int64_t first = oracle_offset[c], n = oracle_offset[c + 1] - first;
            centre(oracle_trace + i * ORACLE_DRAWS + first, n, row);
            ess += fa_mixing_ess(row, n);
        }
        near(ess, oracle_ess[i], 1e-5, "effective sample size", i);
        near(fa_mixing_split_rhat(oracle_trace + i * ORACLE_DRAWS, oracle_offset, 2), oracle_rhat[i], 1e-9, "split R-hat", i);
    }
    fa_diagnosis d;
    ck_assert_int_eq(fa_diagnose(context, oracle_trace, ORACLE_REFERENCES, ORACLE_DRAWS, oracle_offset, 2, &d), FA_OK);
    const double got[6] = {d.ess, d.ess_min, d.split_rhat, d.split_rhat_max, d.drift, d.signal};
    for (int i = 0; i < 6; i++) near(got[i], oracle_diagnosis[i], 1e-5, "diagnosis", i);
    near(d.moved, 7.0 / 8, 1e-12, "moved", 0);
    ck_assert_int_eq(d.shortest, 69);
}
END_TEST

/* A chain x' = a x + e of n draws has n (1 - a) / (1 + a) effective ones. */
START_TEST(known)
{
    static const double a[] = {0, 0.3, 0.8, 0.95};
    enum { N = 100000 };
    float *x = malloc(N * sizeof *x), *row = malloc(N * sizeof *row);
    ck_assert(x && row);
    for (int k = 0; k < 4; k++) {
        fa_normal(3, (uint64_t)k, 0, N, x);
        for (int64_t t = 1; t < N; t++) x[t] += (float)a[k] * x[t - 1];
        centre(x, N, row);
        near(fa_mixing_ess(row, N), N * (1 - a[k]) / (1 + a[k]), 0.1, "effective sample size", k);
        const int64_t halves[3] = {0, N / 3, N};
        near(fa_mixing_split_rhat(x, halves, 2), 1, 2e-3, "split R-hat", k);
        ck_assert(fa_mixing_drift(row, N) < 4.5 * sqrt(8.0 / N * (1 + a[k]) / (1 - a[k])));
    }
    /* Half as many draws above as below: the mean moves by 1 in units of 1. */
    for (int64_t t = 0; t < N; t++) row[t] = t < N / 2 ? -1 : 1;
    near(fa_mixing_drift(row, N), 2, 1e-9, "drift", 0);
    free(x), free(row);
}
END_TEST

static fa_diagnosis diagnosed(const float *trace, int64_t n, int64_t draws, const int64_t *offset, int32_t n_chain)
{
    fa_diagnosis d;
    memset(&d, 0xff, sizeof d);
    ck_assert_int_eq(fa_diagnose(context, trace, n, draws, offset, n_chain, &d), FA_OK);
    ck_assert(d.ess >= d.ess_min && d.ess_min >= 0 && d.ess <= (double)draws && d.split_rhat <= d.split_rhat_max);
    const double all[] = {d.split_rhat, d.split_rhat_max, d.drift, d.signal, d.moved};
    for (int i = 0; i < 5; i++) ck_assert(isfinite(all[i]) && all[i] >= 0);
    ck_assert(d.drift <= 2.83 && d.split_rhat_max <= FA_MIXING_RHAT && d.moved <= 1);
    return d;
}

START_TEST(degenerate)
{
    float x[3 * 40];
    const int64_t one[2] = {0, 40}, two[3] = {0, 20, 40};
    fa_normal(4, 0, 0, 120, x);
    for (int64_t draws = 1; draws < 8; draws++) { /* short */
        const int64_t end[2] = {0, draws};
        const fa_diagnosis d = diagnosed(x, 3, draws, end, 1);
        ck_assert((d.ess > 0) == (draws >= FA_MIXING_LEAST));
        ck_assert_int_eq(d.shortest, draws);
    }
    const int64_t uneven[4] = {0, 1, 3, 40}; /* short chains beside a long one */
    ck_assert(diagnosed(x, 3, 40, uneven, 3).ess > 5);
    diagnosed(x, 1, 40, one, 1); /* one reference has no couplings */
    ck_assert(diagnosed(x, 1, 40, one, 1).signal == 0);

    for (int i = 0; i < 120; i++) x[i] = 0.1f; /* still, or moved by rounding errors */
    fa_diagnosis d = diagnosed(x, 3, 40, two, 2);
    ck_assert(d.ess == 0 && d.split_rhat == 1 && d.split_rhat_max == 1 && d.drift == 0 && d.moved == 0 && d.signal == 0);
    for (int i = 0; i < 120; i += 3) x[i] = nextafterf(x[i], 1);
    d = diagnosed(x, 3, 40, two, 2);
    ck_assert(d.ess == 0 && d.moved == 0);
    memset(x, 0, sizeof x);
    ck_assert(diagnosed(x, 3, 40, two, 2).moved == 0);

    fa_normal(4, 0, 0, 120, x); /* one reference that is not finite, at either end of a chain */
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++)
        for (int at = 40; at < 80; at += 39) {
            const float kept = x[at];
            x[at] = odd[i];
            d = diagnosed(x, 3, 40, two, 2);
            ck_assert(d.ess > 0 && d.ess_min == 0);
            near(d.moved, 2.0 / 3, 1e-12, "moved", i);
            x[at] = kept;
        }
    static const float huge[] = {3e38f, 1e-38f, 1e-44f};
    for (int i = 0; i < 3; i++) {
        for (int t = 0; t < 120; t++) x[t] = (t * 7 % 5 < 2 ? 1 : 0.5f) * huge[i];
        d = diagnosed(x, 3, 40, two, 2);
        ck_assert(d.moved == 1 && d.ess > 0);
    }
    for (int t = 0; t < 120; t++) x[t] = t % 40 < 20 ? 1 : 2; /* two chains, each still in a place of its own: no draws to use */
    ck_assert(fa_mixing_split_rhat(x, two, 2) == FA_MIXING_RHAT);
    ck_assert(diagnosed(x, 3, 40, two, 2).ess == 0);
}
END_TEST

/* Of many references, as many as announced are looked at, in as much memory; no more than all allocations fail. */
START_TEST(many)
{
    enum { N = 1000, DRAWS = 30 };
    float *x = malloc(N * DRAWS * sizeof *x);
    const int64_t offset[2] = {0, DRAWS};
    ck_assert_ptr_nonnull(x);
    fa_normal(6, 0, 0, N * DRAWS, x);
    const fa_diagnosis d = diagnosed(x, N, DRAWS, offset, 1);
    near(d.signal, 1, 0.15, "signal of references that have nothing in common", 0);
    ck_assert_uint_le(fa_context_memory_peak(context), fa_diagnose_bytes(N, DRAWS) + 256);
    fa_context_options o;
    fa_context *small;
    fa_context_options_init(&o, sizeof o);
    o.memory_limit = fa_diagnose_bytes(N, DRAWS) / 2;
    ck_assert_int_eq(fa_context_create(&o, &small), FA_OK);
    fa_diagnosis untouched = {.ess = 7};
    ck_assert_int_eq(fa_diagnose(small, x, N, DRAWS, offset, 1, &untouched), FA_ERR_MEMORY);
    ck_assert(untouched.ess == 7);
    fa_context_release(small);
    for (int64_t i = 0; i < N; i++) /* one thing in common, to different extents */
        for (int64_t t = 0; t < DRAWS; t++) x[i * DRAWS + t] += (float)(i % 4) * x[t];
    ck_assert(diagnosed(x, N, DRAWS, offset, 1).signal > 1.5);
    free(x);
}
END_TEST

static void says(fa_diagnosis d, int32_t kind, double after, const char *start)
{
    const char *got = fa_diagnosis_verdict(&d, kind, 0.1, after);
    ck_assert_msg(!strcmp(got, start), "'%s' where '%s' is right", got, start);
}

START_TEST(verdicts)
{
    const fa_diagnosis good = {.ess = 100, .ess_min = 50, .split_rhat = 1.01, .split_rhat_max = 1.3, .drift = 0.4, .signal = 3, .moved = 1, .shortest = 100};
    fa_diagnosis d = good;
    says(d, FA_SAMPLER_RMSPROP_SGLD, 0.3, "fine");
    says(d, FA_SAMPLER_GAUSSIAN, 0.3, "fine");
    says(d, FA_SAMPLER_SGLD, 1.2, "draws left the basin: raise gamma");
    says(d, FA_SAMPLER_SGLD, NAN, "draws left the basin: raise gamma");
    says(d, FA_SAMPLER_GAUSSIAN, 2, "fine");
    says(d, FA_SAMPLER_GAUSSIAN, 5.3, "draws left the basin: raise gamma");
    d.shortest = 3;
    says(d, FA_SAMPLER_SGLD, 0.3, "too few draws to tell: raise draws");
    d = good, d.moved = 0.4;
    says(d, FA_SAMPLER_SGLD, 0.1, "nothing moved: lower gamma or raise step_size");
    says(d, FA_SAMPLER_GAUSSIAN, 0.1, "nothing moved: lower gamma");
    d = good, d.split_rhat = 1.2, d.ess = 5;
    says(d, FA_SAMPLER_SGLD, 0.3, "chains have not mixed: raise burn_in or step_size");
    says(d, FA_SAMPLER_GAUSSIAN, 0.3, "too few effective draws: raise draws"); /* independent draws have nothing to mix */
    d = good, d.drift = 1.8;
    says(d, FA_SAMPLER_RMSPROP_SGLD, 0.3, "chains have not mixed: raise burn_in or step_size");
    d = good, d.ess = 12;
    says(d, FA_SAMPLER_SGLD, 0.3, "too few effective draws: raise draws or thinning");
    d = good, d.signal = 0.8;
    says(d, FA_SAMPLER_SGLD, 0.3, "too few effective draws: raise draws or thinning");
    d.signal = 0; /* a single reference */
    says(d, FA_SAMPLER_SGLD, 0.3, "fine");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("diagnose");
    TCase *t = tcase_create("diagnose");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, oracle);
    tcase_add_test(t, known);
    tcase_add_test(t, degenerate);
    tcase_add_test(t, many);
    tcase_add_test(t, verdicts);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
