/* SPDX-License-Identifier: Apache-2.0 */
/* Networks that normalise by the batch's own statistics, run slice by slice of the batch: what the whole gives. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/program.h"
#include "backend/varied.h"
#include "graph/plan_private.h"
#include "kernels/kernels.h"
#include "one_context.h"
#include "random_network.h"

#define NETWORKS 60
#define ROWS 7

/* Logits and the gradient of a fixed direction in them, with regard to all weights. */
typedef struct outcome {
    float *logits, *gradient;
    int32_t joined; /* turns that share a stretch with another, forward and backward */
} outcome;

static outcome run_of(const fa_program *p, const fa_view *in, const float *x, int64_t slice)
{
    const fa_parameters *q = &p->parameters;
    const fa_plan_request r = {.graph = p->training.graph, .context = context, .ops = p->ops, .inputs = in, .wanted = &p->logits, .n_wanted = 1, .loss = p->logits,
                               .wrt = q->value, .n_wrt = q->count, .slice = slice};
    outcome out = {.logits = calloc(ROWS * CLASSES, sizeof(float)), .gradient = calloc((size_t)q->weights, sizeof(float))};
    fa_plan *plan;
    fa_run *run;
    ck_assert_msg(fa_plan_create(&r, &plan) == FA_OK, "%s", fa_error_message());
    out.joined = plan->forwards.n_turn + plan->backwards.n_turn - plan->forwards.n_stretch - plan->backwards.n_stretch;
    ck_assert_int_eq(fa_run_create(plan, context, &run), FA_OK);
    for (int32_t i = 0; i < q->count; i++) fa_run_set(run, q->value[i], q->trained + q->parameter[i].offset);
    for (int32_t i = 0; i < q->n_statistic; i++) fa_run_set(run, q->statistic[i], q->trained + q->weights + q->statistic_at[i]);
    fa_run_prepare(run);
    for (int again = 0; again < 2; again++) { /* the second time over what the first has left */
        memcpy(fa_run_input(run, 0), x, (size_t)in->count * sizeof *x);
        fa_run_forward(run);
        memcpy(out.logits, fa_run_value(run, p->logits)->data, ROWS * CLASSES * sizeof(float));
        fa_normal(3, 0, 0, ROWS * CLASSES, fa_run_loss_gradient(run));
        fa_run_backward(run, NULL, NULL);
    }
    for (int32_t i = 0; i < q->count; i++)
        if (fa_run_gradient(run, i)) memcpy(out.gradient + q->parameter[i].offset, fa_run_gradient(run, i), (size_t)q->parameter[i].count * sizeof(float));
    fa_run_destroy(run);
    fa_plan_destroy(plan);
    return out;
}

static void check_close(const float *got, const float *want, int64_t n, uint64_t seed, int64_t slice, const char *what)
{
    double apart = 0, length = 0;
    for (int64_t i = 0; i < n; i++) {
        apart += pow((double)got[i] - (double)want[i], 2);
        length += pow((double)want[i], 2);
    }
    ck_assert_msg(sqrt(apart) <= 2e-5 * sqrt(length), "network %d, slices of %d: %s are off by %g of their length", (int)seed, (int)slice, what, sqrt(apart / length));
}

START_TEST(slices_make_the_whole)
{
    static const int64_t slices[] = {1, 2, 3, ROWS, 100};
    int32_t cut = 0;
    for (uint64_t seed = 0; seed < NETWORKS; seed++) {
        int64_t shape[4];
        int32_t logits;
        fa_program *p;
        fa_view in = {.dtype = FA_FLOAT32};
        fa_graph *base = empty_graph(context), *g = random_network(base, seed, shape, &logits);
        shape[0] = ROWS;
        fa_view_set_shape(&in, 4, shape);
        if (fa_program_create_varied(g, logits, fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE, &(fa_varied_options){.reestimate = true}, &p) == FA_OK) { /* there is a BatchNormalization */
            float *x = malloc((size_t)in.count * sizeof *x);
            fa_normal(5, seed, 0, in.count, x);
            outcome whole = run_of(p, &in, x, 0);
            ck_assert_int_eq(whole.joined, 0);
            for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
                outcome parts = run_of(p, &in, x, slices[i]);
                check_close(parts.logits, whole.logits, ROWS * CLASSES, seed, slices[i], "logits");
                check_close(parts.gradient, whole.gradient, p->parameters.weights, seed, slices[i], "gradients");
                cut += parts.joined > 0;
                free(parts.logits), free(parts.gradient);
            }
            free(whole.logits), free(whole.gradient), free(x);
            fa_program_destroy(p);
        }
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    ck_assert_msg(cut > NETWORKS || !fa_kernels_available(), "%d runs were cut", cut);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slices");
    TCase *t = tcase_create("slices");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, slices_make_the_whole);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
