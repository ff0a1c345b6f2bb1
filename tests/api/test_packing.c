/* SPDX-License-Identifier: Apache-2.0 */
/* fa_model_options.packing, and who holds weights: values and digests are those of the file, scores those of the default, and memory is what it is for. */
#include "support.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define N 12
#define REFERENCES 20

static fa_context *context;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static fa_model *load(const char *name, int32_t packing)
{
    fa_model_options o;
    fa_model *m;
    fa_model_options_init(&o, sizeof o);
    o.packing = packing;
    OK(fa_model_load_file(context, model_path(name), &o, &m));
    return m;
}

START_TEST(the_option)
{
    fa_model *m = NULL;
    fa_model_options o;
    static const int32_t bad[] = {-1, 2, INT32_MIN, INT32_MAX};
    fa_model_options_init(&o, sizeof o);
    ck_assert_int_eq(o.packing, FA_PACKING_FAST);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.packing = bad[i];
        FAILS(fa_model_load_file(context, model_path("mlp.onnx"), &o, &m), FA_ERR_ARGUMENT, "fa_model_options.packing");
        ck_assert_ptr_null(m);
    }
    /* A host that was built before there was the option. */
    o.packing = -1;
    o.struct_size = offsetof(fa_model_options, packing);
    OK(fa_model_load_file(context, model_path("mlp.onnx"), &o, &m));
    fa_model_release(m);
}
END_TEST

static void same_value(const fa_model *a, const fa_model *b, const fa_array *x, const char *name, double tolerance)
{
    fa_tensor *p, *q;
    fa_array v, w;
    OK(fa_model_run(a, x, 1, name, &p));
    OK(fa_model_run(b, x, 1, name, &q));
    OK(fa_tensor_view(p, &v));
    OK(fa_tensor_view(q, &w));
    ck_assert_int_eq(v.ndim, w.ndim);
    int64_t count = 1;
    for (int32_t d = 0; d < v.ndim; d++) {
        ck_assert_int_eq(v.shape[d], w.shape[d]);
        count *= v.shape[d];
    }
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)((const float *)w.data)[i]));
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs((double)((const float *)v.data)[i] - (double)((const float *)w.data)[i]) <= tolerance * largest, "'%s', element %lld", name ? name : "logits", (long long)i);
    fa_tensor_release(p);
    fa_tensor_release(q);
}

/* Weights by name are the file's bits however they are held (reference kernels never pack them); logits and inner values of either packing agree. */
START_TEST(values)
{
    static const char *const models[] = {"mlp.onnx", "clean.onnx"};
    float *images = make_images(N, 3);
    int64_t shape[4];
    const fa_array x = images_array(images, N, shape);
    fa_context_options co;
    fa_context *reference;
    fa_context_options_init(&co, sizeof co);
    co.kernels = FA_KERNELS_REFERENCE;
    OK(fa_context_create(&co, &reference));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        fa_model *r, *fast = load(models[i], FA_PACKING_FAST), *once = load(models[i], FA_PACKING_ONCE);
        fa_model_info info = {.struct_size = sizeof info};
        uint8_t want[FA_DIGEST_SIZE], got[FA_DIGEST_SIZE];
        OK(fa_model_load_file(reference, model_path(models[i]), NULL, &r));
        OK(fa_model_digest(r, want));
        OK(fa_model_digest(once, got));
        ck_assert_mem_eq(want, got, sizeof want);
        OK(fa_model_get_info(once, &info));
        same_value(once, fast, &x, NULL, 0);
        for (int32_t l = 0; l < info.layer_count; l++) {
            fa_layer_info layer;
            OK(fa_model_get_layer(once, l, &layer));
            same_value(fast, r, &x, layer.weight, 0);
            same_value(once, r, &x, layer.weight, 0);
            same_value(once, r, &x, layer.name, 1e-4);
        }
        fa_model_release(fast);
        fa_model_release(once);
        fa_model_release(r);
    }
    fa_context_release(reference);
    free(images);
}
END_TEST

