/* SPDX-License-Identifier: Apache-2.0 */
/* Trace sketches: chains, losses and scores against the oracle, and the covariances of losses where they are known. */
#include "score/scorer.h"
#include "trace_fixture.h"

#include <math.h>

static const char *const sampler_names[] = {"gaussian", "rmsprop_sgld", "sgld"};

/* Losses of the oracle's setup `k`: [R + C + N, draws]. */
static const float *oracle_losses(int k, int64_t *draws)
{
    int64_t at = 0;
    for (int i = 0; i < k; i++) at += (R + C + N) * trace_counts[8 * i + 2] * trace_counts[8 * i + 6];
    *draws = trace_counts[8 * k + 2] * trace_counts[8 * k + 6];
    return trace_losses + at;
}

static void check_weights(int k, const fa_sketch_body *b)
{
    static const char *const names[] = {"w1", "scale1", "shift1", "w2", "b2", "scale2", "shift2", "w3", "b3"};
    const fa_sketch_trace *t = b->trace;
    double apart = 0, moved = 0;
    float *w = calloc(TRACE_WEIGHTS, sizeof *w), *zero = calloc(TRACE_WEIGHTS, sizeof *zero);
    ck_assert_int_eq(t->n_parameter, 9);
    for (int i = 0; i < 9; i++) ck_assert_str_eq(t->parameter[i].name, names[i]);
    ck_assert_int_eq(t->layout.n_weight, TRACE_WEIGHTS);
    fa_trace_weights(b, b->offset[1] - 1, zero, w);
    for (int i = 0; i < TRACE_WEIGHTS; i++) {
        double want = (double)trace_moves[k * TRACE_WEIGHTS + i];
        apart += ((double)w[i] - want) * ((double)w[i] - want);
        moved += want * want;
    }
    ck_assert_msg(sqrt(apart / moved) <= 1e-4, "setup %d: the weights after 50 steps are %g of their way from the oracle's", k, sqrt(apart / moved));
    ck_assert_double_eq_tol(t->chain[0].distance, sqrt(moved), 1e-4 * sqrt(moved));
    free(w);
    free(zero);
}

static void check_losses(int k, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabsf(got[i] - want[i]) <= 1e-4f, "setup %d (%s), loss %d: %.7g, the oracle says %.7g", k, sampler_names[trace_counts[8 * k]], (int)i, (double)got[i], (double)want[i]);
}

