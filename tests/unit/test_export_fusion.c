/* SPDX-License-Identifier: Apache-2.0 */
/* Transformers as their families write them and PyTorch exports them (tests/data/export_families.py): what is written out becomes one node, whatever reads the shapes inside, and
 * outputs, taps and gradients of all weights stay those of the reference, which runs the parts; the reference's gradients are difference quotients. */
#include "backend/rewrite.h"
#include "backend/varied.h"
#include "kernels/kernels.h"
#include "one_context.h"
#include "onnx/onnx.h"
#include "ops/table.h"

#include <check.h>
#include <fattr/fattr.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../data/exports.h"

enum { N = 3, T = 7 };

static const struct {
    const char *name;
    int opset, inputs;
    int attention, layernorm, rmsnorm, gelu, softmax, einsum; /* nodes behind the rewrites */
} models[] = {{"decoder", 11, 1, 2, 5, 0, 2, 0, 0}, {"decoder", 14, 1, 2, 5, 0, 2, 0, 0}, {"encoder", 13, 2, 2, 4, 0, 2, 0, 0}, {"gpt2", 11, 1, 2, 5, 0, 2, 0, 0},
              {"gpt2", 17, 1, 2, 5, 0, 2, 0, 0},    {"bert", 12, 2, 2, 2, 0, 0, 0, 0},    {"bert", 17, 2, 2, 2, 0, 0, 0, 0},    {"llama", 11, 1, 1, 0, 3, 0, 0, 0},
              {"llama", 17, 1, 1, 0, 3, 0, 0, 0},   {"t5", 11, 2, 1, 0, 3, 0, 0, 0},      {"t5", 17, 2, 1, 0, 3, 0, 0, 0}};
enum { MODELS = sizeof models / sizeof models[0] };

#define OK(call) ck_assert_msg((call) == FA_OK, "%s_%d: %s", models[_i].name, models[_i].opset, fa_error_message())

static fa_graph *read_graph(int _i)
{
    char path[4096];
    fa_graph *g = NULL;
    snprintf(path, sizeof path, "%s/tests/data/exports/%s_%d.onnx", FA_SOURCE_ROOT, models[_i].name, models[_i].opset);
    OK(fa_onnx_read_file(context, path, &g));
    return g;
}

static int count(const fa_graph *g, const char *op)
{
    int n = 0;
    for (int32_t i = 0; i < g->n_node; i++) n += strcmp(g->node[i].op, op) == 0;
    return n;
}

START_TEST(one_node_each)
{
    fa_graph *g = read_graph(_i), *folded, *joined, *fused;
    OK(fa_rewrite_constants(g, &fa_op_table_f32, &folded));
    OK(fa_rewrite_einsums(folded, &joined));
    OK(fa_rewrite_patterns(joined, g->output, 1, &fused));
    const int want[] = {models[_i].attention, models[_i].layernorm, models[_i].rmsnorm, models[_i].gelu, models[_i].softmax, models[_i].einsum};
    static const char *const op[] = {"Attention", "LayerNormalization", "RMSNormalization", "Gelu", "Softmax", "Einsum"};
    for (int k = 0; k < 6; k++) ck_assert_msg(count(fused, op[k]) == want[k], "%s_%d: %d of %d %s", models[_i].name, models[_i].opset, count(fused, op[k]), want[k], op[k]);
    fa_graph_destroy(fused);
    fa_graph_destroy(joined);
    fa_graph_destroy(folded);
    fa_graph_destroy(g);
}
END_TEST

/* Tokens and a padding mask, which every second sequence has an end of. */
typedef struct inputs {
    int64_t ids[N * T], mask[N * T], shape[2];
    fa_array array[2];
} inputs;

static void make_inputs(inputs *x)
{
    for (int i = 0; i < N * T; i++) {
        x->ids[i] = (3 * (i / T) + 5 * (i % T) + 2) % EXPORT_WORDS;
        x->mask[i] = i / T % 2 == 0 || i % T + 2 < T;
    }
    x->shape[0] = N;
    x->shape[1] = T;
    x->array[0] = (fa_array){x->ids, x->shape, 2, FA_INT64, "ids"};
    x->array[1] = (fa_array){x->mask, x->shape, 2, FA_INT64, "mask"};
}

/* What one set of weights (NULL: the trained ones) gives: outputs, the mean loss, and its gradient in every weight. */
typedef struct answer {
    int64_t weights, outputs;
    float *trained, *gradient, *output;
    double loss;
} answer;

