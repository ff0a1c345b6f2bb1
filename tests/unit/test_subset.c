/* SPDX-License-Identifier: Apache-2.0 */
/* fa_sketch_options.subset: inputs that references of their own class alone may explain. */
#include "base/context.h"
#include "score/cone.h"
#include "sketch/sketch.h"
#include "small_models.h"

#include <math.h>
#include <stdio.h>

#define N 90 /* references */
#define M 40 /* inputs, which are the calibration set too */

static fa_context *context;
static fa_model *model;
static float *references, *inputs;
static fa_refset *calibration;

static fa_array rows(float *x, int64_t *shape, int64_t n)
{
    shape[0] = n, shape[1] = 6;
    return (fa_array){x, shape, 2, FA_FLOAT32, NULL};
}

static fa_refset *set_of(float *x, int64_t n)
{
    fa_refset *set;
    int64_t shape[2];
    fa_array a = rows(x, shape, n);
    OK(fa_refset_create(context, &a, 1, NULL, &set));
    return set;
}

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    model = mlp(context, true);
    references = normal_rows(N, 6, 1);
    inputs = normal_rows(M, 6, 2);
    calibration = set_of(inputs, M);
}

static void teardown(void)
{
    fa_refset_release(calibration);
    fa_model_release(model);
    free(references), free(inputs);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static fa_sketch *build(int64_t n, int32_t subset)
{
    fa_sketch_options o;
    fa_sketch *s;
    fa_refset *set = set_of(references, n);
    fa_sketch_options_init(&o, sizeof o);
    o.subset = subset;
    fa_memory_estimate e = {.struct_size = sizeof e};
    OK(fa_sketch_memory_estimate(model, set, calibration, &o, &e));
    uint64_t before = fa_context_memory_used(context);
    OK(fa_sketch_build(model, set, calibration, &o, &s));
    ck_assert_double_eq_tol((double)(fa_context_memory_used(context) - before) / (double)e.sketch_bytes, 1, 0.1);
    before = fa_context_memory_used(context);
    fa_scorer *scorer;
    OK(fa_scorer_create(s, model, NULL, &scorer));
    ck_assert_double_eq_tol((double)(fa_context_memory_used(context) - before) / (double)e.scorer_bytes, 1, 0.1);
    fa_scorer_destroy(scorer);
    fa_refset_release(set);
    return s;
}

static fa_scorer *scorer_of(const fa_sketch *s, int32_t batch)
{
    fa_scorer_options o;
    fa_scorer *scorer;
    fa_scorer_options_init(&o, sizeof o);
    o.max_batch = batch;
    o.all_scores = 1;
    OK(fa_scorer_create(s, model, &o, &scorer));
    return scorer;
}

static void score(fa_scorer *s, int64_t i, fa_result *r)
{
    int64_t shape[2];
    fa_array a = rows(inputs + 6 * i, shape, 1);
    OK(fa_score(s, &a, 1, r));
}

/* The members of a class, and the Gram matrix among them. */
static int64_t part(const fa_sketch_body *b, int64_t class, int64_t *member, float *gram)
{
    int64_t n = 0;
    for (int64_t j = 0; j < N; j++)
        if (b->predicted[j] == class) member[n++] = j;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) gram[i * n + j] = b->gram[member[i] * N + member[j]];
    return n;
}

/* Every score against one made of the class's references by hand. */
START_TEST(by_hand)
{
    fa_sketch *all = build(N, FA_SUBSET_ALL), *some = build(N, FA_SUBSET_CLASS);
    fa_scorer *s[2] = {scorer_of(all, 1), scorer_of(some, 1)};
    const fa_dot_kernels *kernels = fa_dot_kernels_for(context->kernels);
    float *gram = malloc(N * N * sizeof *gram), c[N], w[N];
    ck_assert_mem_eq(all->body->gram, some->body->gram, N * N * sizeof(float));
    ck_assert(!(fa_body_scores(some->body) & 1u << FA_SCORE_SPAN));
    for (int64_t i = 0; i < M; i++) {
        fa_result r[2];
        int64_t member[N];
        fa_cone *cone;
        score(s[0], i, &r[0]);
        score(s[1], i, &r[1]);
        int64_t n = part(some->body, r[1].predicted, member, gram);
        ck_assert_int_gt(n, 1);
        double mean = 0, outside = 0;
        for (int64_t j = 0; j < N; j++) outside += fabs((double)r[1].couplings[j]) + (double)r[1].weights[j];
        for (int64_t k = 0; k < n; k++) {
            ck_assert(r[1].couplings[member[k]] == r[0].couplings[member[k]]);
            c[k] = r[0].couplings[member[k]];
            mean += c[k] / (double)n;
            outside -= fabs((double)c[k]) + (double)r[1].weights[member[k]];
        }
        ck_assert_double_eq_tol(outside, 0, 1e-9);
        OK(fa_cone_create(context, kernels, gram, n, 1, &cone));
        ck_assert_double_eq_tol(r[1].score, fa_cone_solve(cone, c, -1, w, NULL), 1e-5); /* what the gradient is solved to */
        fa_cone_destroy(cone);
        for (int64_t k = 0; k < n; k++) ck_assert_double_eq_tol((double)r[1].weights[member[k]], (double)w[k], 1e-4);
        ck_assert_double_eq_tol(r[1].scores[FA_SCORE_MEAN], -mean, 1e-6);
        ck_assert(r[1].scores[FA_SCORE_CLASS] == r[1].scores[FA_SCORE_MEAN] && isnan(r[1].scores[FA_SCORE_SPAN]));
        ck_assert(r[1].scores[FA_SCORE_TOPK] >= r[0].scores[FA_SCORE_TOPK] - 1e-6);
        /* Fewer references explain no better, with the ridge counted. */
        double ww[2] = {0, 0};
        for (int64_t j = 0; j < N; j++)
            for (int k = 0; k < 2; k++) ww[k] += (double)r[k].weights[j] * (double)r[k].weights[j];
        ck_assert(r[1].score + ww[1] >= r[0].score + ww[0] - 1e-5);
    }
    double audit[N];
    OK(fa_sketch_audit(some, FA_SCORE_MEAN, audit));
    for (int64_t j = 0; j < N; j++) {
        int64_t member[N], n = part(some->body, some->body->predicted[j], member, gram);
        double mean = 0;
        for (int64_t k = 0; k < n; k++)
            if (member[k] != j) mean += some->body->gram[j * N + member[k]] / (double)(n - 1);
        ck_assert_double_eq_tol(audit[j], -mean, 1e-6);
    }
    for (int k = 0; k < 2; k++) fa_scorer_destroy(s[k]);
    fa_sketch_release(all);
    fa_sketch_release(some);
    free(gram);
}
END_TEST

