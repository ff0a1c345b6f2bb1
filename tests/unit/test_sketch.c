/* SPDX-License-Identifier: Apache-2.0 */
/* Building a sketch and scoring with it. */
#include "../data/oracle_sketch.h"
#include "base/context.h"
#include "sketch/sketch.h"
#include "small_models.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define ORACLE_MODEL FA_SOURCE_ROOT "/tests/data/oracle_sketch.onnx"
#define R SKETCH_REFERENCES
#define C SKETCH_CALIBRATION
#define N SKETCH_INPUTS

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

/* Images first ... first + n - 1 of the oracle. */
static float *images(int64_t first, int64_t n)
{
    float *x = malloc((size_t)(n * SKETCH_PIXELS) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < n * SKETCH_PIXELS; i++) x[i] = (float)sketch_pixels[first * SKETCH_PIXELS + i] / 32;
    return x;
}

static fa_refset *image_set(fa_context *c, int64_t first, int64_t n, const int64_t *labels)
{
    float *x = images(first, n);
    fa_refset_options o;
    fa_refset *set;
    fa_refset_options_init(&o, sizeof o);
    o.labels = labels;
    OK(fa_refset_create(c, &(fa_array){.data = x, .shape = (int64_t[]){n, 2, 5, 5}, .ndim = 4, .dtype = FA_FLOAT32}, 1, &o, &set));
    free(x);
    return set;
}

static fa_sketch_options oracle_options(int32_t blocks)
{
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.k_in = SKETCH_K_IN;
    o.k_out = SKETCH_K_OUT;
    o.topk = SKETCH_TOPK;
    o.ridge = 0.1; /* of the oracle's numbers */
    o.blocks = blocks;
    o.batch = 4;
    return o;
}

static const struct {
    int32_t blocks, loss;
} oracle_cases[SKETCH_CASES] = {{FA_BLOCKS_BOTH, FA_LOSS_MARGIN}, {FA_BLOCKS_PLAIN, FA_LOSS_MARGIN}, {FA_BLOCKS_LAYER_UNIT, FA_LOSS_MARGIN},
                                {FA_BLOCKS_BOTH, FA_LOSS_CROSS_ENTROPY}};

static void check_kernels(int32_t kernels)
{
    fa_context_options co;
    fa_context *c;
    fa_model *m;
    fa_context_options_init(&co, sizeof co);
    co.kernels = kernels;
    OK(fa_context_create(&co, &c));
    OK(fa_model_load_file(c, ORACLE_MODEL, NULL, &m));
    fa_refset *refs = image_set(c, 0, R, NULL), *cal = image_set(c, R, C, NULL);
    float *x = images(R + C, N);
    for (int32_t which = 0; which < SKETCH_CASES; which++) {
        fa_sketch_options o = oracle_options(oracle_cases[which].blocks);
        o.loss = oracle_cases[which].loss;
        fa_scorer_options so;
        fa_sketch *s;
        fa_scorer *one, *many;
        fa_result r, batch[N];
        fa_scorer_options_init(&so, sizeof so);
        so.all_scores = 1;
        so.alpha = 0.1;
        so.want_residual = 1;
        OK(fa_sketch_build(m, refs, cal, &o, &s));
        OK(fa_scorer_create(s, m, &so, &one));
        so.max_batch = N;
        OK(fa_scorer_create(s, m, &so, &many));
        OK(fa_score_batch(many, &(fa_array){x, (int64_t[]){N, 2, 5, 5}, 4, FA_FLOAT32, "x"}, 1, batch, N));
        for (int64_t i = 0; i < N; i++) {
            OK(fa_score(one, &(fa_array){x + i * SKETCH_PIXELS, (int64_t[]){1, 2, 5, 5}, 4, FA_FLOAT32, NULL}, 1, &r));
            ck_assert_int_eq(r.predicted, sketch_classes[i]);
            ck_assert_int_eq(batch[i].predicted, sketch_classes[i]);
            ck_assert(r.confidence > 1.0 / 4 && r.confidence <= 1 && r.no_signal == 0);
            for (int k = 0; k < FA_SCORE_COMMON_COUNT; k++) {
                double want = sketch_scores[which][i][k];
                ck_assert_msg(fabs(r.scores[k] - want) < 2e-5, "case %d, input %d, %s: %.9g, the oracle says %.9g", which, (int)i,
                              fa_score_name(k), r.scores[k], want);
                ck_assert_double_eq_tol(batch[i].scores[k], r.scores[k], 1e-5);
            }
            /* What the score says is the length of what the residual shows. */
            double energy = 0, weights = 0;
            for (int64_t d = 0; d < r.signature_length; d++) energy += (double)r.residual[d] * r.residual[d];
            for (int64_t j = 0; j < R; j++) weights += r.weights[j], ck_assert(r.weights[j] >= 0);
            ck_assert_double_eq_tol(energy, r.score, 1e-4);
            ck_assert(weights > 0);
            ck_assert_int_eq(r.flagged, r.p_value <= 0.1);
        }
        double forward, score;
        fa_score_timing time = {.struct_size = sizeof time};
        OK(fa_scorer_get_flops(one, &forward, &score));
        ck_assert(forward > 0 && score > forward);
        OK(fa_scorer_get_timing(one, &time));
        ck_assert(time.forward_ns > 0 && time.backward_ns > 0);
        fa_scorer_destroy(one);
        fa_scorer_destroy(many);
        fa_sketch_release(s);
    }
    free(x);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_model_release(m);
    ck_assert_uint_eq(fa_context_memory_used(c), 0);
    fa_context_release(c);
}

