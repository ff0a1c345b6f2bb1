/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs that are no class logits, and losses that a host brings. */
#include "support.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CLASSES 10
#define N_REF 24
#define N_CAL 20

/* gpt.onnx of tests/data/graphs: 11 words, at most 16 of them. */
#define WORDS 11
#define TOKENS 7

static fa_context *context;
static fa_model *model, *gpt;
static fa_refset *references, *calibration;

static fa_model *load(const char *path)
{
    fa_model *m;
    OK(fa_model_load_file(context, path, NULL, &m));
    return m;
}

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    model = load(model_path("mlp.onnx"));
    gpt = load(FATTR_SOURCE_ROOT "/tests/data/graphs/gpt.onnx");
    references = make_refset(context, N_REF, 1);
    calibration = make_refset(context, N_CAL, 2);
}

static void teardown(void)
{
    fa_refset_release(calibration);
    fa_refset_release(references);
    fa_model_release(gpt);
    fa_model_release(model);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static fa_sketch_options options_of(int32_t loss)
{
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.loss = loss;
    return o;
}

static fa_scorer *scorer_of(const fa_sketch *sketch, const fa_model *of, fa_output_gradient gradient, void *user)
{
    fa_scorer *s;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.all_scores = 1;
    o.max_batch = 4;
    o.output_gradient = gradient;
    o.output_gradient_user = user;
    OK(fa_scorer_create(sketch, of, &o, &s));
    return s;
}

static void make_sentences(int64_t *ids, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n * TOKENS; i++) ids[i] = (int64_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % WORDS;
}

static fa_array sentences_array(const int64_t *ids, int64_t n, int64_t shape[2])
{
    shape[0] = n;
    shape[1] = TOKENS;
    return (fa_array){ids, shape, 2, FA_INT64, NULL};
}

static fa_refset *sentences(int64_t n, uint64_t seed)
{
    int64_t shape[2], *ids = malloc((size_t)n * TOKENS * sizeof *ids);
    fa_refset *set;
    make_sentences(ids, n, seed);
    fa_array a = sentences_array(ids, n, shape);
    OK(fa_refset_create(context, &a, 1, NULL, &set));
    free(ids);
    return set;
}

START_TEST(next_tokens_are_held_against_the_input)
{
    fa_refset *refs = sentences(N_REF, 3), *cal = sentences(N_CAL, 4);
    fa_sketch_options o = options_of(FA_LOSS_NEXT_TOKEN);
    fa_sketch *sketch;
    OK(fa_sketch_build(gpt, refs, cal, &o, &sketch));
    fa_scorer *scorer = scorer_of(sketch, gpt, NULL, NULL);
    int64_t ids[4 * TOKENS], shape[2];
    make_sentences(ids, 4, 3); /* the first references */
    fa_array x = sentences_array(ids, 4, shape), view;
    fa_tensor *logits;
    fa_result r[4], one;
    OK(fa_model_run(gpt, &x, 1, NULL, &logits));
    OK(fa_tensor_view(logits, &view));
    OK(fa_score_batch(scorer, &x, 1, r, 4));
    for (int64_t i = 0; i < 4; i++) {
        double loss = 0;
        for (int64_t t = 0; t + 1 < TOKENS; t++) {
            const float *z = (const float *)view.data + (i * TOKENS + t) * WORDS;
            double sum = 0;
            for (int k = 0; k < WORDS; k++) sum += exp((double)z[k] - (double)z[ids[i * TOKENS + t + 1]]);
            loss += log(sum) / (TOKENS - 1);
        }
        ck_assert_double_eq_tol(r[i].confidence, exp(-loss), 1e-6);
        ck_assert_int_eq(r[i].predicted, -1);
        ck_assert_double_eq_tol((double)r[i].couplings[i], 1, 1e-5);
        ck_assert(r[i].scores[FA_SCORE_CLASS] == r[i].scores[FA_SCORE_MEAN]); /* one class */
    }
    /* The last word is a target and no question of its own: with another there, the score moves. */
    const double before = r[0].score;
    ids[TOKENS - 1] = (ids[TOKENS - 1] + 1) % WORDS;
    x = sentences_array(ids, 1, shape);
    OK(fa_score(scorer, &x, 1, &one));
    ck_assert(fabs(one.score - before) > 1e-4);
    ids[2] = WORDS;
    ck_assert_int_eq(fa_score(scorer, &x, 1, &one) == FA_OK, 0);
    fa_tensor_release(logits);
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_refset_release(cal);
    fa_refset_release(refs);
}
END_TEST

START_TEST(a_shape_finds_the_loss_that_fits)
{
    fa_refset *refs = sentences(N_REF, 3);
    fa_sketch *sketch;
    fa_sketch_options o = options_of(FA_LOSS_MARGIN);
    FAILS(fa_sketch_build(gpt, refs, NULL, &o, &sketch), FA_ERR_SHAPE, "output 'logits' is float32 [16, 7, 11]");
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "next-token, per-token"));
    o.loss = FA_LOSS_PER_PIXEL;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_SHAPE, "margin, cross-entropy, multi-label");
    o.loss = FA_LOSS_NEXT_TOKEN;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_SHAPE, "'next-token' takes [n, tokens, classes]");
    o.loss = FA_LOSS_COUNT;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_ARGUMENT, "fa_sketch_options.loss");
    o.loss = -1;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_ARGUMENT, "fa_sketch_options.loss");
    o = options_of(FA_LOSS_MULTI_LABEL);
    o.drop_misclassified = 1;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_ARGUMENT, "'multi-label'");
    fa_refset_release(refs);
}
END_TEST

