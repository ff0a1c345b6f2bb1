/* SPDX-License-Identifier: Apache-2.0 */
#include "../data/oracle_scores.h"
#include "base/rng.h"
#include "kernels/normal.h"
#include "score/aggregate.h"
#include "score/cholesky.h"
#include "score/conformal.h"
#include "score/couplings_fixed.h"
#include "score/scores.h"
#include "score/space.h"
#include "score/span.h"

#include <check.h>
#include <fattr/score.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define R ORACLE_REFERENCES
#define N ORACLE_INPUTS
#define L ORACLE_LAYERS
#define MAX_D 256

static fa_context *context;
static uint64_t stream;
static const int32_t sets[] = {FA_KERNELS_REFERENCE, FA_KERNELS_FAST};

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static void *memory(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    ck_assert_ptr_nonnull(p);
    return p;
}

static float *normal(int64_t n)
{
    float *x = memory((size_t)n * sizeof *x);
    fa_normal(5, stream++, 0, n, x);
    return x;
}

static int64_t pick(int64_t low, int64_t high)
{
    uint32_t r[4];
    fa_philox(6, stream++, 0, r);
    return low + (int64_t)(r[0] % (uint32_t)(high - low + 1));
}

/* The oracle's signatures, normalised. */
typedef struct fixture {
    fa_space space;
    const fa_dot_kernels *kernels;
    float x[N * MAX_D], r[R * MAX_D], x_share[N * L], r_share[R * L], x_tau[N], r_tau[R];
    int32_t x_kind[N];
    fa_rows xs, rs;
    float gram[R * R], factor[R * R], scratch[32 * L];
} fixture;

static fixture *fixture_new(int32_t blocks, int32_t kernels)
{
    fixture *f = memory(sizeof *f);
    int64_t d = oracle_offset[L];
    ck_assert_int_le(d, MAX_D);
    f->space = (fa_space){.n_layer = L, .blocks = blocks, .offset = oracle_offset};
    f->kernels = fa_dot_kernels_for(kernels);
    memcpy(f->x, oracle_input, sizeof oracle_input);
    memcpy(f->r, oracle_reference, sizeof oracle_reference);
    for (int64_t i = 0; i < N; i++) f->x_kind[i] = fa_space_normalise(&f->space, f->kernels, f->x + i * d, f->x_share + i * L);
    for (int64_t i = 0; i < R; i++) fa_space_normalise(&f->space, f->kernels, f->r + i * d, f->r_share + i * L);
    fa_space_tau(&f->space, N, f->x_share, f->x_tau);
    fa_space_tau(&f->space, R, f->r_share, f->r_tau);
    f->xs = (fa_rows){N, f->x, f->x_share, f->x_tau, NULL};
    f->rs = (fa_rows){R, f->r, f->r_share, f->r_tau, NULL};
    ck_assert_uint_le(fa_space_scratch(&f->space), sizeof f->scratch);
    ck_assert_int_eq(fa_space_gram(context, &f->space, f->kernels, &f->rs, NULL, f->gram), FA_OK);
    fa_cholesky(f->kernels, f->gram, R, ORACLE_RIDGE, f->factor);
    return f;
}

static fa_scores *scores_new(const fixture *f, uint32_t want)
{
    fa_scores *s;
    ck_assert_int_eq(fa_scores_create(context,
                                      &(fa_scores_setup){.kernels = f->kernels,
                                                         .n = R,
                                                         .gram = f->gram,
                                                         .factor = f->factor,
                                                         .predicted = oracle_class,
                                                         .ridge = ORACLE_RIDGE,
                                                         .topk = ORACLE_TOPK,
                                                         .want = want},
                                      &s),
                     FA_OK);
    return s;
}

static void near(double got, double want, double tolerance, const char *what, int64_t i, int64_t j)
{
    ck_assert_msg(fabs(got - want) <= tolerance, "%s [%lld, %lld]: %.9g where %.9g is right", what, (long long)i, (long long)j, got, want);
}