START_TEST(scores_are_the_oracles)
{
    check_kernels(FA_KERNELS_REFERENCE);
    check_kernels(FA_KERNELS_AUTO);
}
END_TEST

/* What a build makes of the oracle's sets with so many threads. */
static fa_sketch *build_with(int32_t threads, fa_context **c)
{
    fa_context_options co;
    fa_model *m;
    fa_sketch *s;
    fa_sketch_options o = oracle_options(FA_BLOCKS_BOTH);
    fa_context_options_init(&co, sizeof co);
    co.threads = threads;
    OK(fa_context_create(&co, c));
    OK(fa_model_load_file(*c, ORACLE_MODEL, NULL, &m));
    fa_refset *refs = image_set(*c, 0, R, NULL), *cal = image_set(*c, R, C, NULL);
    OK(fa_sketch_build(m, refs, cal, &o, &s));
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_model_release(m);
    return s;
}

START_TEST(threads_do_not_change_a_bit)
{
    fa_context *c[5];
    fa_sketch *s[5];
    for (int i = 0; i < 5; i++) s[i] = build_with(i + 1, &c[i]);
    const fa_sketch_body *a = s[0]->body;
    for (int i = 1; i < 5; i++) {
        const fa_sketch_body *b = s[i]->body;
        size_t length = (size_t)a->offset[a->n_layer];
        ck_assert_int_eq(b->n_layer, a->n_layer);
        for (int32_t l = 0; l < a->n_layer; l++) {
            ck_assert_mem_eq(a->layer[l].p_in, b->layer[l].p_in, (size_t)(a->layer[l].in * a->layer[l].k_in) * sizeof(float));
            ck_assert_mem_eq(a->layer[l].p_out, b->layer[l].p_out, (size_t)(a->layer[l].out * a->layer[l].k_out) * sizeof(float));
        }
        ck_assert_mem_eq(a->blocks, b->blocks, R * length * sizeof(float));
        ck_assert_mem_eq(a->gram, b->gram, R * R * sizeof(float));
        for (int k = 0; k < FA_SCORE_COMMON_COUNT; k++) ck_assert_mem_eq(s[0]->calibration[k], s[i]->calibration[k], C * sizeof(double));
    }
    for (int i = 0; i < 5; i++) {
        fa_sketch_release(s[i]);
        ck_assert_uint_eq(fa_context_memory_used(c[i]), 0);
        fa_context_release(c[i]);
    }
}
END_TEST

static void check_estimate(int which, const char *what, uint64_t estimate, uint64_t used)
{
    ck_assert_msg((double)estimate > 0.9 * (double)used && (double)estimate < 1.1 * (double)used, "case %d, %s: %llu estimated, %llu used", which,
                  what, (unsigned long long)estimate,
                  (unsigned long long)used);
}

