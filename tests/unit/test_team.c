/* SPDX-License-Identifier: Apache-2.0 */
/* Several threads over the inputs of a batch, the library's or the host's. */
#include "base/context.h"
#include "base/pool_private.h"
#include "score/scorer.h"
#include "small_models.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

#define N 24
/* Plain kernels under a sanitizer take a minute for what takes a second without. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FIRST_BATCH = 1, THREADS_STEP = 3 };
#else
enum { FIRST_BATCH = 0, THREADS_STEP = 1 };
#endif

static fa_context *context;

/* A host's executor: threads of its own for all but the last call, which it makes first. */
typedef struct share {
    fa_parallel_body body;
    void *argument;
    int32_t index;
} share;

static int calls;

static void *run_share(void *of)
{
    share *s = of;
    s->body(s->argument, s->index);
    return NULL;
}

static void in_threads(void *user, int32_t count, fa_parallel_body body, void *argument)
{
    pthread_t thread[16];
    share s[16];
    ck_assert_ptr_eq(user, &calls);
    ck_assert_int_le(count, 16);
    calls++;
    body(argument, count - 1);
    for (int32_t i = 0; i < count - 1; i++) {
        s[i] = (share){body, argument, i};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_share, &s[i]), 0);
    }
    for (int32_t i = 0; i < count - 1; i++) pthread_join(thread[i], NULL);
}

static void one_after_the_other(void *user, int32_t count, fa_parallel_body body, void *argument)
{
    ck_assert_ptr_eq(user, &calls);
    calls++;
    for (int32_t i = count - 1; i >= 0; i--) body(argument, i);
}

static fa_context *new_context(void (*parallel_for)(void *, int32_t, fa_parallel_body, void *), int32_t threads)
{
    fa_context_options o;
    fa_context *c;
    fa_context_options_init(&o, sizeof o);
    o.threads = threads;
    o.parallel_for = parallel_for;
    o.parallel_user = parallel_for ? &calls : NULL;
    OK(fa_context_create(&o, &c));
    return c;
}