static const struct {
    int32_t blocks;
    const float *coupling, *cone, *span;
    const double *score, *audit;
} modes[] = {
    {FA_BLOCKS_BOTH, oracle_coupling_both, oracle_cone_both, oracle_span_both, oracle_score_both, oracle_audit_both},
    {FA_BLOCKS_PLAIN, oracle_coupling_plain, oracle_cone_plain, oracle_span_plain, oracle_score_plain, oracle_audit_plain},
    {FA_BLOCKS_LAYER_UNIT, oracle_coupling_layer_unit, oracle_cone_layer_unit, oracle_span_layer_unit, oracle_score_layer_unit, oracle_audit_layer_unit},
};

START_TEST(oracle)
{
    for (int k = 0; k < 2; k++) {
        fixture *f = fixture_new(modes[_i].blocks, sets[k]);
        fa_scores *s = scores_new(f, FA_WANT_COUPLINGS);
        float c[N * R], cone[R], span[R];
        fa_space_couplings(&f->space, f->kernels, &f->xs, &f->rs, c, R, f->scratch);
        for (int64_t i = 0; i < N; i++) {
            fa_scores_result r = {.cone_weight = cone, .span_weight = span};
            fa_scores_compute(s, &(fa_scores_input){.c = c + i * R, .signal = f->x_kind[i] == FA_ROW_SIGNAL}, FA_WANT_COUPLINGS, &r);
            for (int64_t j = 0; j < R; j++) {
                near(c[i * R + j], modes[_i].coupling[i * R + j], 2e-6, "coupling", i, j);
                near(cone[j], modes[_i].cone[i * R + j], 2e-5, "cone weight", i, j);
                near(span[j], modes[_i].span[i * R + j], 2e-5, "span weight", i, j);
                ck_assert(cone[j] >= 0);
            }
            for (int32_t t = 0; t < FA_SCORE_COMMON_COUNT; t++) near(r.score[t], modes[_i].score[i * FA_SCORE_COMMON_COUNT + t], 5e-6, fa_score_name(t), i, t);
        }
        for (int64_t j = 0; j < R; j++) {
            fa_scores_result r = {.cone_weight = cone};
            fa_scores_audit(s, j, NULL, FA_WANT_COUPLINGS, &r);
            ck_assert(cone[j] == 0);
            for (int32_t t = 0; t < FA_SCORE_COMMON_COUNT; t++) near(r.score[t], modes[_i].audit[j * FA_SCORE_COMMON_COUNT + t], 5e-6, "audit", j, t);
        }
        fa_scores_destroy(s);
        free(f);
    }
}
END_TEST

START_TEST(residuals)
{
    fixture *f = fixture_new(FA_BLOCKS_BOTH, FA_KERNELS_FAST);
    int64_t d = fa_space_signature_length(&f->space);
    ck_assert_int_eq(d, 2 * oracle_offset[L]);
    float *out = memory((size_t)d * sizeof *out);
    for (int64_t i = 0; i < 4; i++) {
        fa_space_residual(&f->space, &f->xs, i, &f->rs, oracle_cone_both + i * R, out);
        for (int64_t e = 0; e < d; e++) near(out[e], oracle_residual_both[i * d + e], 2e-6, "residual", i, e);
    }
    free(out);
    free(f);
    f = fixture_new(FA_BLOCKS_PLAIN, FA_KERNELS_FAST);
    ck_assert_int_eq(fa_space_signature_length(&f->space), oracle_offset[L]);
    free(f);
}
END_TEST