static answer ask(int _i, int32_t kernels, const float *weights)
{
    const bool classifies = models[_i].inputs == 2;
    const int64_t positions = classifies ? 1 : T, classes = classifies ? 3 : EXPORT_WORDS;
    fa_graph *g = read_graph(_i);
    fa_program *program;
    fa_pass *pass;
    inputs x;
    float loss[N];
    int64_t target[N * T];
    answer a = {0};
    make_inputs(&x);
    for (int64_t i = 0; i < N * positions; i++) target[i] = (2 * i + 1) % classes;
    const fa_asked asked = {.own_target = target};
    OK(fa_program_create_varied(g, g->output[0], kernels, &(fa_varied_options){.select = NULL}, &program));
    OK(fa_pass_create(&(fa_pass_request){.program = program, .context = context, .inputs = x.array, .n_inputs = models[_i].inputs, .batch = N, .gradient = true,
                                         .loss = classifies ? FA_LOSS_CROSS_ENTROPY : FA_LOSS_PER_TOKEN}, &pass));
    a.weights = fa_program_weight_count(program);
    a.outputs = N * fa_pass_head(pass)->outputs;
    a.trained = malloc((size_t)a.weights * sizeof(float));
    a.gradient = calloc((size_t)a.weights, sizeof(float));
    a.output = malloc((size_t)a.outputs * sizeof(float));
    fa_program_trained(program, a.trained, NULL);
    if (weights) OK(fa_pass_set_weights(pass, weights, NULL));
    OK(fa_pass_mean_gradient(pass, x.array, NULL, N, &asked, 1.0 / N, a.gradient, NULL, NULL));
    OK(fa_pass_forward(pass, x.array, 0, N, &asked, &(fa_pass_outputs){.loss = loss, .output = a.output}));
    for (int i = 0; i < N; i++) a.loss += (double)loss[i] / N;
    fa_pass_destroy(pass);
    fa_program_destroy(program);
    fa_graph_destroy(g);
    return a;
}

static void forget(answer *a)
{
    free(a->trained);
    free(a->gradient);
    free(a->output);
}

static void compare(int _i, const char *what, const float *got, const float *want, int64_t n, float most)
{
    double scale = 0;
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs((double)want[i]));
    ck_assert(scale > 0);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - (double)want[i]) <= (double)most * scale, "%s_%d: %s: element %d is %g, of the parts %g", models[_i].name, models[_i].opset, what, (int)i,
                      (double)got[i], (double)want[i]);
}

START_TEST(fused_equals_its_parts)
{
    if (!fa_kernels_available()) return;
    answer want = ask(_i, FA_KERNELS_REFERENCE, NULL), got = ask(_i, FA_KERNELS_FAST, NULL);
    ck_assert_int_eq(want.weights, got.weights);
    compare(_i, "outputs", got.output, want.output, want.outputs, 1e-5f);
    compare(_i, "gradient", got.gradient, want.gradient, want.weights, 1e-4f);
    forget(&want);
    forget(&got);
}
END_TEST

/* Along three directions. */
START_TEST(gradients_are_difference_quotients)
{
    const int32_t kernels = fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE;
    answer at = ask(_i, kernels, NULL);
    float *moved = malloc((size_t)at.weights * sizeof *moved);
    for (int direction = 1; direction <= 3; direction++) {
        const double step = 2e-3;
        double along = 0, side[2];
        for (int64_t k = 0; k < at.weights; k++) along += (double)at.gradient[k] * sin((double)k * direction + direction);
        for (int s = 0; s < 2; s++) {
            for (int64_t k = 0; k < at.weights; k++) moved[k] = at.trained[k] + (float)((s ? step : -step) * sin((double)k * direction + direction));
            answer there = ask(_i, kernels, moved);
            side[s] = there.loss;
            forget(&there);
        }
        const double quotient = (side[1] - side[0]) / (2 * step);
        ck_assert_msg(fabs(along - quotient) <= 1e-2 * fabs(quotient) + 2e-3, "%s_%d: the gradient gives %g, losses %g", models[_i].name, models[_i].opset, along, quotient);
    }
    free(moved);
    forget(&at);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("export-fusion");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 100);
    tcase_add_loop_test(t, one_node_each, 0, MODELS);
    tcase_add_loop_test(t, fused_equals_its_parts, 0, MODELS);
    tcase_add_loop_test(t, gradients_are_difference_quotients, 0, MODELS);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
