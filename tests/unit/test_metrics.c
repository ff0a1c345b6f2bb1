/* SPDX-License-Identifier: Apache-2.0 */
#include "../data/oracle_scores.h"

#include <fattr/metrics.h>

#include <check.h>
#include <math.h>
#include <string.h>

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof((a)[0])))

static void near(double got, double want, const char *what)
{
    ck_assert_msg(fabs(got - want) < 1e-9, "%s is %.12g, not %.12g", what, got, want);
}

START_TEST(as_scikit_learn)
{
    fa_detection_metrics m = {.struct_size = sizeof m};
    ck_assert_int_eq(fa_detection_metrics_compute(oracle_clean, COUNT(oracle_clean), oracle_anomalous, COUNT(oracle_anomalous), 0.9, 0.95, &m), FA_OK);
    near(m.auroc, oracle_metrics[0], "auroc");
    near(m.aupr, oracle_metrics[1], "aupr");
    near(m.aupr_clean, oracle_metrics[2], "aupr_clean");
    near(m.fpr95, oracle_metrics[3], "fpr95");
    near(m.der_best, oracle_metrics[4], "der_best");
    near(m.best_threshold, oracle_metrics[5], "best_threshold");
}
END_TEST

START_TEST(by_hand)
{
    static const double low[] = {0.1, 0.2, 0.3}, high[] = {0.7, 0.9}, same[] = {0.5};
    fa_detection_metrics m = {.struct_size = sizeof m};
    ck_assert_int_eq(fa_detection_metrics_compute(low, 3, high, 2, 1, 1, &m), FA_OK);
    ck_assert(m.auroc == 1 && m.aupr == 1 && m.aupr_clean == 1 && m.fpr95 == 0 && m.der_best == 1 && m.best_threshold == 0.7);
    ck_assert_uint_eq(m.struct_size, sizeof m);
    /* The wrong way round: flagging nothing is the best that can be done. */
    ck_assert_int_eq(fa_detection_metrics_compute(high, 2, low, 3, 1, 1, &m), FA_OK);
    ck_assert(m.auroc == 0 && m.fpr95 == 1 && m.der_best == 0.5 && m.best_threshold == INFINITY);
    near(m.aupr, (1.0 / 3 + 2.0 / 4 + 3.0 / 5) / 3, "aupr");
    ck_assert_int_eq(fa_detection_metrics_compute(same, 1, same, 1, 1, 1, &m), FA_OK);
    ck_assert(m.auroc == 0.5 && m.aupr == 0.5 && m.aupr_clean == 0.5 && m.fpr95 == 1 && m.der_best == 0.5);
    /* Infinite scores are scores. */
    static const double ends[] = {-INFINITY, INFINITY};
    ck_assert_int_eq(fa_detection_metrics_compute(ends, 2, ends, 2, 1, 1, &m), FA_OK);
    ck_assert(m.auroc == 0.5);
}
END_TEST

START_TEST(refused)
{
    static const double good[] = {1, 2}, bad[] = {1, NAN};
    fa_detection_metrics m = {.struct_size = sizeof m, .auroc = -1};
    ck_assert_int_eq(fa_detection_metrics_compute(NULL, 1, good, 2, 1, 1, &m), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, NULL, 1, 1, 1, &m), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, good, 2, 1, 1, NULL), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_detection_metrics_compute(good, 0, good, 2, 1, 1, &m), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, good, -1, 1, 1, &m), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, good, 2, 1.5, 1, &m), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, good, 2, 1, NAN, &m), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, bad, 2, 1, 1, &m), FA_ERR_NOT_FINITE);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "'anomalous' element 1"));
    ck_assert_int_eq(fa_detection_metrics_compute(good, INT64_MAX / 2, good, INT64_MAX / 2, 1, 1, &m), FA_ERR_MEMORY);
    m.struct_size = 0;
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, good, 2, 1, 1, &m), FA_ERR_ARGUMENT);
    ck_assert(m.auroc == -1);
    /* An older caller's shorter struct keeps what is behind it. */
    m.struct_size = offsetof(fa_detection_metrics, aupr_clean);
    m.aupr_clean = -5;
    ck_assert_int_eq(fa_detection_metrics_compute(good, 2, good, 2, 1, 1, &m), FA_OK);
    ck_assert(m.auroc == 0.5 && m.aupr_clean == -5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics");
    TCase *t = tcase_create("metrics");
    tcase_add_test(t, as_scikit_learn);
    tcase_add_test(t, by_hand);
    tcase_add_test(t, refused);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
