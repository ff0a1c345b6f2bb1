/* SPDX-License-Identifier: Apache-2.0 */
/* Scoring allocates nothing, neither through the context nor from the C library; and every single allocation may fail. */
#include "support.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the C library's allocator, interposed: counts, and fails call number `fail_at` while armed */
static atomic_long system_calls, system_fail_at = -1;
static atomic_bool armed;

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
int posix_memalign(void **, size_t, size_t);
void *aligned_alloc(size_t, size_t);
void *malloc(size_t);
void *calloc(size_t, size_t);
void *realloc(void *, size_t);

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define INTERPOSED 1
static bool system_fails(void)
{
    if (!atomic_load(&armed)) return false;
    return atomic_fetch_add(&system_calls, 1) == atomic_load(&system_fail_at);
}

void *malloc(size_t n)
{
    return system_fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return system_fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return system_fails() ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return system_fails() ? NULL : __libc_memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
    void *p = system_fails() ? NULL : __libc_memalign(align, n);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}
#else
#define INTERPOSED 0
#endif

static fa_status make_context(counter *c, fa_context **context)
{
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    if (c) {
        o.alloc = count_alloc;
        o.free = count_free;
        o.alloc_user = c;
    }
    return fa_context_create(&o, context);
}

/* The whole life of a small sketch; everything is released whatever fails. */
static fa_status whole_life(counter *c, const char *path, const float *images)
{
    fa_context *context = NULL;
    fa_model *model = NULL;
    fa_refset *references = NULL, *calibration = NULL;
    fa_sketch *sketch = NULL, *read = NULL;
    fa_scorer *scorer = NULL;
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.batch = 4;
    o.k_in = o.k_out = 4;
    int64_t shape_r[4], shape_c[4], shape_x[4];
    fa_array r = images_array(images, 6, shape_r), k = images_array(images + 6 * PIXELS, 3, shape_c), x = images_array(images + 9 * PIXELS, 1, shape_x);
    fa_result result;
    fa_status s = make_context(c, &context);
    if (s == FA_OK) s = fa_model_load_file(context, model_path("mlp.onnx"), NULL, &model);
    if (s == FA_OK) s = fa_refset_create(context, &r, 1, NULL, &references);
    if (s == FA_OK) s = fa_refset_create(context, &k, 1, NULL, &calibration);
    if (s == FA_OK) s = fa_sketch_build(model, references, calibration, &o, &sketch);
    if (s == FA_OK) s = fa_sketch_save_file(sketch, path);
    if (s == FA_OK) s = fa_sketch_load_file(context, path, &read);
    fa_scorer_options so;
    fa_scorer_options_init(&so, sizeof so);
    so.alpha = 0.5;
    so.signatures = FA_SIGNATURES_INT8;
    if (s == FA_OK) s = fa_scorer_create(read, model, &so, &scorer);
    if (s == FA_OK) s = fa_score(scorer, &x, 1, &result);
    fa_scorer_destroy(scorer);
    fa_sketch_release(read);
    fa_sketch_release(sketch);
    fa_refset_release(calibration);
    fa_refset_release(references);
    fa_model_release(model);
    fa_context_release(context);
    return s;
}

/* ---- trace sketches, stage by stage: what came before stays, so that a stage costs its own allocations alone */
typedef struct trace_stage {
    fa_context *context;
    const fa_model *model;
    const fa_refset *references, *calibration;
    fa_sketch_options o;
    fa_trace_options t;
    const char *path;
    fa_sketch *sketch, *other;
} trace_stage;

static fa_status estimate_stage(trace_stage *s)
{
    fa_memory_estimate e = {.struct_size = sizeof e};
    return fa_sketch_memory_estimate(s->model, s->references, s->calibration, &s->o, &e);
}

static fa_status build_stage(trace_stage *s)
{
    fa_sketch *out;
    fa_status status = fa_sketch_build(s->model, s->references, s->calibration, &s->o, &out);
    if (status == FA_OK) fa_sketch_release(out);
    return status;
}

