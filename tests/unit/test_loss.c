/* SPDX-License-Identifier: Apache-2.0 */
/* What the backward pass starts from. */
#include "backend/head.h"

#include <check.h>
#include <math.h>
#include <string.h>

#include <fattr/status.h>

#define MOST 64

static fa_head head_of(int32_t loss, int32_t ndim, const int64_t *dim)
{
    fa_view v = {.dtype = FA_FLOAT32};
    fa_head h;
    ck_assert(fa_view_set_shape(&v, ndim, dim));
    ck_assert_msg(fa_head_fit(loss, &v, dim[0], "y", false, &h) == FA_OK, "%s", fa_error_message());
    return h;
}

static fa_head classes(int32_t loss, int64_t n)
{
    return head_of(loss, 2, (const int64_t[]){3, n});
}

static fa_loss look(const fa_head *h, const float *z, const int64_t *target, const float *weight, float *gradient)
{
    const fa_head_row row = {z, target, weight, NULL};
    fa_position p[MOST];
    fa_loss loss;
    ck_assert_msg(fa_head_look(h, &row, p, &loss) == FA_OK, "%s", fa_error_message());
    if (gradient) fa_head_unit_gradient(h, &row, p, gradient);
    return loss;
}

static double norm(const float *g, int64_t n)
{
    double s = 0;
    for (int64_t k = 0; k < n; k++) s += (double)g[k] * g[k];
    return sqrt(s);
}

START_TEST(margin_asks_every_input_of_a_class_the_same)
{
    static const float sure[5] = {-3, 20000, 5, 5, -80}, torn[5] = {1, 1.25f, 1.125f, -2, 0};
    const fa_head h = classes(FA_LOSS_MARGIN, 5);
    float a[5], b[5];
    ck_assert_int_eq(look(&h, sure, NULL, NULL, a).predicted, 1);
    look(&h, torn, NULL, NULL, b);
    ck_assert_mem_eq(a, b, sizeof a);
    for (int k = 0; k < 5; k++) ck_assert_double_eq_tol(a[k], (k == 1 ? -1 : 0.25) / sqrt(1.25), 1e-7);
}
END_TEST

START_TEST(cross_entropy_looks_at_the_runner_up)
{
    static const float z[4] = {-400, 90000, 1, 1}; /* softmax(z) - onehot(y) is 0 in double */
    static const double want[4] = {0, -1, 0.5, 0.5};
    const fa_head h = classes(FA_LOSS_CROSS_ENTROPY, 4);
    float g[4];
    look(&h, z, NULL, NULL, g);
    for (int k = 0; k < 4; k++) ck_assert_double_eq_tol(g[k], want[k] / sqrt(1.5), 1e-7);
    ck_assert_double_eq_tol(norm(g, 4), 1, 1e-6);
    const fa_loss loss = look(&h, z, (const int64_t[]){2}, NULL, g); /* a target that is not the prediction */
    ck_assert_int_eq(loss.predicted, 1);
    ck_assert_double_eq_tol(loss.loss, 89999, 1e-3);
    ck_assert_double_eq_tol(loss.confidence, 1, 1e-12);
    ck_assert_double_eq_tol(g[1], sqrt(0.5), 1e-7);
    ck_assert_double_eq_tol(g[2], -sqrt(0.5), 1e-7);
}
END_TEST

START_TEST(two_classes_know_one_loss)
{
    static const float z[2] = {0.3f, -7};
    const fa_head m = classes(FA_LOSS_MARGIN, 2), c = classes(FA_LOSS_CROSS_ENTROPY, 2);
    float a[2], b[2];
    const fa_loss one = look(&m, z, NULL, NULL, a), other = look(&c, z, NULL, NULL, b);
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert(one.loss == other.loss && one.confidence == other.confidence); /* what is reported is the cross-entropy under either */
}
END_TEST

/* ---- every loss over positions, against central differences of the same loss in double, written down again here */

typedef struct written {
    int64_t positions, channels, position_step, channel_step;
    bool margin;
    const int64_t *target; /* [positions] */
    const float *weight;
} written;

