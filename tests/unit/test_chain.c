/* SPDX-License-Identifier: Apache-2.0 */
/* Samplers: against PyTorch on the same noise and minibatches, against posteriors known in closed form, and what a chain promises. */
#include "../data/oracle_sampler.h"
#include "base/error.h"
#include "kernels/normal.h"
#include "sampler/chain.h"
#include "sampler/draws.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static fa_context *context;
static int64_t allocations, allowed; /* allowed < 0: all */

static void *counted_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    if (allowed >= 0 && allocations >= allowed) return NULL;
    allocations++;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void counted_free(void *user, void *block, size_t size, size_t align)
{
    (void)user, (void)size, (void)align;
    free(block);
}

static void setup(void)
{
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.alloc = counted_alloc;
    o.free = counted_free;
    allowed = -1;
    ck_assert_int_eq(fa_context_create(&o, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++) square += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(square);
}

/* Softmax regression; `statistics`, when there are any, is a running mean of the first feature that the loss depends on. */
typedef struct regression {
    float x[ORACLE_INPUTS * ORACLE_FEATURES], trained[ORACLE_WEIGHTS], statistics[1];
    fa_sampler_target target;
    int64_t calls, break_at; /* the call that fails in the way `how` says; -1: none */
    int how;
} regression;

static fa_status regression_gradient(void *user, int32_t thread, const float *w, float *statistics, const int64_t *index, int64_t n, float *g, double *loss)
{
    regression *r = user;
    const bool broken = thread >= 0 && r->break_at >= 0 && r->calls++ == r->break_at;
    if (broken && r->how == 0) return fa_fail(FA_ERR_CANCELLED, "enough");
    memset(g, 0, ORACLE_WEIGHTS * sizeof *g);
    *loss = 0;
    for (int64_t b = 0; b < n; b++) {
        const float *x = r->x + index[b] * ORACLE_FEATURES;
        double z[ORACLE_CLASSES], most = -INFINITY, sum = 0;
        if (r->target.n_statistics) statistics[0] += 0.1f * (x[0] - statistics[0]);
        for (int k = 0; k < ORACLE_CLASSES; k++) {
            z[k] = (double)w[ORACLE_CLASSES * ORACLE_FEATURES + k] + (r->target.n_statistics && k == 0 ? statistics[0] : 0.0f);
            for (int f = 0; f < ORACLE_FEATURES; f++) z[k] += (double)w[k * ORACLE_FEATURES + f] * x[f];
            most = fmax(most, z[k]);
        }
        const int64_t y = index[b] % ORACLE_CLASSES;
        for (int k = 0; k < ORACLE_CLASSES; k++) sum += exp(z[k] - most);
        *loss += (log(sum) + most - z[y]) / (double)n;
        for (int k = 0; k < ORACLE_CLASSES; k++) {
            const double d = (exp(z[k] - most) / sum - (k == y)) / (double)n;
            for (int f = 0; f < ORACLE_FEATURES; f++) g[k * ORACLE_FEATURES + f] += (float)(d * x[f]);
            g[ORACLE_CLASSES * ORACLE_FEATURES + k] += (float)d;
        }
    }
    if (broken && r->how == 1) *loss = NAN;
    if (broken && r->how == 2) g[515] = INFINITY;
    if (broken && r->how == 3) g[3] = 1e30f; /* its square is infinite, its step 0 */
    return FA_OK;
}

static regression *regression_new(int64_t n_statistics)
{
    regression *r = calloc(1, sizeof *r);
    ck_assert_ptr_nonnull(r);
    fa_normal(1, 0, 0, ORACLE_INPUTS * ORACLE_FEATURES, r->x);
    fa_normal(1, 1, 0, ORACLE_WEIGHTS, r->trained);
    for (int i = 0; i < ORACLE_WEIGHTS; i++) r->trained[i] *= 0.1f;
    r->break_at = -1;
    r->statistics[0] = 0.5f;
    r->target = (fa_sampler_target){.user = r, .n_weight = ORACLE_WEIGHTS, .n_statistics = n_statistics, .weights = r->trained, .statistics = r->statistics,
                                    .n_sample = ORACLE_INPUTS, .gradient = regression_gradient};
    return r;
}

static fa_sampler_setup oracle_setup(int32_t kind)
{
    const double *s = kind == FA_SAMPLER_SGLD ? oracle_setup_sgld : oracle_setup_rmsprop_sgld;
    return (fa_sampler_setup){kind, ORACLE_SEED, s[0], s[1], s[2], s[3], s[4], s[5], ORACLE_MINIBATCH};
}

static fa_chain *chain_new(const fa_sampler_setup *u, const fa_sampler_target *t, uint64_t id)
{
    fa_chain *c;
    ck_assert_int_eq(fa_chain_create(context, u, t, id, &c), FA_OK);
    return c;
}

static void run(fa_chain *c, int64_t steps)
{
    for (int64_t t = 0; t < steps; t++) ck_assert_int_eq(fa_chain_step(c, 0, NULL), FA_OK);
}

START_TEST(oracle)
{
    const float *want = _i == FA_SAMPLER_SGLD ? oracle_weights_sgld : oracle_weights_rmsprop_sgld;
    const fa_sampler_setup u = oracle_setup(_i);
    regression *r = regression_new(0);
    fa_chain *c = chain_new(&u, &r->target, ORACLE_CHAIN);
    const int64_t made = allocations;
    run(c, ORACLE_STEPS);
    ck_assert_int_eq(allocations, made); /* steps do not allocate */
    const fa_chain_state *s = fa_chain_get_state(c);
    ck_assert_int_eq(s->step, ORACLE_STEPS);
    const double error = distance(s->weights, want, ORACLE_WEIGHTS) / distance(want, r->trained, ORACLE_WEIGHTS);
    ck_assert_msg(error <= 1e-5, "%g", error);
    fa_chain_destroy(c);
    free(r);
}
END_TEST

/* Saved anywhere and restored into a new chain: the same bits. So are chains apart from each other in anything they may not depend on. */
START_TEST(restored)
{
    const fa_sampler_setup u = oracle_setup(_i);
    regression *r = regression_new(1);
    fa_chain *whole = chain_new(&u, &r->target, 7), *first = chain_new(&u, &r->target, 7), *second = chain_new(&u, &r->target, 7);
    run(whole, 30);
    run(first, 13);
    const fa_chain_state *from = fa_chain_get_state(first);
    fa_chain_state *to = fa_chain_get_state(second);
    memcpy(to->weights, from->weights, ORACLE_WEIGHTS * sizeof(float));
    memcpy(to->second_moment, from->second_moment, ORACLE_WEIGHTS * sizeof(float));
    to->statistics[0] = from->statistics[0];
    to->step = from->step;
    run(second, 17);
    const fa_chain_state *a = fa_chain_get_state(whole);
    ck_assert_mem_eq(a->weights, to->weights, ORACLE_WEIGHTS * sizeof(float));
    ck_assert_mem_eq(a->second_moment, to->second_moment, ORACLE_WEIGHTS * sizeof(float));
    ck_assert(a->statistics[0] == to->statistics[0] && a->statistics[0] != r->statistics[0] && a->step == 30 && to->step == 30);
    ck_assert_msg((_i == FA_SAMPLER_SGLD) == (a->second_moment[0] == 0), "second moment %g", (double)a->second_moment[0]);
    fa_chain_destroy(whole), fa_chain_destroy(first), fa_chain_destroy(second);
    free(r);
}
END_TEST

#define CHAINS 4

typedef struct alone {
    fa_chain *chain;
    int32_t thread;
} alone;

static void *run_alone(void *user)
{
    const alone *a = user;
    for (int t = 0; t < 20; t++)
        if (fa_chain_step(a->chain, a->thread, NULL) != FA_OK) return NULL;
    return user;
}

/* Chains in turn and chains at once, on whatever threads: the same bits; other chains and seeds: others. */
START_TEST(threads)
{
    fa_sampler_setup u = oracle_setup(FA_SAMPLER_RMSPROP_SGLD);
    regression *r = regression_new(1);
    fa_chain *turn[CHAINS], *once[CHAINS];
    alone work[CHAINS];
    pthread_t thread[CHAINS];
    for (int c = 0; c < CHAINS; c++) turn[c] = chain_new(&u, &r->target, (uint64_t)c), once[c] = chain_new(&u, &r->target, (uint64_t)c);
    for (int t = 0; t < 20; t++)
        for (int c = CHAINS - 1; c >= 0; c--) run(turn[c], 1);
    for (int c = 0; c < CHAINS; c++) {
        work[c] = (alone){once[c], CHAINS - c};
        ck_assert_int_eq(pthread_create(&thread[c], NULL, run_alone, &work[c]), 0);
    }
    for (int c = 0; c < CHAINS; c++) {
        void *done;
        ck_assert_int_eq(pthread_join(thread[c], &done), 0);
        ck_assert_ptr_nonnull(done);
    }
    u.seed++;
    fa_chain *other = chain_new(&u, &r->target, 0);
    run(other, 20);
    for (int c = 0; c < CHAINS; c++) {
        const float *w = fa_chain_get_state(turn[c])->weights;
        ck_assert_mem_eq(w, fa_chain_get_state(once[c])->weights, ORACLE_WEIGHTS * sizeof *w);
        const float *next = fa_chain_get_state(c + 1 < CHAINS ? turn[c + 1] : other)->weights;
        ck_assert(distance(w, next, ORACLE_WEIGHTS) > 0.5 * distance(w, r->trained, ORACLE_WEIGHTS));
    }
    for (int c = 0; c < CHAINS; c++) fa_chain_destroy(turn[c]), fa_chain_destroy(once[c]);
    fa_chain_destroy(other);
    free(r);
}
END_TEST

/* An epoch uses no input twice and passes over fewer than a minibatch; order of asking does not matter. */
START_TEST(minibatches)
{
    static const int64_t sizes[][2] = {{37, 8}, {64, 64}, {5, 9}, {1, 1}, {1000, 1}, {100, 99}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t n = sizes[s][0], size = sizes[s][1] < n ? sizes[s][1] : n, steps = n / size;
        regression *r = regression_new(0);
        fa_sampler_setup u = oracle_setup(FA_SAMPLER_SGLD);
        u.minibatch = sizes[s][1];
        r->target.n_sample = n;
        fa_chain *c = chain_new(&u, &r->target, 1), *d = chain_new(&u, &r->target, 1);
        int64_t *a = malloc((size_t)size * sizeof *a), *b = malloc((size_t)size * sizeof *b), *seen = calloc((size_t)n, sizeof *seen);
        int64_t *first = malloc((size_t)size * sizeof *first), *total = calloc((size_t)n, sizeof *total);
        ck_assert(a && b && seen && first && total);
        const int64_t epochs = 200;
        for (int64_t t = 0; t < epochs * steps; t++) {
            if (t % steps == 0) memset(seen, 0, (size_t)n * sizeof *seen);
            ck_assert_int_eq(fa_chain_minibatch(c, t, a), size);
            if (t % 17 == 0) {
                ck_assert_int_eq(fa_chain_minibatch(d, epochs * steps - t, b), size);
                ck_assert_int_eq(fa_chain_minibatch(d, t, b), size);
                ck_assert_mem_eq(a, b, (size_t)size * sizeof *a);
            }
            if (t == 0) memcpy(first, a, (size_t)size * sizeof *a);
            if (t == steps && n > 5) ck_assert(memcmp(first, a, (size_t)size * sizeof *a)); /* shuffled again */
            for (int64_t i = 0; i < size; i++) {
                ck_assert(a[i] >= 0 && a[i] < n && !seen[a[i]]++);
                total[a[i]]++;
            }
        }
        /* Each input left out as often as any: binomial numbers. */
        const double p = (double)(steps * size) / (double)n, spread = sqrt((double)epochs * p * (1 - p));
        for (int64_t i = 0; i < n; i++) ck_assert(fabs((double)total[i] - (double)epochs * p) <= 5 * spread);
        fa_chain_destroy(c), fa_chain_destroy(d);
        free(a), free(b), free(seen), free(first), free(total), free(r);
    }
}
END_TEST

START_TEST(failures)
{
    static const fa_status codes[] = {FA_ERR_CANCELLED, FA_ERR_NOT_FINITE, FA_ERR_NOT_FINITE, FA_ERR_NOT_FINITE};
    static const char *const words[] = {"chain 9, step 4: enough", "chain 9, step 4: the loss", "chain 9, step 4: the weight", "chain 9, step 4: the second moment"};
    const fa_sampler_setup u = oracle_setup(FA_SAMPLER_RMSPROP_SGLD);
    regression *r = regression_new(0);
    r->break_at = 4;
    r->how = _i;
    fa_chain *c = chain_new(&u, &r->target, 9);
    double loss = 0, last = 0;
    for (int t = 0; t < 4; t++) ck_assert_int_eq(fa_chain_step(c, 0, &loss), FA_OK);
    ck_assert(loss > 0.1 && loss < 10);
    last = loss;
    ck_assert_int_eq(fa_chain_step(c, 0, &loss), codes[_i]);
    ck_assert_msg(!strncmp(fa_error_message(), words[_i], strlen(words[_i])), "%s", fa_error_message());
    ck_assert(loss == last);
    ck_assert_int_eq(fa_chain_get_state(c)->step, 4);
    fa_chain_destroy(c);
    free(r);
}
END_TEST

/* Each allocation may fail; memory is what was said. */
START_TEST(memory)
{
    const fa_sampler_setup u = oracle_setup(FA_SAMPLER_SGLD);
    regression *r = regression_new(1);
    fa_status status = FA_ERR_MEMORY;
    int64_t tried = 0;
    for (; status == FA_ERR_MEMORY; tried++) {
        const uint64_t before = fa_context_memory_used(context);
        fa_chain *c = NULL;
        allocations = 0, allowed = tried;
        status = fa_chain_create(context, &u, &r->target, 0, &c);
        allowed = -1;
        ck_assert((status == FA_OK) == (c != NULL));
        const uint64_t used = fa_context_memory_used(context) - before, said = fa_chain_bytes(&r->target, u.minibatch);
        if (!c) ck_assert_uint_eq(used, 0);
        else ck_assert_msg(used <= said && said <= used + 2 * FA_ARENA_SLACK, "%lld bytes where %lld were announced", (long long)used, (long long)said);
        fa_chain_destroy(c);
    }
    ck_assert_int_eq(status, FA_OK);
    ck_assert_int_gt(tried, 2);
    free(r);
}
END_TEST

/* Pairs of weights (x, y), each its own copy of one problem: loss = 1/2 (p - centre)' A (p - centre), A = (2, 1; 1, 3). */
#define PAIRS 2048
static const double curve[3] = {2, 1, 3}, centre[2] = {0.5, -0.25};

static fa_status bowl(void *user, int32_t thread, const float *w, float *statistics, const int64_t *index, int64_t n, float *g, double *loss)
{
    (void)user, (void)thread, (void)statistics, (void)index, (void)n;
    *loss = 0;
    for (int64_t i = 0; i < PAIRS; i++) {
        const double x = w[2 * i] - centre[0], y = w[2 * i + 1] - centre[1], gx = curve[0] * x + curve[1] * y, gy = curve[1] * x + curve[2] * y;
        *loss += (x * gx + y * gy) / 2;
        g[2 * i] = (float)gx, g[2 * i + 1] = (float)gy;
    }
    return FA_OK;
}

static void near(double got, double want, double deviation, const char *what)
{
    ck_assert_msg(fabs(got - want) <= 4.5 * deviation, "%s: %g where %g +- %g is right", what, got, want, deviation);
}

/* Mean and covariance of all pairs over `snapshots` independent enough moments, each within 4.5 standard deviations of the truth. */
static void check_moments(const double *sum, double n, const double mean[2], const double cov[3])
{
    const double mx = sum[0] / n, my = sum[1] / n;
    near(mx, mean[0], sqrt(cov[0] / n), "mean of x");
    near(my, mean[1], sqrt(cov[2] / n), "mean of y");
    near(sum[2] / n - mx * mx, cov[0], cov[0] * sqrt(2 / n), "variance of x");
    near(sum[3] / n - mx * my, cov[1], sqrt((cov[0] * cov[2] + cov[1] * cov[1]) / n), "covariance");
    near(sum[4] / n - my * my, cov[2], cov[2] * sqrt(2 / n), "variance of y");
}

static void add_moments(const float *w, double *sum)
{
    for (int64_t i = 0; i < PAIRS; i++) {
        const double x = w[2 * i], y = w[2 * i + 1];
        sum[0] += x, sum[1] += y, sum[2] += x * x, sum[3] += x * y, sum[4] += y * y;
    }
}

/* SGLD's posterior has precision P = nbeta A + gamma and mean P^-1 nbeta A centre (trained weights: 0); steps of size h make its covariance
 * noise^2 P^-1 (1 - h P / 4)^-1, the fixed point of S = (1 - h P / 2) S (1 - h P / 2) + h noise^2. The first step size is small and has the posterior's
 * own covariance within bounds; the second shows that the correction is the right one. */
START_TEST(quadratic)
{
    const double h = _i ? 0.08 : 0.001, noise = _i ? 0.6 : 1;
    const fa_sampler_setup u = {.kind = FA_SAMPLER_SGLD, .seed = 5, .step_size = h, .gamma = 2, .nbeta = 4, .noise = noise, .minibatch = 1};
    const double p[3] = {4 * curve[0] + 2, 4 * curve[1], 4 * curve[2] + 2}, det = p[0] * p[2] - p[1] * p[1];
    const double inverse[3] = {p[2] / det, -p[1] / det, p[0] / det};
    const double pull[2] = {4 * (curve[0] * centre[0] + curve[1] * centre[1]), 4 * (curve[1] * centre[0] + curve[2] * centre[1])};
    const double mean[2] = {inverse[0] * pull[0] + inverse[1] * pull[1], inverse[1] * pull[0] + inverse[2] * pull[1]};
    const double q[3] = {1 - h * p[0] / 4, -h * p[1] / 4, 1 - h * p[2] / 4}, q_det = q[0] * q[2] - q[1] * q[1], scale = noise * noise / q_det;
    const double exact[3] = {scale * (inverse[0] * q[2] - inverse[1] * q[1]), scale * (inverse[1] * q[0] - inverse[0] * q[1]),
                             scale * (inverse[2] * q[0] - inverse[1] * q[1])};
    static float zero[2 * PAIRS];
    const fa_sampler_target t = {.n_weight = 2 * PAIRS, .weights = zero, .n_sample = 1, .gradient = bowl};
    fa_chain *c = chain_new(&u, &t, 0);
    /* The slowest direction forgets in 2 / (h * 7.5) steps. */
    const int64_t apart = (int64_t)(2 / h), snapshots = 6;
    double sum[5] = {0};
    run(c, apart);
    for (int64_t s = 0; s < snapshots; s++) {
        run(c, apart);
        add_moments(fa_chain_get_state(c)->weights, sum);
    }
    check_moments(sum, (double)(PAIRS * snapshots), mean, exact);
    if (_i == 0) check_moments(sum, (double)(PAIRS * snapshots), mean, inverse);
    else ck_assert(fabs(exact[0] / (noise * noise * inverse[0]) - 1) > 10 * sqrt(2.0 / (double)(PAIRS * snapshots))); /* the test could tell them apart */
    fa_chain_destroy(c);
}
END_TEST

/* Gaussian draws: mean the trained weights, variance 1 / gamma, nothing in common between elements, draws and chains. */
START_TEST(gaussian)
{
    const double gamma = 50, mean[2] = {0.25, -0.5}, cov[3] = {1 / gamma, 0, 1 / gamma};
    static float trained[2 * PAIRS], w[2 * PAIRS], next[2 * PAIRS], pairs[2 * PAIRS];
    double sum[5] = {0}, draws[5] = {0}, chains[5] = {0};
    for (int i = 0; i < PAIRS; i++) trained[2 * i] = (float)mean[0], trained[2 * i + 1] = (float)mean[1];
    const int64_t made = allocations;
    for (int64_t t = 0; t < 6; t++) {
        fa_draw_replay(trained, 2 * PAIRS, 11, 2, t, (float)(1 / sqrt(gamma)), w);
        add_moments(w, sum);
        for (int apart = 0; apart < 2; apart++) {
            fa_draw_replay(trained, 2 * PAIRS, 11, apart ? 3 : 2, apart ? t : t + 100, (float)(1 / sqrt(gamma)), next);
            for (int i = 0; i < PAIRS; i++) pairs[2 * i] = w[2 * i], pairs[2 * i + 1] = next[2 * i] - trained[2 * i] + trained[2 * i + 1]; /* the same element */
            add_moments(pairs, apart ? chains : draws);
        }
    }
    ck_assert_int_eq(allocations, made);
    check_moments(sum, 6.0 * PAIRS, mean, cov);
    check_moments(draws, 6.0 * PAIRS, mean, cov);
    check_moments(chains, 6.0 * PAIRS, mean, cov);
    /* Element by element: trained + deviation * number, of the stream that the header names. */
    float z[100];
    fa_normal(fa_sampler_key(11, 3, FA_SAMPLER_REPLAY), 5, 0, 100, z);
    for (int i = 0; i < 100; i++) ck_assert(next[i] == trained[i] + (float)(1 / sqrt(gamma)) * z[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chain");
    TCase *t = tcase_create("chain");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, oracle, FA_SAMPLER_RMSPROP_SGLD, FA_SAMPLER_SGLD + 1);
    tcase_add_loop_test(t, restored, FA_SAMPLER_RMSPROP_SGLD, FA_SAMPLER_SGLD + 1);
    tcase_add_test(t, threads);
    tcase_add_test(t, minibatches);
    tcase_add_loop_test(t, failures, 0, 4);
    tcase_add_test(t, memory);
    tcase_add_loop_test(t, quadratic, 0, 2);
    tcase_add_test(t, gaussian);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
