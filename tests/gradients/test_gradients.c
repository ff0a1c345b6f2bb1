/* SPDX-License-Identifier: Apache-2.0 */
/* Every operator's gradient, in double precision, against central finite differences of its outputs weighted by fixed numbers. */
#include "../unit/one_context.h"
#include "trial.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP 1e-5
#define TOLERANCE 1e-6 /* of the gradient's norm */
#define SAME 1e-12     /* between two ways to ask for one gradient */

static const gradient_case *const tables[] = {gradient_cases_elementwise, gradient_cases_reduce, gradient_cases_layout, gradient_cases_layers};
#define TABLES ((int)(sizeof tables / sizeof tables[0]))

/* Weight of element `i` of output `o`: between 0.5 and 1.5 either way. A plain sum would not see, say, softmax. */
static double weight(int32_t o, int64_t i)
{
    double v = sin(12.9898 * (double)(i + 1) + 78.233 * (o + 1)) * 43758.5453;
    v -= floor(v);
    return v < 0.5 ? 0.5 + 2 * v : -2 * v + 0.5;
}

static double loss(const trial *t, const fa_view *out, const bool *wanted)
{
    double sum = 0;
    trial_forward(t, out, wanted);
    for (int32_t o = 0; o < t->node.n_out; o++)
        for (int64_t i = 0; fa_dtype_is_real(out[o].dtype) && (!wanted || wanted[o]) && i < out[o].count; i++)
            sum += weight(o, i) * ((const double *)out[o].data)[i];
    return sum;
}

/* The gradient at one input, numerically. */
static double *differences(const trial *t, int32_t input, const fa_view *out, const bool *wanted)
{
    double *x = t->in[input].data, *d = malloc((size_t)t->in[input].count * sizeof *d + 1);
    for (int64_t i = 0; i < t->in[input].count; i++) {
        double at = x[i], up = at + STEP, down = at - STEP;
        x[i] = up;
        double above = loss(t, out, wanted);
        x[i] = down;
        double below = loss(t, out, wanted);
        x[i] = at;
        d[i] = (above - below) / (up - down);
    }
    return d;
}

static void compare(const trial *t, const char *what, int32_t input, const double *have, const double *want, double offset, double tolerance)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < t->in[input].count; i++) {
        error += (have[i] - offset - want[i]) * (have[i] - offset - want[i]);
        norm += want[i] * want[i];
    }
    /* Some gradients are zero throughout; the absolute part is for them. */
    if (!(sqrt(error) <= tolerance * sqrt(norm) + tolerance / 1000))
        ck_abort_msg("%s %d, inputs '%s', attributes '%s': %s, gradient of input %d: error %g beside a norm of %g", t->from->op, t->from->opset,
                     t->from->inputs, t->from->attrs ? t->from->attrs : "", what, input, sqrt(error), sqrt(norm));
}

typedef struct gradients {
    double *at[MOST_IN];
} gradients;

/* Memory for gradients as the operator's contract wants it: zeros to add to, NaN to overwrite, or `offset` to add to. */
static gradients room(const trial *t, bool accumulate, double offset)
{
    gradients g = {{NULL}};
    for (int32_t i = 0; i < t->node.n_in; i++) {
        if (!t->varies[i]) continue;
        g.at[i] = malloc((size_t)t->in[i].count * sizeof(double) + 1);
        double v = accumulate ? offset : t->op->flags & FA_OP_OVERWRITES ? NAN : 0;
        for (int64_t k = 0; k < t->in[i].count; k++) g.at[i][k] = v;
    }
    return g;
}

static void release(gradients *g)
{
    for (int i = 0; i < MOST_IN; i++) free(g->at[i]);
}

/* Asks for the gradients of the inputs in `g` with the weights as gradient of the wanted outputs. */
static void analytic(const trial *t, const fa_view *out, const bool *wanted, const gradients *g, bool accumulate)
{
    void *grad_in[MOST_IN];
    double *grad_out[MOST_OUT] = {NULL};
    bool accumulates[MOST_IN];
    for (int32_t i = 0; i < t->node.n_in; i++) {
        grad_in[i] = g->at[i];
        accumulates[i] = accumulate;
    }
    for (int32_t o = 0; o < t->node.n_out; o++) {
        if (!fa_dtype_is_real(out[o].dtype) || (wanted && !wanted[o])) continue;
        grad_out[o] = malloc((size_t)out[o].count * sizeof(double) + 1);
        for (int64_t i = 0; i < out[o].count; i++) grad_out[o][i] = weight(o, i);
    }
    trial_backward(t, out, wanted, grad_in, (const void *const *)grad_out, accumulates);
    for (int32_t o = 0; o < t->node.n_out; o++) free(grad_out[o]);
}

/* A view's output is its input under another shape, and every element of every output has been written. */
static void check_outputs(const trial *t)
{
    for (int32_t o = 0; o < t->node.n_out; o++)
        for (int64_t i = 0; fa_dtype_is_real(t->out[o].dtype) && i < t->out[o].count; i++)
            ck_assert_msg(isfinite(((const double *)t->out[o].data)[i]), "%s %d, inputs '%s': output %d is not finite", t->from->op, t->from->opset,
                          t->from->inputs, o);
    if (!(t->op->flags & FA_OP_VIEW)) return;
    ck_assert_int_eq(t->out[0].count, t->in[0].count);
    ck_assert_mem_eq(t->out[0].data, t->in[0].data, (size_t)t->in[0].count * sizeof(double));
}