static double value(const written *w, const double *z)
{
    double sum = 0, weights = 0;
    for (int64_t p = 0; p < w->positions; p++) {
        if (w->target[p] < 0 || (w->weight && w->weight[p] == 0)) continue;
        double logit[MOST], total = 0, mean = 0;
        const int64_t n = w->channels == 1 ? 2 : w->channels, y = w->target[p];
        for (int64_t k = 0; k < n; k++) logit[k] = w->channels == 1 ? k ? z[p * w->position_step] : 0 : z[p * w->position_step + k * w->channel_step];
        for (int64_t k = 0; k < n; k++) {
            total += exp(logit[k] - logit[y]);
            if (k != y) mean += logit[k] / (double)(n - 1);
        }
        const double weight = w->weight ? (double)w->weight[p] : 1;
        sum += weight * (w->margin ? mean - logit[y] : log(total));
        weights += weight;
    }
    return sum / weights;
}

/* The gradient in the direction of central differences, and as long as they say where it is the mean's. */
static void check_gradient(const fa_head *h, const written *w, const float *z, const int64_t *target, const float *weight)
{
    fa_position p[MOST];
    fa_loss loss;
    double at[MOST], want[MOST], length = 0;
    float unit[MOST], mean[MOST];
    const fa_head_row row = {z, target, weight, NULL};
    ck_assert_int_eq(fa_head_look(h, &row, p, &loss), FA_OK);
    fa_head_unit_gradient(h, &row, p, unit);
    fa_head_loss_gradient(h, &row, p, mean);
    for (int64_t k = 0; k < h->outputs; k++) at[k] = (double)z[k];
    for (int margin = 0; margin < 2; margin++) {
        written as = *w;
        as.margin = margin;
        length = 0;
        for (int64_t k = 0; k < h->outputs; k++) {
            const double kept = at[k], step = 1e-5;
            at[k] = kept + step;
            const double up = value(&as, at);
            at[k] = kept - step;
            want[k] = (up - value(&as, at)) / (2 * step);
            at[k] = kept;
            length += want[k] * want[k];
        }
        for (int64_t k = 0; k < h->outputs; k++) {
            if (!margin) ck_assert_double_eq_tol(mean[k], want[k], 1e-6);
            if (margin == w->margin) ck_assert_double_eq_tol(unit[k], want[k] / sqrt(length), 1e-6);
        }
    }
    ck_assert_double_eq_tol(norm(unit, h->outputs), 1, 1e-6);
    written likelihood = *w;
    likelihood.margin = false;
    ck_assert_double_eq_tol(loss.loss, value(&likelihood, at), 1e-6);
    if (h->kind->output != FA_OUTPUT_CLASSES) ck_assert_double_eq_tol(loss.confidence, exp(-loss.loss), 1e-12);
}

static void fill(float *z, int64_t n, uint32_t seed)
{
    for (int64_t k = 0; k < n; k++) z[k] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) / 4194304.0f - 2;
}

START_TEST(tokens_and_pixels_are_one_loss_laid_out_twice)
{
    const fa_head tokens = head_of(FA_LOSS_PER_TOKEN, 3, (const int64_t[]){2, 5, 4}), pixels = head_of(FA_LOSS_PER_PIXEL, 4, (const int64_t[]){2, 4, 1, 5});
    float z[20], turned[20], a[20], b[20];
    fill(z, 20, 1);
    for (int p = 0; p < 5; p++)
        for (int k = 0; k < 4; k++) turned[k * 5 + p] = z[p * 4 + k];
    const fa_loss one = look(&tokens, z, NULL, NULL, a), other = look(&pixels, turned, NULL, NULL, b);
    ck_assert(one.loss == other.loss && one.predicted == -1 && other.predicted == -1);
    for (int p = 0; p < 5; p++)
        for (int k = 0; k < 4; k++) ck_assert_double_eq(a[p * 4 + k], b[k * 5 + p]);
}
END_TEST