/* A sketch and its scores in either packing; a trace sketch of a model that gave its weights up. */
START_TEST(scores)
{
    static const char *const models[] = {"mlp.onnx", "clean.onnx"};
    float *images = make_images(REFERENCES + N, 5);
    int64_t shape[4], shape_x[4], shape_one[4];
    const fa_array r = images_array(images, REFERENCES, shape), x = images_array(images + REFERENCES * PIXELS, N, shape_x), one = images_array(images + REFERENCES * PIXELS, 1, shape_one);
    const size_t count = strcmp(fa_context_kernels(context), "reference") ? sizeof models / sizeof *models : 1; /* reference kernels pack nothing */
    for (size_t i = 0; i < count; i++) {
        fa_refset *refs;
        fa_model *model[2] = {load(models[i], FA_PACKING_FAST), load(models[i], FA_PACKING_ONCE)};
        fa_result result[2][N], trace[2];
        OK(fa_refset_create(context, &r, 1, NULL, &refs));
        for (int k = 0; k < 2; k++) {
            fa_sketch *sketch;
            fa_scorer *scorer;
            fa_sketch_options so;
            fa_scorer_options o;
            fa_trace_options to;
            fa_sketch_options_init(&so, sizeof so);
            fa_scorer_options_init(&o, sizeof o);
            o.max_batch = N;
            OK(fa_sketch_build(model[0], refs, NULL, &so, &sketch));
            OK(fa_scorer_create(sketch, model[k], &o, &scorer));
            OK(fa_score_batch(scorer, &x, 1, result[k], N));
            fa_scorer_destroy(scorer);
            fa_sketch_release(sketch);
            fa_trace_options_init(&to, sizeof to);
            to.draws = 12;
            so.trace = &to;
            OK(fa_sketch_build(model[k], refs, NULL, &so, &sketch));
            OK(fa_scorer_create(sketch, model[k], NULL, &scorer));
            OK(fa_score(scorer, &one, 1, &trace[k]));
            fa_scorer_destroy(scorer);
            fa_sketch_release(sketch);
        }
        for (int32_t n = 0; n < N; n++) {
            ck_assert_int_eq(result[0][n].predicted, result[1][n].predicted);
            ck_assert_float_eq_tol(result[0][n].score, result[1][n].score, 1e-4f);
        }
        ck_assert_mem_eq(&trace[0].score, &trace[1].score, sizeof trace[0].score);
        fa_refset_release(refs);
        fa_model_release(model[0]);
        fa_model_release(model[1]);
    }
    free(images);
}
END_TEST

/* What a loaded model takes, in bytes. */
static uint64_t bytes_of(const char *name, int32_t packing, bool backward)
{
    float *images = make_images(8, 3);
    int64_t shape[4];
    const fa_array x = images_array(images, 8, shape);
    fa_model *m = load(name, packing);
    if (backward) {
        fa_refset *refs;
        fa_sketch *sketch;
        OK(fa_refset_create(context, &x, 1, NULL, &refs));
        OK(fa_sketch_build(m, refs, NULL, NULL, &sketch));
        fa_sketch_release(sketch);
        fa_refset_release(refs);
    }
    const uint64_t bytes = fa_context_memory_used(context);
    fa_model_release(m);
    free(images);
    return bytes;
}

START_TEST(memory)
{
    const uint64_t weights = 4 * 109386; /* of the MLP */
    if (!strcmp(fa_context_kernels(context), "reference")) return;
    ck_assert_uint_lt(bytes_of("mlp.onnx", FA_PACKING_FAST, false), weights + 200000);
    ck_assert_uint_lt(bytes_of("mlp.onnx", FA_PACKING_FAST, true), 2 * weights + 250000);
    ck_assert_uint_lt(bytes_of("mlp.onnx", FA_PACKING_ONCE, true), weights + 200000);
    ck_assert_uint_lt(2 * bytes_of("clean.onnx", FA_PACKING_ONCE, true), bytes_of("clean.onnx", FA_PACKING_FAST, true));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_option);
    tcase_add_test(t, values);
    tcase_add_test(t, scores);
    tcase_add_test(t, memory);
}

int main(void)
{
    return run_suite("packing", add, setup, teardown);
}
