/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs of any size that the model takes, through one scorer and one model: plans are kept up to a bound, change no bit, share the weights, and fail without harm. */
#include "support.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_REF 12
#define N_CAL 8
#define SIZES 5
#define MOST (2 * 12 * 12)

static const int64_t sizes[SIZES][2] = {{8, 8}, {6, 10}, {12, 12}, {5, 5}, {9, 6}};
/* Each size after each other one, with some left out for long. */
static const int order[] = {1, 0, 2, 1, 1, 3, 0, 4, 2, 3, 0, 2, 0, 1, 4, 3, 1, 0};
enum { STEPS = sizeof order / sizeof order[0] };

static fa_context *context;
static counter counts;

static void setup(void)
{
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    counts = (counter){.fail_at = -1};
    o.alloc = count_alloc;
    o.free = count_free;
    o.alloc_user = &counts;
    OK(fa_context_create(&o, &context));
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
    ck_assert_int_eq(counts.held, 0);
}

static fa_model *load(const char *name, int64_t plan_cache)
{
    char path[4096];
    fa_model *m;
    fa_model_options o;
    fa_model_options_init(&o, sizeof o);
    o.plan_cache = plan_cache;
    snprintf(path, sizeof path, "%s/tests/data/graphs/%s.onnx", FATTR_SOURCE_ROOT, name);
    OK(fa_model_load_file(context, path, &o, &m));
    return m;
}

/* Numbers in [-1, 1) that look like nothing in particular, the same for the same `seed`. */
static void fill(float *x, int64_t n, uint64_t seed)
{
    uint64_t state = seed * 2654435761u + 88172645463325252u;
    for (int64_t i = -8; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if (i >= 0) x[i] = (float)((double)(state >> 11) / 4503599627370496.0 - 1);
    }
}

typedef struct image {
    float x[4 * MOST];
    int64_t shape[4];
    fa_array array;
} image;

/* `n` images of size `k`. */
static void make(image *i, int64_t n, int k, uint64_t seed)
{
    *i = (image){.shape = {n, 2, sizes[k][0], sizes[k][1]}};
    fill(i->x, n * 2 * sizes[k][0] * sizes[k][1], seed);
    i->array = (fa_array){.data = i->x, .shape = i->shape, .ndim = 4, .dtype = FA_FLOAT32};
}

static fa_refset *images_set(int64_t n, uint64_t seed)
{
    static float x[N_REF * 128];
    fa_refset *set;
    fill(x, n * 128, seed);
    OK(fa_refset_create(context, &(fa_array){.data = x, .shape = (int64_t[]){n, 2, 8, 8}, .ndim = 4, .dtype = FA_FLOAT32}, 1, NULL, &set));
    return set;
}

static fa_sketch *build(const fa_model *model, const fa_trace_options *traces)
{
    fa_refset *references = images_set(N_REF, 1), *calibration = images_set(N_CAL, 2);
    fa_sketch_options o;
    fa_sketch *s;
    fa_sketch_options_init(&o, sizeof o);
    o.batch = 4;
    o.k_in = o.k_out = 6;
    o.trace = traces;
    OK(fa_sketch_build(model, references, calibration, &o, &s));
    fa_refset_release(references);
    fa_refset_release(calibration);
    return s;
}

static fa_trace_options few_draws(void)
{
    fa_trace_options t;
    fa_trace_options_init(&t, sizeof t);
    t.draws = 12;
    return t;
}

static fa_scorer *scorer_of(const fa_sketch *s, const fa_model *m, int32_t max_batch, int64_t plan_cache, uint64_t draw_cache)
{
    fa_scorer *scorer;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.max_batch = max_batch;
    o.plan_cache = plan_cache;
    o.draw_cache_bytes = draw_cache;
    o.alpha = 0.2;
    OK(fa_scorer_create(s, m, &o, &scorer));
    return scorer;
}