START_TEST(every_loss_goes_the_whole_way)
{
    static const struct {
        int32_t loss;
        bool words;
        int64_t classes;
    } cases[] = {{FA_LOSS_MARGIN, false, CLASSES},     {FA_LOSS_CROSS_ENTROPY, false, CLASSES}, {FA_LOSS_MULTI_LABEL, false, CLASSES}, {FA_LOSS_REGRESSION, false, 0},
                 {FA_LOSS_EMBEDDING, false, 0},        {FA_LOSS_NEXT_TOKEN, true, WORDS},       {FA_LOSS_PER_TOKEN, true, WORDS},      {FA_LOSS_PER_PIXEL, true, TOKENS},
                 {FA_LOSS_MULTI_LABEL, true, TOKENS * WORDS}, {FA_LOSS_REGRESSION, true, 0}};
    fa_refset *refs = sentences(N_REF, 3), *cal = sentences(N_CAL, 4);
    const char *folder = make_folder();
    char path[512];
    strcat(strcpy(path, folder), "/a.fattr");
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const fa_model *m = cases[c].words ? gpt : model;
        const fa_refset *r = cases[c].words ? refs : references, *k = cases[c].words ? cal : calibration;
        fa_sketch_options o = options_of(cases[c].loss);
        fa_sketch *sketch, *read, *again;
        OK(fa_sketch_build(m, r, k, &o, &sketch));
        OK(fa_sketch_save_file(sketch, path));
        OK(fa_sketch_load_file(context, path, &read));
        fa_sketch_info info = {.struct_size = sizeof info};
        OK(fa_sketch_get_info(read, &info));
        ck_assert_int_eq(info.loss, cases[c].loss);
        ck_assert_int_eq(info.class_count, cases[c].classes);
        /* Another head over it asks the same question, whatever the options say of the loss. */
        OK(fa_sketch_recalibrate(read, m, k, NULL, &again));
        double one[N_CAL], other[N_CAL];
        OK(fa_sketch_get_calibration(sketch, FA_SCORE_CONE, one));
        OK(fa_sketch_get_calibration(again, FA_SCORE_CONE, other));
        ck_assert_mem_eq(one, other, sizeof one);
        fa_scorer *scorer = scorer_of(read, m, NULL, NULL);
        fa_array x;
        fa_result result[4];
        OK(fa_refset_get_input(k, 0, &x));
        int64_t shape[4] = {4, x.ndim > 1 ? x.shape[1] : 0, x.ndim > 2 ? x.shape[2] : 0, x.ndim > 3 ? x.shape[3] : 0};
        x.shape = shape;
        OK(fa_score_batch(scorer, &x, 1, result, 4));
        for (int i = 0; i < 4; i++) {
            ck_assert(result[i].score >= 0 && result[i].score <= 1 + 1e-6 && result[i].p_value > 0 && result[i].no_signal == 0);
            ck_assert(isnan(result[i].confidence) ? cases[c].classes == 0 : result[i].confidence > 0 && result[i].confidence <= 1);
            ck_assert(result[i].predicted >= -1 && result[i].predicted < (cases[c].classes ? cases[c].classes : 1));
        }
        fa_scorer_destroy(scorer);
        fa_sketch_release(again);
        fa_sketch_release(read);
        fa_sketch_release(sketch);
    }
    remove_folder(folder);
    fa_refset_release(cal);
    fa_refset_release(refs);
}
END_TEST

/* ---- a host's own gradient */