static void check_scores(int k, int which, const double *got)
{
    for (int s = 0; s < FA_SCORE_COUNT; s++) {
        double want = trace_scores[(k * (C + N) + which) * FA_SCORE_COUNT + s];
        ck_assert_msg(isnan(want) ? isnan(got[s]) : fabs(got[s] - want) <= 1e-4, "setup %d (%s), input %d, %s: %.9g, the oracle says %.9g", k,
                      sampler_names[trace_counts[8 * k]], which, fa_score_name(s), got[s], want);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void check_calibration(int k, const fa_sketch *s)
{
    double got[C], want[C];
    for (int score = 0; score < FA_SCORE_COUNT; score++) {
        if (isnan(trace_scores[k * (C + N) * FA_SCORE_COUNT + score])) {
            FAILS(fa_sketch_get_calibration(s, score, got), FA_ERR_ARGUMENT, fa_score_name(score));
            continue;
        }
        for (int i = 0; i < C; i++) want[i] = trace_scores[(k * (C + N) + i) * FA_SCORE_COUNT + score];
        qsort(want, C, sizeof *want, ascending);
        OK(fa_sketch_get_calibration(s, score, got));
        for (int i = 0; i < C; i++) ck_assert_double_eq_tol(got[i], want[i], 1e-4);
    }
}

static void check_setup(int k, const fa_model *m, fa_context *c)
{
    int64_t draws, shape[4];
    const float *want = oracle_losses(k, &draws);
    fa_sketch_options o;
    fa_trace_options t;
    fa_scorer_options so;
    fa_scorer *one, *many;
    fa_result r, batch[N];
    oracle_options(k, &o, &t);
    fa_sketch *s = build_oracle(m, c, &o);
    check_weights(k, s->body);
    float *losses = calloc((size_t)(R * draws), sizeof *losses), *x = images(R + C, N);
    OK(fa_sketch_get_traces(s, losses));
    check_losses(k, losses, want, R * draws);
    check_losses(k, s->calibration_loss, want + R * draws, C * draws);
    check_calibration(k, s);
    fa_scorer_options_init(&so, sizeof so);
    so.all_scores = 1;
    so.alpha = 0.5;
    so.want_residual = 1;
    OK(fa_scorer_create(s, m, &so, &one));
    so.max_batch = N;
    OK(fa_scorer_create(s, m, &so, &many));
    fa_array all = image_array(x, N, shape);
    OK(fa_score_batch(many, &all, 1, batch, N));
    check_losses(k, many->loss, want + (R + C) * draws, N * draws);
    for (int i = 0; i < N; i++) {
        fa_array a = image_array(x + i * TRACE_PIXELS, 1, shape);
        OK(fa_score(one, &a, 1, &r));
        check_losses(k, one->loss, want + (R + C + i) * draws, draws);
        check_scores(k, C + i, r.scores);
        check_scores(k, C + i, batch[i].scores);
        for (int score = 0; score < FA_SCORE_COUNT; score++) ck_assert(isnan(r.scores[score]) || fabs(r.scores[score] - batch[i].scores[score]) <= 1e-5);
        ck_assert_int_eq(r.predicted, trace_predicted[R + C + i]);
        ck_assert(r.draws == draws && r.signature_length == draws && r.no_signal == 0 && r.flagged == (r.p_value <= 0.5));
        double energy = 0;
        for (int64_t d = 0; d < draws; d++) energy += (double)r.residual[d] * (double)r.residual[d];
        ck_assert_double_eq_tol(energy, r.score, 1e-4);
    }
    fa_score_timing time = {.struct_size = sizeof time};
    double forward, score;
    OK(fa_scorer_get_timing(many, &time));
    ck_assert(time.forward_ns > 0 && time.draw_ns > 0 && time.backward_ns == 0);
    OK(fa_scorer_get_flops(one, &forward, &score));
    ck_assert_double_eq_tol(score / forward, (double)(draws + 1), 1e-9);
    free(x);
    free(losses);
    fa_scorer_destroy(one);
    fa_scorer_destroy(many);
    fa_sketch_release(s);
}

START_TEST(chains_losses_and_scores_are_the_oracles)
{
    static const int32_t kernels[] = {FA_KERNELS_REFERENCE, FA_KERNELS_AUTO};
    for (int i = 0; i < 2; i++) {
        fa_context *c = new_context(1, kernels[i]);
        fa_model *m = oracle_model(c);
        for (int k = 0; k < TRACE_SETUPS; k++) check_setup(k, m, c);
        fa_model_release(m);
        end_context(c);
    }
}
END_TEST

/* Logistic regression without a bias: to first order the covariance of two losses over draws of variance 1 / gamma is the inner product of their gradients over gamma,
 * and its sampling error is that of a covariance of normal numbers, sqrt((v_i v_j + c^2) / T). */
START_TEST(covariances_are_inner_products_of_gradients)
{
    enum { WIDTH = 6, CLASSES = 4, REFS = 12, DRAWS = 4000 };
    const double gamma = 1e6;
    net g = {0};
    fa_model *m;
    fa_sketch *s;
    fa_sketch_options o;
    fa_trace_options t;
    double gradient[REFS][WIDTH * CLASSES];
    float w[WIDTH * CLASSES];
    net_input(&g, "x", 2, (int64_t[]){-1, WIDTH});
    net_weight(&g, "w", WIDTH, CLASSES, 0.5f);
    net_node(&g, "MatMul", "x", "w", NULL, "z");
    net_output(&g, "z", CLASSES);
    OK(net_load(&g, context, &m));
    fa_normal(77, 0, 0, WIDTH * CLASSES, w);
    float *x = normal_rows(REFS, WIDTH, 6);
    fa_refset *refs = normal_set(context, REFS, WIDTH, 6);
    fa_sketch_options_init(&o, sizeof o);
    fa_trace_options_init(&t, sizeof t);
    o.trace = &t;
    t.gamma = gamma;
    t.draws = DRAWS;
    OK(fa_sketch_build(m, refs, NULL, &o, &s));
    for (int i = 0; i < REFS; i++) {
        double z[CLASSES] = {0}, sum = 0;
        int best = 0;
        for (int c = 0; c < CLASSES; c++) {
            for (int f = 0; f < WIDTH; f++) z[c] += (double)x[i * WIDTH + f] * 0.5 * (double)w[f * CLASSES + c];
            if (z[c] > z[best]) best = c;
        }
        for (int c = 0; c < CLASSES; c++) sum += exp(z[c]);
        for (int f = 0; f < WIDTH; f++)
            for (int c = 0; c < CLASSES; c++) gradient[i][f * CLASSES + c] = (double)x[i * WIDTH + f] * (exp(z[c]) / sum - (c == best));
    }
    const float *loss = s->body->trace->loss;
    double worst = 0;
    for (int i = 0; i < REFS; i++)
        for (int j = 0; j <= i; j++) {
            double mean_i = 0, mean_j = 0, covariance = 0, inner = 0, own_i = 0, own_j = 0;
            for (int d = 0; d < DRAWS; d++) mean_i += (double)loss[i * DRAWS + d] / DRAWS, mean_j += (double)loss[j * DRAWS + d] / DRAWS;
            for (int d = 0; d < DRAWS; d++) covariance += ((double)loss[i * DRAWS + d] - mean_i) * ((double)loss[j * DRAWS + d] - mean_j) / DRAWS;
            for (int k = 0; k < WIDTH * CLASSES; k++) {
                inner += gradient[i][k] * gradient[j][k];
                own_i += gradient[i][k] * gradient[i][k];
                own_j += gradient[j][k] * gradient[j][k];
            }
            double z = (covariance * gamma - inner) / sqrt((own_i * own_j + inner * inner) / DRAWS);
            worst = fmax(worst, fabs(z));
            ck_assert_msg(fabs(z) < 4.5, "references %d and %d: covariance %g, inner product %g, z %.2f", i, j, covariance * gamma, inner, z);
        }
    ck_assert(worst > 0.5); /* they were draws */
    free(x);
    fa_sketch_release(s);
    fa_refset_release(refs);
    fa_model_release(m);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {chains_losses_and_scores_are_the_oracles, covariances_are_inner_products_of_gradients};
    return run_tests("trace_oracle", tests, sizeof tests / sizeof *tests);
}