typedef struct verdict {
    double score, p;
    float coupling[N_REF];
} verdict;

static verdict copy(const fa_result *r)
{
    verdict v = {.score = r->score, .p = r->p_value};
    ck_assert_int_eq(r->reference_count, N_REF);
    memcpy(v.coupling, r->couplings, sizeof v.coupling);
    return v;
}

/* Image `i` of a size is alone, the batch of four behind it. */
static void score_size(fa_scorer *s, int k, bool batched, verdict out[4])
{
    static image x;
    fa_result r[4];
    make(&x, batched ? 4 : 1, k, 50 + (uint64_t)k);
    if (batched) OK(fa_score_batch(s, &x.array, 1, r, 4));
    else OK(fa_score(s, &x.array, 1, r));
    for (int i = 0; i < (batched ? 4 : 1); i++) out[i] = copy(&r[i]);
}

static void check_order(bool traces)
{
    const fa_trace_options few = few_draws();
    fa_model *m = load("open_sizes", 0);
    fa_sketch *s = build(m, traces ? &few : NULL);
    static verdict alone[SIZES][2][4], got[4];
    for (int k = 0; k < SIZES; k++) {
        fa_scorer *fresh = scorer_of(s, m, 4, 1, 0);
        score_size(fresh, k, false, alone[k][0]);
        score_size(fresh, k, true, alone[k][1]);
        fa_scorer_destroy(fresh);
        for (int i = 0; i < N_REF; i++) ck_assert(isfinite(alone[k][0][0].coupling[i]) && fabsf(alone[k][0][0].coupling[i]) <= 1.001f);
        if (k) ck_assert_mem_ne(alone[k][0][0].coupling, alone[0][0][0].coupling, sizeof got[0].coupling);
    }
    for (int64_t slots = 0; slots < 4; slots++) { /* 0: the default */
        fa_scorer *scorer = scorer_of(s, m, 4, slots, traces ? 1 << 20 : 0);
        for (int i = 0; i < STEPS; i++)
            for (int batched = 0; batched < 2; batched++) {
                score_size(scorer, order[i], batched, got);
                ck_assert_mem_eq(got, alone[order[i]][batched], (batched ? 4 : 1) * sizeof got[0]);
            }
        fa_scorer_destroy(scorer);
    }
    fa_sketch_release(s);
    fa_model_release(m);
}

/* Whatever shapes came before, and whether a plan was kept or made again, the bits are those of a scorer that saw nothing else. */
START_TEST(order_changes_nothing)
{
    check_order(_i);
}
END_TEST

/* A batch whose activations are many goes through the network in parts, the last of which may not be full: each input is scored as it is alone, and a scorer takes little more for twice the batch. */
START_TEST(large_batches_go_in_parts)
{
    enum { N = 35, SIDE = 32, IMAGE = 2 * SIDE * SIDE };
    fa_model *m = load("open_sizes", 0);
    fa_sketch *s = build(m, NULL);
    float *x = malloc(N * IMAGE * sizeof *x);
    fa_result alone, *r = malloc(N * sizeof *r);
    ck_assert(x && r);
    fill(x, N * IMAGE, 9);
    size_t bytes[2];
    for (int batch = 18; batch <= 36; batch += 18) {
        const size_t before = fa_context_memory_used(context);
        fa_scorer *many = scorer_of(s, m, batch, 1, 0), *one = scorer_of(s, m, 1, 1, 0);
        const int n = batch - 1;
        OK(fa_score_batch(many, &(fa_array){.data = x, .shape = (int64_t[]){n, 2, SIDE, SIDE}, .ndim = 4, .dtype = FA_FLOAT32}, 1, r, n));
        for (int i = (n - 1) % 8; i < n; i += 8) { /* one of each part, the last among them */
            OK(fa_score(one, &(fa_array){.data = x + i * IMAGE, .shape = (int64_t[]){1, 2, SIDE, SIDE}, .ndim = 4, .dtype = FA_FLOAT32}, 1, &alone));
            for (int k = 0; k < N_REF; k++) ck_assert_float_eq_tol(r[i].couplings[k], alone.couplings[k], 1e-5f);
        }
        fa_scorer_destroy(one);
        bytes[batch > 18] = fa_context_memory_used(context) - before;
        fa_scorer_destroy(many);
    }
    ck_assert_uint_lt(2 * bytes[1], 3 * bytes[0]);
    free(x), free(r);
    fa_sketch_release(s);
    fa_model_release(m);
}
END_TEST