static fa_status merge_stage(trace_stage *s)
{
    fa_sketch *out;
    fa_status status = fa_sketch_merge((const fa_sketch *[]){s->other, s->sketch}, 2, &out);
    if (status == FA_OK) fa_sketch_release(out);
    return status;
}

static fa_status save_stage(trace_stage *s)
{
    return fa_sketch_save_file(s->sketch, s->path);
}

static fa_status load_stage(trace_stage *s)
{
    fa_sketch *out;
    fa_status status = fa_sketch_load_file(s->context, s->path, &out);
    if (status == FA_OK) fa_sketch_release(out);
    return status;
}

static fa_status recalibrate_stage(trace_stage *s)
{
    fa_sketch *out;
    fa_status status = fa_sketch_recalibrate(s->sketch, s->model, s->calibration, NULL, &out);
    if (status == FA_OK) fa_sketch_release(out);
    return status;
}

static fa_status audit_stage(trace_stage *s)
{
    double score[6];
    return fa_sketch_audit(s->sketch, FA_SCORE_CLASS_CCC, score);
}

static fa_status scorer_stage(trace_stage *s)
{
    fa_scorer *scorer;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.alpha = 0.5;
    o.confidence = 0.5;
    o.max_batch = 2;
    fa_status status = fa_scorer_create(s->sketch, s->model, &o, &scorer);
    if (status == FA_OK) fa_scorer_destroy(scorer);
    return status;
}

/* Every allocation of one stage fails once; nothing is left behind. Returns how many there were. */
static long sweep(const char *name, fa_status (*stage)(trace_stage *), trace_stage *s, counter *c)
{
    fa_status status = FA_ERR_MEMORY;
    long n = 0;
    for (; status != FA_OK; n++) {
        long held = c->held, first = c->calls;
        c->fail_at = first + n;
        status = stage(s);
        c->fail_at = -1;
        ck_assert_msg(status == (c->calls > first + n ? FA_ERR_MEMORY : FA_OK), "%s, allocation %ld: %s (%s)", name, n, fa_status_name(status), fa_error_message());
        ck_assert_msg(c->held == held, "%s, allocation %ld: %ld blocks leaked", name, n, c->held - held);
    }
    return n - 1;
}

