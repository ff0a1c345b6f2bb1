/* SPDX-License-Identifier: Apache-2.0 */
/* More references than a Gram matrix is kept for: the cone without one, and sketches. */
#include "base/context.h"
#include "kernels/dot.h"
#include "score/cholesky.h"
#include "score/finish.h"
#include "score/wide.h"
#include "sketch/sketch.h"
#include "small_models.h"

#include <math.h>
#include <stdio.h>

#define LAYERS 3

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

static const int64_t offset[LAYERS + 1] = {0, 24, 56, 120};

typedef struct signatures {
    fa_space space;
    fa_rows rows;
    float *block, *share, *tau;
} signatures;

/* `n` rows: what all have in common times `common`, a class's mean, and noise. */
static signatures make(uint64_t stream, int64_t n, float common, int32_t blocks)
{
    const int64_t d = offset[LAYERS];
    signatures s = {.space = {.n_layer = LAYERS, .blocks = blocks, .offset = offset}};
    s.block = malloc((size_t)(n * d) * sizeof(float)), s.share = malloc((size_t)(n * LAYERS) * sizeof(float)), s.tau = malloc((size_t)n * sizeof(float));
    float mean[8 * 120];
    fa_normal(3, 0, 0, 8 * d, mean);
    fa_normal(4, stream, 0, n * d, s.block);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t e = 0; e < d; e++) s.block[i * d + e] += mean[i % 7 * d + e] + common * mean[7 * d + e];
        fa_space_normalise(&s.space, fa_dot_kernels_for(FA_KERNELS_FAST), s.block + i * d, s.share + i * LAYERS);
    }
    fa_space_tau(&s.space, n, s.share, s.tau);
    s.rows = (fa_rows){.n = n, .block = s.block, .share = s.share, .tau = s.tau};
    return s;
}

static void drop(signatures *s)
{
    free(s->block), free(s->share), free(s->tau);
}

/* The score that weights w give, in double from the Gram matrix. */
static double objective(const float *gram, const float *c, const float *w, int64_t n)
{
    double s = 1;
    for (int64_t i = 0; i < n; i++) {
        if (w[i] == 0) continue;
        double k = 0;
        for (int64_t j = 0; j < n; j++) k += (double)gram[i * n + j] * w[j];
        s += w[i] * (k - 2 * (double)c[i]);
    }
    return s;
}

static void compare(int32_t kernels, int64_t n, float common, int32_t blocks, double ridge)
{
    const fa_dot_kernels *k = fa_dot_kernels_for(kernels);
    signatures r = make(1, n, common, blocks), x = make(2, 6, common, blocks);
    float *gram = malloc((size_t)(n * n) * sizeof *gram), *c = malloc((size_t)(6 * n) * sizeof *c), *w = malloc((size_t)(2 * n) * sizeof *w), scratch[32 * LAYERS];
    fa_cone *dense;
    fa_wide *wide;
    OK(fa_space_gram(context, &r.space, k, &r.rows, NULL, gram));
    OK(fa_cone_create(context, k, gram, n, ridge, &dense));
    uint64_t before = fa_context_memory_used(context);
    OK(fa_wide_create(context, k, &r.space, &r.rows, ridge, &wide));
    double used = (double)(fa_context_memory_used(context) - before), said = (double)fa_wide_bytes(&r.space, n);
    ck_assert_msg(used <= said && said <= used + 3 * FA_ARENA_SLACK, "%g bytes where %g were announced", used, said);
    fa_space_couplings(&r.space, k, &x.rows, &r.rows, c, n, scratch);
    for (int64_t i = 0; i < 6 + (n < 3 ? n : 3); i++) {
        const float *row = i < 6 ? c + i * n : gram + (i - 6) * n; /* three references against the others */
        int64_t without = i < 6 ? -1 : i - 6;
        fa_cone_work work;
        double want = fa_cone_solve(dense, row, without, w, NULL), got = fa_wide_solve(wide, row, without, w + n, &work), most = 0;
        ck_assert_msg(fabs(got - want) <= 1e-5, "%lld references, input %lld: %.8f where %.8f is right", (long long)n, (long long)i, got, want);
        for (int64_t j = 0; j < n; j++) {
            ck_assert(w[n + j] >= 0 && (j != without || w[n + j] == 0));
            most = fmax(most, fabs((double)w[j] - w[n + j]));
        }
        ck_assert_msg(most < 2e-3, "%lld references, input %lld: a weight is off by %g", (long long)n, (long long)i, most);
        ck_assert_double_eq_tol(objective(gram, row, w + n, n), got, 1e-4);
    }
    fa_wide_destroy(wide);
    fa_cone_destroy(dense);
    drop(&r), drop(&x);
    free(gram), free(c), free(w);
}