static void setup(void)
{
    context = new_context(NULL, 1);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

typedef struct bench {
    fa_model *model;
    fa_sketch *sketch;
    float *x;
    int64_t shape[4];
    int32_t ndim, row;
} bench;

static bench open_bench(fa_context *c, bool images)
{
    bench b = {.ndim = images ? 4 : 2, .row = images ? 784 : 6};
    if (images) OK(fa_model_load_file(c, FA_SOURCE_ROOT "/examples/models/clean.onnx", NULL, &b.model));
    else b.model = mlp(c, true);
    memcpy(b.shape, images ? (int64_t[]){N, 1, 28, 28} : (int64_t[]){N, 6, 0, 0}, sizeof b.shape);
    float *r = normal_rows(60, b.row, 1);
    b.x = normal_rows(N, b.row, 3);
    b.shape[0] = 60;
    fa_refset *references, *calibration;
    OK(fa_refset_create(c, &(fa_array){r, b.shape, b.ndim, FA_FLOAT32, NULL}, 1, NULL, &references));
    b.shape[0] = N;
    OK(fa_refset_create(c, &(fa_array){b.x, b.shape, b.ndim, FA_FLOAT32, NULL}, 1, NULL, &calibration));
    OK(fa_sketch_build(b.model, references, calibration, NULL, &b.sketch));
    fa_refset_release(references);
    fa_refset_release(calibration);
    free(r);
    return b;
}

static void close_bench(bench *b)
{
    fa_sketch_release(b->sketch);
    fa_model_release(b->model);
    free(b->x);
}

static fa_scorer *scorer_of(const bench *b, int32_t max_batch, int32_t threads)
{
    fa_scorer_options o;
    fa_scorer *s;
    fa_scorer_options_init(&o, sizeof o);
    o.max_batch = max_batch;
    o.threads = threads;
    o.want_residual = 1;
    OK(fa_scorer_create(b->sketch, b->model, &o, &s));
    if (s->pool) s->pool->sharing.call = 0; /* small networks are shared here, too */
    return s;
}

static fa_status score(bench *b, fa_scorer *s, fa_result *r, int64_t n)
{
    b->shape[0] = n;
    return fa_score_batch(s, &(fa_array){b->x, b->shape, b->ndim, FA_FLOAT32, NULL}, 1, r, n);
}

static void compare(bench *b, fa_scorer *one, fa_scorer *several, int64_t n)
{
    fa_result x[N], y[N];
    OK(score(b, one, x, n));
    OK(score(b, several, y, n));
    for (int64_t i = 0; i < n; i++) {
        ck_assert_msg(x[i].score == y[i].score && x[i].p_value == y[i].p_value, "input %lld of %lld: %.9g and %.9g", (long long)i, (long long)n, x[i].score, y[i].score);
        ck_assert(x[i].predicted == y[i].predicted && x[i].confidence == y[i].confidence && x[i].flagged == y[i].flagged);
        ck_assert_mem_eq(x[i].couplings, y[i].couplings, 60 * sizeof(float));
        ck_assert_mem_eq(x[i].weights, y[i].weights, 60 * sizeof(float));
        ck_assert_mem_eq(x[i].residual, y[i].residual, (size_t)x[i].signature_length * sizeof(float));
    }
}

/* Full batches and others, on one thread and on 2 to 5. */
START_TEST(same_bits)
{
    bench b = open_bench(context, _i);
    static const int32_t batches[] = {N, 11, 3, 1};
    for (int k = FIRST_BATCH; k < 4; k++) {
        int32_t most = batches[k];
        fa_scorer *one = scorer_of(&b, most, 1);
        for (int32_t threads = 2; threads <= 5; threads += THREADS_STEP) {
            fa_scorer *several = scorer_of(&b, most, threads);
            for (int64_t n = 1; n <= most; n += n < 3 ? 1 : most / 5 + 1) compare(&b, one, several, n);
            compare(&b, one, several, most);
            fa_score_timing t = {.struct_size = sizeof t};
            OK(fa_scorer_get_timing(several, &t));
            ck_assert(t.forward_ns > 0 && t.backward_ns > 0 && t.coupling_ns > 0 && t.solve_ns > 0);
            double f[2], g[2];
            OK(fa_scorer_get_flops(one, &f[0], &f[1]));
            OK(fa_scorer_get_flops(several, &g[0], &g[1]));
            ck_assert(f[0] == g[0] && f[1] == g[1]);
            fa_scorer_destroy(several);
        }
        fa_scorer_destroy(one);
    }
    close_bench(&b);
}
END_TEST

/* Signatures as floats and in fewer bits: near those in 16 bits, with the same bits for any number of threads. */
START_TEST(signatures)
{
    bench b = open_bench(context, false);
    fa_scorer *whole = scorer_of(&b, N, 1), *few[2];
    fa_result x[N], y[N];
    OK(score(&b, whole, x, N));
    for (int32_t format = FA_SIGNATURES_F32; format <= FA_SIGNATURES_INT8; format++) {
        fa_scorer_options o;
        fa_scorer_options_init(&o, sizeof o);
        o.max_batch = N;
        o.want_residual = 1;
        o.signatures = format;
        for (o.threads = 1; o.threads < 3; o.threads++) OK(fa_scorer_create(b.sketch, b.model, &o, &few[o.threads - 1]));
        compare(&b, few[0], few[1], N);
        OK(score(&b, few[1], y, N));
        bool differs = false;
        for (int64_t i = 0; i < N; i++) {
            ck_assert_msg(fabs(x[i].score - y[i].score) < 0.01, "input %lld: %.9g and %.9g", (long long)i, x[i].score, y[i].score);
            differs = differs || x[i].score != y[i].score;
        }
        ck_assert(differs);
        for (int t = 0; t < 2; t++) fa_scorer_destroy(few[t]);
        o.signatures = format == FA_SIGNATURES_F32 ? -1 : 3;
        FAILS(fa_scorer_create(b.sketch, b.model, &o, &few[0]), FA_ERR_ARGUMENT, "none of FA_SIGNATURES_");
    }
    fa_scorer_destroy(whole);
    close_bench(&b);
}
END_TEST

START_TEST(errors)
{
    bench b = open_bench(context, false);
    fa_scorer_options o;
    fa_scorer *s;
    fa_result r[N] = {{.score = 7}};
    fa_scorer_options_init(&o, sizeof o);
    o.max_batch = 8;
    o.threads = -1;
    FAILS(fa_scorer_create(b.sketch, b.model, &o, &s), FA_ERR_ARGUMENT, "threads: -1");
    o.threads = 257;
    FAILS(fa_scorer_create(b.sketch, b.model, &o, &s), FA_ERR_ARGUMENT, "threads: 257");
    fa_sketch *with = b.sketch;
    OK(fa_sketch_recalibrate(with, b.model, NULL, NULL, &b.sketch)); /* no calibration: no verdict */
    s = scorer_of(&b, 8, 3);
    OK(score(&b, s, r, 8));
    ck_assert(r[7].flagged == -1 && isnan(r[7].p_value) && r[7].score > 0);
    fa_scorer_destroy(s);
    fa_sketch_release(b.sketch);
    b.sketch = with;
    r[0].score = 7;
    s = scorer_of(&b, 8, 3);
    float kept = b.x[6 * 6];
    b.x[6 * 6] = NAN;
    FAILS(score(&b, s, r, 8), FA_ERR_NOT_FINITE, "input 6");
    ck_assert(r[0].score == 7);
    b.x[6 * 6] = kept;
    OK(score(&b, s, r, 8));
    FAILS(score(&b, s, r, 9), FA_ERR_LIMIT, "max_batch 8");
    fa_context_options c;
    fa_context *refused;
    fa_context_options_init(&c, sizeof c);
    c.parallel_user = &calls;
    FAILS(fa_context_create(&c, &refused), FA_ERR_ARGUMENT, "parallel_for");
    fa_scorer_destroy(s);
    close_bench(&b);
}
END_TEST

/* A sketch and scores by the host's executor are those of the library's threads. */
START_TEST(executor)
{
    bench ours = open_bench(context, false);
    fa_context *c = new_context(_i ? in_threads : one_after_the_other, 4);
    calls = 0;
    bench theirs = open_bench(c, false);
    ck_assert_int_gt(calls, 0);
    fa_scorer *one = scorer_of(&ours, 12, 1), *several = scorer_of(&theirs, 12, 4);
    fa_result x[N], y[N];
    for (int round = 0; round < 3; round++) {
        calls = 0;
        OK(score(&ours, one, x, 12));
        OK(score(&theirs, several, y, 12));
        ck_assert_int_eq(calls, 1);
        for (int i = 0; i < 12; i++) {
            ck_assert(x[i].score == y[i].score && x[i].p_value == y[i].p_value);
            ck_assert_mem_eq(x[i].couplings, y[i].couplings, 60 * sizeof(float));
        }
    }
    theirs.x[11 * 6] = INFINITY;
    FAILS(score(&theirs, several, y, 12), FA_ERR_NOT_FINITE, "input 11");
    fa_scorer_destroy(one);
    fa_scorer_destroy(several);
    close_bench(&ours);
    close_bench(&theirs);
    ck_assert_uint_eq(fa_context_memory_used(c), 0);
    fa_context_release(c);
}
END_TEST

static void nothing(void *user, int32_t thread)
{
    (void)user, (void)thread;
}

/* Threads without work take no time. One that looked again and again would take most of the waiting. */
START_TEST(idle_pools_sleep)
{
    fa_context *c;
    fa_pool *pool;
    struct timespec before, after, wait = {0, 300000000};
    ck_assert_int_eq(fa_context_create(NULL, &c), FA_OK);
    ck_assert_int_eq(fa_pool_create(c, 8, &pool), FA_OK);
    fa_pool_run(pool, nothing, NULL);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    nanosleep(&wait, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const int64_t used = (int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    fa_pool_destroy(pool);
    fa_context_release(c);
    ck_assert_msg(20 * used < wait.tv_nsec, "%lld ns of %ld", (long long)used, wait.tv_nsec);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("team");
    TCase *t = tcase_create("team");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 200);
    tcase_add_loop_test(t, same_bits, 0, 2);
    tcase_add_test(t, signatures);
    tcase_add_test(t, errors);
    tcase_add_test(t, idle_pools_sleep);
    tcase_add_loop_test(t, executor, 0, 2);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
