/* SPDX-License-Identifier: Apache-2.0 */
/* Trace sketches: chains, losses and scores against the oracle, and what must hold of any of them. */
#include "score/scorer.h"
#include "trace_sets.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static fa_context *context;
static fa_model *model;

static void setup(void)
{
    context = new_context(2, FA_KERNELS_AUTO);
    model = oracle_model(context);
}

static void teardown(void)
{
    fa_model_release(model);
    end_context(context);
}

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

START_TEST(threads_do_not_change_a_bit)
{
    for (int k = 0; k < TRACE_SETUPS; k++) {
        fa_context *c[3];
        fa_sketch *s[3];
        fa_sketch_options o;
        fa_trace_options t;
        oracle_options(k, &o, &t);
        o.batch = 2; /* a chunk of references for every thread */
        t.storage = t.sampler == FA_SAMPLER_GAUSSIAN ? FA_DRAWS_DEFAULT : FA_DRAWS_BF16;
        for (int i = 0; i < 3; i++) {
            c[i] = new_context(i + 1, FA_KERNELS_AUTO);
            fa_model *m = oracle_model(c[i]);
            s[i] = build_oracle(m, c[i], &o);
            fa_model_release(m);
            if (i) check_same_bits(s[0], s[i]);
        }
        for (int i = 0; i < 3; i++) {
            fa_sketch_release(s[i]);
            end_context(c[i]);
        }
    }
}
END_TEST

/* Minibatches of several chunks. */
START_TEST(threads_share_a_gradient)
{
    fa_sketch *s[3];
    fa_context *c[3];
    fa_sketch_options o;
    fa_trace_options t;
    oracle_options(setup_with(FA_SAMPLER_RMSPROP_SGLD, FA_BATCHNORM_FROZEN), &o, &t);
    t.minibatch = 80;
    t.burn_in = 0;
    t.draws = 4;
    for (int i = 0; i < 3; i++) {
        c[i] = new_context(i + 1, FA_KERNELS_AUTO);
        fa_model *m = oracle_model(c[i]);
        fa_refset *refs = made_up_set(c[i], 90, 4);
        OK(fa_sketch_build(m, refs, NULL, &o, &s[i]));
        fa_refset_release(refs);
        fa_model_release(m);
        if (i) check_same_bits(s[0], s[i]);
    }
    for (int i = 0; i < 3; i++) {
        fa_sketch_release(s[i]);
        end_context(c[i]);
    }
}
END_TEST

/* All scores of the oracle's inputs. */
static void score_all(const fa_sketch *s, const fa_model *m, double out[N][FA_SCORE_COUNT])
{
    fa_scorer_options so;
    fa_scorer *scorer;
    fa_result r;
    int64_t shape[4];
    float *x = images(R + C, N);
    fa_scorer_options_init(&so, sizeof so);
    so.all_scores = 1;
    so.alpha = s->n_calibration ? 0.5 : 0;
    OK(fa_scorer_create(s, m, &so, &scorer));
    for (int i = 0; i < N; i++) {
        fa_array a = image_array(x + i * TRACE_PIXELS, 1, shape);
        OK(fa_score(scorer, &a, 1, &r));
        memcpy(out[i], r.scores, sizeof r.scores);
    }
    fa_scorer_destroy(scorer);
    free(x);
}

static double farthest(double a[N][FA_SCORE_COUNT], double b[N][FA_SCORE_COUNT])
{
    double most = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < FA_SCORE_COUNT; k++) most = fmax(most, fabs(a[i][k] - b[i][k]));
    return most;
}