START_TEST(the_estimate_is_within_a_tenth)
{
    static const struct {
        const char *model;
        int32_t threads, batch, k, drop, moments;
        int64_t n, m;
    } cases[] = {
        {"examples/models/clean.onnx", 1, 4, 16, 0, 0, 24, 20}, {"examples/models/clean.onnx", 3, 8, 4, 0, 0, 30, 0}, {"examples/models/clean.onnx", 2, 8, 16, 0, 1, 30, 20},
        {"examples/models/mlp.onnx", 1, 16, 16, 0, 0, 300, 60}, {"examples/models/mlp.onnx", 2, 16, 16, 1, 0, 300, 0},  {"examples/models/mlp.onnx", 2, 32, 8, 0, 0, 40, 300},
        {"examples/models/mlp.onnx", 2, 32, 8, 0, 1, 40, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fa_context_options co;
        fa_context *c;
        fa_model *m;
        fa_sketch *s;
        fa_scorer *scorer;
        fa_sketch_options o;
        fa_scorer_options so;
        char path[512];
        int64_t n = cases[i].n, cal_n = cases[i].m, labels[300] = {0};
        fa_context_options_init(&co, sizeof co);
        co.threads = cases[i].threads;
        OK(fa_context_create(&co, &c));
        snprintf(path, sizeof path, "%s/%s", FA_SOURCE_ROOT, cases[i].model);
        OK(fa_model_load_file(c, path, NULL, &m));
        float *x = normal_rows(n > cal_n ? n : cal_n, 784, 3);
        fa_refset *refs, *cal = NULL;
        fa_refset_options ro;
        fa_refset_options_init(&ro, sizeof ro);
        for (int k = 0; k < 300; k++) labels[k] = -1; /* unknown: all are kept */
        ro.labels = labels;
        OK(fa_refset_create(c, &(fa_array){x, (int64_t[]){n, 1, 28, 28}, 4, FA_FLOAT32, NULL}, 1, &ro, &refs));
        if (cal_n) OK(fa_refset_create(c, &(fa_array){x, (int64_t[]){cal_n, 1, 28, 28}, 4, FA_FLOAT32, NULL}, 1, NULL, &cal));
        free(x);
        fa_sketch_options_init(&o, sizeof o);
        o.batch = cases[i].batch;
        o.k_in = o.k_out = cases[i].k;
        o.drop_misclassified = cases[i].drop;
        o.keep_moments = cases[i].moments;
        fa_memory_estimate e = {.struct_size = sizeof e};
        OK(fa_sketch_memory_estimate(m, refs, cal, &o, &e)); /* the first pass that goes backward: the model packs for it, once */
        uint64_t before = fa_context_memory_used(c);
        OK(fa_sketch_memory_estimate(m, refs, cal, &o, &e));
        ck_assert_uint_eq(fa_context_memory_used(c), before);
        fa_context_memory_peak_reset(c);
        OK(fa_sketch_build(m, refs, cal, &o, &s));
        check_estimate((int)i, "build", e.build_bytes, fa_context_memory_peak(c) - before);
        check_estimate((int)i, "sketch", e.sketch_bytes, fa_context_memory_used(c) - before);
        before = fa_context_memory_used(c);
        fa_scorer_options_init(&so, sizeof so);
        OK(fa_scorer_create(s, m, &so, &scorer));
        check_estimate((int)i, "scorer", e.scorer_bytes, fa_context_memory_used(c) - before);
        snprintf(path, sizeof path, "%s/fattr-estimate-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
        OK(fa_sketch_save_file(s, path));
        FILE *f = fopen(path, "rb");
        ck_assert_ptr_nonnull(f);
        fseek(f, 0, SEEK_END);
        check_estimate((int)i, "file", e.file_bytes, (uint64_t)ftell(f));
        fclose(f);
        remove(path);
        fa_scorer_destroy(scorer);
        fa_sketch_release(s);
        fa_refset_release(refs);
        fa_refset_release(cal);
        fa_model_release(m);
        fa_context_release(c);
    }
}
END_TEST

typedef struct watch {
    int32_t calls, stop_at;
    int64_t done, total;
    int sleep_ms;
} watch;

static int32_t watching(void *user, const char *stage, int64_t done, int64_t total)
{
    watch *w = user;
    ck_assert_ptr_nonnull(stage);
    ck_assert(done >= w->done && done <= total && (!w->total || total == w->total));
    w->done = done;
    w->total = total;
    nanosleep(&(struct timespec){0, w->sleep_ms * 1000000L}, NULL);
    return w->calls++ == w->stop_at;
}

START_TEST(progress_cancel_and_deadline)
{
    fa_model *m;
    fa_sketch *s = NULL;
    watch w = {.stop_at = -1};
    fa_sketch_options o = oracle_options(FA_BLOCKS_BOTH);
    o.progress = watching;
    o.progress_user = &w;
    OK(fa_model_load_file(context, ORACLE_MODEL, NULL, &m));
    fa_refset *refs = image_set(context, 0, R, NULL), *cal = image_set(context, R, C, NULL);
    OK(fa_sketch_build(m, refs, cal, &o, &s));
    ck_assert(w.calls >= 2 && w.done == w.total && w.total > 2 * R);
    fa_sketch_release(s);
    s = NULL;
    int32_t calls = w.calls;
    for (int32_t stop = 0; stop < calls; stop++) { /* at the first call, ..., at the last, when everything is done */
        uint64_t before = fa_context_memory_used(context);
        w = (watch){.stop_at = stop};
        FAILS(fa_sketch_build(m, refs, cal, &o, &s), FA_ERR_CANCELLED, "cancelled");
        ck_assert_ptr_null(s);
        ck_assert_uint_eq(fa_context_memory_used(context), before);
    }
    w = (watch){.stop_at = -1, .sleep_ms = 5};
    o.timeout_ms = 2;
    FAILS(fa_sketch_build(m, refs, cal, &o, &s), FA_ERR_CANCELLED, "2 ms");
    o.timeout_ms = UINT64_MAX;
    w = (watch){.stop_at = -1};
    OK(fa_sketch_build(m, refs, cal, &o, &s));
    fa_sketch_release(s);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_model_release(m);
}
END_TEST

START_TEST(recalibrating_shares_the_body)
{
    fa_model *m;
    fa_sketch *s, *again, *none;
    fa_sketch_options o = oracle_options(FA_BLOCKS_BOTH);
    double first[C], second[C];
    OK(fa_model_load_file(context, ORACLE_MODEL, NULL, &m));
    fa_refset *refs = image_set(context, 0, R, NULL), *cal = image_set(context, R, C, NULL), *few = image_set(context, R, 5, NULL);
    OK(fa_sketch_build(m, refs, few, &o, &s));
    OK(fa_sketch_recalibrate(s, m, cal, NULL, &again));
    OK(fa_sketch_recalibrate(s, m, NULL, NULL, &none));
    ck_assert(again->body == s->body && none->body == s->body);
    ck_assert(again->n_calibration == C && s->n_calibration == 5 && none->n_calibration == 0);
    fa_sketch_release(s);
    FAILS(fa_sketch_get_calibration(none, 0, first), FA_ERR_STATE, "no calibration");
    fa_scorer *scorer;
    fa_scorer_options so;
    fa_scorer_options_init(&so, sizeof so);
    so.alpha = 0.2;
    FAILS(fa_scorer_create(none, m, &so, &scorer), FA_ERR_STATE, "no calibration");
    so.alpha = 1.0 / (C + 2);
    FAILS(fa_scorer_create(again, m, &so, &scorer), FA_ERR_ARGUMENT, "alpha");
    so.alpha = 0;
    OK(fa_scorer_create(none, m, &so, &scorer));
    float *x = images(R + C, 1);
    fa_result r;
    OK(fa_score(scorer, &(fa_array){x, (int64_t[]){1, 2, 5, 5}, 4, FA_FLOAT32, NULL}, 1, &r));
    ck_assert(isnan(r.p_value) && r.flagged == -1);
    free(x);
    fa_scorer_destroy(scorer);
    /* The same scores as a build with that calibration set from the start. */
    OK(fa_sketch_build(m, refs, cal, &o, &s));
    for (int k = 0; k < FA_SCORE_COMMON_COUNT; k++) {
        OK(fa_sketch_get_calibration(s, k, first));
        OK(fa_sketch_get_calibration(again, k, second));
        for (int i = 0; i < C; i++) {
            ck_assert_double_eq_tol(first[i], second[i], 1e-6);
            ck_assert(i == 0 || second[i] >= second[i - 1]);
        }
    }
    fa_sketch_release(s);
    fa_sketch_release(again);
    fa_sketch_release(none);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_refset_release(few);
    fa_model_release(m);
}
END_TEST

START_TEST(dropping_the_misclassified)
{
    fa_model *m;
    fa_sketch *all, *some;
    fa_reference_info info;
    int64_t labels[R];
    fa_sketch_options o = oracle_options(FA_BLOCKS_BOTH);
    OK(fa_model_load_file(context, ORACLE_MODEL, NULL, &m));
    fa_refset *refs = image_set(context, 0, R, NULL);
    OK(fa_sketch_build(m, refs, NULL, &o, &all));
    o.drop_misclassified = 1;
    FAILS(fa_sketch_build(m, refs, NULL, &o, &some), FA_ERR_ARGUMENT, "no labels");
    fa_refset_release(refs);
    for (int64_t i = 0; i < R; i++) {
        OK(fa_sketch_get_reference(all, i, &info));
        labels[i] = i % 3 == 0 ? (info.predicted + 1) % 4 : i % 3 == 1 ? info.predicted : -1;
    }
    refs = image_set(context, 0, R, labels);
    OK(fa_sketch_build(m, refs, NULL, &o, &some));
    fa_sketch_info si = {.struct_size = sizeof si};
    OK(fa_sketch_get_info(some, &si));
    ck_assert_int_eq(si.reference_count, R - (R + 2) / 3);
    for (int64_t i = 0, j = 0; i < R; i++) {
        if (i % 3 == 0) continue;
        OK(fa_sketch_get_reference(some, j++, &info));
        ck_assert_int_eq(info.id, i);
        ck_assert_int_eq(info.label, labels[i]);
    }
    fa_sketch_release(some);
    fa_refset_release(refs);
    for (int64_t i = 0; i < R; i++) labels[i] = 100;
    refs = image_set(context, 0, R, labels);
    FAILS(fa_sketch_build(m, refs, NULL, &o, &some), FA_ERR_ARGUMENT, "0 of 22");
    fa_refset_release(refs);
    fa_sketch_release(all);
    fa_model_release(m);
}
END_TEST

START_TEST(no_signal)
{
    /* Without biases a zero input leaves every activation, and so every gradient, at zero. */
    fa_model *m = mlp(context, false);
    fa_refset *refs = normal_set(context, 20, 6, 1), *cal = normal_set(context, 30, 6, 2);
    fa_sketch *s;
    fa_scorer *scorer;
    fa_scorer_options so;
    fa_result r;
    float zero[6] = {0}, tiny[6], one[6] = {0.5f, -1, 0.25f, 1, 2, -0.5f};
    double full;
    int64_t shape[] = {1, 6};
    fa_scorer_options_init(&so, sizeof so);
    so.all_scores = 1;
    so.want_residual = 1;
    OK(fa_sketch_build(m, refs, cal, NULL, &s));
    OK(fa_scorer_create(s, m, &so, &scorer));
    OK(fa_score(scorer, &(fa_array){zero, shape, 2, FA_FLOAT32, NULL}, 1, &r));
    ck_assert(r.no_signal == 1 && r.score == 1 && r.scores[FA_SCORE_CONE] == 1 && r.scores[FA_SCORE_SPAN] == 1);
    ck_assert(r.scores[FA_SCORE_TOPK] == 0 && r.scores[FA_SCORE_CLASS] == 0 && r.scores[FA_SCORE_MEAN] == 0);
    ck_assert_double_eq(r.p_value, 1.0 / 31);
    ck_assert_int_eq(r.flagged, 1);
    for (int j = 0; j < 20; j++) ck_assert(r.couplings[j] == 0 && r.weights[j] == 0);
    for (int d = 0; d < r.signature_length; d++) ck_assert(r.residual[d] == 0);
    /* The network is positively homogeneous: a scaled input has a scaled signature as far as the layers' own inputs go, down to 1e-12 and below. */
    OK(fa_score(scorer, &(fa_array){one, shape, 2, FA_FLOAT32, NULL}, 1, &r));
    ck_assert(r.no_signal == 0);
    for (int i = 0; i < 6; i++) tiny[i] = one[i] * 1e-12f;
    OK(fa_score(scorer, &(fa_array){tiny, shape, 2, FA_FLOAT32, NULL}, 1, &r));
    full = r.score;
    ck_assert(r.no_signal == 0 && isfinite(full) && full > 0 && full <= 1);
    for (int i = 0; i < 6; i++) tiny[i] = one[i] * 1e-15f;
    OK(fa_score(scorer, &(fa_array){tiny, shape, 2, FA_FLOAT32, NULL}, 1, &r));
    ck_assert_double_eq_tol(r.score, full, 1e-5);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    /* References without any. */
    fa_refset_release(refs);
    float zeros[18] = {0};
    OK(fa_refset_create(context, &(fa_array){zeros, (int64_t[]){3, 6}, 2, FA_FLOAT32, NULL}, 1, NULL, &refs));
    FAILS(fa_sketch_build(m, refs, cal, NULL, &s), FA_ERR_NO_SIGNAL, "3 tapped layers");
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_model_release(m);
}
END_TEST

START_TEST(refuses)
{
    fa_model *m = mlp(context, true), *sick;
    fa_refset *refs = normal_set(context, 6, 6, 1), *one = normal_set(context, 1, 6, 1), *wide = normal_set(context, 6, 7, 1);
    fa_sketch *s = NULL;
    fa_sketch_options o;
    FAILS(fa_sketch_build(m, one, NULL, NULL, &s), FA_ERR_ARGUMENT, "at least two");
    FAILS(fa_sketch_build(m, wide, NULL, NULL, &s), FA_ERR_SHAPE, "7");
    FAILS(fa_sketch_build(m, refs, wide, NULL, &s), FA_ERR_SHAPE, "[6, 7]");
    FAILS(fa_sketch_build(NULL, refs, NULL, NULL, &s), FA_ERR_ARGUMENT, "model");
    static const struct {
        size_t offset;
        int32_t value;
        const char *words;
    } wrong[] = {{offsetof(fa_sketch_options, k_in), 257, "k_in"}, {offsetof(fa_sketch_options, k_out), -1, "k_out"},
                 {offsetof(fa_sketch_options, blocks), 3, "blocks"}, {offsetof(fa_sketch_options, loss), -1, "loss"},
                 {offsetof(fa_sketch_options, topk), -5, "topk"}, {offsetof(fa_sketch_options, batch), 5000, "batch"},
                 {offsetof(fa_sketch_options, drop_misclassified), 2, "drop_misclassified"}, {offsetof(fa_sketch_options, keep_moments), -1, "keep_moments"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fa_sketch_options_init(&o, sizeof o);
        memcpy((char *)&o + wrong[i].offset, &wrong[i].value, sizeof wrong[i].value);
        FAILS(fa_sketch_build(m, refs, NULL, &o, &s), FA_ERR_ARGUMENT, wrong[i].words);
    }
    fa_sketch_options_init(&o, sizeof o);
    o.beta = 1.5;
    FAILS(fa_sketch_build(m, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "beta");
    o.beta = NAN;
    FAILS(fa_sketch_build(m, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "beta");
    o.beta = 0;
    o.ridge = -1;
    FAILS(fa_sketch_build(m, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "ridge");
    /* A network that makes NaN of the third reference alone. */
    net g = {0};
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_weight(&g, "w", 6, 3, 1);
    net_node(&g, "Sqrt", "x", NULL, NULL, "root");
    net_node(&g, "Gemm", "root", "w", NULL, "fc");
    net_output(&g, "fc", 3);
    OK(net_load(&g, context, &sick));
    float x[24];
    for (int i = 0; i < 24; i++) x[i] = (float)(i % 5) + 0.5f;
    x[15] = -1;
    fa_refset_release(refs);
    OK(fa_refset_create(context, &(fa_array){x, (int64_t[]){4, 6}, 2, FA_FLOAT32, NULL}, 1, NULL, &refs));
    FAILS(fa_sketch_build(sick, refs, NULL, NULL, &s), FA_ERR_NOT_FINITE, "input 2");
    ck_assert_ptr_null(s);
    fa_refset_release(refs);
    fa_refset_release(one);
    fa_refset_release(wide);
    fa_model_release(m);
    fa_model_release(sick);
}
END_TEST

START_TEST(duplicates_audit_and_few_classes)
{
    fa_model *m;
    fa_sketch *s;
    float *x = images(0, R);
    double audit[R];
    memcpy(x + 5 * SKETCH_PIXELS, x + 2 * SKETCH_PIXELS, SKETCH_PIXELS * sizeof *x);
    fa_refset *refs;
    fa_sketch_options o = oracle_options(FA_BLOCKS_BOTH);
    OK(fa_model_load_file(context, ORACLE_MODEL, NULL, &m));
    OK(fa_refset_create(context, &(fa_array){x, (int64_t[]){R, 2, 5, 5}, 4, FA_FLOAT32, NULL}, 1, NULL, &refs));
    OK(fa_sketch_build(m, refs, NULL, &o, &s));
    ck_assert_float_eq_tol(s->body->gram[5 * R + 2], 1, 1e-5f);
    for (int k = 0; k < FA_SCORE_COMMON_COUNT; k++) {
        OK(fa_sketch_audit(s, k, audit));
        for (int i = 0; i < R; i++) ck_assert(isfinite(audit[i]) && audit[i] >= -1 && audit[i] <= 1);
        if (k == FA_SCORE_CONE) /* a twin explains most of the other one */
            ck_assert(audit[5] < 0.05 && audit[2] < 0.05);
    }
    FAILS(fa_sketch_audit(s, FA_SCORE_COUNT, audit), FA_ERR_ARGUMENT, "7");
    FAILS(fa_sketch_audit(s, FA_SCORE_MEAN_CCC, audit), FA_ERR_ARGUMENT, "mean_ccc");
    free(x);
    fa_sketch_release(s);
    fa_refset_release(refs);
    fa_model_release(m);
}
END_TEST

static int64_t calls, fail_at;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

START_TEST(every_allocation_may_fail)
{
    fa_refset *refs = normal_set(context, 9, 6, 1), *cal = normal_set(context, 25, 6, 2);
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.batch = 4;
    uint64_t before = fa_context_memory_used(context);
    context->threads = 2;
    fa_status status = FA_ERR_MEMORY;
    for (fail_at = 0; status != FA_OK; fail_at++) {
        fa_model *m = mlp(context, true); /* a new one, that has packed nothing for backward passes */
        fa_sketch *s = NULL, *again = NULL;
        fa_scorer *scorer = NULL;
        fa_memory_estimate e = {.struct_size = sizeof e};
        calls = 0;
        context->allocator.alloc = failing_alloc;
        status = fa_sketch_memory_estimate(m, refs, cal, &o, &e);
        if (status == FA_OK) status = fa_sketch_build(m, refs, cal, &o, &s);
        if (status == FA_OK) status = fa_sketch_recalibrate(s, m, cal, &o, &again);
        if (status == FA_OK) status = fa_scorer_create(again, m, NULL, &scorer);
        context->allocator.alloc = fa_system_allocator.alloc;
        ck_assert_msg(status == (calls > fail_at ? FA_ERR_MEMORY : FA_OK), "allocation %d: %s", (int)fail_at, fa_error_message());
        fa_scorer_destroy(scorer);
        fa_sketch_release(again);
        fa_sketch_release(s);
        fa_model_release(m);
        ck_assert_uint_eq(fa_context_memory_used(context), before);
        ck_assert_int_lt(fail_at, 5000);
    }
    ck_assert_int_gt(fail_at, 50);
    fa_refset_release(refs);
    fa_refset_release(cal);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sketch");
    TCase *t = tcase_create("sketch");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, scores_are_the_oracles);
    tcase_add_test(t, threads_do_not_change_a_bit);
    tcase_add_test(t, the_estimate_is_within_a_tenth);
    tcase_add_test(t, progress_cancel_and_deadline);
    tcase_add_test(t, recalibrating_shares_the_body);
    tcase_add_test(t, dropping_the_misclassified);
    tcase_add_test(t, no_signal);
    tcase_add_test(t, refuses);
    tcase_add_test(t, duplicates_audit_and_few_classes);
    tcase_add_test(t, every_allocation_may_fail);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
