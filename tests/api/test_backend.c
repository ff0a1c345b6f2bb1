/* SPDX-License-Identifier: Apache-2.0 */
/* Passes of a host that fail, lie and leave things out: an error with the reason, nothing leaks, nothing is half-changed. */
#include "faulty.h"
#include "support.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_REF 10
#define N_CAL 7
#define N 3

static fa_array some_inputs(int64_t n, int64_t first, int64_t shape[2])
{
    static float x[64 * IN];
    if (!x[1])
        for (int i = 0; i < 64 * IN; i++) x[i] = sinf((float)i * 2.3f) + cosf((float)(i / IN) * 1.1f);
    shape[0] = n;
    shape[1] = IN;
    return (fa_array){x + first * IN, shape, 2, FA_FLOAT32, NULL};
}

static fa_context *make_context(int32_t threads)
{
    fa_context *context;
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.threads = threads;
    OK(fa_context_create(&o, &context));
    return context;
}

static fa_refset *make_set(fa_context *context, int64_t n, int64_t first)
{
    int64_t shape[2];
    fa_refset *set;
    fa_array x = some_inputs(n, first, shape);
    OK(fa_refset_create(context, &x, 1, NULL, &set));
    return set;
}

/* NULL: a gradient sketch. */
static fa_status build(fa_context *context, fa_model *model, const fa_trace_options *trace, fa_sketch **out)
{
    fa_refset *references = make_set(context, N_REF, 0), *calibration = make_set(context, N_CAL, N_REF);
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.batch = 4;
    o.trace = trace;
    fa_status s = fa_sketch_build(model, references, calibration, &o, out);
    fa_refset_release(references);
    fa_refset_release(calibration);
    return s;
}

static fa_trace_options chain(int32_t sampler)
{
    fa_trace_options t;
    fa_trace_options_init(&t, sizeof t);
    t.sampler = sampler;
    t.draws = 4;
    t.burn_in = 2;
    t.minibatch = 5;
    return t;
}

static fa_status score(const fa_sketch *sketch, const fa_model *model, double *out)
{
    fa_scorer *scorer = NULL;
    fa_scorer_options o;
    fa_result r[N];
    int64_t shape[2];
    fa_array x = some_inputs(N, N_REF + N_CAL, shape);
    fa_scorer_options_init(&o, sizeof o);
    o.max_batch = N;
    o.alpha = 0.5;
    fa_status s = fa_scorer_create(sketch, model, &o, &scorer);
    if (s == FA_OK) s = fa_score_batch(scorer, &x, 1, r, N);
    for (int i = 0; i < N && s == FA_OK; i++) out[i] = r[i].score;
    fa_scorer_destroy(scorer);
    return s;
}

/* Everything a model is asked; released whatever fails. */
static fa_status whole_life(fa_context *context, faulty *f, const fa_backend *b)
{
    fa_model *model = NULL;
    fa_sketch *sketch = NULL, *traces = NULL, *merged = NULL;
    fa_tensor *logits = NULL;
    fa_trace_options t = chain(FA_SAMPLER_RMSPROP_SGLD);
    double scores[N];
    int64_t shape[2];
    fa_array x = some_inputs(N, 0, shape);
    fa_status s = fa_model_from_backend(context, b, &model);
    if (s == FA_OK) s = fa_model_run(model, &x, 1, NULL, &logits);
    if (s == FA_OK) s = build(context, model, NULL, &sketch);
    if (s == FA_OK) s = score(sketch, model, scores);
    if (s == FA_OK) s = build(context, model, &t, &traces);
    if (s == FA_OK) s = score(traces, model, scores);
    if (s == FA_OK) s = fa_sketch_merge((const fa_sketch *const *)&traces, 1, &merged);
    if (s != FA_OK) ck_assert(!model || (!merged && (!traces || sketch)));
    fa_tensor_release(logits);
    fa_sketch_release(merged);
    fa_sketch_release(traces);
    fa_sketch_release(sketch);
    ck_assert_int_eq(f->released, 0);
    bool made = model != NULL;
    fa_model_release(model);
    ck_assert_int_eq(f->released, made);
    return s;
}

