/* SPDX-License-Identifier: Apache-2.0 */
/* The drift monitor: false alarms over simulated streams, delays, its file. */
#include "base/context.h"
#include "base/rng.h"
#include "monitor/monitor.h"
#include "score/conformal.h"
#include "small_models.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static fa_context *context;
static char path[512];

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    snprintf(path, sizeof path, "%s/fattr-monitor-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
}

static void teardown(void)
{
    remove(path);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* Uniform numbers in (0, 1), number i of stream s. */
static double uniform(uint64_t seed, uint64_t s, uint64_t i)
{
    uint32_t out[4];
    fa_philox(seed, i, s, out);
    return (out[0] + 0.5) / 4294967296.0;
}

static fa_monitor *monitor(double false_alarm, int64_t m)
{
    fa_monitor_options o;
    fa_monitor *out;
    fa_monitor_options_init(&o, sizeof o);
    o.false_alarm = false_alarm;
    o.calibration_count = m;
    OK(fa_monitor_create(context, &o, &out));
    return out;
}

static fa_monitor_state state_of(const fa_monitor *m)
{
    fa_monitor_state s = {.struct_size = sizeof s};
    OK(fa_monitor_get(m, &s));
    return s;
}

/* A stream with a calibration set of its own; from `change` on a share of the inputs scores higher than all calibration inputs. When the alarm came, or 0. */
static int64_t run_stream(fa_monitor *w, uint64_t s, int64_t m, int64_t n, int64_t change, double share)
{
    double *calibration = malloc((size_t)m * sizeof *calibration), *p = malloc((size_t)n * sizeof *p);
    ck_assert(calibration && p);
    for (int64_t i = 0; i < m; i++) calibration[i] = uniform(1, s, (uint64_t)i);
    fa_sort_scores(calibration, m);
    for (int64_t i = 0; i < n; i++) {
        bool anomalous = i >= change && uniform(2, s, (uint64_t)i) < share;
        p[i] = fa_conformal_p(calibration, m, anomalous ? 2 : uniform(3, s, (uint64_t)i));
    }
    OK(fa_monitor_reset(w));
    OK(fa_monitor_update(w, p, n));
    free(calibration);
    free(p);
    return state_of(w).alarm_at;
}

/* With one calibration set per stream, as it is in life. A bound of 0.2 lets 1000 streams see a rate that is wrong. */
START_TEST(false_alarms_stay_below_the_bound)
{
    for (int64_t m = 100; m <= 1000; m += 900) {
        fa_monitor *w = monitor(0.2, m);
        int alarms = 0;
        for (uint64_t s = 0; s < 1000; s++) alarms += run_stream(w, s, m, 2000, 2000, 0) > 0;
        ck_assert_msg(alarms <= 200, "m = %lld: %d of 1000 clean streams raised the alarm, at a bound of 200", (long long)m, alarms);
        fa_monitor_destroy(w);
    }
    /* Independent p-values: nothing to pay for a calibration set, so alarms are not unheard of, and still below the bound. */
    fa_monitor *w = monitor(0.2, 0);
    int alarms = 0;
    double p[2000];
    for (uint64_t s = 0; s < 1000; s++) {
        for (uint64_t i = 0; i < 2000; i++) p[i] = uniform(4, s, i);
        OK(fa_monitor_reset(w));
        OK(fa_monitor_update(w, p, 2000));
        alarms += state_of(w).alarm_at > 0;
    }
    ck_assert_msg(alarms > 0 && alarms <= 200, "%d of 1000", alarms);
    fa_monitor_destroy(w);
}
END_TEST

/* What the envelope is for: the same streams without it alarm far too often, because a calibration set is what it is. */
START_TEST(a_shared_calibration_set_must_be_paid_for)
{
    fa_monitor *w = monitor(0.01, 0);
    int alarms = 0;
    for (uint64_t s = 0; s < 100; s++) alarms += run_stream(w, s, 200, 5000, 5000, 0) > 0;
    ck_assert_int_gt(alarms, 20);
    fa_monitor_destroy(w);
}
END_TEST

START_TEST(drift_is_found_sooner_the_stronger_it_is)
{
    const double share[] = {0.05, 0.2, 1};
    const int64_t within[] = {2000, 200, 12};
    fa_monitor *w = monitor(0.01, 1000);
    for (int k = 0; k < 3; k++)
        for (uint64_t s = 0; s < 20; s++) {
            int64_t at = run_stream(w, 1000 + s, 1000, 3000, 1000, share[k]);
            ck_assert_msg(at > 1000 && at <= 1000 + within[k], "%g anomalous from 1000 on: alarm at %lld", share[k], (long long)at);
        }
    fa_monitor_destroy(w);
}
END_TEST

/* A bet's mean over a uniform p is what was bet: wealth is a martingale before rounding. */
START_TEST(bets_are_fair)
{
    enum { N = 4000 };
    fa_monitor *w = monitor(0.01, 0), *one;
    for (int i = 0; i < 50; i++) fa_monitor_step(w, uniform(6, 0, (uint64_t)i));
    double before = w->total, mean = 0;
    OK(fa_monitor_save_file(w, path));
    for (int i = 0; i < N; i++) {
        /* Midpoints of cells fine enough for every u of the bets but the smallest. */
        OK(fa_monitor_load_file(context, path, &one));
        fa_monitor_step(one, (i + 0.5) / N);
        mean += one->total / N;
        fa_monitor_destroy(one);
    }
    ck_assert_msg(mean <= before * 1.02 && mean >= before * 0.95, "%g became %g", before, mean);
    fa_monitor_destroy(w);
}
END_TEST

START_TEST(the_envelope_holds)
{
    enum { M = 500, SETS = 400 };
    fa_envelope e = {0};
    OK(fa_envelope_make(context, M, 0.1, &e));
    ck_assert_int_eq(e.rank[0], 1);
    ck_assert_int_eq(e.rank[e.n - 1], M);
    for (int32_t i = 0; i < e.n; i++) ck_assert(e.bound[i] > (double)e.rank[i] / (M + 1) && e.bound[i] <= 1);
    for (int32_t i = 1; i < e.n; i++) ck_assert(e.bound[i] >= e.bound[i - 1] && e.rank[i] > e.rank[i - 1]);
    ck_assert(fa_envelope_of(&e, 1) == 1);
    ck_assert(fa_envelope_of(&e, 1.0 / (M + 1)) == e.bound[0]);
    int broken = 0;
    for (uint64_t s = 0; s < SETS; s++) {
        double u[M];
        for (int i = 0; i < M; i++) u[i] = uniform(7, s, (uint64_t)i);
        fa_sort_scores(u, M);
        bool holds = true;
        for (int k = 1; k <= M; k++) holds = holds && u[k - 1] <= fa_envelope_of(&e, (double)k / (M + 1));
        broken += !holds;
    }
    ck_assert_msg(broken <= SETS / 10, "%d of %d sets leave an envelope of 0.1", broken, SETS);
    fa_delete(context, e.rank);
    fa_delete(context, e.bound);
}
END_TEST

START_TEST(a_file_goes_on_where_it_was)
{
    fa_monitor *a = monitor(0.05, 300), *b = NULL;
    double p[500];
    for (uint64_t i = 0; i < 500; i++) p[i] = ceil(uniform(8, 0, i) * 301) / 301;
    OK(fa_monitor_update(a, p, 300));
    OK(fa_monitor_save_file(a, path));
    OK(fa_monitor_load_file(context, path, &b));
    OK(fa_monitor_update(a, p + 300, 200));
    for (int i = 300; i < 500; i++) OK(fa_monitor_update(b, p + i, 1));
    fa_monitor_state x = state_of(a), y = state_of(b);
    ck_assert(x.count == 500 && y.count == 500 && x.log_wealth == y.log_wealth && x.alarm_at == y.alarm_at && x.log_threshold == y.log_threshold &&
              x.smallest_p == y.smallest_p);
    fa_monitor_destroy(b);
    b = NULL;
    FILE *f = fopen(path, "rb");
    unsigned char bytes_of[16384];
    size_t n = fread(bytes_of, 1, sizeof bytes_of, f);
    fclose(f);
    for (size_t size = 0; size < n; size += 3) FAILS(fa_monitor_load_memory(context, bytes_of, size, &b), FA_ERR_FORMAT, "");
    for (size_t i = 8; i < n; i++) {
        bytes_of[i] ^= 8;
        fa_status status = fa_monitor_load_memory(context, bytes_of, n, &b);
        ck_assert_msg(status == FA_ERR_CHECKSUM || status == FA_ERR_FORMAT || status == FA_ERR_VERSION, "byte %zu: %s", i, fa_status_name(status));
        bytes_of[i] ^= 8;
    }
    ck_assert_ptr_null(b);
    fa_monitor_destroy(a);
}
END_TEST

/* The fuzzer's seeds: their checksums fit, so that each is refused for the rule it breaks. */
START_TEST(files_that_lie)
{
    static const struct {
        const char *name, *says;
        fa_status status;
    } files[] = {
        {"sound", "", FA_OK},
        {"rich", "", FA_OK},
        {"old", "", FA_OK},
        {"newer", "version 2", FA_ERR_VERSION},
        {"other-format", "not a file of a monitor", FA_ERR_FORMAT},
        {"no-wealth", "'monitor.wealth'", FA_ERR_FORMAT},
        {"nan-wealth", "'monitor.wealth'", FA_ERR_FORMAT},
        {"negative-wealth", "'monitor.wealth'", FA_ERR_FORMAT},
        {"few-bets", "'monitor.wealth'", FA_ERR_FORMAT},
        {"many-calibrated", "'monitor.wealth'", FA_ERR_FORMAT}, /* another number of bets */
        {"late-alarm", "'alarm_at'", FA_ERR_FORMAT},
        {"sure", "'false_alarm'", FA_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[4096];
        fa_monitor *m = NULL;
        snprintf(from, sizeof from, "%s/tests/fuzz/corpus/monitor/%s", FA_SOURCE_ROOT, files[i].name);
        fa_status status = fa_monitor_load_file(context, from, &m);
        ck_assert_msg(status == files[i].status && (status == FA_OK || strstr(fa_error_message(), files[i].says)), "%s: %s: %s", files[i].name,
                      fa_status_name(status), fa_error_message());
        fa_monitor_destroy(m);
    }
}
END_TEST

START_TEST(wrong_arguments)
{
    fa_monitor_options o;
    fa_monitor *w = monitor(0, 0), *out = NULL;
    const double wrong[] = {-0.1, 0, 1.0001, NAN, INFINITY};
    for (int i = 0; i < 5; i++) {
        const double p[2] = {0.5, wrong[i]};
        FAILS(fa_monitor_update(w, p, 2), FA_ERR_ARGUMENT, "p-value 1");
    }
    ck_assert_int_eq(state_of(w).count, 0);
    fa_monitor_options_init(&o, sizeof o);
    ck_assert(o.false_alarm == 0.01);
    o.false_alarm = 1;
    FAILS(fa_monitor_create(context, &o, &out), FA_ERR_ARGUMENT, "false_alarm");
    o.false_alarm = 0;
    o.calibration_count = -1;
    FAILS(fa_monitor_create(context, &o, &out), FA_ERR_ARGUMENT, "calibration_count");
    FAILS(fa_monitor_create(NULL, NULL, &out), FA_ERR_ARGUMENT, "'context'");
    FAILS(fa_monitor_update(w, NULL, 1), FA_ERR_ARGUMENT, "'p_values'");
    FAILS(fa_monitor_update(w, NULL, -1), FA_ERR_ARGUMENT, "-1");
    OK(fa_monitor_update(w, NULL, 0));
    FAILS(fa_monitor_get(w, NULL), FA_ERR_ARGUMENT, "fa_monitor_state");
    FAILS(fa_monitor_load_file(context, "/nowhere", &out), FA_ERR_IO, "/nowhere");
    ck_assert_ptr_null(out);
    fa_monitor_destroy(NULL);
    /* A long run of nothing but anomalies: wealth has a ceiling, and stays finite. */
    const double p = 1e-9;
    for (int i = 0; i < 3000; i++) OK(fa_monitor_update(w, &p, 1));
    ck_assert(isfinite(state_of(w).log_wealth) && state_of(w).alarm_at > 0 && state_of(w).alarm_at < 10);
    OK(fa_monitor_save_file(w, path));
    OK(fa_monitor_load_file(context, path, &out));
    ck_assert(state_of(out).log_wealth == state_of(w).log_wealth);
    OK(fa_monitor_reset(out));
    ck_assert(state_of(out).log_wealth == 0 && state_of(out).alarm_at == 0);
    fa_monitor_destroy(out);
    fa_monitor_destroy(w);
    /* The largest calibration set. */
    w = monitor(0.01, (int64_t)1 << 40);
    ck_assert(state_of(w).smallest_p > 0);
    fa_monitor_destroy(w);
}
END_TEST

static long calls, fail_at;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return calls++ == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

START_TEST(every_allocation_may_fail)
{
    fa_monitor_options o;
    fa_monitor_options_init(&o, sizeof o);
    o.calibration_count = 50;
    fa_status status = FA_ERR_MEMORY;
    for (fail_at = 0; status != FA_OK; fail_at++) {
        fa_monitor *w = NULL, *read = NULL;
        calls = 0;
        context->allocator.alloc = failing_alloc;
        status = fa_monitor_create(context, &o, &w);
        if (status == FA_OK) status = fa_monitor_save_file(w, path);
        if (status == FA_OK) status = fa_monitor_load_file(context, path, &read);
        context->allocator.alloc = fa_system_allocator.alloc;
        fa_monitor_destroy(w);
        fa_monitor_destroy(read);
        ck_assert_msg(status == (calls > fail_at ? FA_ERR_MEMORY : FA_OK), "allocation %ld: %s", fail_at, fa_error_message());
        ck_assert_uint_eq(fa_context_memory_used(context), 0);
        ck_assert_int_lt(fail_at, 200);
    }
    ck_assert_int_gt(fail_at, 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor");
    TCase *t = tcase_create("monitor");
    tcase_set_timeout(t, 110);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, false_alarms_stay_below_the_bound);
    tcase_add_test(t, a_shared_calibration_set_must_be_paid_for);
    tcase_add_test(t, drift_is_found_sooner_the_stronger_it_is);
    tcase_add_test(t, bets_are_fair);
    tcase_add_test(t, the_envelope_holds);
    tcase_add_test(t, a_file_goes_on_where_it_was);
    tcase_add_test(t, files_that_lie);
    tcase_add_test(t, wrong_arguments);
    tcase_add_test(t, every_allocation_may_fail);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