START_TEST(as_with_the_gram_matrix)
{
    static const int64_t sizes[] = {2, 7, 384, 385, 1000, 1700};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        compare(FA_KERNELS_FAST, sizes[i], 0, FA_BLOCKS_BOTH, 1);
        compare(FA_KERNELS_FAST, sizes[i], 2, FA_BLOCKS_BOTH, 0.3);
    }
    compare(FA_KERNELS_REFERENCE, 500, 1, FA_BLOCKS_PLAIN, 1);
    compare(FA_KERNELS_FAST, 500, 1, FA_BLOCKS_LAYER_UNIT, 1);
}
END_TEST

/* Of a part alone, given by its numbers: as the same rows by themselves. */
START_TEST(a_part)
{
    const int64_t n = 900, few = 500;
    const fa_dot_kernels *k = fa_dot_kernels_for(FA_KERNELS_FAST);
    signatures all = make(1, n, 1, FA_BLOCKS_BOTH), some = make(1, n, 1, FA_BLOCKS_BOTH), x = make(2, 4, 1, FA_BLOCKS_BOTH);
    int64_t pick[500];
    float c[500], w[2][500], scratch[32 * LAYERS];
    for (int64_t i = 0; i < few; i++) {
        pick[i] = (i * 7) % n;
        memcpy(some.block + i * offset[LAYERS], all.block + pick[i] * offset[LAYERS], (size_t)offset[LAYERS] * sizeof(float));
        memcpy(some.share + i * LAYERS, all.share + pick[i] * LAYERS, LAYERS * sizeof(float));
        some.tau[i] = all.tau[pick[i]];
    }
    some.rows.n = few;
    fa_wide *whole, *alone;
    OK(fa_wide_create(context, k, &all.space, &all.rows, 1, &whole));
    OK(fa_wide_create(context, k, &some.space, &some.rows, 1, &alone));
    for (int64_t i = 0; i < 4; i++) {
        fa_rows one = x.rows;
        one.n = 1;
        one.pick = &i;
        fa_space_couplings(&some.space, k, &one, &some.rows, c, few, scratch);
        for (int64_t without = -1; without < 3; without += 3) {
            fa_wide_take(whole, pick, few);
            ck_assert_double_eq_tol(fa_wide_solve(whole, c, without, w[0], NULL), fa_wide_solve(alone, c, without, w[1], NULL), 1e-5);
            for (int64_t j = 0; j < few; j++) ck_assert_float_eq_tol(w[0][j], w[1][j], 2e-3f);
            ck_assert(without < 0 || w[0][without] == 0);
            fa_wide_take(whole, NULL, n);
        }
    }
    fa_wide_destroy(whole);
    fa_wide_destroy(alone);
    drop(&all), drop(&some), drop(&x);
}
END_TEST