typedef struct ours {
    _Atomic int64_t calls;
    enum { MARGIN, ZERO, NOT_A_NUMBER, FAILING, SILENT, NO_STATUS, NARROW } does;
} ours;

static fa_status gradient(void *user, const fa_output_batch *b, float *to)
{
    ours *o = user;
    o->calls++;
    if (b->struct_size < sizeof *b || b->n < 1 || b->length != CLASSES || b->input_count != 1 || b->inputs[0].shape[0] < b->first + b->n) return FA_ERR_INTERNAL;
    if (o->does == FAILING) return fa_error_set(FA_ERR_IO, "the wire is cut");
    if (o->does == SILENT) return FA_ERR_LIMIT;
    if (o->does == NO_STATUS) return 5;
    for (int64_t i = 0; i < b->n; i++) {
        const float *z = b->outputs + i * CLASSES;
        int best = 0;
        for (int k = 1; k < CLASSES; k++)
            if (z[k] > z[best]) best = k;
        for (int k = 0; k < CLASSES && o->does != ZERO; k++) to[i * CLASSES + k] = k == best ? -18.0f : 2.0f; /* the margin's, of any length */
        if (o->does == NOT_A_NUMBER && b->first + i == 3) to[i * CLASSES + 7] = NAN;
    }
    return FA_OK;
}

START_TEST(a_host_can_bring_the_margin)
{
    ours host = {.does = MARGIN};
    fa_sketch_options o = options_of(FA_LOSS_HOST), plain = options_of(FA_LOSS_MARGIN);
    o.output_gradient = gradient;
    o.output_gradient_user = &host;
    fa_sketch *by_host, *by_us, *again;
    OK(fa_sketch_build(model, references, calibration, &o, &by_host));
    OK(fa_sketch_build(model, references, calibration, &plain, &by_us));
    ck_assert(host.calls > 0);
    double one[N_CAL], other[N_CAL];
    OK(fa_sketch_get_calibration(by_host, FA_SCORE_CONE, one));
    OK(fa_sketch_get_calibration(by_us, FA_SCORE_CONE, other));
    for (int i = 0; i < N_CAL; i++) ck_assert_double_eq_tol(one[i], other[i], 1e-5);
    /* It is needed again wherever the network is run, and a file says so. */
    FAILS(fa_sketch_recalibrate(by_host, model, calibration, NULL, &again), FA_ERR_STATE, "output_gradient");
    OK(fa_sketch_recalibrate(by_host, model, calibration, &o, &again));
    OK(fa_sketch_get_calibration(again, FA_SCORE_CONE, other));
    ck_assert_mem_eq(one, other, sizeof one);
    fa_scorer *scorer;
    fa_scorer_options s;
    fa_scorer_options_init(&s, sizeof s);
    FAILS(fa_scorer_create(by_host, model, &s, &scorer), FA_ERR_STATE, "output_gradient");
    s.output_gradient = gradient;
    s.output_gradient_user = &host;
    FAILS(fa_scorer_create(by_us, model, &s, &scorer), FA_ERR_ARGUMENT, "'margin'");
    scorer = scorer_of(by_host, model, gradient, &host);
    fa_scorer *theirs = scorer_of(by_us, model, NULL, NULL);
    float *images = make_images(4, 9);
    int64_t shape[4];
    fa_array x = images_array(images, 4, shape);
    fa_result a[4], b[4];
    OK(fa_score_batch(scorer, &x, 1, a, 4));
    OK(fa_score_batch(theirs, &x, 1, b, 4));
    for (int i = 0; i < 4; i++) {
        ck_assert_double_eq_tol(a[i].score, b[i].score, 1e-5);
        ck_assert(a[i].predicted == -1 && isnan(a[i].confidence));
    }
    /* What goes wrong there comes back here, and the scorer can be used again. */
    static const struct {
        int does;
        fa_status status;
        const char *text;
    } faults[] = {{FAILING, FA_ERR_IO, "output_gradient(): the wire is cut"}, {SILENT, FA_ERR_LIMIT, "without a reason"}, {NO_STATUS, FA_ERR_ARGUMENT, "no status"},
                  {NOT_A_NUMBER, FA_ERR_NOT_FINITE, "element 7 for input 3"}};
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        host.does = faults[f].does;
        FAILS(fa_score_batch(scorer, &x, 1, a, 4), faults[f].status, faults[f].text);
        FAILS(fa_sketch_build(model, references, NULL, &o, &again), faults[f].status, faults[f].text);
    }
    host.does = ZERO;
    OK(fa_score_batch(scorer, &x, 1, a, 4));
    for (int i = 0; i < 4; i++) ck_assert(a[i].no_signal == 1 && a[i].score == 1 && a[i].p_value == 1.0 / (1 + N_CAL));
    FAILS(fa_sketch_build(model, references, NULL, &o, &by_us), FA_ERR_NO_SIGNAL, "");
    host.does = MARGIN;
    OK(fa_score_batch(scorer, &x, 1, a, 4));
    for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(a[i].score, b[i].score, 1e-5);
    free(images);
    fa_scorer_destroy(theirs);
    fa_scorer_destroy(scorer);
    fa_sketch_release(again);
    fa_sketch_release(by_us);
    fa_sketch_release(by_host);
}
END_TEST