/* Nothing but the direction of a signature counts, down to where floats end. */
START_TEST(scale)
{
    static const float factors[] = {1e-12f, 1e-30f, 1e30f};
    const fa_dot_kernels *kernels = fa_dot_kernels_for(sets[_i]);
    int64_t d = oracle_offset[L];
    fa_space space = {.n_layer = L, .blocks = FA_BLOCKS_BOTH, .offset = oracle_offset};
    for (int t = 0; t < 3; t++) {
        float a[MAX_D], b[MAX_D], share_a[L], share_b[L];
        for (int64_t i = 0; i < d; i++) {
            a[i] = oracle_input[i];
            b[i] = a[i] * factors[t];
        }
        ck_assert_int_eq(fa_space_normalise(&space, kernels, a, share_a), FA_ROW_SIGNAL);
        ck_assert_int_eq(fa_space_normalise(&space, kernels, b, share_b), FA_ROW_SIGNAL);
        for (int64_t i = 0; i < d; i++) near(b[i], a[i], 1e-6, "block", t, i);
        for (int64_t l = 0; l < L; l++) near(share_b[l], share_a[l], 1e-6, "share", t, l);
    }
    float row[MAX_D] = {0}, share[L];
    ck_assert_int_eq(fa_space_normalise(&space, kernels, row, share), FA_ROW_ZERO);
    for (int64_t l = 0; l < L; l++) ck_assert(share[l] == 0);
    row[3] = NAN;
    ck_assert_int_eq(fa_space_normalise(&space, kernels, row, share), FA_ROW_NOT_FINITE);
    row[3] = -INFINITY;
    ck_assert_int_eq(fa_space_normalise(&space, kernels, row, share), FA_ROW_NOT_FINITE);
    /* A layer so small beside another that its share is lost still counts as a block. */
    memset(row, 0, sizeof row);
    row[0] = 3e38f;
    row[oracle_offset[1]] = 1e-44f;
    ck_assert_int_eq(fa_space_normalise(&space, kernels, row, share), FA_ROW_SIGNAL);
    ck_assert(share[0] == 1 && share[1] > 0 && row[oracle_offset[1]] == 1);
    float tau;
    fa_space_tau(&space, 1, share, &tau);
    near(tau, sqrt(0.5), 1e-7, "tau", 0, 0);
}
END_TEST

/* A batch gives the bits of single inputs; the Gram matrix those of couplings, for any number of threads. */
START_TEST(same_bits)
{
    static const int64_t offset[] = {0, 7, 40, 296, 1113, 1120};
    fa_space space = {.n_layer = 5, .blocks = _i, .offset = offset};
    int64_t n = 150, d = offset[5];
    float *block = normal(n * d), *share = memory(sizeof(float) * (size_t)n * 5), *tau = memory(sizeof(float) * (size_t)n), scratch[32 * 5];
    memset(block + 5 * d, 0, sizeof(float) * (size_t)d);
    for (int64_t i = 0; i < n; i++) fa_space_normalise(&space, fa_dot_kernels_for(FA_KERNELS_FAST), block + i * d, share + i * 5);
    fa_space_tau(&space, n, share, tau);
    fa_rows rows = {n, block, share, tau};
    for (int k = 0; k < 2; k++) {
        const fa_dot_kernels *kernels = fa_dot_kernels_for(sets[k]);
        float *all = memory(sizeof(float) * (size_t)(n * n)), *gram[3], *one = memory(sizeof(float) * (size_t)n);
        fa_space_couplings(&space, kernels, &rows, &rows, all, n, scratch);
        for (int64_t i = 0; i < n; i += 13) {
            fa_rows row = {1, block + i * d, share + i * 5, tau + i};
            fa_space_couplings(&space, kernels, &row, &rows, one, n, scratch);
            ck_assert(memcmp(one, all + i * n, sizeof(float) * (size_t)n) == 0);
        }
        for (int t = 0; t < 3; t++) {
            fa_pool *pool = NULL;
            if (t) ck_assert_int_eq(fa_pool_create(context, t + 1, &pool), FA_OK);
            gram[t] = memory(sizeof(float) * (size_t)(n * n));
            ck_assert_int_eq(fa_space_gram(context, &space, kernels, &rows, pool, gram[t]), FA_OK);
            fa_pool_destroy(pool);
            ck_assert(memcmp(gram[0], gram[t], sizeof(float) * (size_t)(n * n)) == 0);
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                ck_assert(gram[0][i * n + j] == gram[0][j * n + i]);
                if (i == j) ck_assert(gram[0][i * n + j] == (i != 5));
                else ck_assert(gram[0][i * n + j] == all[i * n + j]);
            }
        for (int t = 0; t < 3; t++) free(gram[t]);
        free(all);
        free(one);
    }
    free(block);
    free(share);
    free(tau);
}
END_TEST