/* References that are all needed alike: more than a working set has room for. What is found is feasible, and a bound from above. */
START_TEST(more_than_the_working_set)
{
    const int64_t n = 2000;
    const fa_dot_kernels *k = fa_dot_kernels_for(FA_KERNELS_FAST);
    signatures r = make(1, n, 4, FA_BLOCKS_BOTH), x = make(2, 2, 40, FA_BLOCKS_BOTH);
    float *gram = malloc((size_t)(n * n) * sizeof *gram), *c = malloc((size_t)n * sizeof *c), *w = malloc((size_t)n * sizeof *w), scratch[32 * LAYERS];
    fa_cone *dense;
    fa_wide *wide;
    OK(fa_space_gram(context, &r.space, k, &r.rows, NULL, gram));
    OK(fa_cone_create(context, k, gram, n, 1000, &dense));
    OK(fa_wide_create(context, k, &r.space, &r.rows, 1000, &wide));
    x.rows.n = 1;
    fa_space_couplings(&r.space, k, &x.rows, &r.rows, c, n, scratch);
    double got = fa_wide_solve(wide, c, -1, w, NULL), norm = 0;
    for (int64_t j = 0; j < n; j++) {
        ck_assert(w[j] >= 0);
        norm += (double)w[j] * w[j];
    }
    ck_assert_double_eq_tol(objective(gram, c, w, n), got, 1e-4);
    double found = got + 1000 * norm, best = fa_cone_solve(dense, c, -1, w, NULL);
    norm = 0;
    for (int64_t j = 0; j < n; j++) norm += (double)w[j] * w[j];
    best += 1000 * norm;
    ck_assert_msg(found >= best - 1e-5 && found < 1, "%g where %g is the least", found, best);
    fa_wide_destroy(wide);
    fa_cone_destroy(dense);
    drop(&r), drop(&x);
    free(gram), free(c), free(w);
}
END_TEST

/* The same with a subset: what is scored is what a sketch of that class alone would hold. */
START_TEST(subsets)
{
    const int64_t n = FA_GRAM_MOST + 50, m = 12;
    fa_model *model = mlp(context, true);
    float *x = normal_rows(n, 6, 1), *held = normal_rows(m, 6, 2);
    fa_refset *set;
    fa_sketch *sketch;
    fa_scorer *scorer;
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.subset = FA_SUBSET_CLASS;
    OK(fa_refset_create(context, &(fa_array){x, (int64_t[]){n, 6}, 2, FA_FLOAT32, NULL}, 1, NULL, &set));
    fa_memory_estimate e = {.struct_size = sizeof e};
    OK(fa_sketch_memory_estimate(model, set, NULL, &o, &e));
    OK(fa_sketch_build(model, set, NULL, &o, &sketch));
    uint64_t before = fa_context_memory_used(context);
    OK(fa_scorer_create(sketch, model, NULL, &scorer));
    ck_assert_double_eq_tol((double)(fa_context_memory_used(context) - before) / (double)e.scorer_bytes, 1, 0.1);
    const fa_sketch_body *b = sketch->body;
    fa_space space = fa_body_space(b);
    fa_rows rows = fa_body_rows(b);
    const fa_dot_kernels *k = fa_dot_kernels_for(context->kernels);
    float *c = malloc((size_t)n * sizeof *c), *w = malloc((size_t)n * sizeof *w);
    int64_t *pick = malloc((size_t)n * sizeof *pick);
    for (int64_t i = 0; i < m; i++) {
        fa_result r;
        fa_wide *wide;
        OK(fa_score(scorer, &(fa_array){held + i * 6, (int64_t[]){1, 6}, 2, FA_FLOAT32, NULL}, 1, &r));
        rows.n = 0;
        for (int64_t j = 0; j < n; j++) {
            ck_assert(b->predicted[j] == r.predicted || (r.couplings[j] == 0 && r.weights[j] == 0));
            if (b->predicted[j] != r.predicted) continue;
            c[rows.n] = r.couplings[j];
            pick[rows.n++] = j;
        }
        rows.pick = pick;
        OK(fa_wide_create(context, k, &space, &rows, 1, &wide));
        ck_assert_double_eq_tol(fa_wide_solve(wide, c, -1, w, NULL), r.score, 1e-5);
        for (int64_t j = 0; j < rows.n; j++) ck_assert_float_eq_tol(w[j], r.weights[pick[j]], 2e-3f);
        fa_wide_destroy(wide);
    }
    double *audit = calloc((size_t)n, sizeof *audit);
    OK(fa_sketch_audit(sketch, FA_SCORE_MEAN, audit));
    for (int64_t j = 0; j < n; j++) ck_assert(audit[j] >= -1 && audit[j] <= 1);
    free(audit), free(c), free(w), free(pick), free(x), free(held);
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_refset_release(set);
    fa_model_release(model);
}
END_TEST