START_TEST(stored_draws_say_the_same)
{
    static const double most[] = {[FA_DRAWS_F32] = 1e-5, [FA_DRAWS_BF16] = 0.02, [FA_DRAWS_INT8] = 0.02};
    static const int32_t samplers[] = {FA_SAMPLER_GAUSSIAN, FA_SAMPLER_SGLD, FA_SAMPLER_RMSPROP_SGLD};
    double plain[N][FA_SCORE_COUNT], scores[N][FA_SCORE_COUNT];
    for (int i = 0; i < 3; i++) {
        fa_sketch_options o;
        fa_trace_options t;
        oracle_options(setup_with(samplers[i], FA_BATCHNORM_FROZEN), &o, &t);
        t.partial = 0;
        fa_sketch *s = build_oracle(model, context, &o); /* gaussian: made again; chains: floats */
        score_all(s, model, plain);
        fa_sketch_release(s);
        for (t.storage = FA_DRAWS_F32; t.storage <= FA_DRAWS_INT8; t.storage++) {
            s = build_oracle(model, context, &o);
            fa_trace_info info = {.struct_size = sizeof info};
            OK(fa_sketch_get_trace_info(s, &info));
            ck_assert_int_eq(info.storage, t.storage);
            ck_assert_uint_gt(info.draw_bytes, 0);
            ck_assert(info.loss_before == s->body->trace->loss_before && info.loss_after == s->body->trace->loss_after);
            score_all(s, model, scores);
            ck_assert_msg(farthest(plain, scores) <= most[t.storage], "sampler %d, storage %d: %g", samplers[i], t.storage, farthest(plain, scores));
            fa_sketch_release(s);
        }
    }
}
END_TEST