/* Signatures in fixed point: couplings are those of what the integers say, whatever layers' sizes are, near those of the signatures, and have the same bits in a batch of any size, for some of the
 * references and by any kernels. */
START_TEST(fixed)
{
    static const int64_t offset[] = {0, 7, 40, 296, 1113, 1120, 1121};
    static const int32_t formats[] = {FA_SIGNATURES_INT16, FA_SIGNATURES_INT8};
    enum { n_layer = 6, inputs = 75 };
    fa_space space = {.n_layer = n_layer, .blocks = _i, .offset = offset};
    int64_t n = pick(2, 70), d = offset[n_layer], all = n + inputs;
    float *block = normal(all * d), *share = memory(sizeof(float) * (size_t)(all * n_layer)), *tau = memory(sizeof(float) * (size_t)all), *said = memory(sizeof(float) * (size_t)(n * d));
    float *got = memory(sizeof(float) * (size_t)(inputs * n)), *want = memory(sizeof(float) * (size_t)(inputs * n)), *whole = memory(sizeof(float) * (size_t)(inputs * n)), scratch[32 * n_layer];
    memset(block + d, 0, 296 * sizeof(float)); /* a reference without some layers, an input without any, and one element far above the others */
    memset(block + (n + 6) * d, 0, sizeof(float) * (size_t)d);
    block[40] = 1e4f;
    block[(n + 3) * d + 300] = -1e4f;
    for (int64_t i = 0; i < all; i++) fa_space_normalise(&space, fa_dot_kernels_for(FA_KERNELS_FAST), block + i * d, share + i * n_layer);
    fa_space_tau(&space, all, share, tau);
    fa_rows r = {.n = n, .block = block, .share = share, .tau = tau}, x = {.n = inputs, .block = block + n * d, .share = share + n * n_layer, .tau = tau + n}, integers = r, decoded = r;
    decoded.block = said;
    fa_space_couplings(&space, fa_dot_kernels_for(FA_KERNELS_FAST), &x, &r, whole, n, scratch);
    for (int f = 0; f < 2; f++) {
        fa_fixed *c;
        ck_assert_int_eq(fa_fixed_create(context, n_layer, offset, n, block, share, tau, formats[f], &c), FA_OK);
        for (int64_t j = 0; j < n; j++)
            for (int32_t p = 0; p < c->pieces; p++)
                for (int64_t e = 0; e < c->piece[p].length; e++) {
                    const int64_t at = j * d + c->piece[p].from + e, in = j * c->offset[c->pieces] + c->offset[p] + e;
                    said[at] = (float)(f ? c->i8[in] : c->i16[in]) * (c->unit[j * c->pieces + p] / tau[j]);
                    near(said[at], block[at], f ? 0.0041 : 1.6e-5, "element", j, at);
                }
        integers.fixed = c;
        fa_space_couplings(&space, fa_dot_kernels_for(FA_KERNELS_FAST), &x, &decoded, want, n, scratch);
        for (int k = 0; k < 2; k++) {
            const fa_fixed_kernels *kernels = fa_fixed_kernels_for(sets[k]);
            void *room = memory(fa_couplings_fixed_scratch(&space, kernels, inputs));
            float *part = memory(sizeof(float) * (size_t)(inputs * n));
            fa_couplings_fixed(&space, kernels, &x, &integers, k ? part : got, n, room);
            if (k) ck_assert(memcmp(part, got, sizeof(float) * (size_t)(inputs * n)) == 0);
            for (int64_t i = 0; i < inputs; i++)
                for (int64_t j = 0; j < n; j++) {
                    near(got[i * n + j], want[i * n + j], 2e-5, "coupling", i, j);
                    near(got[i * n + j], whole[i * n + j], f ? 4e-3 : 3e-5, "coupling in full", i, j);
                }
            for (int64_t first = 0, some = 1; first + some <= inputs; first += some, some = some * 2 + 1) {
                fa_rows few = {.n = some, .block = x.block + first * d, .share = x.share + first * n_layer, .tau = x.tau + first};
                fa_couplings_fixed(&space, kernels, &few, &integers, part, n, room);
                ck_assert(memcmp(part, got + first * n, sizeof(float) * (size_t)(some * n)) == 0);
            }
            fa_rows one = x, last = integers;
            one.n = 1;
            one.pick = &(int64_t){4};
            last.n = 2;
            last.pick = (int64_t[]){n - 1, 0};
            fa_couplings_fixed(&space, kernels, &one, &last, part, n, room);
            ck_assert(part[0] == got[4 * n + n - 1] && part[1] == got[4 * n]);
            free(room);
            free(part);
        }
        fa_fixed_destroy(c);
    }
    free(block);
    free(share);
    free(tau);
    free(said);
    free(got);
    free(want);
    free(whole);
}
END_TEST