/* A sketch beyond the limit: no Gram matrix in memory and file, no span, the estimate holds, and one reference fewer gives nearly the same scores. */
START_TEST(sketches)
{
    const int64_t n = FA_GRAM_MOST + 1, m = 40;
    fa_model *model = mlp(context, true);
    float *x = normal_rows(n, 6, 1), *held = normal_rows(m, 6, 2);
    fa_refset *set[2], *calibration;
    fa_sketch *sketch[2], *again;
    fa_scorer *scorer[3];
    for (int i = 0; i < 2; i++) OK(fa_refset_create(context, &(fa_array){x, (int64_t[]){n - i, 6}, 2, FA_FLOAT32, NULL}, 1, NULL, &set[i]));
    OK(fa_refset_create(context, &(fa_array){held, (int64_t[]){m, 6}, 2, FA_FLOAT32, NULL}, 1, NULL, &calibration));
    fa_memory_estimate e = {.struct_size = sizeof e};
    OK(fa_sketch_memory_estimate(model, set[0], calibration, NULL, &e));
    uint64_t before = fa_context_memory_used(context);
    OK(fa_sketch_build(model, set[0], calibration, NULL, &sketch[0]));
    ck_assert_double_eq_tol((double)(fa_context_memory_used(context) - before) / (double)e.sketch_bytes, 1, 0.1);
    OK(fa_sketch_build(model, set[1], calibration, NULL, &sketch[1]));
    ck_assert(!sketch[0]->body->gram && !sketch[0]->body->factor && sketch[1]->body->gram);
    OK(fa_sketch_save_file(sketch[0], "wide.fattr"));
    OK(fa_sketch_load_file(context, "wide.fattr", &again));
    FILE *f = fopen("wide.fattr", "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    ck_assert_double_eq_tol((double)ftell(f) / (double)e.file_bytes, 1, 0.1);
    fclose(f);
    remove("wide.fattr");
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.score = FA_SCORE_SPAN;
    FAILS(fa_scorer_create(sketch[0], model, &o, &scorer[0]), FA_ERR_ARGUMENT, "3072 references");
    before = fa_context_memory_used(context);
    OK(fa_scorer_create(sketch[0], model, NULL, &scorer[0]));
    ck_assert_double_eq_tol((double)(fa_context_memory_used(context) - before) / (double)e.scorer_bytes, 1, 0.1);
    OK(fa_scorer_create(sketch[1], model, NULL, &scorer[1]));
    OK(fa_scorer_create(again, model, NULL, &scorer[2]));
    for (int64_t i = 0; i < m; i++) {
        fa_result r[3];
        for (int k = 0; k < 3; k++) OK(fa_score(scorer[k], &(fa_array){held + i * 6, (int64_t[]){1, 6}, 2, FA_FLOAT32, NULL}, 1, &r[k]));
        ck_assert_double_eq_tol(r[0].score, r[1].score, 1e-2);
        ck_assert(r[0].score == r[2].score && r[0].p_value == r[2].p_value && r[0].score >= 0 && r[0].score <= 1);
    }
    double *audit[2];
    for (int k = 0; k < 2; k++) {
        audit[k] = calloc((size_t)n, sizeof(double));
        OK(fa_sketch_audit(sketch[k], FA_SCORE_TOPK, audit[k]));
    }
    for (int64_t i = 0; i < n - 1; i += 50) ck_assert_double_eq_tol(audit[0][i], audit[1][i], 1e-2);
    for (int k = 0; k < 3; k++) fa_scorer_destroy(scorer[k]);
    for (int k = 0; k < 2; k++) {
        free(audit[k]);
        fa_sketch_release(sketch[k]);
        fa_refset_release(set[k]);
    }
    fa_sketch_release(again);
    fa_refset_release(calibration);
    fa_model_release(model);
    free(x), free(held);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wide");
    TCase *t = tcase_create("wide");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 200);
    tcase_add_test(t, as_with_the_gram_matrix);
    tcase_add_test(t, a_part);
    tcase_add_test(t, more_than_the_working_set);
    tcase_add_test(t, subsets);
    tcase_add_test(t, sketches);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
