/* SPDX-License-Identifier: Apache-2.0 */
/* If, Loop and Scan: what they compute once their bodies are in the graph, their gradients, and what is turned away. */
#include <check.h>
#include <fattr/fattr.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/plan.h"
#include "onnx/onnx.h"
#include "ops/table.h"

static fa_context *context;

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, FA_SOURCE_ROOT "/tests/fuzz/corpus/onnx/%s.onnx", name);
    return path;
}

static fa_graph *read_seed(const char *name)
{
    fa_graph *g = NULL;
    ck_assert_msg(fa_onnx_read_file(context, path_of(name), &g) == FA_OK, "%s", fa_error_message());
    return g;
}

static fa_view real(int32_t ndim, int64_t a, int64_t b)
{
    fa_view v = {.dtype = FA_FLOAT32};
    ck_assert(fa_view_set_shape(&v, ndim, (int64_t[]){a, b}));
    return v;
}

/* An integer or bool that is known at plan time. */
static fa_view known(int32_t dtype, int64_t *value)
{
    fa_view v = {.dtype = dtype, .count = 1, .data = value};
    return v;
}

/* A plan for every output with input `x` written, its gradient at output 0 asked for by value `wrt` (-1: none). */
typedef struct trial {
    fa_graph *graph;
    fa_plan *plan;
    fa_run *run;
} trial;

static void trial_begin(trial *t, const char *name, const fa_view *inputs, const char *wrt)
{
    t->graph = read_seed(name);
    int32_t value = wrt ? fa_graph_find_value(t->graph, wrt) : -1;
    fa_plan_request r = {.graph = t->graph, .ops = &fa_op_table_f32, .inputs = inputs, .wanted = t->graph->output, .n_wanted = t->graph->n_output,
                         .loss = wrt ? t->graph->output[0] : -1, .wrt = &value, .n_wrt = wrt != NULL};
    ck_assert_msg(fa_plan_create(&r, &t->plan) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_run_create(t->plan, context, &t->run), FA_OK);
}

static void trial_end(trial *t)
{
    fa_run_destroy(t->run);
    fa_plan_destroy(t->plan);
    fa_graph_destroy(t->graph);
}

static void refused(const char *name, const fa_view *inputs, fa_status status, const char *words)
{
    fa_graph *g = read_seed(name);
    fa_plan *plan = NULL;
    fa_plan_request r = {.graph = g, .ops = &fa_op_table_f32, .inputs = inputs, .wanted = g->output, .n_wanted = g->n_output, .loss = -1};
    ck_assert_int_eq(fa_plan_create(&r, &plan), status);
    ck_assert_msg(strstr(fa_error_message(), words) != NULL, "'%s' does not say '%s'", fa_error_message(), words);
    fa_graph_destroy(g);
}

static void check_floats(const fa_run *run, int32_t value, const float *want, int64_t n)
{
    const fa_view *v = fa_run_value(run, value);
    ck_assert_int_eq(v->count, n);
    for (int64_t i = 0; i < n; i++) ck_assert_float_eq_tol(((const float *)v->data)[i], want[i], 1e-5f);
}

START_TEST(branches)
{
    int64_t p = _i & 1, q = _i >> 1;
    const fa_view inputs[] = {known(FA_BOOL, &p), known(FA_BOOL, &q), real(1, 2, 0)};
    const float want[][2] = {{3, -4}, {-9, -16}, {3, -4}, {4, -2}}, slope[][2] = {{1, 1}, {-6, 8}, {1, 1}, {1, 1}};
    trial t;
    trial_begin(&t, "branches", inputs, "x");
    float *x = fa_run_input(t.run, 2);
    x[0] = 3;
    x[1] = -4;
    fa_run_forward(t.run);
    check_floats(t.run, t.graph->output[0], want[_i], 2);
    float *g = fa_run_loss_gradient(t.run);
    g[0] = g[1] = 1;
    fa_run_backward(t.run, NULL, NULL);
    for (int i = 0; i < 2; i++) ck_assert_float_eq_tol(((const float *)fa_run_gradient(t.run, 0))[i], slope[_i][i], 1e-5f);
    trial_end(&t);
}
END_TEST

/* y = x W for each round, negated after the second. */
static void rounds_by_hand(const double *w, const float *x, int n, double *y, double *all)
{
    double s[2] = {(double)x[0], (double)x[1]};
    for (int k = 0; k < n; k++) {
        double t[2] = {s[0] * w[0] + s[1] * w[2], s[0] * w[1] + s[1] * w[3]};
        memcpy(all + 2 * k, t, sizeof t);
        for (int i = 0; i < 2; i++) s[i] = k == 1 ? -t[i] : t[i];
    }
    memcpy(y, s, sizeof s);
}