/* Gram matrix of n unit vectors of `rank` dimensions around a few centres, with some noise, some duplicates and some zeros. */
static float *random_gram(int64_t n, int64_t rank, float *c)
{
    float *v = normal((n + 1) * rank), *centre = normal(4 * rank), *gram = memory(sizeof(float) * (size_t)(n * n));
    double pull = (double)pick(0, 30) / 10;
    for (int64_t i = 0; i <= n; i++) {
        double s = 0;
        if (i > 0 && i < n && pick(0, 9) == 0) memcpy(v + i * rank, v + (i - 1) * rank, sizeof(float) * (size_t)rank);
        else
            for (int64_t e = 0; e < rank; e++) v[i * rank + e] += (float)pull * centre[i % 4 * rank + e];
        if (i < n && pick(0, 29) == 0) memset(v + i * rank, 0, sizeof(float) * (size_t)rank);
        for (int64_t e = 0; e < rank; e++) s += (double)v[i * rank + e] * v[i * rank + e];
        for (int64_t e = 0; e < rank; e++) v[i * rank + e] = s > 0 ? (float)(v[i * rank + e] / sqrt(s)) : 0;
    }
    for (int64_t i = 0; i <= n; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = 0;
            for (int64_t e = 0; e < rank; e++) s += (double)v[i * rank + e] * v[j * rank + e];
            if (i == n) c[j] = (float)s;
            else gram[i * n + j] = i == j ? s > 0 : (float)s;
        }
    free(v);
    free(centre);
    return gram;
}

/* By strong convexity |w - solution| <= |violation of the optimality conditions| / ridge, so this proves the weights. Returns the score. */
static double check_optimal(const float *gram, int64_t n, double ridge, const float *c, int64_t without, const float *w, double tolerance)
{
    double score = 1;
    for (int64_t j = 0; j < n; j++) {
        double product = 0;
        ck_assert(w[j] >= 0);
        if (w[j] > 0) ck_assert_int_ne(j, without);
        for (int64_t i = 0; i < n; i++) product += (double)gram[j * n + i] * w[i];
        double g = c[j] - product - ridge * w[j];
        if (j == without) continue;
        if (w[j] > 0) near(g, 0, tolerance, "gradient at a weight", n, j);
        else ck_assert_msg(g <= tolerance, "gradient %g at reference %lld of %lld, which has no weight", g, (long long)j, (long long)n);
        score += w[j] * (product - 2 * (double)c[j]);
    }
    return score < 0 ? 0 : score > 1 ? 1 : score;
}

