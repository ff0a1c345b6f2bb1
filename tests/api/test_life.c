/* SPDX-License-Identifier: Apache-2.0 */
/* The whole way, as a host goes it: model file, references, sketch, file, scorer, results. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_REF 60
#define N_CAL 40

/* Sanitizers run on plain kernels: the small network keeps them quick. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MODEL "mlp.onnx"
#define LAYER "Gemm"
#else
#define MODEL "clean.onnx"
#define LAYER "Conv"
#endif

static fa_context *context;
static fa_model *model;
static fa_refset *references, *calibration;
static fa_sketch *sketch;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    OK(fa_model_load_file(context, model_path(MODEL), NULL, &model));
    references = make_refset(context, N_REF, 1);
    calibration = make_refset(context, N_CAL, 2);
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.ridge = 0.1; /* small: a reference is then explained by itself above all */
    OK(fa_sketch_build(model, references, calibration, &o, &sketch));
}

static void teardown(void)
{
    fa_sketch_release(sketch);
    fa_refset_release(calibration);
    fa_refset_release(references);
    fa_model_release(model);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

START_TEST(a_reference_explains_itself)
{
    fa_scorer *scorer;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.all_scores = 1;
    OK(fa_scorer_create(sketch, model, &o, &scorer));
    float *images = make_images(N_REF, 1);
    int64_t shape[4];
    for (int64_t i = 0; i < N_REF; i++) {
        fa_array x = images_array(images + i * PIXELS, 1, shape);
        fa_result r;
        OK(fa_score(scorer, &x, 1, &r));
        ck_assert_int_eq(r.reference_count, N_REF);
        ck_assert_msg(fabs((double)r.couplings[i] - 1) < 1e-4, "reference %d couples with itself at %g", (int)i, (double)r.couplings[i]);
        ck_assert(r.weights[i] > 0.5f);
        ck_assert(r.score >= 0 && r.score < 0.1);
        ck_assert_int_eq(r.no_signal, 0);
        ck_assert(r.p_value > 0 && r.p_value <= 1);
        ck_assert_int_eq(r.flagged, r.p_value <= 0.05);
        for (int k = 0; k < FA_SCORE_COMMON_COUNT; k++) ck_assert(isfinite(r.scores[k]));
        double energy = r.scores[FA_SCORE_SPAN];
        ck_assert(energy >= 0 && energy <= r.scores[FA_SCORE_CONE] + 0.2);
    }
    free(images);
    fa_scorer_destroy(scorer);
}
END_TEST

START_TEST(a_batch_is_n_single_calls)
{
    enum { N = 13, BATCH = 5 };
    fa_scorer *one, *many;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    OK(fa_scorer_create(sketch, model, &o, &one));
    o.max_batch = 16;
    OK(fa_scorer_create(sketch, model, &o, &many));
    float *images = make_images(N, 9);
    int64_t shape[4];
    fa_array all = images_array(images, N, shape);
    fa_result batch[N];
    OK(fa_score_batch(many, &all, 1, batch, N));
    for (int64_t i = 0; i < N; i++) {
        int64_t single_shape[4];
        fa_array x = images_array(images + i * PIXELS, 1, single_shape);
        fa_result r;
        OK(fa_score(one, &x, 1, &r));
        ck_assert_int_eq(r.predicted, batch[i].predicted);
        ck_assert_msg(fabs(r.score - batch[i].score) < 1e-5, "%.9g and %.9g", r.score, batch[i].score);
        for (int64_t j = 0; j < N_REF; j++) ck_assert(fabsf(r.couplings[j] - batch[i].couplings[j]) < 1e-5f);
    }
    free(images);
    fa_scorer_destroy(one);
    fa_scorer_destroy(many);
}
END_TEST

START_TEST(the_file_holds_the_sketch)
{
    const char *folder = make_folder();
    char path[4200];
    snprintf(path, sizeof path, "%s/s.fattr", folder);
    OK(fa_sketch_save_file(sketch, path));
    fa_sketch *read;
    OK(fa_sketch_load_file(context, path, &read));
    OK(fa_sketch_check_model(read, model));
    fa_scorer *a, *b;
    OK(fa_scorer_create(sketch, model, NULL, &a));
    OK(fa_scorer_create(read, model, NULL, &b));
    float *images = make_images(5, 4);
    int64_t shape[4];
    for (int i = 0; i < 5; i++) {
        fa_array x = images_array(images + i * PIXELS, 1, shape);
        fa_result ra, rb;
        OK(fa_score(a, &x, 1, &ra));
        OK(fa_score(b, &x, 1, &rb));
        ck_assert(ra.score == rb.score && ra.p_value == rb.p_value && ra.flagged == rb.flagged);
        ck_assert_mem_eq(ra.couplings, rb.couplings, N_REF * sizeof(float));
    }
    free(images);
    fa_scorer_destroy(a);
    fa_scorer_destroy(b);
    fa_sketch_release(read);
    remove_folder(folder);
}
END_TEST

START_TEST(the_residual_has_the_scores_length)
{
    fa_scorer *scorer;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.want_residual = 1;
    OK(fa_scorer_create(sketch, model, &o, &scorer));
    float *images = make_images(4, 77);
    int64_t shape[4];
    for (int i = 0; i < 4; i++) {
        fa_array x = images_array(images + i * PIXELS, 1, shape);
        fa_result r;
        OK(fa_score(scorer, &x, 1, &r));
        ck_assert_ptr_nonnull(r.residual);
        double squares = 0;
        for (int64_t k = 0; k < r.signature_length; k++) squares += (double)r.residual[k] * (double)r.residual[k];
        ck_assert_msg(fabs(squares - r.score) < 1e-4, "|residual|^2 %g, score %g", squares, r.score);
    }
    free(images);
    fa_scorer_destroy(scorer);
}
END_TEST

START_TEST(an_audit_scores_every_reference)
{
    for (int32_t k = 0; k < FA_SCORE_COMMON_COUNT; k++) {
        double scores[N_REF];
        OK(fa_sketch_audit(sketch, k, scores));
        for (int i = 0; i < N_REF; i++) ck_assert(isfinite(scores[i]));
        double c[N_CAL];
        OK(fa_sketch_get_calibration(sketch, k, c));
        for (int i = 1; i < N_CAL; i++) ck_assert(c[i - 1] <= c[i]);
    }
}
END_TEST

START_TEST(recalibration_keeps_the_signatures)
{
    fa_sketch *bare, *again;
    OK(fa_sketch_recalibrate(sketch, model, NULL, NULL, &bare));
    fa_sketch_info info = {.struct_size = sizeof info};
    OK(fa_sketch_get_info(bare, &info));
    ck_assert_int_eq(info.calibration_count, 0);
    ck_assert_int_eq(info.reference_count, N_REF);
    OK(fa_sketch_recalibrate(bare, model, calibration, NULL, &again));
    double a[N_CAL], b[N_CAL];
    OK(fa_sketch_get_calibration(sketch, FA_SCORE_CONE, a));
    OK(fa_sketch_get_calibration(again, FA_SCORE_CONE, b));
    ck_assert_mem_eq(a, b, sizeof a);
    fa_sketch_release(bare);
    fa_sketch_release(again);
}
END_TEST

static int32_t stop_halfway(void *user, const char *stage, int64_t done, int64_t total)
{
    (void)stage;
    ck_assert(done >= 0 && done <= total);
    ++*(int *)user;
    return 2 * done >= total;
}

START_TEST(a_build_can_be_cancelled)
{
    int calls = 0;
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.progress = stop_halfway;
    o.progress_user = &calls;
    fa_sketch *none = NULL;
    uint64_t before = fa_context_memory_used(context);
    FAILS(fa_sketch_build(model, references, calibration, &o, &none), FA_ERR_CANCELLED, "");
    ck_assert_ptr_null(none);
    ck_assert_int_gt(calls, 0);
    ck_assert_uint_eq(fa_context_memory_used(context), before);
}
END_TEST

START_TEST(memory_is_as_estimated)
{
    fa_memory_estimate e = {.struct_size = sizeof e};
    OK(fa_sketch_memory_estimate(model, references, calibration, NULL, &e));
    uint64_t before = fa_context_memory_used(context);
    fa_context_memory_peak_reset(context);
    fa_sketch *s;
    OK(fa_sketch_build(model, references, calibration, NULL, &s));
    double peak = (double)(fa_context_memory_peak(context) - before), held = (double)(fa_context_memory_used(context) - before);
    ck_assert_msg(fabs(peak / (double)e.build_bytes - 1) <= 0.1, "build: estimate %g, true %g", (double)e.build_bytes, peak);
    ck_assert_msg(fabs(held / (double)e.sketch_bytes - 1) <= 0.1, "sketch: estimate %g, true %g", (double)e.sketch_bytes, held);
    before = fa_context_memory_used(context);
    fa_scorer *scorer;
    OK(fa_scorer_create(s, model, NULL, &scorer));
    held = (double)(fa_context_memory_used(context) - before);
    ck_assert_msg(fabs(held / (double)e.scorer_bytes - 1) <= 0.1, "scorer: estimate %g, true %g", (double)e.scorer_bytes, held);
    const char *folder = make_folder();
    char path[4200];
    size_t size;
    snprintf(path, sizeof path, "%s/s.fattr", folder);
    OK(fa_sketch_save_file(s, path));
    free(read_bytes(path, &size));
    ck_assert_msg(fabs((double)size / (double)e.file_bytes - 1) <= 0.1, "file: estimate %g, true %g", (double)e.file_bytes, (double)size);
    remove_folder(folder);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
}
END_TEST

START_TEST(inner_values_can_be_had)
{
    fa_tensor *logits, *inner;
    float *images = make_images(70, 3);
    int64_t shape[4];
    fa_array x = images_array(images, 70, shape), view;
    OK(fa_model_run(model, &x, 1, NULL, &logits));
    OK(fa_tensor_view(logits, &view));
    ck_assert_int_eq(view.ndim, 2);
    ck_assert_int_eq(view.shape[0], 70);
    ck_assert_int_eq(view.shape[1], 10);
    fa_node_info node = {.op = ""};
    for (int32_t i = 0; strcmp(node.op, LAYER) != 0; i++) OK(fa_model_get_node(model, i, &node));
    OK(fa_model_run(model, &x, 1, node.name, &inner));
    OK(fa_tensor_view(inner, &view));
    ck_assert_int_eq(view.shape[0], 70);
    ck_assert_str_eq(view.name, node.output);
    fa_tensor_release(logits);
    fa_tensor_release(inner);
    free(images);
    fa_tensor *weight; /* a value that no input reaches */
    fa_layer_info layer;
    OK(fa_model_get_layer(model, 0, &layer));
    images = make_images(3, 3);
    x = images_array(images, 3, shape);
    OK(fa_model_run(model, &x, 1, layer.weight, &weight));
    fa_tensor_release(weight);
    free(images);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_reference_explains_itself);
    tcase_add_test(t, a_batch_is_n_single_calls);
    tcase_add_test(t, the_file_holds_the_sketch);
    tcase_add_test(t, the_residual_has_the_scores_length);
    tcase_add_test(t, an_audit_scores_every_reference);
    tcase_add_test(t, recalibration_keeps_the_signatures);
    tcase_add_test(t, a_build_can_be_cancelled);
    tcase_add_test(t, memory_is_as_estimated);
    tcase_add_test(t, inner_values_can_be_had);
}

int main(void)
{
    return run_suite("life", add, setup, teardown);
}