START_TEST(gradients_are_those_of_the_losses)
{
    static const float mask[6] = {1, 0, 2.5f, 1, 0.25f, 1};
    static const int64_t given[6] = {2, 1, -1, 0, 3, 3}, binary[6] = {1, 0, -1, 0, 1, 1};
    static const struct {
        int32_t loss, ndim;
        int64_t dim[4];
        written as;
    } cases[] = {{FA_LOSS_NEXT_TOKEN, 3, {2, 6, 4}, {6, 4, 4, 1, true, NULL, NULL}},
                 {FA_LOSS_PER_TOKEN, 3, {2, 6, 4}, {6, 4, 4, 1, true, NULL, NULL}},
                 {FA_LOSS_PER_PIXEL, 4, {2, 4, 2, 3}, {6, 4, 1, 6, true, NULL, NULL}},
                 {FA_LOSS_PER_PIXEL, 4, {2, 1, 2, 3}, {6, 1, 1, 6, true, NULL, NULL}},
                 {FA_LOSS_MULTI_LABEL, 2, {2, 6}, {6, 1, 1, 1, true, NULL, NULL}},
                 {FA_LOSS_CROSS_ENTROPY, 2, {2, 4}, {1, 4, 4, 1, false, NULL, NULL}},
                 {FA_LOSS_MARGIN, 2, {2, 4}, {1, 4, 4, 1, true, NULL, NULL}}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const fa_head h = head_of(cases[c].loss, cases[c].ndim, cases[c].dim);
        written w = cases[c].as;
        float z[MOST];
        ck_assert_int_eq(h.positions, w.positions);
        fill(z, h.outputs, 5);
        const int64_t *target = h.channels == 1 ? binary : given;
        w.target = target;
        check_gradient(&h, &w, z, target, NULL);
        w.weight = mask;
        check_gradient(&h, &w, z, target, mask);
        int64_t own[6];
        for (int64_t p = 0; p < h.positions; p++) { /* without a target: what is largest */
            const float *at = z + p * w.position_step;
            own[p] = h.channels == 1 && *at > 0;
            for (int64_t k = 1; k < h.channels; k++)
                if (at[k * w.channel_step] > at[own[p] * w.channel_step]) own[p] = k;
        }
        w.target = own;
        check_gradient(&h, &w, z, NULL, mask);
    }
}
END_TEST

START_TEST(confident_positions_count_as_others)
{
    /* Both positions are as good as certain, of one a probability of e^-900 is left, of the other e^-800. */
    static const float z[4] = {-900, 0, 0, 800};
    const fa_head tokens = head_of(FA_LOSS_NEXT_TOKEN, 3, (const int64_t[]){1, 2, 2}), labels = head_of(FA_LOSS_MULTI_LABEL, 2, (const int64_t[]){1, 4});
    float g[4];
    static const float following[4] = {0.5f, -0.5f, 0.5f, -0.5f}, want[4] = {0.5f, 0.5f, 0.5f, -0.5f};
    look(&tokens, z, NULL, NULL, g);
    ck_assert_mem_eq(g, following, sizeof g);
    look(&labels, z, NULL, NULL, g);
    ck_assert_mem_eq(g, want, sizeof g);
}
END_TEST

START_TEST(labels_predict_the_surest_or_none)
{
    static const float some[4] = {-1, 2, 3, -4}, none[4] = {-1, -2, -0.5f, 0}, one[1] = {0.7f};
    const fa_head h = head_of(FA_LOSS_MULTI_LABEL, 2, (const int64_t[]){1, 4}), single = head_of(FA_LOSS_MULTI_LABEL, 1, (const int64_t[]){5});
    float g[4];
    ck_assert_int_eq(look(&h, some, NULL, NULL, g).predicted, 2);
    ck_assert_int_eq(look(&h, none, NULL, NULL, g).predicted, -1);
    const fa_loss loss = look(&single, one, NULL, NULL, g);
    ck_assert_int_eq(loss.predicted, 0);
    ck_assert_double_eq_tol(loss.confidence, 1 / (1 + exp(-0.7)), 1e-7);
    ck_assert_int_eq(fa_head_classes(&h), 4);
    ck_assert(g[0] == -1);
}
END_TEST