START_TEST(cone_is_optimal)
{
    static const double ridges[] = {0.1, 0.1, 0.01, 1, 1e-3};
    for (int t = 0; t < 1500; t++) { /* one in some hundred small ridges takes exchanges by the hundred */
        int64_t n = t < 20 ? t + 1 : pick(2, 220), rank = pick(1, 80), without = t % 3 == 0 && n > 1 ? pick(0, n - 1) : -1;
        double ridge = ridges[pick(0, 4)];
        float *c = memory(sizeof(float) * (size_t)n), *w = memory(sizeof(float) * (size_t)n), *gram = random_gram(n, rank, c);
        for (int k = 0; k < 2; k++) {
            fa_cone *cone;
            fa_cone_work work;
            ck_assert_int_eq(fa_cone_create(context, fa_dot_kernels_for(sets[k]), gram, n, ridge, &cone), FA_OK);
            double score = fa_cone_solve(cone, c, without, w, &work);
            near(score, check_optimal(gram, n, ridge, c, without, w, 1.2e-5), 1e-5, "score", n, rank);
            /* Solving twice gives the same bits: nothing is left over from the time before. */
            float *again = memory(sizeof(float) * (size_t)n);
            ck_assert(fa_cone_solve(cone, c, without, again, NULL) == score);
            ck_assert(memcmp(w, again, sizeof(float) * (size_t)n) == 0);
            free(again);
            fa_cone_destroy(cone);
        }
        free(gram);
        free(w);
        free(c);
    }
}
END_TEST

START_TEST(cone_special)
{
    enum { n = 40 };
    static float gram[n * n], c[n], w[n];
    fa_cone *cone;
    fa_cone_work work;
    /* All references the same: they share the weight. */
    for (int i = 0; i < n * n; i++) gram[i] = 1;
    for (int i = 0; i < n; i++) c[i] = 0.5f;
    ck_assert_int_eq(fa_cone_create(context, fa_dot_kernels_for(FA_KERNELS_FAST), gram, n, 0.1, &cone), FA_OK);
    double score = fa_cone_solve(cone, c, -1, w, &work), each = 0.5 / (n + 0.1);
    for (int i = 0; i < n; i++) near(w[i], each, 1e-6, "weight", i, 0);
    near(score, 1 - 2 * 0.5 * n * each + n * n * each * each, 1e-6, "score", 0, 0);
    /* Negative couplings: nothing explains the input. */
    for (int i = 0; i < n; i++) c[i] = -0.2f;
    ck_assert(fa_cone_solve(cone, c, -1, w, &work) == 1);
    ck_assert_int_eq(work.active, 0);
    for (int i = 0; i < n; i++) ck_assert(w[i] == 0);
    fa_cone_destroy(cone);
    /* One reference, and none but the one left out. */
    float one = 1, half = 0.5f, weight;
    ck_assert_int_eq(fa_cone_create(context, fa_dot_kernels_for(FA_KERNELS_FAST), &one, 1, 0.1, &cone), FA_OK);
    near(fa_cone_solve(cone, &half, -1, &weight, NULL), 1 - 2 * 0.5 * 0.5 / 1.1 + 0.25 / 1.21, 1e-6, "score", 1, 0);
    near(weight, 0.5 / 1.1, 1e-7, "weight", 1, 0);
    ck_assert(fa_cone_solve(cone, &half, 0, &weight, NULL) == 1);
    ck_assert(weight == 0);
    fa_cone_destroy(cone);
    /* No reference has a signature. */
    memset(gram, 0, sizeof gram);
    memset(c, 0, sizeof c);
    ck_assert_int_eq(fa_cone_create(context, fa_dot_kernels_for(FA_KERNELS_FAST), gram, n, 0.1, &cone), FA_OK);
    ck_assert(fa_cone_solve(cone, c, -1, w, NULL) == 1);
    fa_cone_destroy(cone);
}
END_TEST

/* More references with weight than are solved exactly: descent alone has to get there. */
START_TEST(cone_beyond_capacity)
{
    int64_t n = 1200;
    float *gram = memory(sizeof(float) * (size_t)(n * n)), *c = memory(sizeof(float) * (size_t)n), *w = memory(sizeof(float) * (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) gram[i * n + j] = i == j ? 1 : i / 2 == j / 2 ? 0.3f : 0;
        c[i] = 0.01f + 0.00001f * (float)(i % 7);
    }
    fa_cone *cone;
    fa_cone_work work;
    ck_assert_int_eq(fa_cone_create(context, fa_dot_kernels_for(FA_KERNELS_FAST), gram, n, 0.1, &cone), FA_OK);
    double score = fa_cone_solve(cone, c, -1, w, &work);
    ck_assert_int_eq(work.active, n);
    near(score, check_optimal(gram, n, 0.1, c, -1, w, 1e-5), 1e-5, "score", n, 0);
    fa_cone_destroy(cone);
    free(gram);
    free(c);
    free(w);
}
END_TEST