START_TEST(a_gradient_goes_with_its_loss)
{
    ours host = {.does = MARGIN};
    fa_sketch *sketch;
    fa_sketch_options o = options_of(FA_LOSS_HOST);
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_STATE, "output_gradient: is NULL");
    o = options_of(FA_LOSS_MARGIN);
    o.output_gradient = gradient;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_ARGUMENT, "for the loss 'host'");
    o.output_gradient = NULL;
    o.output_gradient_user = &host;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_ARGUMENT, "output_gradient_user");
    fa_memory_estimate e = {.struct_size = sizeof e};
    o = options_of(FA_LOSS_HOST);
    OK(fa_sketch_memory_estimate(model, references, NULL, &o, &e));
    fa_trace_options trace;
    fa_trace_options_init(&trace, sizeof trace);
    o.trace = &trace;
    o.output_gradient = gradient;
    o.output_gradient_user = &host;
    FAILS(fa_sketch_build(model, references, NULL, &o, &sketch), FA_ERR_UNSUPPORTED, "'host'");
}
END_TEST

START_TEST(traces_have_the_losses_of_positions)
{
    fa_refset *refs = sentences(N_REF, 3), *cal = sentences(N_CAL, 4);
    for (int sampler = FA_SAMPLER_GAUSSIAN; sampler <= FA_SAMPLER_SGLD; sampler++)
        for (int32_t loss = FA_LOSS_NEXT_TOKEN; loss <= FA_LOSS_EMBEDDING; loss++) {
            fa_sketch_options o = options_of(loss);
            fa_trace_options trace;
            fa_trace_options_init(&trace, sizeof trace);
            trace.draws = 5;
            trace.burn_in = 2;
            trace.sampler = sampler;
            o.trace = &trace;
            fa_sketch *sketch, *again;
            OK(fa_sketch_build(gpt, refs, cal, &o, &sketch));
            fa_sketch_info info = {.struct_size = sizeof info};
            OK(fa_sketch_get_info(sketch, &info));
            ck_assert_int_eq(info.loss, loss);
            float losses[N_REF * 5];
            OK(fa_sketch_get_traces(sketch, losses));
            for (int i = 0; i < N_REF * 5; i++) ck_assert(losses[i] >= 0 && isfinite(losses[i]));
            fa_scorer *scorer = scorer_of(sketch, gpt, NULL, NULL);
            int64_t ids[4 * TOKENS], shape[2];
            make_sentences(ids, 4, 3);
            fa_array x = sentences_array(ids, 4, shape);
            fa_result r[4];
            OK(fa_score_batch(scorer, &x, 1, r, 4));
            for (int i = 0; i < 4; i++) ck_assert_double_eq_tol((double)r[i].couplings[i], 1, 1e-4);
            double one[N_CAL], other[N_CAL];
            OK(fa_sketch_recalibrate(sketch, gpt, cal, NULL, &again));
            OK(fa_sketch_get_calibration(sketch, FA_SCORE_MEAN, one));
            OK(fa_sketch_get_calibration(again, FA_SCORE_MEAN, other));
            ck_assert_mem_eq(one, other, sizeof one);
            fa_scorer_destroy(scorer);
            fa_sketch_release(again);
            fa_sketch_release(sketch);
        }
    fa_refset_release(cal);
    fa_refset_release(refs);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, next_tokens_are_held_against_the_input);
    tcase_add_test(t, a_shape_finds_the_loss_that_fits);
    tcase_add_test(t, every_loss_goes_the_whole_way);
    tcase_add_test(t, a_host_can_bring_the_margin);
    tcase_add_test(t, a_gradient_goes_with_its_loss);
    tcase_add_test(t, traces_have_the_losses_of_positions);
}

int main(void)
{
    return run_suite("outputs", add, setup, teardown);
}
