/* SPDX-License-Identifier: Apache-2.0 */
/* Models whose layers are computed in bfloat16, seen from outside: the option, what it changes and what it does not. */
#include "support.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 24

static fa_context *context;
static counter counts;

static fa_context *context_on(int32_t kernels)
{
    fa_context *made;
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.alloc = count_alloc;
    o.free = count_free;
    o.alloc_user = &counts;
    o.kernels = kernels;
    OK(fa_context_create(&o, &made));
    return made;
}

static void setup(void)
{
    counts = (counter){.fail_at = -1};
    context = context_on(FA_KERNELS_AUTO);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
    ck_assert_int_eq(counts.held, 0);
}

static fa_model *load(fa_context *c, const char *name, int32_t precision)
{
    fa_model *m;
    fa_model_options o;
    fa_model_options_init(&o, sizeof o);
    o.precision = precision;
    OK(fa_model_load_file(c, model_path(name), &o, &m));
    return m;
}

static int32_t precision_of(const fa_model *m)
{
    fa_model_info info = {.struct_size = sizeof info};
    OK(fa_model_get_info(m, &info));
    return info.precision;
}

/* The largest difference of a value of two models over the largest number in it. */
static double difference(const fa_model *a, const fa_model *b, const float *images, const char *name)
{
    int64_t shape[4];
    const fa_array in = images_array(images, N, shape);
    fa_tensor *x, *y;
    fa_array p, q;
    double most = 0, largest = 0;
    OK(fa_model_run(a, &in, 1, name, &x));
    OK(fa_model_run(b, &in, 1, name, &y));
    OK(fa_tensor_view(x, &p));
    OK(fa_tensor_view(y, &q));
    ck_assert_int_eq(p.ndim, q.ndim);
    int64_t count = 1;
    for (int32_t i = 0; i < p.ndim; i++) count *= p.shape[i];
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)((const float *)p.data)[i] - (double)((const float *)q.data)[i]));
        largest = fmax(largest, fabs((double)((const float *)p.data)[i]));
    }
    fa_tensor_release(x);
    fa_tensor_release(y);
    return most / largest;
}

START_TEST(the_option)
{
    fa_model *m = NULL;
    fa_model_options o;
    static const int32_t bad[] = {-1, 2, INT32_MIN, INT32_MAX};
    fa_model_options_init(&o, sizeof o);
    ck_assert_int_eq(o.precision, FA_PRECISION_F32);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.precision = bad[i];
        FAILS(fa_model_load_file(context, model_path("mlp.onnx"), &o, &m), FA_ERR_ARGUMENT, "fa_model_options.precision");
        ck_assert_ptr_null(m);
    }
    /* A host that was built before there was the option. */
    o.precision = FA_PRECISION_BF16;
    o.struct_size = offsetof(fa_model_options, precision);
    OK(fa_model_load_file(context, model_path("mlp.onnx"), &o, &m));
    ck_assert_int_eq(precision_of(m), FA_PRECISION_F32);
    fa_model_release(m);
}
END_TEST

/* Same digest, other numbers, but not by much; every value, not only the logits; and the reference kernels round what the fast ones do. */
START_TEST(runs)
{
    static const char *const models[] = {"mlp.onnx", "clean.onnx"};
    float *images = make_images(N, 3);
    fa_context *plain = context_on(FA_KERNELS_REFERENCE);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        fa_model *f = load(context, models[i], FA_PRECISION_F32), *b = load(context, models[i], FA_PRECISION_BF16), *r = load(plain, models[i], FA_PRECISION_BF16);
        uint8_t one[FA_DIGEST_SIZE], other[FA_DIGEST_SIZE];
        fa_layer_info layer;
        ck_assert_int_eq(precision_of(b), FA_PRECISION_BF16);
        OK(fa_model_digest(f, one));
        OK(fa_model_digest(b, other));
        ck_assert_mem_eq(one, other, sizeof one);
        OK(fa_model_get_layer(b, 0, &layer));
        const char *const values[] = {NULL, layer.name};
        for (int v = 0; v < 2; v++) {
            const double rounding = difference(f, b, images, values[v]), kernels = difference(b, r, images, values[v]);
            ck_assert_msg(rounding > 1e-6 && rounding < 2e-2, "%s: %g", models[i], rounding);
            ck_assert_msg(kernels < rounding, "%s: %g and %g", models[i], kernels, rounding);
        }
        fa_model_release(f);
        fa_model_release(b);
        fa_model_release(r);
    }
    ck_assert_uint_eq(fa_context_memory_used(plain), 0);
    fa_context_release(plain);
    free(images);
}
END_TEST

static fa_sketch *build(const fa_model *m, const fa_trace_options *trace)
{
    fa_refset *references = make_refset(context, 16, 1), *calibration = make_refset(context, 24, 2);
    fa_sketch *s;
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.k_in = o.k_out = 4;
    o.trace = trace;
    OK(fa_sketch_build(m, references, calibration, &o, &s));
    fa_refset_release(references);
    fa_refset_release(calibration);
    return s;
}