START_TEST(nothing_that_is_asked_is_taken_on_trust)
{
    const fa_head h = head_of(FA_LOSS_PER_TOKEN, 3, (const int64_t[]){1, 2, 3}), pixels = head_of(FA_LOSS_PER_PIXEL, 3, (const int64_t[]){1, 1, 2});
    static const float z[6] = {1, 2, 3, 4, 5, 6}, zeros[2] = {0, 0};
    fa_position p[2];
    fa_loss loss = {7, 7, 7};
    ck_assert_int_eq(fa_head_look(&h, &(fa_head_row){z, (const int64_t[]){0, 3}, NULL, NULL}, p, &loss), FA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "target 3 at position 1"));
    ck_assert_int_eq(fa_head_look(&h, &(fa_head_row){z, (const int64_t[]){-1, -7}, NULL, NULL}, p, &loss), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_head_look(&h, &(fa_head_row){z, NULL, zeros, NULL}, p, &loss), FA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "mask"));
    ck_assert_int_eq(fa_head_look(&pixels, &(fa_head_row){z, (const int64_t[]){1, 2}, NULL, NULL}, p, &loss), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_head_look(&pixels, &(fa_head_row){z, (const int64_t[]){1, 0}, NULL, NULL}, p, &loss), FA_OK);
}
END_TEST

START_TEST(a_shape_that_does_not_fit_names_those_that_do)
{
    static const struct {
        int32_t loss, ndim;
        int64_t dim[4];
        const char *fits, *does_not;
    } cases[] = {{FA_LOSS_MARGIN, 4, {2, 11, 28, 28}, "per-pixel", "margin,"},       {FA_LOSS_CROSS_ENTROPY, 2, {2, 1}, "multi-label", "per-token"},
                 {FA_LOSS_NEXT_TOKEN, 2, {2, 10}, "margin", "next-token,"},          {FA_LOSS_PER_TOKEN, 2, {2, 10}, "margin", "per-token,"},
                 {FA_LOSS_PER_PIXEL, 2, {2, 10}, "margin", "per-pixel,"},            {FA_LOSS_NEXT_TOKEN, 3, {2, 1, 10}, "per-token", "next-token,"},
                 {FA_LOSS_MARGIN, 3, {2, 8, 10}, "next-token", "margin,"},           {FA_LOSS_NEXT_TOKEN, 4, {2, 3, 8, 10}, "per-pixel", "next-token,"}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        fa_view v = {.dtype = FA_FLOAT32};
        fa_head h;
        ck_assert(fa_view_set_shape(&v, cases[c].ndim, cases[c].dim));
        ck_assert_int_eq(fa_head_fit(cases[c].loss, &v, 2, "some output", false, &h), FA_ERR_SHAPE);
        const char *said = fa_error_message(), *list = strstr(said, "take this one: ");
        ck_assert_msg(strstr(said, "some output") && list && strstr(list, cases[c].fits) && !strstr(list, cases[c].does_not), "%s", said);
        ck_assert_int_eq(fa_head_fit(FA_LOSS_REGRESSION, &v, 2, "some output", true, &h), FA_ERR_SHAPE);
        ck_assert_int_eq(fa_head_fit(FA_LOSS_REGRESSION, &v, 3, "some output", false, &h), FA_ERR_SHAPE);
    }
}
END_TEST

/* The losses of numbers and what a signature starts from there, against central differences, with and without weights. */
static double numbers(bool cosine, const double *z, const double *other, const float *weight, int64_t n)
{
    double zz = 0, oo = 0, zo = 0, square = 0, weights = 0;
    for (int64_t k = 0; k < n; k++) {
        const double w = weight ? (double)weight[k] : 1;
        zz += w * z[k] * z[k], oo += w * other[k] * other[k], zo += w * z[k] * other[k];
        square += w * (z[k] - other[k]) * (z[k] - other[k]), weights += w;
    }
    return cosine ? 1 - zo / sqrt(zz * oo) : square / (2 * weights);
}

