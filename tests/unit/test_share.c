/* SPDX-License-Identifier: Apache-2.0 */
/* One thread works and others help: every range once, by one thread at a time; and passes whose nodes are shared give the bits of those that are not. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agree.h"
#include "base/context.h"
#include "kernels/kernels.h"
#include "onnx/onnx.h"
#include "shared_pool.h"

static fa_context *context;

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

#define ITEMS 97
#define MOST 8

typedef struct counting {
    fa_pool *pool;
    int rounds;
    int64_t n;
    int seen[ITEMS];
    atomic_int busy[MOST]; /* by thread */
    atomic_int used[MOST];
    int work; /* loops of each item */
    atomic_int wrong; /* counted, for an assertion costs more than a range */
} counting;

static void count(void *user, int64_t first, int64_t end, int32_t thread)
{
    counting *c = user;
    if (first < 0 || first >= end || end > c->n || thread < 0 || thread >= fa_pool_threads(c->pool)) {
        atomic_fetch_add(&c->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&c->busy[thread], 1) != 0) atomic_fetch_add(&c->wrong, 1);
    atomic_fetch_add(&c->used[thread], 1);
    for (int64_t i = first; i < end; i++) c->seen[i]++;
    for (volatile int k = 0; k < c->work; k++) {}
    atomic_fetch_sub(&c->busy[thread], 1);
}

static void share_often(void *user)
{
    counting *c = user;
    for (int round = 0; round < c->rounds; round++) {
        c->n = round % (ITEMS + 1);
        memset(c->seen, 0, sizeof c->seen);
        fa_pool_share(c->pool, c->n, 1e9, count, c);
        int wrong = atomic_load(&c->wrong);
        for (int64_t i = 0; i < ITEMS; i++) wrong += c->seen[i] != (i < c->n);
        ck_assert_int_eq(wrong, 0);
        if (round % 500 == 499) nanosleep(&(struct timespec){0, 300000}, NULL); /* the others go to sleep */
    }
}

START_TEST(every_range_once)
{
    for (int32_t threads = 1; threads <= MOST; threads++) {
        fa_pool *p = shared_pool(context, threads);
        counting c = {.pool = p, .rounds = 4000, .work = 50};
        for (int k = 0; k < 3; k++) fa_pool_lead(p, share_often, &c);
        fa_pool_destroy(p);
    }
}
END_TEST

/* Without fa_pool_lead(), and without a pool, the caller does it all. */
START_TEST(alone)
{
    fa_pool *p = shared_pool(context, 3);
    counting c = {.pool = p, .rounds = 200};
    share_often(&c);
    for (int t = 1; t < MOST; t++) ck_assert_int_eq(c.used[t], 0);
    c = (counting){.rounds = 200};
    fa_pool_lead(NULL, share_often, &c);
    ck_assert_int_gt(c.used[0], 100);
    fa_pool_destroy(p);
}
END_TEST

/* Others really help: of pieces of a millisecond each thread does some, also when it has slept before. */
START_TEST(others_help)
{
    fa_pool *p = shared_pool(context, 2);
    counting c = {.pool = p, .rounds = 1500, .work = 20000};
    fa_pool_lead(p, share_often, &c);
    ck_assert_int_gt(c.used[0], 0);
    ck_assert_int_gt(c.used[1], 0);
    fa_pool_destroy(p);
}
END_TEST

/* Executors: the last call first on the caller's thread, or all one after the other; who is called first leads. */
typedef struct call {
    fa_parallel_body body;
    void *argument;
    int32_t index;
} call;

static void *run_call(void *of)
{
    const call *c = of;
    c->body(c->argument, c->index);
    return NULL;
}

static void in_threads(void *user, int32_t n, fa_parallel_body body, void *argument)
{
    pthread_t thread[MOST];
    call c[MOST];
    for (int32_t i = 0; i < n; i++) {
        c[i] = (call){body, argument, n - 1 - i};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_call, &c[i]), 0);
    }
    for (int32_t i = 0; i < n; i++) pthread_join(thread[i], NULL);
    ++*(int *)user;
}

static void in_order(void *user, int32_t n, fa_parallel_body body, void *argument)
{
    for (int32_t i = n - 1; i >= 0; i--) body(argument, i);
    ++*(int *)user;
}

START_TEST(executors)
{
    int calls = 0;
    fa_context_options o;
    fa_context *hosted;
    fa_context_options_init(&o, sizeof o);
    o.parallel_for = _i ? in_threads : in_order;
    o.parallel_user = &calls;
    ck_assert_int_eq(fa_context_create(&o, &hosted), FA_OK);
    fa_pool *p = shared_pool(hosted, 4);
    counting c = {.pool = p, .rounds = 2000, .work = 200};
    for (int k = 0; k < 5; k++) fa_pool_lead(p, share_often, &c);
    ck_assert_int_eq(calls, 5);
    fa_pool_destroy(p);
    ck_assert_uint_eq(fa_context_memory_used(hosted), 0);
    fa_context_release(hosted);
}
END_TEST