START_TEST(every_allocation_of_a_trace_sketch_may_fail)
{
    const char *folder = make_folder();
    char path[4200], checkpoint[4200];
    size_t size, old_size;
    counter c = {.fail_at = -1};
    fa_context *context;
    fa_model *model;
    snprintf(path, sizeof path, "%s/s.fattr", folder);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint", folder);
    OK(make_context(&c, &context));
    OK(fa_model_load_file(context, model_path("mlp.onnx"), NULL, &model));
    fa_refset *references = make_refset(context, 6, 3), *calibration = make_refset(context, 9, 4);
    trace_stage s = {.context = context, .model = model, .references = references, .calibration = calibration, .path = path};
    fa_sketch_options_init(&s.o, sizeof s.o);
    fa_trace_options_init(&s.t, sizeof s.t);
    s.o.batch = 4;
    s.o.trace = &s.t;
    s.t.draws = 32;
    s.t.parameters = "*bias";
    s.t.gamma = 100;
    ck_assert_int_gt(sweep("gaussian estimate", estimate_stage, &s, &c), 20);
    ck_assert_int_gt(sweep("gaussian build", build_stage, &s, &c), 20);
    s.t.sampler = FA_SAMPLER_RMSPROP_SGLD;
    s.t.step_size = 1e-4;
    s.t.burn_in = 0;
    s.t.minibatch = 3;
    s.t.partial = 0;
    ck_assert_int_gt(sweep("chain estimate", estimate_stage, &s, &c), 20);
    ck_assert_int_gt(sweep("chain build", build_stage, &s, &c), 20);
    OK(fa_sketch_build(model, references, calibration, &s.o, &s.sketch));
    /* A build that leaves a checkpoint, to be resumed over and over. */
    s.t.checkpoint = checkpoint;
    s.t.checkpoint_ms = 1;
    FILE *there = NULL;
    for (s.o.timeout_ms = 3; !there; s.o.timeout_ms++) {
        fa_sketch *done = NULL;
        if (fa_sketch_build(model, references, calibration, &s.o, &done) == FA_OK) fa_sketch_release(done);
        there = fopen(checkpoint, "rb");
    }
    fclose(there);
    s.o.timeout_ms = 0;
    s.t.checkpoint_ms = 1000000;
    s.t.resume = 1;
    ck_assert_int_gt(sweep("resume", build_stage, &s, &c), 20);
    s.t.resume = 0;
    s.t.checkpoint = NULL;
    s.t.first_chain = 1;
    OK(fa_sketch_build(model, references, calibration, &s.o, &s.other));
    ck_assert_int_gt(sweep("merge", merge_stage, &s, &c), 10);
    OK(fa_sketch_save_file(s.other, path));
    void *old = read_bytes(path, &old_size);
    for (long n = 0; n < 3; n++) { /* a save that failed left the old file */
        c.fail_at = c.calls + n;
        ck_assert_int_eq(save_stage(&s), FA_ERR_MEMORY);
        c.fail_at = -1;
        void *now = read_bytes(path, &size);
        ck_assert(size == old_size && memcmp(now, old, size) == 0);
        free(now);
    }
    free(old);
    ck_assert_int_gt(sweep("save", save_stage, &s, &c), 3);
    ck_assert_int_gt(sweep("load", load_stage, &s, &c), 20);
    ck_assert_int_gt(sweep("recalibrate", recalibrate_stage, &s, &c), 20);
    ck_assert_int_gt(sweep("audit", audit_stage, &s, &c), 2);
    ck_assert_int_gt(sweep("scorer", scorer_stage, &s, &c), 50);
    fa_sketch_release(s.sketch);
    fa_sketch_release(s.other);
    fa_refset_release(references);
    fa_refset_release(calibration);
    fa_model_release(model);
    fa_context_release(context);
    ck_assert_int_eq(c.held, 0);
    remove_folder(folder);
}
END_TEST