/* Each output alone: the others are neither wanted nor do they have a gradient. */
static void check_outputs_alone(const trial *t)
{
    for (int32_t o = 0; o < t->node.n_out; o++) {
        if (!fa_dtype_is_real(t->out[o].dtype)) continue;
        fa_view out[MOST_OUT];
        bool wanted[MOST_OUT] = {false};
        wanted[o] = true;
        memcpy(out, t->out, sizeof out);
        out[o].data = filled(&out[o]);
        gradients g = room(t, false, 0);
        loss(t, out, wanted);
        ck_assert_mem_eq(out[o].data, t->out[o].data, (size_t)out[o].count * sizeof(double));
        analytic(t, out, wanted, &g, false);
        for (int32_t i = 0; i < t->node.n_in; i++) {
            if (!t->varies[i]) continue;
            double *want = differences(t, i, out, wanted);
            compare(t, "one output alone", i, g.at[i], want, 0, TOLERANCE);
            free(want);
        }
        release(&g);
        free(out[o].data);
    }
}

static void check_case(const gradient_case *c)
{
    trial t;
    if (trial_begin(&t, context, c) != FA_OK) fail_case(c, "refused:", fa_error_message());
    if (!t.op->backward) fail_case(c, "no gradient:", c->op);
    loss(&t, t.out, NULL);
    check_outputs(&t);

    gradients g = room(&t, false, 0), sum = room(&t, true, 3);
    analytic(&t, t.out, NULL, &g, false);
    analytic(&t, t.out, NULL, &sum, true);
    for (int32_t i = 0; i < t.node.n_in; i++) {
        if (!t.varies[i]) continue;
        gradients alone = {{NULL}}, again = room(&t, false, 0);
        alone.at[i] = again.at[i];
        analytic(&t, t.out, NULL, &alone, false);
        compare(&t, "one input alone", i, alone.at[i], g.at[i], 0, SAME);
        compare(&t, "added to what was there", i, sum.at[i], g.at[i], 3, 100 * SAME);
        release(&again);
    }
    /* Last, since forward is run again and again: the outputs above were those of the inputs as they are. */
    fa_view out[MOST_OUT];
    for (int32_t o = 0; o < t.node.n_out; o++) {
        out[o] = t.out[o];
        out[o].data = filled(&out[o]);
    }
    for (int32_t i = 0; i < t.node.n_in; i++) {
        if (!t.varies[i]) continue;
        double *want = differences(&t, i, out, NULL);
        compare(&t, "finite differences", i, g.at[i], want, 0, TOLERANCE);
        free(want);
    }
    for (int32_t o = 0; o < t.node.n_out; o++) free(out[o].data);
    if (t.node.n_out > 1) check_outputs_alone(&t);
    release(&g);
    release(&sum);
    trial_end(&t);
}

static int count_cases(const gradient_case *table)
{
    int n = 0;
    while (table[n].op) n++;
    return n;
}

#define TABLE_TEST(index)                                                                                                                                \
    START_TEST(cases_##index)                                                                                                                            \
    {                                                                                                                                                    \
        check_case(&tables[index][_i]);                                                                                                                  \
    }                                                                                                                                                    \
    END_TEST

TABLE_TEST(0)
TABLE_TEST(1)
TABLE_TEST(2)
TABLE_TEST(3)

/* Every entry of the operator table that has a gradient is checked by some case. */
START_TEST(complete)
{
    char missing[4096] = "";
    for (const fa_op *const *family = fa_op_table_f64.families; *family; family++) {
        for (const fa_op *op = *family; op->name; op++) {
            bool found = !op->backward;
            for (int k = 0; k < TABLES && !found; k++) {
                for (const gradient_case *c = tables[k]; c->op && !found; c++) {
                    const char *colon = strchr(c->op, ':');
                    char domain[64] = "";
                    if (colon) memcpy(domain, c->op, (size_t)(colon - c->op));
                    fa_node node = {.op = colon ? colon + 1 : c->op, .domain = domain, .opset = c->opset};
                    found = fa_op_find(&fa_op_table_f64, &node) == op;
                }
            }
            if (!found && strlen(missing) < sizeof missing - 100)
                snprintf(missing + strlen(missing), 100, " %s%s%s %d", op->domain, op->domain[0] ? ":" : "", op->name, op->since);
        }
    }
    ck_assert_msg(!missing[0], "operators with a gradient and no case:%s", missing);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradients");
    TCase *tcase = tcase_create("cases");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, cases_0, 0, count_cases(tables[0]));
    tcase_add_loop_test(tcase, cases_1, 0, count_cases(tables[1]));
    tcase_add_loop_test(tcase, cases_2, 0, count_cases(tables[2]));
    tcase_add_loop_test(tcase, cases_3, 0, count_cases(tables[3]));
    tcase_add_test(tcase, complete);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