START_TEST(every_call_may_fail)
{
    for (int32_t threads = 1; threads <= 2; threads++) {
        fa_context *context = make_context(threads);
        faulty f;
        fa_backend b;
        faulty_begin(&f, &b);
        ck_assert_msg(whole_life(context, &f, &b) == FA_OK, "%s", fa_error_message());
        const long total = f.calls;
        ck_assert_int_gt(total, 80);
        ck_assert_int_eq(f.open, 0);
        for (long n = 0; n < total; n++) {
            mlp_end(&f.net);
            faulty_begin(&f, &b);
            f.fail_at = n;
            FAILS(whole_life(context, &f, &b), FA_ERR_IO, "(): the device is gone");
            ck_assert_ptr_nonnull(strstr(fa_error_message(), "faulty: "));
            ck_assert_int_eq(f.open, 0);
            ck_assert_uint_eq(fa_context_memory_used(context), 0);
        }
        mlp_end(&f.net);
        fa_context_release(context);
    }
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    fa_context *context, *steady = make_context(1);
    counter c = {.fail_at = -1};
    faulty f;
    fa_backend b;
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.alloc = count_alloc;
    o.free = count_free;
    o.alloc_user = &c;
    /* Reference sets are another matter: they hang on a context whose allocator does not fail. */
    fa_refset *references = make_set(steady, N_REF, 0), *calibration = make_set(steady, N_CAL, N_REF);
    fa_trace_options t = chain(FA_SAMPLER_SGLD);
    fa_sketch_options so;
    fa_sketch_options_init(&so, sizeof so);
    so.batch = 4;
    long total = 1;
    for (int traced = 0; traced < 2; traced++, total = 1) {
        so.trace = traced ? &t : NULL;
        for (long n = -1; n < total; n++) { /* -1: counts */
            fa_model *model = NULL;
            fa_sketch *sketch = NULL;
            double scores[N];
            faulty_begin(&f, &b);
            c = (counter){.fail_at = -1};
            OK(fa_context_create(&o, &context));
            c.calls = 0;
            c.fail_at = n;
            fa_status s = fa_model_from_backend(context, &b, &model);
            if (s == FA_OK) s = fa_sketch_build(model, references, calibration, &so, &sketch);
            if (s == FA_OK) s = score(sketch, model, scores);
            if (n < 0) total = c.calls;
            ck_assert_msg(s == (n < 0 ? FA_OK : FA_ERR_MEMORY), "allocation %ld of %ld: %s (%s)", n, total, fa_status_name(s), fa_error_message());
            fa_sketch_release(sketch);
            fa_model_release(model);
            fa_context_release(context);
            ck_assert_int_eq(c.held, 0);
            ck_assert_int_eq(f.open, 0);
            mlp_end(&f.net);
        }
    }
    fa_refset_release(references);
    fa_refset_release(calibration);
    fa_context_release(steady);
}
END_TEST

/* A scorer whose call failed, wherever it did, gives the same results afterwards. */
START_TEST(a_failed_score_changes_nothing)
{
    fa_context *context = make_context(1);
    faulty f;
    fa_backend b;
    fa_model *model;
    faulty_begin(&f, &b);
    OK(fa_model_from_backend(context, &b, &model));
    fa_trace_options t = chain(FA_SAMPLER_GAUSSIAN);
    int64_t shape[2];
    fa_array x = some_inputs(1, N_REF + N_CAL, shape);
    for (int traced = 0; traced < 2; traced++) {
        fa_sketch *sketch;
        fa_scorer *scorer;
        fa_scorer_options o;
        fa_result first, again;
        OK(build(context, model, traced ? &t : NULL, &sketch));
        fa_scorer_options_init(&o, sizeof o);
        o.alpha = 0.5;
        OK(fa_scorer_create(sketch, model, &o, &scorer));
        f.calls = 0;
        OK(fa_score(scorer, &x, 1, &first));
        OK(fa_score(scorer, &x, 1, &first));
        const long total = f.calls / 2;
        ck_assert_int_ge(total, 2);
        for (long n = 0; n < total; n++) {
            f.calls = 0;
            f.fail_at = n;
            memset(&again, 0x55, sizeof again);
            fa_result untouched = again;
            FAILS(fa_score(scorer, &x, 1, &again), FA_ERR_IO, "the device is gone");
            ck_assert_mem_eq(&again, &untouched, sizeof again);
            f.fail_at = -1;
            OK(fa_score(scorer, &x, 1, &again));
            ck_assert(again.score == first.score && again.predicted == first.predicted && again.p_value == first.p_value);
        }
        fa_scorer_destroy(scorer);
        fa_sketch_release(sketch);
    }
    fa_model_release(model);
    mlp_end(&f.net);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}
