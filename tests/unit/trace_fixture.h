/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TRACE_FIXTURE_H
#define TEST_TRACE_FIXTURE_H

#include "trace_sets.h"

/* What each of the tests of trace sketches begins with: a context of two threads and the oracle's network in it. */

static fa_context *context;
static fa_model *model;

static void setup(void)
{
    context = new_context(2, FA_KERNELS_AUTO);
    model = oracle_model(context);
}

static void teardown(void)
{
    fa_model_release(model);
    end_context(context);
}

/* Of `name`, `count` tests: main()'s result. */
static int run_tests(const char *name, const TTest *const *test, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    for (size_t i = 0; i < count; i++) tcase_add_test(t, test[i]);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#endif