/* A shape that is planned allocates nothing, and memory stays where it was when as many shapes have come as are kept. */
START_TEST(bounded)
{
    const fa_trace_options few = few_draws();
    fa_model *m = load("open_sizes", 0);
    fa_sketch *s = build(m, _i ? &few : NULL);
    static verdict got[4];
    fa_scorer *scorer = scorer_of(s, m, 4, 3, _i ? 1 << 18 : 0);
    for (int k = 0; k < 3; k++) score_size(scorer, k, true, got);
    long calls = counts.calls;
    for (int again = 0; again < 3; again++)
        for (int k = 0; k < 3; k++) {
            score_size(scorer, k, false, got);
            score_size(scorer, k, true, got);
        }
    ck_assert_int_eq(counts.calls, calls);
    score_size(scorer, 3, true, got);
    ck_assert_int_gt(counts.calls, calls);
    uint64_t most = 0;
    for (int round = 0; round < 6; round++)
        for (int k = 0; k < SIZES; k++) {
            score_size(scorer, k, true, got);
            uint64_t used = fa_context_memory_used(context);
            if (round == 0 && used > most) most = used;
            ck_assert_msg(used <= most, "%llu bytes in round %d, %llu in the first", (unsigned long long)used, round, (unsigned long long)most);
        }
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_model_release(m);
}
END_TEST

START_TEST(least_recently_used_goes)
{
    fa_model *m = load("open_sizes", 0);
    fa_sketch *s = build(m, NULL);
    fa_scorer *scorer = scorer_of(s, m, 1, 2, 0);
    static const int steps[] = {1, 0, 2, 0, 2, 1, 2, 0}, plans[] = {1, 0, 1, 0, 0, 1, 0, 1};
    static verdict got[4];
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        long calls = counts.calls;
        score_size(scorer, steps[i], false, got);
        ck_assert_msg((counts.calls > calls) == plans[i], "step %d", (int)i);
    }
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_model_release(m);
}
END_TEST

/* A pixel-wise network sees the mean over pixels: an image laid four times beside itself is explained as the image is. A sentence with padding that its mask hides is the
 * sentence. This is what makes scores of other sizes mean the same. */
START_TEST(sizes_mean_the_same)
{
    fa_model *m = load("open_pixels", 0);
    fa_sketch *s = build(m, NULL);
    fa_scorer *scorer = scorer_of(s, m, 1, 0, 0);
    static float large[4 * 128];
    image x;
    fa_result r;
    make(&x, 1, 0, 7);
    OK(fa_score(scorer, &x.array, 1, &r));
    verdict small = copy(&r);
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 16; j++) large[(c * 16 + i) * 16 + j] = x.x[(c * 8 + i % 8) * 8 + j % 8];
    OK(fa_score(scorer, &(fa_array){.data = large, .shape = (int64_t[]){1, 2, 16, 16}, .ndim = 4, .dtype = FA_FLOAT32}, 1, &r));
    ck_assert_double_eq_tol(r.score, small.score, 1e-4);
    for (int i = 0; i < N_REF; i++) ck_assert_float_eq_tol(r.couplings[i], small.coupling[i], 1e-5f);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_model_release(m);
}
END_TEST