END_TEST

START_TEST(strange_answers)
{
    static const struct {
        fa_status with, status;
        const char *saying, *text;
    } cases[] = {{7, FA_ERR_ARGUMENT, "x", "faulty: forward() returned 7, which is no status"},
                 {-42, FA_ERR_ARGUMENT, "x", "returned -42, which is no status"},
                 {FA_ERR_STATE, FA_ERR_STATE, NULL, "faulty: forward() returned FA_ERR_STATE without a reason"},
                 {FA_ERR_LIMIT, FA_ERR_LIMIT, "too much", "faulty: forward(): too much"}};
    static const struct {
        int spoil;
        const char *text;
    } nans[] = {{FORWARD, "input 3: the model's logit 2 is NaN"},
                {TAPS, "faulty: taps(): layer 'fc1': the gradient of input 0 of the batch is NaN or infinite"},
                {WEIGHT_GRADIENT, "faulty: weight_gradient(): element 1 of parameter 'fc0.bias' is NaN or infinite"}};
    fa_context *context = make_context(1);
    faulty f;
    fa_backend b;
    fa_model *model;
    fa_sketch *sketch = NULL;
    faulty_begin(&f, &b);
    OK(fa_model_from_backend(context, &b, &model));
    fa_trace_options t = chain(FA_SAMPLER_SGLD);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        f.calls = 0;
        f.fail_at = 1;
        f.with = cases[i].with;
        f.saying = cases[i].saying;
        fa_error_set(FA_ERR_IO, "an older story"); /* is not told again */
        FAILS(build(context, model, NULL, &sketch), cases[i].status, cases[i].text);
    }
    f.fail_at = -1;
    for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++) {
        f.spoil = nans[i].spoil;
        FAILS(build(context, model, nans[i].spoil == WEIGHT_GRADIENT ? &t : NULL, &sketch), FA_ERR_NOT_FINITE, nans[i].text);
    }
    ck_assert_ptr_null(sketch);
    ck_assert_int_eq(f.open, 0);
    fa_model_release(model);
    mlp_end(&f.net);
    fa_context_release(context);
}
END_TEST

/* What is left out makes one thing impossible, says so, and leaves the rest. */
START_TEST(missing_callbacks)
{
    fa_context *context = make_context(1);
    faulty f;
    fa_backend b;
    double scores[N];
    fa_trace_options gaussian = chain(FA_SAMPLER_GAUSSIAN), sgld = chain(FA_SAMPLER_SGLD), moving = chain(FA_SAMPLER_SGLD);
    moving.batchnorm = FA_BATCHNORM_REESTIMATE;
    faulty_begin(&f, &b);
    for (int missing = TAPS; missing <= SET_WEIGHTS; missing++) {
        fa_backend less = b;
        fa_model *model;
        fa_sketch *sketch = NULL;
        if (missing == TAPS) less.taps = NULL;
        if (missing == WEIGHT_GRADIENT) less.weight_gradient = NULL;
        if (missing == SET_WEIGHTS) less.set_weights = NULL;
        OK(fa_model_from_backend(context, &less, &model));
        if (missing == TAPS) FAILS(build(context, model, NULL, &sketch), FA_ERR_UNSUPPORTED, "fa_backend.taps, fa_backend.gradients), without which there are no gradient sketches");
        if (missing == WEIGHT_GRADIENT) FAILS(build(context, model, &sgld, &sketch), FA_ERR_UNSUPPORTED, "fa_backend.weight_gradient), without which the sampler 'gaussian' alone");
        if (missing == SET_WEIGHTS) FAILS(build(context, model, &gaussian, &sketch), FA_ERR_UNSUPPORTED, "fa_backend.set_weights), without which there are no trace sketches");
        if (missing != SET_WEIGHTS) FAILS(build(context, model, &moving, &sketch), FA_ERR_UNSUPPORTED, "cannot be re-estimated");
        ck_assert_ptr_null(sketch);
        OK(build(context, model, missing == SET_WEIGHTS ? NULL : &gaussian, &sketch));
        OK(score(sketch, model, scores));
        fa_sketch_release(sketch);
        fa_model_release(model);
    }
    ck_assert_int_eq(f.open, 0);
    mlp_end(&f.net);
    fa_context_release(context);
}
END_TEST