static int32_t built_in(const fa_sketch *s)
{
    fa_sketch_info info = {.struct_size = sizeof info};
    OK(fa_sketch_get_info(s, &info));
    return info.precision;
}

static void score(const fa_sketch *s, const fa_model *m, int32_t batch, double out[N])
{
    float *images = make_images(N, 4);
    int64_t shape[4];
    fa_scorer *scorer;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.max_batch = batch;
    OK(fa_scorer_create(s, m, &o, &scorer));
    for (int64_t i = 0; i < N; i += batch) {
        fa_result r[N];
        const fa_array in = images_array(images + i * PIXELS, batch, shape);
        OK(fa_score_batch(scorer, &in, 1, r, batch));
        for (int32_t k = 0; k < batch; k++) out[i + k] = r[k].score;
    }
    fa_scorer_destroy(scorer);
    free(images);
}

/* A sketch of either precision scores with a model of either, nearly alike; its file says which it is; shards are of one. */
START_TEST(sketches)
{
    fa_model *model[] = {load(context, "clean.onnx", FA_PRECISION_F32), load(context, "clean.onnx", FA_PRECISION_BF16)};
    fa_sketch *sketch[] = {build(model[0], NULL), build(model[1], NULL)};
    double want[N], got[N], alone[N];
    score(sketch[0], model[0], 8, want);
    for (int s = 0; s < 2; s++) {
        ck_assert_int_eq(built_in(sketch[s]), s ? FA_PRECISION_BF16 : FA_PRECISION_F32);
        for (int m = 0; m < 2; m++) {
            score(sketch[s], model[m], 8, got);
            score(sketch[s], model[m], 1, alone);
            for (int i = 0; i < N; i++) {
                ck_assert_msg(fabs(got[i] - want[i]) < 0.1, "sketch %d, model %d: %g instead of %g", s, m, got[i], want[i]);
                ck_assert_msg(fabs(got[i] - alone[i]) < 1e-5, "sketch %d, model %d: %g in a batch, %g alone", s, m, got[i], alone[i]);
            }
        }
    }
    const char *folder = make_folder();
    char path[4096];
    fa_sketch *read;
    snprintf(path, sizeof path, "%s/bf16.fattr", folder);
    OK(fa_sketch_save_file(sketch[1], path));
    OK(fa_sketch_load_file(context, path, &read));
    ck_assert_int_eq(built_in(read), FA_PRECISION_BF16);
    fa_sketch_release(read);
    remove_folder(folder);
    for (int i = 0; i < 2; i++) {
        fa_sketch_release(sketch[i]);
        fa_model_release(model[i]);
    }
}
END_TEST

/* Weights that move are not rounded: their draws differ by less. */
START_TEST(traces)
{
    fa_model *model[] = {load(context, "mlp.onnx", FA_PRECISION_F32), load(context, "mlp.onnx", FA_PRECISION_BF16)};
    fa_trace_options t;
    fa_trace_options_init(&t, sizeof t);
    t.draws = 12;
    double want[N], got[N];
    for (int m = 0; m < 2; m++) {
        fa_sketch *s = build(model[m], &t);
        score(s, model[m], 8, m ? got : want);
        ck_assert_int_eq(built_in(s), FA_PRECISION_F32);
        fa_sketch_release(s);
    }
    ck_assert_mem_eq(got, want, sizeof want);
    fa_model_release(model[0]);
    fa_model_release(model[1]);
}
END_TEST

/* Every allocation of loading, running and scoring may fail. */
START_TEST(allocations)
{
    float *images = make_images(2, 3);
    int64_t shape[4];
    const fa_array in = images_array(images, 2, shape);
    for (long fail = 0;; fail++) {
        fa_model *m = NULL;
        fa_tensor *out = NULL;
        fa_model_options o;
        fa_model_options_init(&o, sizeof o);
        o.precision = FA_PRECISION_BF16;
        counts.fail_at = counts.calls + fail;
        fa_status status = fa_model_load_file(context, model_path("mlp.onnx"), &o, &m);
        if (status == FA_OK) status = fa_model_run(m, &in, 1, NULL, &out);
        const bool done = counts.calls <= counts.fail_at;
        counts.fail_at = -1;
        if (!done) ck_assert_int_eq(status, FA_ERR_MEMORY);
        fa_tensor_release(out);
        fa_model_release(m);
        ck_assert_uint_eq(fa_context_memory_used(context), 0);
        if (done) break;
    }
    free(images);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_option);
    tcase_add_test(t, runs);
    tcase_add_test(t, sketches);
    tcase_add_test(t, traces);
    tcase_add_test(t, allocations);
}

int main(void)
{
    return run_suite("precision", add, setup, teardown);
}