START_TEST(loop)
{
    int64_t n = _i;
    const fa_view inputs[] = {known(FA_INT64, &n), real(2, 1, 2)};
    double w[] = {0.5, -1, 2, 0.25}, y[2], all[20] = {0};
    float want[20];
    trial t;
    trial_begin(&t, "loop", inputs, "w");
    float *x = fa_run_input(t.run, 1);
    x[0] = 1;
    x[1] = -3;
    fa_run_forward(t.run);
    rounds_by_hand(w, x, _i, y, all);
    for (int i = 0; i < 20; i++) want[i] = (float)(i < 2 ? y[i] : all[i - 2]);
    check_floats(t.run, t.graph->output[0], want, 2);
    check_floats(t.run, t.graph->output[1], want + 2, 2 * n);
    float *g = fa_run_loss_gradient(t.run);
    g[0] = 1;
    g[1] = -2;
    fa_run_backward(t.run, NULL, NULL);
    const float *dw = fa_run_gradient(t.run, 0); /* the rounds share one weight, and it has one gradient */
    for (int i = 0; i < 4; i++) {
        double up[2], down[2], step = 1e-6, at = w[i];
        w[i] = at + step;
        rounds_by_hand(w, x, _i, up, all);
        w[i] = at - step;
        rounds_by_hand(w, x, _i, down, all);
        w[i] = at;
        double slope = ((up[0] - down[0]) - 2 * (up[1] - down[1])) / (2 * step);
        ck_assert_double_eq_tol((double)dw[i], slope, 1e-3);
    }
    trial_end(&t);
}
END_TEST

START_TEST(scan)
{
    const fa_view inputs[] = {real(1, 2, 0), real(2, 2, 3)};
    const float y[] = {16, 25}, z[] = {16, 2 * 15, 3 * 13, 4 * 25, 5 * 21, 6 * 16};
    trial t;
    trial_begin(&t, "scan", inputs, NULL);
    float *s = fa_run_input(t.run, 0), *x = fa_run_input(t.run, 1);
    s[0] = s[1] = 10;
    for (int i = 0; i < 6; i++) x[i] = (float)(i + 1);
    fa_run_forward(t.run);
    check_floats(t.run, t.graph->output[0], y, 2);
    check_floats(t.run, t.graph->output[1], z, 6);
    trial_end(&t);
}
END_TEST

START_TEST(turned_away)
{
    int64_t many = 1000000, none = 0;
    const fa_view open[] = {{.dtype = FA_BOOL, .count = 1}, {.dtype = FA_BOOL, .count = 1}, real(1, 2, 0)};
    const fa_view long_loop[] = {known(FA_INT64, &many), real(2, 1, 2)}, no_loop[] = {known(FA_INT64, &none), real(2, 1, 2)};
    const fa_view endless = real(1, 2, 0), unequal[] = {real(1, 3, 0), real(2, 2, 3)};
    fa_graph *g;
    refused("branches", open, FA_ERR_UNSUPPORTED, "node 'choice' (If): the condition (input 0) is computed from the data");
    refused("loop", long_loop, FA_ERR_LIMIT, "node 'rounds' (Loop): 1000000 rounds");
    refused("loop", no_loop, FA_ERR_UNSUPPORTED, "output 1 has no declared shape");
    refused("endless", &endless, FA_ERR_UNSUPPORTED, "its body computes whether it goes on");
    refused("scan", unequal, FA_ERR_SHAPE, "input 's0'");
    ck_assert_int_eq(fa_onnx_read_file(context, path_of("deep"), &g), FA_ERR_LIMIT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "nested deeper than 8"));
}
END_TEST

/* What initialisers decide is unrolled when the model is loaded: its layers are the model's. */
START_TEST(layers)
{
    fa_model *m;
    fa_model_info info = {.struct_size = sizeof info};
    fa_layer_info layer;
    ck_assert_msg(fa_model_load_file(context, path_of("rounds"), NULL, &m) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_model_get_info(m, &info), FA_OK);
    ck_assert_int_eq(info.layer_count, 3);
    ck_assert_int_eq(fa_model_get_layer(m, 2, &layer), FA_OK);
    ck_assert_str_eq(layer.name, "rounds.2/layer");
    fa_model_release(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unroll");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, branches, 0, 4);
    tcase_add_loop_test(tcase, loop, 1, 5);
    tcase_add_test(tcase, scan);
    tcase_add_test(tcase, turned_away);
    tcase_add_test(tcase, layers);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