static void sentence(int64_t n, int64_t length, int64_t shown, int64_t *ids, int64_t *mask, int64_t shape[2], fa_array out[2])
{
    for (int64_t i = 0; i < n * length; i++) {
        ids[i] = (7 * (i / length) + 3 * (i % length) + i / length * (i % length)) % 11;
        mask[i] = i % length < shown;
    }
    shape[0] = n;
    shape[1] = length;
    out[0] = (fa_array){.data = ids, .shape = shape, .ndim = 2, .dtype = FA_INT64, .name = "ids"};
    out[1] = (fa_array){.data = mask, .shape = shape, .ndim = 2, .dtype = FA_INT64, .name = "mask"};
}

START_TEST(sequences)
{
    int64_t ids[N_REF * 16], mask[N_REF * 16], shape[2];
    fa_array a[2];
    fa_model *m = load("bert", 0);
    fa_refset *set;
    fa_sketch *s;
    fa_sketch_options o;
    fa_result r;
    fa_sketch_options_init(&o, sizeof o);
    o.k_in = o.k_out = 6;
    sentence(N_REF, 6, 6, ids, mask, shape, a);
    OK(fa_refset_create(context, a, 2, NULL, &set));
    OK(fa_sketch_build(m, set, NULL, &o, &s));
    fa_scorer_options so;
    fa_scorer *scorer;
    fa_scorer_options_init(&so, sizeof so);
    OK(fa_scorer_create(s, m, &so, &scorer));
    for (int64_t length = 2; length <= 16; length++) {
        float short_one[N_REF];
        sentence(1, length, length, ids, mask, shape, a);
        OK(fa_score(scorer, a, 2, &r));
        memcpy(short_one, r.couplings, sizeof short_one);
        if (length == 6) ck_assert_float_eq_tol(short_one[0], 1, 1e-4f);
        sentence(1, 16, length, ids, mask, shape, a);
        OK(fa_score(scorer, a, 2, &r));
        for (int i = 0; i < N_REF; i++) ck_assert_float_eq_tol(r.couplings[i], short_one[i], 2e-4f);
    }
    /* There are 16 places. */
    int64_t long_ids[20], long_mask[20];
    sentence(1, 20, 20, long_ids, long_mask, shape, a);
    ck_assert_int_eq(fa_score(scorer, a, 2, &r), FA_ERR_SHAPE);
    ck_assert_msg(strstr(fa_error_message(), "node '") != NULL, "%s", fa_error_message());
    sentence(1, 6, 6, ids, mask, shape, a);
    OK(fa_score(scorer, a, 2, &r));
    ck_assert_float_eq_tol(r.couplings[0], 1, 1e-4f);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_refset_release(set);
    fa_model_release(m);
}
END_TEST

/* The weights that kernels run on are the program's: a plan of another size takes less than itself and a copy of them would. */
START_TEST(weights_are_shared)
{
    fa_model *m = load("open_sizes", 0);
    fa_model_info info = {.struct_size = sizeof info};
    OK(fa_model_get_info(m, &info));
    const uint64_t weights = 4 * (uint64_t)info.parameter_count;
    image x;
    fa_tensor *t;
    uint64_t before = 0;
    for (int k = 0; k < SIZES; k++) {
        make(&x, 1, k, 3);
        OK(fa_model_run(m, &x.array, 1, NULL, &t));
        fa_tensor_release(t);
        uint64_t now = fa_context_memory_used(context);
        if (k) ck_assert_msg(now - before < weights * 3 / 2, "%llu bytes for a plan; the weights take %llu", (unsigned long long)(now - before), (unsigned long long)weights);
        before = now;
    }
    fa_model_release(m);
}
END_TEST