START_TEST(span_solves)
{
    for (int t = 0; t < 30; t++) {
        int64_t n = t < 10 ? t + 1 : pick(2, 150);
        double ridge = t % 2 ? 0.1 : 0.01;
        float *c = memory(sizeof(float) * (size_t)n), *w = memory(sizeof(float) * (size_t)n), *gram = random_gram(n, pick(1, 60), c);
        float *factor = memory(sizeof(float) * (size_t)(n * n)), *cut = memory(sizeof(float) * (size_t)(n * n)), *cc = memory(sizeof(float) * (size_t)n);
        for (int k = 0; k < 2; k++) {
            const fa_dot_kernels *kernels = fa_dot_kernels_for(sets[k]);
            fa_cholesky(kernels, gram, n, ridge, factor);
            double score = fa_span_solve(kernels, factor, n, ridge, c, w), want = 1;
            for (int64_t i = 0; i < n; i++) {
                double product = 0;
                for (int64_t j = 0; j < n; j++) product += (double)gram[i * n + j] * w[j];
                near(product + ridge * w[i], c[i], 2e-5, "equation", n, i);
                want += w[i] * (product - 2 * (double)c[i]);
            }
            near(score, want < 0 ? 0 : want, 2e-5, "span", n, 0);
            if (n < 2) continue;
            /* Leaving one out by the inverse equals leaving it out of the matrix. */
            int64_t out = pick(0, n - 1);
            if (!(gram[out * n + out] > 0)) continue;
            double fast = fa_span_leave_out(kernels, factor, n, ridge, out, w);
            ck_assert(w[out] == 0);
            for (int64_t i = 0, a = 0; i < n; i++) {
                if (i == out) continue;
                cc[a] = gram[out * n + i];
                for (int64_t j = 0, b = 0; j < n; j++)
                    if (j != out) cut[a * (n - 1) + b++] = gram[i * n + j];
                a++;
            }
            fa_cholesky(kernels, cut, n - 1, ridge, cut);
            near(fast, fa_span_solve(kernels, cut, n - 1, ridge, cc, w), 5e-5, "leave out", n, out);
        }
        free(gram);
        free(c);
        free(w);
        free(factor);
        free(cut);
        free(cc);
    }
}
END_TEST

START_TEST(averages)
{
    static const float c[] = {0.5f, -0.25f, 0.75f, 0.125f, 0.75f, -1};
    static const int64_t predicted[] = {9, 4, 9, 4, 2, 2};
    float heap[8];
    double sum[6];
    int32_t group[6];
    int64_t count[6], classes[6];
    ck_assert_int_eq(fa_score_groups(predicted, 6, group, classes), 3);
    near(fa_score_mean(c, 6, -1), -0.875 / 6, 1e-12, "mean", 0, 0);
    near(fa_score_mean(c, 6, 5), -1.875 / 5, 1e-12, "mean", 0, 5);
    near(fa_score_topk(c, 6, -1, 2, heap), -0.75, 1e-12, "topk", 2, 0);
    near(fa_score_topk(c, 6, 2, 2, heap), -0.625, 1e-12, "topk", 2, 2);
    near(fa_score_topk(c, 6, -1, 8, heap), -0.875 / 6, 1e-12, "topk", 8, 0);
    near(fa_score_topk(c, 2, 0, 5, heap), 0.25, 1e-12, "topk", 5, 0);
    near(fa_score_class(c, 6, -1, group, 3, sum, count), -0.625, 1e-12, "class", 0, 0);
    near(fa_score_class(c, 6, 5, group, 3, sum, count), -0.75, 1e-12, "class", 0, 5);
    near(fa_score_class(c, 2, 0, group, 3, sum, count), 0.25, 1e-12, "class", 1, 0);
    static const float zero[4] = {0};
    ck_assert(!signbit(fa_score_mean(zero, 4, -1)) && !signbit(fa_score_topk(zero, 4, -1, 2, heap)));
    ck_assert(!signbit(fa_score_class(zero, 4, -1, group, 3, sum, count)));
    ck_assert(fa_score_mean(c, 1, 0) == 0 && fa_score_topk(c, 1, 0, 2, heap) == 0 && fa_score_class(c, 1, 0, group, 3, sum, count) == 0);
}
END_TEST