START_TEST(numbers_are_held_against_themselves)
{
    enum { N = 7 };
    static const float weight[N] = {1, 0, 2, 1, 0.5f, 1, 3};
    const double step = 1e-6;
    for (int c = 0; c < 4; c++) {
        const bool cosine = c % 2;
        const fa_head h = head_of(cosine ? FA_LOSS_EMBEDDING : FA_LOSS_REGRESSION, 3, (const int64_t[]){2, N, 1});
        float z[N], own[N], g[N], unit[N];
        double at[N], other[N], length = 0;
        fa_position p[N];
        fa_loss loss;
        fill(z, N, 3), fill(own, N, 4);
        fa_head_row row = {z, NULL, c < 2 ? NULL : weight, own};
        ck_assert_int_eq(fa_head_look(&h, &row, p, &loss), FA_OK);
        for (int k = 0; k < N; k++) at[k] = (double)z[k], other[k] = (double)own[k];
        ck_assert_double_eq_tol(loss.loss, numbers(cosine, at, other, row.weight, N), 1e-9);
        ck_assert(loss.predicted == -1 && isnan(loss.confidence));
        fa_head_loss_gradient(&h, &row, p, g);
        fa_head_unit_gradient(&h, &row, p, unit);
        for (int k = 0; k < N; k++) {
            const double kept = at[k], w = row.weight ? (double)weight[k] : 1;
            at[k] = kept + step;
            const double up = numbers(cosine, at, other, row.weight, N);
            at[k] = kept - step;
            ck_assert_double_eq_tol((double)g[k], (up - numbers(cosine, at, other, row.weight, N)) / (2 * step), 1e-6);
            at[k] = kept;
            length += w * w;
        }
        for (int k = 0; k < N; k++) ck_assert_double_eq_tol(fabs((double)unit[k]), (row.weight ? (double)weight[k] : 1) / sqrt(length), 1e-6);
        float elsewhere[N]; /* the same question is put to every input */
        fa_head_unit_gradient(&h, &(fa_head_row){own, NULL, row.weight, NULL}, p, elsewhere);
        ck_assert_mem_eq(unit, elsewhere, sizeof unit);
        /* At its own output the loss is flat, which is why a signature does not start from it. */
        row.own = z;
        ck_assert_int_eq(fa_head_look(&h, &row, p, &loss), FA_OK);
        fa_head_loss_gradient(&h, &row, p, g);
        ck_assert_double_eq_tol(loss.loss, 0, 1e-12);
        ck_assert(norm(g, N) < 1e-6);
        /* A vector of length 0 has no cosine. */
        memset(z, 0, sizeof z);
        row.own = own;
        ck_assert_int_eq(fa_head_look(&h, &row, p, &loss), FA_OK);
        fa_head_loss_gradient(&h, &row, p, g);
        ck_assert(isfinite(loss.loss) && isfinite(norm(g, N)) && (!cosine || norm(g, N) == 0));
    }
}
END_TEST

START_TEST(names_and_numbers_agree)
{
    for (int32_t i = 0; i < FA_LOSS_COUNT; i++) ck_assert_int_eq(fa_loss_number(fa_loss_kind_of(i)->name), i);
    ck_assert_int_eq(fa_loss_number("hinge"), -1);
    ck_assert_int_eq(fa_loss_number(NULL), -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loss");
    TCase *t = tcase_create("gradient at the output");
    tcase_add_test(t, margin_asks_every_input_of_a_class_the_same);
    tcase_add_test(t, cross_entropy_looks_at_the_runner_up);
    tcase_add_test(t, two_classes_know_one_loss);
    tcase_add_test(t, tokens_and_pixels_are_one_loss_laid_out_twice);
    tcase_add_test(t, gradients_are_those_of_the_losses);
    tcase_add_test(t, confident_positions_count_as_others);
    tcase_add_test(t, labels_predict_the_surest_or_none);
    tcase_add_test(t, nothing_that_is_asked_is_taken_on_trust);
    tcase_add_test(t, a_shape_that_does_not_fit_names_those_that_do);
    tcase_add_test(t, numbers_are_held_against_themselves);
    tcase_add_test(t, names_and_numbers_agree);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
