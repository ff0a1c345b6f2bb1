/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TRACE_SETS_H
#define TEST_TRACE_SETS_H

#include "../data/oracle_trace.h"
#include "base/context.h"
#include "sketch/sketch.h"
#include "sketch/trace.h"
#include "small_models.h"

/* The oracle's network, its inputs and its setups: what the tests of trace sketches share. */

#define R TRACE_REFERENCES
#define C TRACE_CALIBRATION
#define N TRACE_INPUTS
#define ORACLE_MODEL FA_SOURCE_ROOT "/tests/data/oracle_trace.onnx"

static inline fa_context *new_context(int32_t threads, int32_t kernels)
{
    fa_context_options o;
    fa_context *c;
    fa_context_options_init(&o, sizeof o);
    o.threads = threads;
    o.kernels = kernels;
    OK(fa_context_create(&o, &c));
    return c;
}

static inline void end_context(fa_context *c)
{
    ck_assert_uint_eq(fa_context_memory_used(c), 0);
    fa_context_release(c);
}

static inline fa_model *oracle_model(fa_context *c)
{
    fa_model *m;
    OK(fa_model_load_file(c, ORACLE_MODEL, NULL, &m));
    return m;
}

/* Images first ... first + n - 1 of the oracle. */
static inline float *images(int64_t first, int64_t n)
{
    float *x = malloc((size_t)(n * TRACE_PIXELS) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < n * TRACE_PIXELS; i++) x[i] = (float)trace_pixels[first * TRACE_PIXELS + i] / 32;
    return x;
}

static inline fa_array image_array(const float *x, int64_t n, int64_t shape[4])
{
    shape[0] = n;
    shape[1] = 2;
    shape[2] = shape[3] = 6;
    return (fa_array){x, shape, 4, FA_FLOAT32, NULL};
}

static inline fa_refset *image_set(fa_context *c, int64_t first, int64_t n, const int64_t *labels)
{
    int64_t shape[4];
    float *x = images(first, n);
    fa_refset_options o;
    fa_refset *set;
    fa_refset_options_init(&o, sizeof o);
    o.labels = labels;
    fa_array a = image_array(x, n, shape);
    OK(fa_refset_create(c, &a, 1, &o, &set));
    free(x);
    return set;
}

/* The oracle's references with their labels. */
static inline fa_refset *reference_set(fa_context *c)
{
    int64_t labels[R];
    for (int i = 0; i < R; i++) labels[i] = trace_labels[i];
    return image_set(c, 0, R, labels);
}

/* Made-up images, seeded normal numbers. */
static inline fa_refset *made_up_set(fa_context *c, int64_t n, uint64_t stream)
{
    int64_t shape[4];
    float *x = normal_rows(n, TRACE_PIXELS, stream);
    fa_refset *set;
    fa_array a = image_array(x, n, shape);
    OK(fa_refset_create(c, &a, 1, NULL, &set));
    free(x);
    return set;
}

/* Both structs as the oracle's setup `k`; draws as floats. */
static inline void oracle_options(int k, fa_sketch_options *o, fa_trace_options *t)
{
    const int *count = trace_counts + 8 * k;
    const double *size = trace_sizes + 6 * k;
    fa_sketch_options_init(o, sizeof *o);
    fa_trace_options_init(t, sizeof *t);
    o->trace = t;
    o->seed = TRACE_SEED;
    o->ridge = TRACE_RIDGE;
    o->topk = TRACE_TOPK;
    o->batch = 4;
    t->sampler = count[0];
    t->storage = count[0] == FA_SAMPLER_GAUSSIAN ? FA_DRAWS_DEFAULT : FA_DRAWS_F32;
    t->batchnorm = count[1];
    t->chains = count[2];
    t->first_chain = (uint64_t)count[3];
    t->partial = count[4];
    t->burn_in = count[5];
    t->draws = count[6];
    t->thinning = count[7];
    t->minibatch = TRACE_MINIBATCH;
    t->gamma = size[1];
    if (count[0] == FA_SAMPLER_GAUSSIAN) return;
    t->step_size = size[0];
    t->nbeta = size[2];
    t->noise = size[3];
    t->decay = size[4];
    t->epsilon = size[5];
}

/* The first of the setups with this sampler and policy. */
static inline int setup_with(int32_t sampler, int32_t batchnorm)
{
    for (int k = 0; k < TRACE_SETUPS; k++)
        if (trace_counts[8 * k] == sampler && trace_counts[8 * k + 1] == batchnorm) return k;
    ck_abort_msg("no such setup");
    return -1;
}

static inline fa_sketch *build_oracle(const fa_model *m, fa_context *c, const fa_sketch_options *o)
{
    fa_refset *refs = reference_set(c), *cal = image_set(c, R, C, NULL);
    fa_sketch *s;
    OK(fa_sketch_build(m, refs, cal, o, &s));
    fa_refset_release(refs);
    fa_refset_release(cal);
    return s;
}

/* Everything that a sketch holds, the same to the bit. */
static inline void check_same_bits(const fa_sketch *a, const fa_sketch *b)
{
    const fa_sketch_body *p = a->body, *q = b->body;
    const fa_sketch_trace *t = p->trace, *u = q->trace;
    ck_assert(p->n_reference == q->n_reference && p->n_layer == q->n_layer && a->n_calibration == b->n_calibration && t->draw_bytes == u->draw_bytes);
    size_t n = (size_t)p->n_reference, m = (size_t)a->n_calibration, draws = (size_t)p->offset[p->n_layer];
    ck_assert_mem_eq(p->offset, q->offset, ((size_t)p->n_layer + 1) * sizeof *p->offset);
    ck_assert_mem_eq(t->chain, u->chain, (size_t)t->n_chain * sizeof *t->chain);
    ck_assert_mem_eq(&t->diagnosis, &u->diagnosis, sizeof t->diagnosis);
    ck_assert_mem_eq(&t->loss_before, &u->loss_before, 2 * sizeof(double));
    if (t->draw_bytes) ck_assert_mem_eq(t->draw, u->draw, draws * t->draw_bytes);
    if (t->n_statistics) ck_assert_mem_eq(t->statistics, u->statistics, draws * (size_t)t->n_statistics * sizeof(float));
    ck_assert_mem_eq(t->loss, u->loss, n * draws * sizeof(float));
    ck_assert_mem_eq(p->blocks, q->blocks, n * draws * sizeof(float));
    ck_assert_mem_eq(p->gram, q->gram, n * n * sizeof(float));
    if (m) ck_assert_mem_eq(a->calibration_loss, b->calibration_loss, m * draws * sizeof(float));
    for (int k = 0; m && k < FA_SCORE_COUNT; k++)
        if (fa_body_scores(p) >> k & 1) ck_assert_mem_eq(a->calibration[k], b->calibration[k], m * sizeof(double));
}

#endif