START_TEST(every_allocation_of_the_context_may_fail)
{
    const char *folder = make_folder();
    char path[4200];
    snprintf(path, sizeof path, "%s/s.fattr", folder);
    float *images = make_images(10, 3);
    counter c = {.fail_at = -1};
    ck_assert_msg(whole_life(&c, path, images) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(c.held, 0);
    long total = c.calls;
    ck_assert_int_gt(total, 20);
    for (long n = 0; n < total; n++) {
        c = (counter){.fail_at = n};
        fa_status s = whole_life(&c, path, images);
        ck_assert_msg(s == FA_ERR_MEMORY, "allocation %ld of %ld: %s (%s)", n, total, fa_status_name(s), fa_error_message());
        ck_assert_msg(c.held == 0, "allocation %ld of %ld: %ld blocks leaked", n, total, c.held);
    }
    free(images);
    remove_folder(folder);
}
END_TEST

START_TEST(every_allocation_of_the_system_may_fail)
{
    if (!INTERPOSED) return;
    const char *folder = make_folder();
    char path[4200];
    snprintf(path, sizeof path, "%s/s.fattr", folder);
    float *images = make_images(10, 3);
    ck_assert_int_eq(whole_life(NULL, path, images), FA_OK); /* whatever is made once per process is made now */
    atomic_store(&system_calls, 0);
    atomic_store(&armed, true);
    fa_status s = whole_life(NULL, path, images);
    atomic_store(&armed, false);
    ck_assert_int_eq(s, FA_OK);
    long total = atomic_load(&system_calls);
    ck_assert_int_gt(total, 20);
    for (long n = 0; n < total; n++) {
        atomic_store(&system_calls, 0);
        atomic_store(&system_fail_at, n);
        atomic_store(&armed, true);
        s = whole_life(NULL, path, images);
        atomic_store(&armed, false);
        /* The C library may use its own fall-back (a stream without a buffer): then the call succeeds. */
        ck_assert_msg(s == FA_ERR_MEMORY || s == FA_OK || s == FA_ERR_IO, "allocation %ld of %ld: %s (%s)", n, total, fa_status_name(s), fa_error_message());
    }
    free(images);
    remove_folder(folder);
}
END_TEST

static void scoring_allocates_nothing(const char *name, int64_t batch, const fa_trace_options *trace)
{
    counter c = {.fail_at = -1};
    fa_context *context;
    OK(make_context(&c, &context));
    fa_model *model;
    OK(fa_model_load_file(context, model_path(name), NULL, &model));
    fa_refset *references = make_refset(context, 20, 1), *calibration = make_refset(context, 10, 2);
    fa_sketch *sketch;
    fa_sketch_options how;
    fa_sketch_options_init(&how, sizeof how);
    how.trace = trace;
    OK(fa_sketch_build(model, references, calibration, &how, &sketch));
    fa_scorer *scorer;
    fa_scorer_options o;
    fa_scorer_options_init(&o, sizeof o);
    o.confidence = trace ? 0.5 : 0;
    o.max_batch = (int32_t)batch;
    o.all_scores = 1;
    o.alpha = 0.5;
    OK(fa_scorer_create(sketch, model, &o, &scorer));
    float *images = make_images(40, 3);
    fa_result result[16];
    long before = c.calls, wrong = 0;
    for (int i = 0; i < 20; i++) {
        if (i == 1) { /* the first call may */
            before = c.calls;
            atomic_store(&system_calls, 0);
            atomic_store(&system_fail_at, -1);
            atomic_store(&armed, true);
        }
        int64_t shape[4], n = 1 + i % batch;
        fa_array x = images_array(images + i * PIXELS, n, shape);
        if (fa_score_batch(scorer, &x, 1, result, n) != FA_OK) wrong++;
    }
    atomic_store(&armed, false);
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_eq(c.calls, before);
    if (INTERPOSED) ck_assert_int_eq(atomic_load(&system_calls), 0);
    free(images);
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_refset_release(calibration);
    fa_refset_release(references);
    fa_model_release(model);
    fa_context_release(context);
    ck_assert_int_eq(c.held, 0);
}

START_TEST(scoring_one_allocates_nothing)
{
    scoring_allocates_nothing(INTERPOSED ? "clean.onnx" : "mlp.onnx", 1, NULL);
}
END_TEST

START_TEST(scoring_a_batch_allocates_nothing)
{
    if (INTERPOSED) scoring_allocates_nothing("clean.onnx", 7, NULL);
    scoring_allocates_nothing("mlp.onnx", 7, NULL);
}
END_TEST

START_TEST(scoring_traces_allocates_nothing)
{
    fa_trace_options t;
    fa_trace_options_init(&t, sizeof t);
    t.draws = 32;
    scoring_allocates_nothing("mlp.onnx", 7, &t);
    t.sampler = FA_SAMPLER_SGLD;
    t.storage = FA_DRAWS_INT8;
    t.minibatch = 4;
    t.burn_in = 2;
    t.draws = 8;
    scoring_allocates_nothing("mlp.onnx", 1, &t);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, every_allocation_of_the_context_may_fail);
    tcase_add_test(t, every_allocation_of_a_trace_sketch_may_fail);
    tcase_add_test(t, every_allocation_of_the_system_may_fail);
    tcase_add_test(t, scoring_one_allocates_nothing);
    tcase_add_test(t, scoring_a_batch_allocates_nothing);
    tcase_add_test(t, scoring_traces_allocates_nothing);
}

int main(void)
{
    return run_suite("alloc", add, NULL, NULL);
}