/* Every allocation that a new shape takes may fail: the scorer scores what it scored before, and the new shape when there is memory. */
START_TEST(planning_may_fail)
{
    const fa_trace_options few = few_draws();
    fa_model *m = load("open_sizes", 0);
    fa_sketch *s = build(m, _i ? &few : NULL);
    fa_scorer *scorer = scorer_of(s, m, 4, 1, _i ? 1 << 18 : 0);
    static verdict want[4], got[4];
    static image x;
    fa_result r;
    score_size(scorer, 0, true, want);
    make(&x, 1, 1, 51);
    long failures = 0;
    for (;; failures++) {
        counts.fail_at = counts.calls + failures;
        const uint64_t used = fa_context_memory_used(context);
        fa_status status = fa_score(scorer, &x.array, 1, &r);
        counts.fail_at = -1;
        if (status == FA_OK) break;
        ck_assert_msg(status == FA_ERR_MEMORY, "%s", fa_error_message());
        ck_assert_uint_eq(fa_context_memory_used(context), used);
        long calls = counts.calls;
        score_size(scorer, 0, true, got);
        ck_assert_mem_eq(got, want, sizeof got);
        ck_assert_int_eq(counts.calls, calls); /* its plan is still there */
    }
    ck_assert_int_gt(failures, 5);
    score_size(scorer, 0, true, got);
    ck_assert_mem_eq(got, want, sizeof got);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_model_release(m);
}
END_TEST

START_TEST(runs_may_fail)
{
    fa_model *m = load("open_sizes", 2);
    image x;
    fa_tensor *t;
    make(&x, 2, 1, 3);
    for (int named = 0; named < 2; named++)
        for (long failures = 0;; failures++) {
            counts.fail_at = counts.calls + failures;
            fa_status status = fa_model_run(m, &x.array, 1, named ? "r2" : NULL, &t);
            counts.fail_at = -1;
            if (status == FA_OK) {
                fa_tensor_release(t);
                ck_assert_int_gt(failures, 3);
                break;
            }
            ck_assert_msg(status == FA_ERR_MEMORY, "%s", fa_error_message());
        }
    fa_model_release(m);
}
END_TEST

/* What the model does not take says where it fails, and does no harm. */
START_TEST(wrong_shapes)
{
    fa_model *m = load("open_sizes", 0);
    fa_sketch *s = build(m, NULL);
    fa_scorer *scorer = scorer_of(s, m, 1, 1, 0);
    static float x[4096];
    static verdict want[4], got[4];
    static const struct {
        int64_t shape[5];
        int32_t ndim;
        const char *says, *run_says; /* the same where NULL */
    } wrong[] = {{{1, 3, 8, 8}, 4, "input 'x'"}, {{1, 2, 4, 4}, 4, "node 'conv2'"}, {{1, 2, 2, 2}, 4, "node 'conv1'"}, {{1, 2, 8}, 3, "input 'x'"},
                 {{1, 2, 8, 8, 1}, 5, "input 'x'"}, {{1, 2, 0, 8}, 4, "input 'x'", "node 'conv1'"}};
    fa_result r;
    fa_tensor *t;
    score_size(scorer, 0, false, want);
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        fa_array a = {.data = x, .shape = wrong[k].shape, .ndim = wrong[k].ndim, .dtype = FA_FLOAT32};
        long calls;
        FAILS(fa_score(scorer, &a, 1, &r), FA_ERR_SHAPE, wrong[k].says);
        FAILS(fa_model_run(m, &a, 1, NULL, &t), FA_ERR_SHAPE, wrong[k].run_says ? wrong[k].run_says : wrong[k].says);
        calls = counts.calls;
        score_size(scorer, 0, false, got);
        ck_assert_mem_eq(got, want, sizeof got[0]);
        ck_assert_int_eq(counts.calls, calls);
    }
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_model_release(m);
}
END_TEST

