/* SPDX-License-Identifier: Apache-2.0 */
/* What the backward pass starts from. */
#include "backend/loss.h"

#include <check.h>
#include <math.h>

static double norm(const float *g, int n)
{
    double s = 0;
    for (int k = 0; k < n; k++) s += (double)g[k] * g[k];
    return sqrt(s);
}

START_TEST(margin_asks_every_input_of_a_class_the_same)
{
    static const float sure[5] = {-3, 20000, 5, 5, -80}, torn[5] = {1, 1.25f, 1.125f, -2, 0};
    float a[5], b[5];
    fa_loss loss;
    fa_loss_row(sure, 5, -1, FA_LOSS_MARGIN, &loss, a);
    ck_assert_int_eq(loss.predicted, 1);
    fa_loss_row(torn, 5, -1, FA_LOSS_MARGIN, &loss, b);
    ck_assert_mem_eq(a, b, sizeof a);
    for (int k = 0; k < 5; k++) ck_assert_double_eq_tol(a[k], (k == 1 ? -1 : 0.25) / sqrt(1.25), 1e-7);
}
END_TEST

START_TEST(cross_entropy_looks_at_the_runner_up)
{
    static const float z[4] = {-400, 90000, 1, 1}; /* softmax(z) - onehot(y) is 0 in double */
    static const double want[4] = {0, -1, 0.5, 0.5};
    float g[4];
    fa_loss loss;
    fa_loss_row(z, 4, -1, FA_LOSS_CROSS_ENTROPY, &loss, g);
    for (int k = 0; k < 4; k++) ck_assert_double_eq_tol(g[k], want[k] / sqrt(1.5), 1e-7);
    ck_assert_double_eq_tol(norm(g, 4), 1, 1e-6);
    fa_loss_row(z, 4, 2, FA_LOSS_CROSS_ENTROPY, &loss, g); /* a target that is not the prediction */
    ck_assert_int_eq(loss.predicted, 1);
    ck_assert_double_eq_tol(loss.loss, 89999, 1e-3);
    ck_assert_double_eq_tol(g[1], sqrt(0.5), 1e-7);
    ck_assert_double_eq_tol(g[2], -sqrt(0.5), 1e-7);
}
END_TEST

START_TEST(two_classes_know_one_loss)
{
    static const float z[2] = {0.3f, -7};
    float a[2], b[2];
    fa_loss one, other;
    fa_loss_row(z, 2, -1, FA_LOSS_MARGIN, &one, a);
    fa_loss_row(z, 2, -1, FA_LOSS_CROSS_ENTROPY, &other, b);
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert(one.loss == other.loss && one.confidence == other.confidence); /* what is reported is the cross-entropy under either */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loss");
    TCase *t = tcase_create("gradient at the logits");
    tcase_add_test(t, margin_asks_every_input_of_a_class_the_same);
    tcase_add_test(t, cross_entropy_looks_at_the_runner_up);
    tcase_add_test(t, two_classes_know_one_loss);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