#define REFUSED(change, status, text)                                                                                                                    \
    do {                                                                                                                                                 \
        fa_backend bad = b;                                                                                                                              \
        fa_backend_layer layer[3];                                                                                                                       \
        fa_backend_parameter parameter[6];                                                                                                               \
        fa_value_info input = *b.inputs;                                                                                                                 \
        memcpy(layer, b.layers, sizeof layer);                                                                                                           \
        memcpy(parameter, b.parameters, sizeof parameter);                                                                                               \
        bad.layers = layer;                                                                                                                              \
        bad.parameters = parameter;                                                                                                                      \
        bad.inputs = &input;                                                                                                                             \
        change;                                                                                                                                          \
        fa_model *none = NULL;                                                                                                                           \
        FAILS(fa_model_from_backend(context, &bad, &none), status, text);                                                                                \
        ck_assert_ptr_null(none);                                                                                                                        \
    } while (0)

START_TEST(tables_that_contradict_themselves)
{
    fa_context *context = make_context(1);
    faulty f;
    fa_backend b;
    fa_model *model;
    faulty_begin(&f, &b);
    FAILS(fa_model_from_backend(NULL, &b, &model), FA_ERR_ARGUMENT, "'context' is NULL");
    FAILS(fa_model_from_backend(context, NULL, &model), FA_ERR_ARGUMENT, "'backend' is NULL");
    FAILS(fa_model_from_backend(context, &b, NULL), FA_ERR_ARGUMENT, "'out' is NULL");
    REFUSED(bad.struct_size = 0, FA_ERR_ARGUMENT, "struct_size 0");
    REFUSED(bad.struct_size = 1 << 20, FA_ERR_ARGUMENT, "struct_size");
    REFUSED(bad.struct_size = 40, FA_ERR_ARGUMENT, "fa_backend.create_pass: is NULL");
    REFUSED(bad.abi = 0, FA_ERR_ARGUMENT, "fa_backend.abi");
    REFUSED(bad.abi = FA_BACKEND_ABI + 1, FA_ERR_VERSION, "fa_backend.abi");
    REFUSED(bad.forward = NULL, FA_ERR_ARGUMENT, "forward: is NULL");
    REFUSED(bad.destroy_pass = NULL, FA_ERR_ARGUMENT, "destroy_pass: is NULL");
    REFUSED(bad.input_count = 0, FA_ERR_ARGUMENT, "inputs: 0 of them");
    REFUSED(bad.inputs = NULL, FA_ERR_ARGUMENT, "inputs: is NULL");
    REFUSED(bad.layer_count = -1, FA_ERR_ARGUMENT, "layers: -1 of them");
    REFUSED(bad.layers = NULL, FA_ERR_ARGUMENT, "layers: is NULL");
    REFUSED(bad.parameter_count = INT32_MAX, FA_ERR_ARGUMENT, "parameters: 2147483647 of them");
    REFUSED(bad.classes = 1, FA_ERR_ARGUMENT, "classes: 1");
    REFUSED(bad.classes = INT64_MAX, FA_ERR_ARGUMENT, "classes: 9223372036854775807");
    REFUSED(input.name = NULL, FA_ERR_ARGUMENT, "inputs[0]: has no name");
    REFUSED(input.dtype = FA_FLOAT64, FA_ERR_ARGUMENT, "'x' is float64");
    REFUSED(input.ndim = FA_MAX_DIMS + 1, FA_ERR_ARGUMENT, "9 dimensions");
    REFUSED(layer[1].name = "", FA_ERR_ARGUMENT, "layers[1]: has no name");
    REFUSED(layer[1].in = INT64_MAX, FA_ERR_ARGUMENT, "layers[1]: 'fc1' is 9223372036854775807 x 4");
    REFUSED(layer[1].out = 0, FA_ERR_ARGUMENT, "layers[1]: 'fc1' is 5 x 0");
    REFUSED((layer[1].in = INT32_MAX - 1, layer[1].out = INT32_MAX), FA_ERR_ARGUMENT, "layers[1]");
    REFUSED(layer[2].groups = 2, FA_ERR_ARGUMENT, "layers[2]: 'fc2' has 3 outputs in 2 groups");
    REFUSED(layer[2].groups = 0, FA_ERR_ARGUMENT, "in 0 groups");
    REFUSED(layer[0].kernel_h = 4, FA_ERR_ARGUMENT, "layers[0]: 'fc0' has 6 inputs under a kernel of 4 x 1");
    REFUSED(layer[0].kernel_w = INT64_MIN, FA_ERR_ARGUMENT, "layers[0]");
    REFUSED(parameter[3].name = NULL, FA_ERR_ARGUMENT, "parameters[3]: has no name");
    REFUSED(parameter[3].rows = 3, FA_ERR_ARGUMENT, "parameters[3]: 'fc1.bias' has 4 elements in 3 rows");
    REFUSED(parameter[3].count = INT64_MAX / 4 * 4, FA_ERR_ARGUMENT, "parameters[3]");
    REFUSED(parameter[3].data = NULL, FA_ERR_ARGUMENT, "parameters[3]: 'fc1.bias' has no data");
    REFUSED((parameter[3].data = (const float[]){0, NAN, 0, 0}), FA_ERR_NOT_FINITE, "parameters[3]: element 1 of 'fc1.bias'");
    REFUSED(bad.parameter_count = 0, FA_ERR_ARGUMENT, "digest: is all zero");
    /* A host of an older header, which ended before the last field. */
    b.struct_size = offsetof(fa_backend, release);
    OK(fa_model_from_backend(context, &b, &model));
    fa_model_release(model);
    ck_assert_int_eq(f.released, 0);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    mlp_end(&f.net);
    fa_context_release(context);
}
END_TEST