START_TEST(p_values)
{
    double calibration[] = {0.5, 0.1, 0.3, 0.3, 0.9};
    fa_sort_scores(calibration, 5);
    for (int i = 1; i < 5; i++) ck_assert(calibration[i - 1] <= calibration[i]);
    static const double score[] = {1, 0.9, 0.8, 0.3, 0.2, 0, INFINITY, NAN}, want[] = {1, 2, 2, 5, 5, 6, 1, 1};
    for (int i = 0; i < 8; i++) near(fa_conformal_p(calibration, 5, score[i]), want[i] / 6, 1e-15, "p", i, 0);
    ck_assert(isnan(fa_conformal_p(NULL, 0, 0.5)));
    fa_sort_scores(calibration, 0);
    for (int n = 1; n < 200; n++) {
        double a[200];
        float *x = normal(n);
        for (int i = 0; i < n; i++) a[i] = rint(4 * (double)x[i]);
        double before = 0, after = 0;
        for (int i = 0; i < n; i++) before += a[i] * a[i] + a[i];
        fa_sort_scores(a, n);
        for (int i = 0; i < n; i++) {
            after += a[i] * a[i] + a[i];
            if (i) ck_assert(a[i - 1] <= a[i]);
        }
        ck_assert(before == after);
        free(x);
    }
}
END_TEST

/* Only what was wanted is computed; memory is what was said. */
START_TEST(wanted)
{
    fixture *f = fixture_new(FA_BLOCKS_BOTH, FA_KERNELS_REFERENCE);
    for (uint32_t want = 1; want <= FA_WANT_COUPLINGS; want++) {
        fa_scores *s = scores_new(f, want);
        double used = (double)fa_context_memory_used(context), said = (double)fa_scores_bytes(&(fa_scores_setup){.n = R, .want = want});
        ck_assert_msg(used <= said && said <= used + 2 * FA_ARENA_SLACK, "%g bytes where %g were announced", used, said);
        for (int signal = 0; signal < 2; signal++) {
            fa_scores_result r = {.cone_weight = NULL};
            fa_scores_compute(s, &(fa_scores_input){.c = f->gram, .signal = signal}, want, &r);
            for (int32_t i = 0; i < FA_SCORE_COMMON_COUNT; i++) ck_assert_int_eq(!isnan(r.score[i]), want >> i & 1);
            if (!signal)
                for (int32_t i = 0; i < FA_SCORE_COMMON_COUNT; i++)
                    if (want >> i & 1) ck_assert(r.score[i] == (i == FA_SCORE_CONE || i == FA_SCORE_SPAN));
        }
        fa_scores_destroy(s);
    }
    free(f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("score");
    TCase *t = tcase_create("score");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, oracle, 0, 3);
    tcase_add_test(t, residuals);
    tcase_add_loop_test(t, scale, 0, 2);
    tcase_add_loop_test(t, same_bits, 0, 3);
    tcase_add_loop_test(t, fixed, 0, 3);
    tcase_add_test(t, cone_is_optimal);
    tcase_add_test(t, cone_special);
    tcase_add_test(t, cone_beyond_capacity);
    tcase_add_test(t, span_solves);
    tcase_add_test(t, averages);
    tcase_add_test(t, p_values);
    tcase_add_test(t, wanted);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
