/* SPDX-License-Identifier: Apache-2.0 */
/* If, Loop and Scan: what they compute once their bodies are in the graph, their gradients, and what is turned away. */
#include <check.h>
#include <fattr/fattr.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan.h"
#include "one_context.h"
#include "onnx/onnx.h"
#include "ops/table.h"

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

/* Bound inputs are part of the model: they decide branches when it is loaded, and no run is given them. */
START_TEST(bound_inputs)
{
    const uint8_t p = _i & 1, q = (uint8_t)(_i >> 1);
    const float want[][2] = {{3, -4}, {-9, -16}, {3, -4}, {4, -2}}, x[] = {3, -4};
    const fa_array bound[] = {{.data = &q, .dtype = FA_BOOL, .name = "q"}, {.data = &p, .dtype = FA_BOOL, .name = "p"}};
    const fa_array given = {.data = x, .shape = (int64_t[]){2}, .ndim = 1, .dtype = FA_FLOAT32, .name = "x"};
    fa_model_options o;
    fa_model_options_init(&o, sizeof o);
    o.bound = bound;
    o.bound_count = 2;
    fa_model *m, *open;
    fa_tensor *t;
    fa_array y;
    fa_model_info info = {.struct_size = sizeof info};
    uint8_t digest[FA_DIGEST_SIZE], other[FA_DIGEST_SIZE];
    ck_assert_msg(fa_model_load_file(context, path_of("branches"), &o, &m) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_model_get_info(m, &info), FA_OK);
    ck_assert_int_eq(info.input_count, 1);
    ck_assert_msg(fa_model_run(m, &given, 1, NULL, &t) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_tensor_view(t, &y), FA_OK);
    for (int i = 0; i < 2; i++) ck_assert_float_eq_tol(((const float *)y.data)[i], want[_i][i], 1e-5f);
    ck_assert_int_eq(fa_model_load_file(context, path_of("branches"), NULL, &open), FA_OK);
    ck_assert_int_eq(fa_model_digest(m, digest), FA_OK);
    ck_assert_int_eq(fa_model_digest(open, other), FA_OK);
    ck_assert(memcmp(digest, other, sizeof digest) != 0);
    fa_tensor_release(t);
    fa_model_release(open);
    fa_model_release(m);
}
END_TEST

/* Every allocation of loading such a model may fail. */
static long calls, fail_at;

static void *count_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    return calls++ != fail_at && posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void count_free(void *user, void *block, size_t size, size_t align)
{
    (void)user, (void)size, (void)align;
    free(block);
}

START_TEST(binding_survives_failing_memory)
{
    const uint8_t yes = 1;
    const fa_array bound[] = {{.data = &yes, .dtype = FA_BOOL, .name = "q"}, {.data = &yes, .dtype = FA_BOOL, .name = "p"}};
    fa_context_options co;
    fa_context_options_init(&co, sizeof co);
    co.alloc = count_alloc;
    co.free = count_free;
    fa_status status = FA_ERR_MEMORY;
    for (long n = 1; status != FA_OK; n++) { /* call 0 makes the context */
        fa_context *counted;
        fa_model *m = NULL;
        fa_model_options o;
        fa_model_options_init(&o, sizeof o);
        o.bound = bound;
        o.bound_count = 2;
        calls = 0;
        fail_at = n;
        ck_assert_int_eq(fa_context_create(&co, &counted), FA_OK);
        status = fa_model_load_file(counted, path_of("branches"), &o, &m);
        ck_assert_msg(status == FA_OK || status == FA_ERR_MEMORY, "allocation %ld: %s", n, fa_error_message());
        fa_model_release(m);
        ck_assert_uint_eq(fa_context_memory_used(counted), 0);
        fa_context_release(counted);
    }
    ck_assert_int_gt(calls, 20);
}
END_TEST

START_TEST(bindings_turned_away)
{
    const uint8_t no = 0;
    const float nan[] = {NAN, 0}, x[] = {1, 2};
    const int64_t two = 2, three = 3, below = -1;
    const struct {
        fa_array array[3];
        int32_t count;
        fa_status status;
        const char *words;
    } cases[] = {
        {{{.data = &no, .dtype = FA_BOOL}}, 1, FA_ERR_ARGUMENT, "bound array 0: 'name' is NULL"},
        {{{.data = &no, .dtype = FA_BOOL, .name = "none"}}, 1, FA_ERR_ARGUMENT, "no input 'none'"},
        {{{.data = &no, .dtype = FA_BOOL, .name = "p"}, {.data = &no, .dtype = FA_BOOL, .name = "p"}}, 2, FA_ERR_ARGUMENT, "'p' is bound twice"},
        {{{.data = x, .dtype = FA_FLOAT32, .name = "p"}}, 1, FA_ERR_DTYPE, "bound input 'p': float32"},
        {{{.data = &no, .dtype = 99, .name = "p"}}, 1, FA_ERR_DTYPE, "bound input 'p'"},
        {{{.data = x, .shape = &two, .ndim = 1, .dtype = FA_BOOL, .name = "p"}}, 1, FA_ERR_SHAPE, "bound input 'p': shape [2]"},
        {{{.data = x, .shape = &three, .ndim = 1, .dtype = FA_FLOAT32, .name = "x"}}, 1, FA_ERR_SHAPE, "bound input 'x': shape [3]"},
        {{{.data = x, .shape = &below, .ndim = 1, .dtype = FA_FLOAT32, .name = "x"}}, 1, FA_ERR_SHAPE, "bound input 'x': dimension 0 is -1"},
        {{{.data = NULL, .dtype = FA_BOOL, .name = "p"}}, 1, FA_ERR_ARGUMENT, "bound input 'p': 'data' is NULL"},
        {{{.data = nan, .shape = &two, .ndim = 1, .dtype = FA_FLOAT32, .name = "x"}}, 1, FA_ERR_NOT_FINITE, "bound input 'x': element 0"},
        {{{.data = &no, .dtype = FA_BOOL, .name = "p"}, {.data = &no, .dtype = FA_BOOL, .name = "q"}, {.data = x, .shape = &two, .ndim = 1, .dtype = FA_FLOAT32, .name = "x"}}, 3,
         FA_ERR_ARGUMENT, "all inputs"},
        {{{0}}, -1, FA_ERR_ARGUMENT, "bound_count"},
    };
    fa_model *m = NULL;
    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        const bool missing = i == sizeof cases / sizeof *cases;
        fa_model_options o;
        fa_model_options_init(&o, sizeof o);
        o.bound = missing ? NULL : cases[i].array;
        o.bound_count = missing ? 1 : cases[i].count;
        fa_status status = fa_model_load_file(context, path_of("branches"), &o, &m), want = missing ? FA_ERR_ARGUMENT : cases[i].status;
        ck_assert_msg(status == want, "case %zu gave %s: %s", i, fa_status_name(status), fa_error_message());
        ck_assert_msg(strstr(fa_error_message(), missing ? "bound is NULL" : cases[i].words) != NULL, "case %zu: '%s'", i, fa_error_message());
        ck_assert_ptr_null(m);
    }
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
    tcase_add_loop_test(tcase, bound_inputs, 0, 4);
    tcase_add_test(tcase, binding_survives_failing_memory);
    tcase_add_test(tcase, bindings_turned_away);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
