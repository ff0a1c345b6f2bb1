/* SPDX-License-Identifier: Apache-2.0 */
/* Transformers as exporters write them, with open batch and sequence: their shape arithmetic is worked out when they are planned, their outputs are
 * NumPy's, and a weight that is used twice has one gradient. */
#include <check.h>
#include <fattr/fattr.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../data/transformers.h"
#include "graph/plan.h"
#include "one_context.h"
#include "onnx/onnx.h"
#include "ops/table.h"

#define WORDS 11
enum { VALUES = sizeof transformer_values / sizeof transformer_values[0] };

static fa_graph *read_graph(const char *path)
{
    fa_graph *g = NULL;
    ck_assert_msg(fa_onnx_read_file(context, path, &g) == FA_OK, "%s", fa_error_message());
    return g;
}

/* A run of the graph on the tokens of transformer_values[k], after forward. */
typedef struct trial {
    fa_plan *plan;
    fa_run *run;
} trial;

static trial begin(const fa_graph *g, int k, int32_t wrt)
{
    int64_t batch = transformer_values[k].batch, sequence = transformer_values[k].sequence;
    fa_view input[2] = {{.dtype = FA_INT64}, {.dtype = FA_INT64}};
    trial t;
    for (int i = 0; i < 2; i++) fa_view_set_shape(&input[i], 2, (int64_t[]){batch, sequence});
    fa_plan_request r = {.graph = g, .ops = &fa_op_table_f32, .inputs = input, .wanted = g->output, .n_wanted = 1, .loss = wrt < 0 ? -1 : g->output[0],
                         .wrt = &wrt, .n_wrt = wrt >= 0};
    ck_assert_msg(fa_plan_create(&r, &t.plan) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_run_create(t.plan, context, &t.run), FA_OK);
    int64_t *ids = fa_run_input(t.run, 0), *mask = g->n_input > 1 ? fa_run_input(t.run, 1) : NULL;
    for (int64_t i = 0; i < batch * sequence; i++) {
        int64_t s = i / sequence, at = i % sequence;
        ids[i] = (3 * s + 5 * at + 2) % WORDS;
        if (mask) mask[i] = s % 2 == 0 || at + 1 < sequence || sequence == 1;
    }
    fa_run_forward(t.run);
    return t;
}

static void end(trial *t)
{
    fa_run_destroy(t->run);
    fa_plan_destroy(t->plan);
}

static void check_logits(const char *path, int k, const float *want)
{
    fa_graph *g = read_graph(path);
    trial t = begin(g, k, -1);
    const fa_view *y = fa_run_value(t.run, g->output[0]);
    ck_assert_int_eq(y->dim[0], transformer_values[k].batch);
    for (int64_t i = 0; i < y->count; i++) ck_assert_float_eq_tol(((const float *)y->data)[i], want[i], 2e-5f);
    /* Nothing of the shape arithmetic is left to a run. */
    for (int32_t v = 0; v < g->n_value; v++) {
        const fa_view *view = fa_plan_value(t.plan, v);
        bool is_input = false;
        for (int32_t i = 0; i < g->n_input; i++) is_input |= g->input[i] == v;
        if (view && view->dtype == FA_INT64 && view->ndim <= 1) ck_assert_msg(is_input || view->data, "'%s' is computed by every run", g->value[v].name);
    }
    end(&t);
    fa_graph_destroy(g);
}

START_TEST(decoder)
{
    check_logits(FA_SOURCE_ROOT "/tests/data/graphs/gpt.onnx", _i, transformer_values[_i].gpt);
}
END_TEST

START_TEST(encoder)
{
    check_logits(FA_SOURCE_ROOT "/tests/data/graphs/bert.onnx", _i, transformer_values[_i].bert);
}
END_TEST

static double weighted(const fa_graph *g, const trial *t)
{
    const fa_view *y = fa_run_value(t->run, g->output[0]);
    double sum = 0;
    for (int64_t i = 0; i < y->count; i++) sum += (double)((const float *)y->data)[i] * (i % 3 - 0.7);
    return sum;
}

/* The embedding is the output layer's weight too: its one gradient, along a direction, is the difference quotient. */
START_TEST(tied)
{
    fa_graph *g = read_graph(FA_SOURCE_ROOT "/tests/data/graphs/gpt.onnx");
    int32_t wte = fa_graph_find_value(g, "wte");
    float *w = g->value[wte].view.data;
    int64_t n = g->value[wte].view.count;
    trial t = begin(g, 1, wte);
    float *at_logits = fa_run_loss_gradient(t.run);
    for (int64_t i = 0; i < fa_run_value(t.run, g->output[0])->count; i++) at_logits[i] = (float)(i % 3 - 0.7);
    fa_run_backward(t.run, NULL, NULL);
    double along = 0, step = 1e-2, value[2];
    for (int64_t i = 0; i < n; i++) along += (double)((const float *)fa_run_gradient(t.run, 0))[i] * sin((double)i);
    end(&t);
    float *kept = malloc((size_t)n * sizeof *kept);
    memcpy(kept, w, (size_t)n * sizeof *kept);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) w[i] = kept[i] + (float)((side ? step : -step) * sin((double)i));
        t = begin(g, 1, -1);
        value[side] = weighted(g, &t);
        end(&t);
    }
    double quotient = (value[1] - value[0]) / (2 * step);
    ck_assert_msg(fabs(along - quotient) <= 2e-3 * fabs(quotient), "%g is not %g", along, quotient);
    free(kept);
    fa_graph_destroy(g);
}
END_TEST

/* As a host loads them. */
START_TEST(models)
{
    static const struct {
        const char *path;
        int32_t layers;
    } known[] = {{FA_SOURCE_ROOT "/tests/data/graphs/gpt.onnx", 6}, {FA_SOURCE_ROOT "/tests/data/graphs/bert.onnx", 9}};
    fa_model *m;
    fa_model_info info = {.struct_size = sizeof info};
    ck_assert_msg(fa_model_load_file(context, known[_i].path, NULL, &m) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_model_get_info(m, &info), FA_OK);
    ck_assert_int_eq(info.layer_count, known[_i].layers);
    fa_model_release(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transformers");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, decoder, 0, VALUES);
    tcase_add_loop_test(tcase, encoder, 0, VALUES);
    tcase_add_test(tcase, tied);
    tcase_add_loop_test(tcase, models, 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