START_TEST(files_keep_every_bit)
{
    char path[512];
    double before[N][FA_SCORE_COUNT], after[N][FA_SCORE_COUNT];
    snprintf(path, sizeof path, "%s/fattr-trace-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    for (int k = 0; k < TRACE_SETUPS; k++)
        for (int32_t storage = FA_DRAWS_F32; storage <= FA_DRAWS_INT8; storage++) {
            fa_sketch_options o;
            fa_trace_options t;
            fa_sketch *read;
            oracle_options(k, &o, &t);
            if (t.sampler != FA_SAMPLER_GAUSSIAN) t.storage = storage;
            t.parameters = k == 1 ? "!w2" : NULL;
            fa_sketch *s = build_oracle(model, context, &o);
            OK(fa_sketch_save_file(s, path));
            OK(fa_sketch_load_file(context, path, &read));
            check_same_bits(s, read);
            ck_assert_mem_eq(s->calibration_digest, read->calibration_digest, 16);
            fa_trace_info a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
            OK(fa_sketch_get_trace_info(s, &a));
            OK(fa_sketch_get_trace_info(read, &b));
            ck_assert_mem_eq(&a, &b, sizeof a); /* the verdict too: it is static */
            ck_assert(!t.parameters == !read->body->trace->options.parameters);
            score_all(s, model, before);
            score_all(read, model, after);
            ck_assert_mem_eq(before[0], after[0], FA_SCORE_COMMON_COUNT * sizeof(double));
            ck_assert(farthest(before, after) == 0);
            fa_sketch_release(read);
            fa_sketch_release(s);
        }
    remove(path);
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

START_TEST(recalibrating)
{
    fa_sketch_options o;
    fa_trace_options t;
    for (int k = 0; k < TRACE_SETUPS; k++) {
        fa_sketch *again, *few, *none;
        oracle_options(k, &o, &t);
        fa_sketch *s = build_oracle(model, context, &o);
        fa_refset *refs = reference_set(context), *cal = image_set(context, R, C, NULL), *other = image_set(context, R, 2, NULL);
        OK(fa_sketch_recalibrate(s, model, other, NULL, &few));
        ck_assert(few->body == s->body && few->n_calibration == 2);
        OK(fa_sketch_recalibrate(few, model, NULL, NULL, &none));
        ck_assert(none->n_calibration == 0 && none->calibration_loss == NULL);
        fa_sketch_options same;
        fa_sketch_options_init(&same, sizeof same);
        same.batch = o.batch;
        OK(fa_sketch_recalibrate(none, model, cal, &same, &again));
        check_same_bits(s, again);
        ck_assert_mem_eq(s->calibration_digest, again->calibration_digest, 16);
        FAILS(fa_sketch_get_calibration(none, 0, (double[C]){0}), FA_ERR_STATE, "no calibration");
        fa_sketch_release(s);
        fa_sketch_release(again);
        fa_sketch_release(few);
        fa_sketch_release(none);
        fa_refset_release(refs);
        fa_refset_release(cal);
        fa_refset_release(other);
    }
}
END_TEST

START_TEST(dropping_the_misclassified_is_not_giving_them)
{
    fa_sketch *dropped, *fewer;
    fa_sketch_options o;
    fa_trace_options t;
    int64_t labels[R], own[R];
    float *x = images(0, R);
    int64_t kept = 0, ids[R];
    for (int i = 0; i < R; i++) labels[i] = i % 4 == 1 ? (trace_predicted[i] + 1) % 3 : i % 4 == 2 ? -1 : trace_predicted[i];
    for (int i = 0; i < R; i++)
        if (i % 4 != 1) {
            memcpy(x + kept * TRACE_PIXELS, x + i * TRACE_PIXELS, TRACE_PIXELS * sizeof *x);
            own[kept] = labels[i];
            ids[kept++] = i;
        }
    fa_refset *all = image_set(context, 0, R, labels), *some;
    fa_refset_options ro;
    int64_t shape[4];
    fa_array a = image_array(x, kept, shape);
    fa_refset_options_init(&ro, sizeof ro);
    ro.labels = own;
    ro.ids = ids;
    OK(fa_refset_create(context, &a, 1, &ro, &some));
    for (int k = 0; k < TRACE_SETUPS; k++) {
        oracle_options(k, &o, &t);
        OK(fa_sketch_build(model, some, NULL, &o, &fewer));
        o.drop_misclassified = 1;
        OK(fa_sketch_build(model, all, NULL, &o, &dropped));
        check_same_bits(dropped, fewer);
        ck_assert_mem_eq(dropped->body->id, ids, (size_t)kept * sizeof *ids);
        fa_sketch_release(fewer);
        fa_sketch_release(dropped);
    }
    free(x);
    fa_refset_release(all);
    fa_refset_release(some);
}
END_TEST

START_TEST(the_sampling_set_moves_the_chain)
{
    fa_sketch *own, *given, *other, *wrong = NULL;
    fa_sketch_options o;
    fa_trace_options t;
    fa_refset *refs = reference_set(context), *same = reference_set(context), *sampling = made_up_set(context, 40, 9), *narrow = normal_set(context, 9, 7, 1);
    int64_t labels[C] = {0, 1, 2, 3, 0};
    fa_refset *mislabelled = image_set(context, R, C, labels);
    oracle_options(setup_with(FA_SAMPLER_RMSPROP_SGLD, FA_BATCHNORM_REESTIMATE), &o, &t);
    OK(fa_sketch_build(model, refs, NULL, &o, &own));
    t.sampling = same;
    OK(fa_sketch_build(model, refs, NULL, &o, &given));
    check_same_bits(own, given);
    t.sampling = sampling; /* without labels: the model's own classes */
    OK(fa_sketch_build(model, refs, NULL, &o, &other));
    ck_assert(memcmp(own->body->trace->draw, other->body->trace->draw, own->body->trace->draw_bytes) != 0);
    t.sampling = mislabelled;
    FAILS(fa_sketch_build(model, refs, NULL, &o, &wrong), FA_ERR_ARGUMENT, "label 3 of 3");
    t.sampling = narrow;
    FAILS(fa_sketch_build(model, refs, NULL, &o, &wrong), FA_ERR_SHAPE, "[9, 7]");
    ck_assert_ptr_null(wrong);
    fa_sketch_release(own);
    fa_sketch_release(given);
    fa_sketch_release(other);
    fa_refset_release(refs);
    fa_refset_release(same);
    fa_refset_release(sampling);
    fa_refset_release(narrow);
    fa_refset_release(mislabelled);
}
END_TEST

START_TEST(parameters_choose_what_moves)
{
    fa_sketch *s;
    fa_sketch_options o;
    fa_trace_options t;
    fa_refset *refs = reference_set(context);
    oracle_options(setup_with(FA_SAMPLER_GAUSSIAN, FA_BATCHNORM_FROZEN), &o, &t);
    t.parameters = "w*,!w2";
    OK(fa_sketch_build(model, refs, NULL, &o, &s));
    fa_trace_info info = {.struct_size = sizeof info};
    OK(fa_sketch_get_trace_info(s, &info));
    ck_assert(info.parameter_count == 2 && info.weight_count == 72 + 135);
    fa_sketch_release(s);
    s = NULL;
    t.parameters = "nothing*";
    FAILS(fa_sketch_build(model, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "selected");
    t.parameters = "a,,b";
    FAILS(fa_sketch_build(model, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "parameters");
    ck_assert_ptr_null(s);
    fa_refset_release(refs);
}
END_TEST

typedef struct watch {
    int32_t calls, stop_at;
    int64_t done, total;
} watch;

static int32_t watching(void *user, const char *stage, int64_t done, int64_t total)
{
    watch *w = user;
    ck_assert_ptr_nonnull(stage);
    ck_assert_msg(done >= w->done && done <= total && (!w->total || total == w->total), "'%s': %lld, then %lld of %lld", stage, (long long)w->done, (long long)done, (long long)total);
    w->done = done;
    w->total = total;
    nanosleep(&(struct timespec){0, 1000000}, NULL);
    return w->calls++ == w->stop_at;
}

START_TEST(progress_and_cancel)
{
    for (int drop = 0; drop < 2; drop++)
        for (int k = 0; k < TRACE_SETUPS; k++) {
            fa_sketch *s = NULL;
            fa_sketch_options o;
            fa_trace_options t;
            int64_t labels[R];
            for (int i = 0; i < R; i++) labels[i] = trace_predicted[i];
            fa_refset *refs = image_set(context, 0, R, labels), *cal = image_set(context, R, C, NULL);
            watch w = {.stop_at = -1};
            oracle_options(k, &o, &t);
            o.drop_misclassified = drop;
            o.progress = watching;
            o.progress_user = &w;
            OK(fa_sketch_build(model, refs, cal, &o, &s));
            ck_assert_int_eq(w.done, w.total);
            fa_sketch_release(s);
            s = NULL;
            int32_t calls = w.calls;
            uint64_t before = fa_context_memory_used(context);
            for (int32_t stop = 0; stop < calls; stop += 1 + calls / 4) {
                w = (watch){.stop_at = stop};
                fa_status status = fa_sketch_build(model, refs, cal, &o, &s);
                if (status == FA_OK) fa_sketch_release(s); /* it was quicker this time */
                else FAILS(status, FA_ERR_CANCELLED, "cancelled");
                ck_assert_uint_eq(fa_context_memory_used(context), before);
                s = NULL;
            }
            fa_refset_release(refs);
            fa_refset_release(cal);
        }
}
END_TEST

static void check_estimate(const char *config, const char *what, uint64_t estimate, uint64_t used)
{
    ck_assert_msg((double)estimate > 0.9 * (double)used && (double)estimate < 1.1 * (double)used, "%s, %s: %llu estimated, %llu used", config, what, (unsigned long long)estimate,
                  (unsigned long long)used);
}

static void check_memory(const char *file, int32_t threads, int32_t batch, int64_t n, int64_t m, int64_t k, int32_t drop, const fa_trace_options *trace)
{
    char path[512], config[256];
    fa_context *c = new_context(threads, FA_KERNELS_AUTO);
    fa_model *network;
    fa_sketch *s;
    fa_scorer *scorer;
    fa_sketch_options o;
    fa_scorer_options so;
    fa_refset_options ro;
    fa_refset *refs, *cal = NULL, *sampling = NULL;
    fa_trace_options t = *trace;
    int64_t most = n > m ? n : m, labels[600];
    if (k > most) most = k;
    for (int i = 0; i < 600; i++) labels[i] = -1;
    bool oracle = !strcmp(file, "tests/data/oracle_trace.onnx");
    int64_t width = oracle ? TRACE_PIXELS : 784, *shape = oracle ? (int64_t[]){0, 2, 6, 6} : (int64_t[]){0, 1, 28, 28};
    snprintf(path, sizeof path, "%s/%s", FA_SOURCE_ROOT, file);
    snprintf(config, sizeof config, "%s, %d threads, batch %d, %d references, %d calibration, sampler %d, storage %d, %d x %d draws", file, threads, batch, (int)n, (int)m,
             t.sampler, t.storage, t.chains, (int)t.draws);
    OK(fa_model_load_file(c, path, NULL, &network));
    float *x = normal_rows(most, width, 3);
    fa_refset_options_init(&ro, sizeof ro);
    ro.labels = labels;
    shape[0] = n;
    OK(fa_refset_create(c, &(fa_array){x, shape, 4, FA_FLOAT32, NULL}, 1, &ro, &refs));
    shape[0] = m;
    if (m) OK(fa_refset_create(c, &(fa_array){x, shape, 4, FA_FLOAT32, NULL}, 1, NULL, &cal));
    shape[0] = k;
    if (k) OK(fa_refset_create(c, &(fa_array){x, shape, 4, FA_FLOAT32, NULL}, 1, NULL, &sampling));
    free(x);
    fa_sketch_options_init(&o, sizeof o);
    o.trace = &t;
    o.batch = batch;
    o.drop_misclassified = drop;
    t.sampling = sampling;
    fa_memory_estimate e = {.struct_size = sizeof e};
    uint64_t before = fa_context_memory_used(c);
    OK(fa_sketch_memory_estimate(network, refs, cal, &o, &e));
    ck_assert_uint_eq(fa_context_memory_used(c), before);
    fa_context_memory_peak_reset(c);
    OK(fa_sketch_build(network, refs, cal, &o, &s));
    check_estimate(config, "build", e.build_bytes, fa_context_memory_peak(c) - before);
    check_estimate(config, "sketch", e.sketch_bytes, fa_context_memory_used(c) - before);
    before = fa_context_memory_used(c);
    fa_scorer_options_init(&so, sizeof so);
    OK(fa_scorer_create(s, network, &so, &scorer));
    check_estimate(config, "scorer", e.scorer_bytes, fa_context_memory_used(c) - before);
    snprintf(path, sizeof path, "%s/fattr-trace-estimate-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    OK(fa_sketch_save_file(s, path));
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    check_estimate(config, "file", e.file_bytes, (uint64_t)ftell(f));
    fclose(f);
    remove(path);
    fa_trace_info info = {.struct_size = sizeof info};
    OK(fa_sketch_get_trace_info(s, &info));
    ck_assert_uint_eq(e.draw_bytes, info.draw_bytes * (uint64_t)info.draw_count);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_refset_release(sampling);
    fa_model_release(network);
    end_context(c);
}

START_TEST(the_estimate_is_within_a_tenth)
{
    const char *mlp = "examples/models/mlp.onnx", *bn = "tests/data/oracle_trace.onnx";
    fa_trace_options t;
    fa_trace_options_init(&t, sizeof t);
    t.draws = 8;
    check_memory(mlp, 1, 16, 40, 60, 0, 0, &t);
    check_memory(mlp, 2, 8, 150, 0, 0, 1, &t);
    t.draws = 40;
    t.chains = 3;
    t.partial = 1;
    check_memory(bn, 2, 4, 60, 70, 0, 0, &t);
    t.partial = 0;
    t.storage = FA_DRAWS_INT8;
    check_memory(bn, 1, 4, 40, 100, 0, 0, &t);
    t.sampler = FA_SAMPLER_RMSPROP_SGLD;
    t.burn_in = 3;
    t.minibatch = 40;
    t.draws = 6;
    t.storage = FA_DRAWS_DEFAULT;
    check_memory(mlp, 2, 16, 64, 30, 0, 0, &t);
    t.storage = FA_DRAWS_F32;
    t.batchnorm = FA_BATCHNORM_REESTIMATE;
    check_memory(bn, 2, 8, 100, 40, 0, 0, &t);
    check_memory(bn, 1, 16, 40, 0, 500, 0, &t);
    t.chains = 100;
    t.draws = 4;
    t.burn_in = 0;
    t.parameters = "b*";
    check_memory(bn, 1, 16, 20, 0, 0, 0, &t);
}
END_TEST

START_TEST(refuses)
{
    fa_sketch *s = NULL;
    fa_sketch_options o;
    fa_trace_options t;
    fa_refset *refs = reference_set(context);
    static const struct {
        size_t offset;
        int32_t value;
        const char *words;
    } small[] = {{offsetof(fa_trace_options, sampler), 3, "sampler"}, {offsetof(fa_trace_options, sampler), -1, "sampler"}, {offsetof(fa_trace_options, storage), 4, "storage"},
                 {offsetof(fa_trace_options, batchnorm), 2, "batchnorm"}, {offsetof(fa_trace_options, chains), 1025, "chains"}, {offsetof(fa_trace_options, chains), -1, "chains"},
                 {offsetof(fa_trace_options, partial), 2, "partial"}, {offsetof(fa_trace_options, resume), 1, "checkpoint"}, {offsetof(fa_trace_options, resume), 7, "resume"}};
    static const struct {
        size_t offset;
        int64_t value;
        const char *words;
    } large[] = {{offsetof(fa_trace_options, draws), 1, "draws"}, {offsetof(fa_trace_options, draws), 1000001, "draws"}, {offsetof(fa_trace_options, burn_in), INT64_MAX, "burn_in"},
                 {offsetof(fa_trace_options, thinning), -1, "thinning"}, {offsetof(fa_trace_options, thinning), INT64_MAX, "thinning"},
                 {offsetof(fa_trace_options, minibatch), -2, "minibatch"}, {offsetof(fa_trace_options, first_chain), -1, "first_chain"}};
    static const struct {
        size_t offset;
        double value;
        const char *words;
    } real[] = {{offsetof(fa_trace_options, step_size), -1, "step_size"}, {offsetof(fa_trace_options, step_size), (double)INFINITY, "step_size"},
                {offsetof(fa_trace_options, gamma), -1, "gamma"}, {offsetof(fa_trace_options, gamma), (double)NAN, "gamma"}, {offsetof(fa_trace_options, nbeta), (double)NAN, "nbeta"},
                {offsetof(fa_trace_options, noise), (double)INFINITY, "noise"}, {offsetof(fa_trace_options, decay), 1, "decay"}, {offsetof(fa_trace_options, decay), (double)NAN, "decay"},
                {offsetof(fa_trace_options, epsilon), -0.1, "epsilon"}};
    fa_sketch_options_init(&o, sizeof o);
    o.trace = &t;
#define EACH(list)                                                                                                                                                  \
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {                                                                                                     \
        fa_memory_estimate e = {.struct_size = sizeof e};                                                                                                           \
        fa_trace_options_init(&t, sizeof t);                                                                                                                        \
        t.chains = 2;                                                                                                                                               \
        memcpy((char *)&t + list[i].offset, &list[i].value, sizeof list[i].value);                                                                                  \
        FAILS(fa_sketch_build(model, refs, NULL, &o, &s), FA_ERR_ARGUMENT, list[i].words);                                                                          \
        FAILS(fa_sketch_memory_estimate(model, refs, NULL, &o, &e), FA_ERR_ARGUMENT, list[i].words);                                                                \
    }
    EACH(small)
    EACH(large)
    EACH(real)
#undef EACH
    fa_trace_options_init(&t, sizeof t);
    t.batchnorm = FA_BATCHNORM_REESTIMATE;
    FAILS(fa_sketch_build(model, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "gaussian");
    t.struct_size = 0;
    FAILS(fa_sketch_build(model, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "fa_trace_options");
    fa_refset_release(refs);
    /* No BatchNormalization, and no parameters at all. */
    fa_model *plain = mlp(context, true), *bare;
    refs = normal_set(context, 6, 6, 1);
    fa_trace_options_init(&t, sizeof t);
    t.sampler = FA_SAMPLER_SGLD;
    t.batchnorm = FA_BATCHNORM_REESTIMATE;
    FAILS(fa_sketch_build(plain, refs, NULL, &o, &s), FA_ERR_ARGUMENT, "BatchNormalization");
    net g = {0};
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_node(&g, "Tanh", "x", NULL, NULL, "z");
    net_output(&g, "z", 6);
    OK(net_load(&g, context, &bare));
    fa_trace_options_init(&t, sizeof t);
    fa_status status = fa_sketch_build(bare, refs, NULL, &o, &s);
    ck_assert_msg(status == FA_ERR_NO_SIGNAL || status == FA_ERR_ARGUMENT, "%s: %s", fa_status_name(status), fa_error_message());
    /* Chains that leave the numbers. */
    t.sampler = FA_SAMPLER_SGLD;
    t.step_size = 1e30;
    FAILS(fa_sketch_build(plain, refs, NULL, &o, &s), FA_ERR_NOT_FINITE, "chain 0, step");
    /* A radius below the resolution of floats. */
    fa_trace_options_init(&t, sizeof t);
    t.gamma = 1e30;
    FAILS(fa_sketch_build(plain, refs, NULL, &o, &s), FA_ERR_NO_SIGNAL, "gamma");
    ck_assert_ptr_null(s);
    fa_refset_release(refs);
    fa_model_release(plain);
    fa_model_release(bare);
}
END_TEST

START_TEST(gradient_and_trace_sketches_keep_apart)
{
    fa_sketch *gradient, *trace, *out = NULL;
    fa_scorer *scorer = NULL;
    fa_sketch_options o;
    fa_trace_options t;
    fa_scorer_options so;
    fa_refset *refs = reference_set(context), *cal = image_set(context, R, C, NULL);
    fa_trace_info ti = {.struct_size = sizeof ti};
    fa_chain_info ci = {.struct_size = sizeof ci};
    fa_sketch_info si = {.struct_size = sizeof si};
    fa_sketch_layer_info li;
    float loss;
    OK(fa_sketch_build(model, refs, cal, NULL, &gradient));
    FAILS(fa_sketch_get_trace_info(gradient, &ti), FA_ERR_STATE, "gradient sketch");
    FAILS(fa_sketch_get_chain(gradient, 0, &ci), FA_ERR_STATE, "gradient sketch");
    FAILS(fa_sketch_get_traces(gradient, &loss), FA_ERR_STATE, "gradient sketch");
    FAILS(fa_sketch_merge((const fa_sketch *[]){gradient}, 1, &out), FA_ERR_ARGUMENT, "gradient sketch");
    fa_scorer_options_init(&so, sizeof so);
    so.score = FA_SCORE_MEAN_CCC;
    so.alpha = 0.5;
    FAILS(fa_scorer_create(gradient, model, &so, &scorer), FA_ERR_ARGUMENT, "mean_ccc");
    oracle_options(0, &o, &t);
    o.layers = "conv*"; /* taken by gradient sketches alone */
    OK(fa_sketch_build(model, refs, cal, &o, &trace));
    OK(fa_sketch_get_info(trace, &si));
    ck_assert(si.is_trace == 1 && si.layer_count == 0 && si.k_in == 0 && si.signature_length == 24 && trace->body->options.layers == NULL);
    FAILS(fa_sketch_get_layer(trace, 0, &li), FA_ERR_ARGUMENT, "index");
    FAILS(fa_sketch_get_chain(trace, 1, &ci), FA_ERR_ARGUMENT, "index");
    OK(fa_sketch_get_chain(trace, 0, &ci));
    ck_assert(ci.seed == TRACE_SEED && ci.id == 1 - 1 && ci.draws == 24 && ci.distance > 0);
    double audit[R];
    for (int k = 0; k < FA_SCORE_COUNT; k++) {
        OK(fa_sketch_audit(trace, k, audit));
        for (int i = 0; i < R; i++) ck_assert(isfinite(audit[i]) && fabs(audit[i]) <= 1);
    }
    fa_model *other = mlp(context, true);
    FAILS(fa_sketch_check_model(trace, other), FA_ERR_MISMATCH, "another model");
    FAILS(fa_scorer_create(trace, other, NULL, &scorer), FA_ERR_MISMATCH, "another model");
    fa_model_release(other);
    fa_sketch_release(gradient);
    fa_sketch_release(trace);
    fa_refset_release(refs);
    fa_refset_release(cal);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace_sketch");
    TCase *t = tcase_create("trace_sketch");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, chains_losses_and_scores_are_the_oracles);
    tcase_add_test(t, threads_do_not_change_a_bit);
    tcase_add_test(t, threads_share_a_gradient);
    tcase_add_test(t, stored_draws_say_the_same);
    tcase_add_test(t, files_keep_every_bit);
    tcase_add_test(t, covariances_are_inner_products_of_gradients);
    tcase_add_test(t, recalibrating);
    tcase_add_test(t, dropping_the_misclassified_is_not_giving_them);
    tcase_add_test(t, the_sampling_set_moves_the_chain);
    tcase_add_test(t, parameters_choose_what_moves);
    tcase_add_test(t, progress_and_cancel);
    tcase_add_test(t, the_estimate_is_within_a_tenth);
    tcase_add_test(t, refuses);
    tcase_add_test(t, gradient_and_trace_sketches_keep_apart);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