/* A sketch belongs to its weights, not to a file: the same table fits it again, another does not. */
START_TEST(digests)
{
    fa_context *context = make_context(1);
    faulty f;
    fa_backend b;
    fa_model *model, *same, *other;
    fa_sketch *sketch;
    fa_model_info info = {.struct_size = sizeof info};
    fa_value_info value;
    fa_layer_info layer;
    double one[N], two[N];
    faulty_begin(&f, &b);
    OK(fa_model_from_backend(context, &b, &model));
    OK(fa_model_from_backend(context, &b, &same));
    f.net.weights[3] += 1e-3f;
    OK(fa_model_from_backend(context, &b, &other));
    f.net.weights[3] -= 1e-3f;
    OK(build(context, model, NULL, &sketch));
    OK(score(sketch, model, one));
    OK(score(sketch, same, two));
    ck_assert_mem_eq(one, two, sizeof one);
    FAILS(score(sketch, other, two), FA_ERR_MISMATCH, "the weights or the graph differ");
    OK(fa_model_get_info(model, &info));
    ck_assert(info.parameter_count == f.net.weight_count && info.layer_count == 3 && info.class_count == 3 && info.input_count == 1 && info.node_count == 0);
    ck_assert_str_eq(info.producer, "faulty");
    OK(fa_model_get_input(model, 0, &value));
    ck_assert(!strcmp(value.name, "x") && value.ndim == 2 && value.shape[0] == -1 && value.shape[1] == IN);
    OK(fa_model_get_layer(model, 1, &layer));
    ck_assert(!strcmp(layer.name, "fc1") && layer.in == 6 && layer.out == 4 && layer.has_bias == 1);
    int64_t shape[] = {2, IN + 1};
    static const float x[2 * IN + 2];
    fa_tensor *logits = NULL;
    FAILS(fa_model_run(model, &(fa_array){x, shape, 2, FA_FLOAT32, NULL}, 1, NULL, &logits), FA_ERR_SHAPE, "input 'x'");
    FAILS(fa_model_run(model, &(fa_array){x, shape, 2, FA_FLOAT32, NULL}, 1, "fc1", &logits), FA_ERR_ARGUMENT, "no node and no value 'fc1'");
    fa_sketch_release(sketch);
    fa_model_release(model);
    fa_model_release(same);
    fa_model_release(other);
    ck_assert_int_eq(f.released, 3);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    mlp_end(&f.net);
    fa_context_release(context);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, every_call_may_fail);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_test(t, a_failed_score_changes_nothing);
    tcase_add_test(t, strange_answers);
    tcase_add_test(t, missing_callbacks);
    tcase_add_test(t, tables_that_contradict_themselves);
    tcase_add_test(t, digests);
}

int main(void)
{
    return run_suite("backend", add, NULL, NULL);
}