/* Calibration follows the rule: the calibration inputs' own scores are what the sketch holds, so p-values are ranks; a batch and the file keep them. */
START_TEST(calibrated_alike)
{
    fa_sketch *s = build(N, FA_SUBSET_CLASS), *again;
    OK(fa_sketch_save_file(s, "subset.fattr"));
    OK(fa_sketch_load_file(context, "subset.fattr", &again));
    remove("subset.fattr");
    ck_assert_int_eq(again->body->options.subset, FA_SUBSET_CLASS);
    fa_scorer *one = scorer_of(s, 1), *many = scorer_of(again, M);
    fa_result r[M], x;
    int64_t shape[2], above = 0;
    fa_array a = rows(inputs, shape, M);
    OK(fa_score_batch(many, &a, 1, r, M));
    for (int64_t i = 0; i < M; i++) {
        score(one, i, &x);
        ck_assert_double_eq_tol(x.score, r[i].score, 1e-5);
        double nearest = 1;
        for (int64_t k = 0; k < M; k++) nearest = fmin(nearest, fabs(s->calibration[FA_SCORE_CONE][k] - x.score));
        ck_assert_msg(nearest < 1e-5, "input %lld: %g is none of the calibration scores", (long long)i, x.score);
        above += x.p_value <= 0.25;
    }
    ck_assert_int_ge(above, M / 5);
    ck_assert_int_le(above, M / 4 + 1);
    fa_scorer_destroy(one);
    fa_scorer_destroy(many);
    fa_sketch_release(s);
    fa_sketch_release(again);
}
END_TEST

/* No reference is of the input's class: nothing explains it. */
START_TEST(a_class_of_its_own)
{
    fa_sketch *whole = build(N, FA_SUBSET_ALL);
    int64_t n = 0, missing = whole->body->predicted[0], seen = 0;
    for (int64_t j = 0; j < N; j++)
        if (whole->body->predicted[j] != missing) memmove(references + 6 * n++, references + 6 * j, 6 * sizeof *references);
    fa_sketch_release(whole);
    fa_sketch *s = build(n, FA_SUBSET_CLASS);
    fa_scorer *scorer = scorer_of(s, 1);
    for (int64_t i = 0; i < M; i++) {
        fa_result r;
        score(scorer, i, &r);
        if (r.predicted != missing) continue;
        seen++;
        ck_assert(r.score == 1 && r.scores[FA_SCORE_TOPK] == 0 && r.scores[FA_SCORE_CLASS] == 0 && r.scores[FA_SCORE_MEAN] == 0);
        for (int64_t j = 0; j < n; j++) ck_assert(r.weights[j] == 0 && r.couplings[j] == 0);
    }
    ck_assert_int_gt(seen, 0);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
}
END_TEST

START_TEST(refusals)
{
    fa_sketch_options o;
    fa_trace_options t;
    fa_sketch *s;
    fa_refset *set = set_of(references, N);
    fa_sketch_options_init(&o, sizeof o);
    fa_trace_options_init(&t, sizeof t);
    o.subset = 2;
    FAILS(fa_sketch_build(model, set, NULL, &o, &s), FA_ERR_ARGUMENT, "subset: 2");
    o.subset = FA_SUBSET_CLASS;
    o.loss = FA_LOSS_EMBEDDING;
    FAILS(fa_sketch_build(model, set, NULL, &o, &s), FA_ERR_ARGUMENT, "embedding");
    o.loss = FA_LOSS_MARGIN;
    o.trace = &t;
    FAILS(fa_sketch_build(model, set, NULL, &o, &s), FA_ERR_ARGUMENT, "trace");
    o.trace = NULL;
    OK(fa_sketch_build(model, set, NULL, &o, &s));
    fa_scorer_options so;
    fa_scorer *scorer;
    fa_scorer_options_init(&so, sizeof so);
    so.score = FA_SCORE_SPAN;
    FAILS(fa_scorer_create(s, model, &so, &scorer), FA_ERR_ARGUMENT, "span");
    fa_sketch_release(s);
    fa_refset_release(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("subset");
    TCase *t = tcase_create("subset");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, by_hand);
    tcase_add_test(t, calibrated_alike);
    tcase_add_test(t, a_class_of_its_own);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
