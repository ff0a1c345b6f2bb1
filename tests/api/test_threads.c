/* SPDX-License-Identifier: Apache-2.0 */
/* Eight threads at once give the same bits as one; a sketch of either kind built on several threads is the sketch built on one. */
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sanitizers run on plain kernels: the small network keeps them quick. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MODEL "mlp.onnx"
#else
#define MODEL "clean.onnx"
#endif

#define N_REF 24
#define N_THREADS 8
#define N_INPUTS 6

typedef struct job {
    const fa_sketch *sketch;
    const fa_model *model;
    const float *images;
    double score[N_INPUTS];
    float coupling[N_INPUTS][N_REF];
    fa_status status;
} job;

static void *score_all(void *arg)
{
    job *j = arg;
    fa_scorer *scorer;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.alpha = 0.5;
    j->status = fa_scorer_create(j->sketch, j->model, &o, &scorer);
    if (j->status != FA_OK) return NULL;
    for (int i = 0; i < N_INPUTS && j->status == FA_OK; i++) {
        int64_t shape[4];
        fa_array x = images_array(j->images + i * PIXELS, 1, shape);
        fa_result r;
        j->status = fa_score(scorer, &x, 1, &r);
        if (j->status != FA_OK) break;
        j->score[i] = r.score;
        memcpy(j->coupling[i], r.couplings, sizeof j->coupling[i]);
    }
    fa_scorer_destroy(scorer);
    return NULL;
}

/* Few draws: what is shared between threads is the same for many. */
static fa_trace_options traces(int32_t sampler)
{
    fa_trace_options t;
    fa_trace_options_init(&t, sizeof t);
    t.sampler = sampler;
    t.draws = 5;
    t.burn_in = 1;
    t.minibatch = 20;
    return t;
}

static fa_sketch *build_on(int32_t threads, const fa_trace_options *trace, fa_context **context, fa_model **model)
{
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.threads = threads;
    OK(fa_context_create(&o, context));
    OK(fa_model_load_file(*context, model_path(MODEL), NULL, model));
    fa_refset *references = make_refset(*context, N_REF, 1), *calibration = make_refset(*context, 10, 2);
    fa_sketch_options so;
    fa_sketch_options_init(&so, sizeof so);
    so.batch = 4;
    so.trace = trace;
    fa_sketch *sketch;
    OK(fa_sketch_build(*model, references, calibration, &so, &sketch));
    fa_refset_release(references);
    fa_refset_release(calibration);
    return sketch;
}

static void check_scorers(const fa_trace_options *trace)
{
    fa_context *context;
    fa_model *model;
    fa_sketch *sketch = build_on(1, trace, &context, &model);
    float *images = make_images(N_INPUTS, 5);
    static job alone, job_of[N_THREADS];
    alone = (job){.sketch = sketch, .model = model, .images = images};
    score_all(&alone);
    ck_assert_int_eq(alone.status, FA_OK);
    pthread_t thread[N_THREADS];
    for (int t = 0; t < N_THREADS; t++) {
        job_of[t] = (job){.sketch = sketch, .model = model, .images = images};
        ck_assert_int_eq(pthread_create(&thread[t], NULL, score_all, &job_of[t]), 0);
    }
    for (int t = 0; t < N_THREADS; t++) {
        pthread_join(thread[t], NULL);
        ck_assert_int_eq(job_of[t].status, FA_OK);
        ck_assert_mem_eq(job_of[t].score, alone.score, sizeof alone.score);
        ck_assert_mem_eq(job_of[t].coupling, alone.coupling, sizeof alone.coupling);
    }
    free(images);
    fa_sketch_release(sketch);
    fa_model_release(model);
    fa_context_release(context);
}

START_TEST(eight_scorers_agree_to_the_bit)
{
    fa_trace_options gaussian = traces(FA_SAMPLER_GAUSSIAN), chain = traces(FA_SAMPLER_RMSPROP_SGLD);
    check_scorers(NULL);
    check_scorers(&gaussian);
    check_scorers(&chain);
}
END_TEST

static void check_builds(const fa_trace_options *trace)
{
    const char *folder = make_folder();
    void *first = NULL;
    size_t first_size = 0;
    static const int32_t threads[] = {1, 2, 3, 8};
    for (size_t k = 0; k < sizeof threads / sizeof threads[0]; k++) {
        fa_context *context;
        fa_model *model;
        fa_sketch *sketch = build_on(threads[k], trace, &context, &model);
        char path[4200];
        size_t size;
        snprintf(path, sizeof path, "%s/%d.fattr", folder, (int)threads[k]);
        OK(fa_sketch_save_file(sketch, path));
        void *bytes = read_bytes(path, &size);
        if (!first) {
            first = bytes;
            first_size = size;
        } else {
            ck_assert_uint_eq(size, first_size);
            ck_assert_msg(memcmp(bytes, first, size) == 0, "%d threads give other bits than one", (int)threads[k]);
            free(bytes);
        }
        fa_sketch_release(sketch);
        fa_model_release(model);
        ck_assert_uint_eq(fa_context_memory_used(context), 0);
        fa_context_release(context);
    }
    free(first);
    remove_folder(folder);
}

START_TEST(any_number_of_threads_builds_the_same_sketch)
{
    fa_trace_options gaussian = traces(FA_SAMPLER_GAUSSIAN), chain = traces(FA_SAMPLER_RMSPROP_SGLD);
    check_builds(NULL);
    check_builds(&gaussian);
    check_builds(&chain);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, eight_scorers_agree_to_the_bit);
    tcase_add_test(t, any_number_of_threads_builds_the_same_sketch);
}

int main(void)
{
    return run_suite("threads", add, NULL, NULL);
}