static void same(const float *got, const float *want, int64_t n, const char *what, int network, int32_t layer)
{
    ck_assert_msg(memcmp(got, want, (size_t)n * sizeof *got) == 0, "network %d, layer %d: other bits of %s", network, layer, what);
}

static void check_network(const fa_graph *g, int32_t logits, int32_t precision, const int64_t shape[4], int64_t n, int number)
{
    const int64_t elements = shape[0] * shape[1] * shape[2] * shape[3];
    float *data = malloc((size_t)elements * sizeof *data);
    record *want = malloc(sizeof *want), *got = malloc(sizeof *got);
    fa_normal(5, (uint64_t)number, 0, elements, data);
    agree_pool = NULL;
    run_in(context, g, logits, FA_KERNELS_FAST, precision, number % 5 == 4 ? FA_PACKING_ONCE : FA_PACKING_FAST, shape, data, n, want);
    for (int32_t threads = 2; threads < 5; threads++) {
        agree_pool = shared_pool(context, threads);
        run_in(context, g, logits, FA_KERNELS_FAST, precision, number % 5 == 4 ? FA_PACKING_ONCE : FA_PACKING_FAST, shape, data, n, got);
        same(got->loss, want->loss, n, "losses", number, -1);
        for (int32_t l = 0; l < want->layers; l++) {
            const layer_record *a = &got->layer[l], *b = &want->layer[l];
            ck_assert_int_eq(a->seen, b->seen);
            if (!b->seen) continue;
            same(a->a, b->a, b->n_a, "inputs", number, l);
            same(a->d, b->d, b->n_d, "gradients", number, l);
            same(a->blocks, b->blocks, b->n_blocks, "blocks", number, l);
        }
        release(got);
        fa_pool_destroy(agree_pool);
    }
    agree_pool = NULL;
    release(want);
    free(want), free(got), free(data);
}

START_TEST(random_networks)
{
    if (!fa_kernels_available()) return; /* reference kernels share nothing */
    for (uint64_t seed = 0; seed < WIDER_FROM + 12; seed++) {
        fa_graph *base = empty_graph(context);
        int64_t shape[4];
        int32_t logits;
        fa_graph *g = random_network(base, seed, shape, &logits);
        check_network(g, logits, seed % 3 ? FA_PRECISION_F32 : FA_PRECISION_BF16, shape, seed % 4 ? BATCH : 1, (int)seed);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
}
END_TEST

/* A transformer as an exporter wrote it, its images: patches, attention, LayerNormalization, GELU. */
START_TEST(transformers)
{
    static const char *const file[] = {"vision_17.onnx", "vision_11.onnx"};
    char path[600];
    fa_graph *g;
    if (!fa_kernels_available()) return;
    snprintf(path, sizeof path, FA_SOURCE_ROOT "/tests/data/exports/%s", file[_i]);
    ck_assert_msg(fa_onnx_read_file(context, path, &g) == FA_OK, "%s", fa_error_message());
    const fa_value *x = &g->value[g->input[0]];
    ck_assert_int_eq(x->declared_ndim, 4);
    int64_t shape[4] = {BATCH};
    for (int d = 1; d < 4; d++) shape[d] = x->declared[d] > 0 ? x->declared[d] : d == 1 ? 3 : 16;
    check_network(g, g->output[0], FA_PRECISION_F32, shape, 1, _i);
    check_network(g, g->output[0], FA_PRECISION_F32, shape, BATCH, _i);
    fa_graph_destroy(g);
}
END_TEST

/* The network of the examples, large enough that sharing is real. */
START_TEST(residual_network)
{
    fa_graph *g;
    if (!fa_kernels_available()) return;
    ck_assert_msg(fa_onnx_read_file(context, FA_SOURCE_ROOT "/examples/models/clean.onnx", &g) == FA_OK, "%s", fa_error_message());
    const int64_t shape[4] = {BATCH, 1, 28, 28};
    check_network(g, g->output[0], FA_PRECISION_F32, shape, 1, 0);
    check_network(g, g->output[0], FA_PRECISION_F32, shape, BATCH, 1);
    fa_graph_destroy(g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("share");
    TCase *t = tcase_create("share");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 200);
    tcase_add_test(t, every_range_once);
    tcase_add_test(t, alone);
    tcase_add_test(t, others_help);
    tcase_add_loop_test(t, executors, 0, 2);
    tcase_add_test(t, random_networks);
    tcase_add_loop_test(t, transformers, 0, 2);
    tcase_add_test(t, residual_network);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