START_TEST(options)
{
    fa_model *m = load("open_sizes", 0), *other = NULL;
    fa_sketch *s = build(m, NULL);
    fa_scorer *scorer = NULL;
    fa_scorer_options o;
    fa_model_options mo;
    for (int64_t bad = -1; bad < 1026; bad += 1026) {
        fa_scorer_options_init(&o, sizeof o);
        fa_model_options_init(&mo, sizeof mo);
        o.plan_cache = mo.plan_cache = bad;
        FAILS(fa_scorer_create(s, m, &o, &scorer), FA_ERR_ARGUMENT, "fa_scorer_options.plan_cache");
        FAILS(fa_model_load_file(context, model_path("mlp.onnx"), &mo, &other), FA_ERR_ARGUMENT, "fa_model_options.plan_cache");
    }
    ck_assert_ptr_null(scorer);
    ck_assert_ptr_null(other);
    fa_sketch_release(s);
    fa_model_release(m);
}
END_TEST

#define VALUES 3
static const char *const names[VALUES] = {NULL, "r2", "conv1"};

typedef struct job {
    const fa_model *model;
    const fa_tensor *const (*want)[SIZES];
    int seed;
    char error[300];
} job;

static void *run_some(void *arg)
{
    job *j = arg;
    image *x = malloc(sizeof *x);
    for (int i = 0; i < 60 && x && !j->error[0]; i++) {
        const int k = (i * 3 + j->seed + i / 5) % SIZES, v = (i / 4 + j->seed) % VALUES;
        fa_tensor *t;
        fa_array got, want;
        make(x, 2, k, 9);
        if (fa_model_run(j->model, &x->array, 1, names[v], &t) != FA_OK) {
            snprintf(j->error, sizeof j->error, "%s", fa_error_message());
            break;
        }
        fa_tensor_view(t, &got);
        fa_tensor_view(j->want[v][k], &want);
        size_t n = sizeof(float);
        for (int d = 0; d < want.ndim; d++) n *= (size_t)want.shape[d];
        if (memcmp(got.data, want.data, n)) snprintf(j->error, sizeof j->error, "size %d, value %d differs", k, v);
        fa_tensor_release(t);
    }
    free(x);
    return NULL;
}

/* Threads that run one model at different shapes and ends share its plans: fewer than they need, so that each pushes out what others use. */
START_TEST(runs_on_threads)
{
    fa_context *c;
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.kernels = _i ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO;
    OK(fa_context_create(&o, &c));
    fa_context *counted = context;
    context = c;
    fa_model *m = load("open_sizes", 2), *alone = load("open_sizes", 1);
    context = counted;
    fa_tensor *want[VALUES][SIZES];
    image x;
    for (int v = 0; v < VALUES; v++)
        for (int k = 0; k < SIZES; k++) {
            make(&x, 2, k, 9);
            OK(fa_model_run(alone, &x.array, 1, names[v], &want[v][k]));
        }
    job job_of[4];
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        job_of[i] = (job){.model = m, .want = (const fa_tensor *const (*)[SIZES])want, .seed = i};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_some, &job_of[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_msg(!job_of[i].error[0], "%s", job_of[i].error);
    }
    for (int v = 0; v < VALUES; v++)
        for (int k = 0; k < SIZES; k++) fa_tensor_release(want[v][k]);
    fa_model_release(alone);
    fa_model_release(m);
    ck_assert_uint_eq(fa_context_memory_used(c), 0);
    fa_context_release(c);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_loop_test(t, order_changes_nothing, 0, 2);
    tcase_add_loop_test(t, bounded, 0, 2);
    tcase_add_test(t, large_batches_go_in_parts);
    tcase_add_test(t, least_recently_used_goes);
    tcase_add_test(t, sizes_mean_the_same);
    tcase_add_test(t, sequences);
    tcase_add_test(t, weights_are_shared);
    tcase_add_loop_test(t, planning_may_fail, 0, 2);
    tcase_add_test(t, runs_may_fail);
    tcase_add_test(t, wrong_shapes);
    tcase_add_test(t, options);
    tcase_add_loop_test(t, runs_on_threads, 0, 2);
}

int main(void)
{
    return run_suite("shapes", add, setup, teardown);
}
