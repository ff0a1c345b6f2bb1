/* SPDX-License-Identifier: Apache-2.0 */
/* Joining chains, and stopping before the last draw. */
#include "score/scorer.h"
#include "trace_fixture.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static unsigned char *saved(const fa_sketch *s, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/fattr-merge-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    OK(fa_sketch_save_file(s, path));
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*size);
    ck_assert(p && fread(p, 1, *size, f) == *size);
    fclose(f);
    remove(path);
    return p;
}

static void check_same_file(const fa_sketch *a, const fa_sketch *b)
{
    size_t n, m;
    unsigned char *p = saved(a, &n), *q = saved(b, &m);
    ck_assert_uint_eq(n, m);
    ck_assert(memcmp(p, q, n) == 0);
    free(p);
    free(q);
}

START_TEST(merging_is_building_at_once_in_any_order)
{
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int k = 0; k < TRACE_SETUPS; k++) {
        fa_sketch_options o;
        fa_trace_options t;
        fa_sketch *part[3], *whole, *merged, *pair, *nested;
        oracle_options(k, &o, &t);
        if (t.sampler != FA_SAMPLER_GAUSSIAN) t.storage = FA_DRAWS_F32 + k % 3;
        t.chains = 3;
        whole = build_oracle(model, context, &o);
        t.chains = 1;
        for (int i = 0; i < 3; i++, t.first_chain++) part[i] = build_oracle(model, context, &o);
        for (int i = 0; i < 6; i++) {
            const fa_sketch *list[3] = {part[order[i][0]], part[order[i][1]], part[order[i][2]]};
            OK(fa_sketch_merge(list, 3, &merged));
            check_same_bits(whole, merged);
            check_same_file(whole, merged);
            fa_sketch_release(merged);
        }
        OK(fa_sketch_merge((const fa_sketch *[]){part[2], part[0]}, 2, &pair));
        OK(fa_sketch_merge((const fa_sketch *[]){pair, part[1]}, 2, &nested));
        check_same_file(whole, nested);
        fa_sketch_release(nested);
        OK(fa_sketch_merge((const fa_sketch *[]){whole}, 1, &nested));
        check_same_file(whole, nested);
        for (int i = 0; i < 3; i++) fa_sketch_release(part[i]);
        fa_sketch_release(whole);
        fa_sketch_release(pair);
        /* It stands on its own, and scores. */
        fa_scorer *scorer;
        fa_result r;
        int64_t shape[4];
        float *x = images(R + C, 1);
        fa_array a = image_array(x, 1, shape);
        OK(fa_scorer_create(nested, model, &(fa_scorer_options){.struct_size = sizeof(fa_scorer_options), .alpha = 0.5}, &scorer));
        OK(fa_score(scorer, &a, 1, &r));
        ck_assert_int_eq(r.draws, 3 * t.draws);
        fa_scorer_destroy(scorer);
        free(x);
        fa_sketch_release(nested);
    }
}
END_TEST

START_TEST(chains_of_any_length_and_seed_are_sorted)
{
    fa_sketch *s[4], *merged, *again;
    fa_sketch_options o;
    fa_trace_options t;
    oracle_options(0, &o, &t);
    static const struct {
        uint64_t seed, id;
        int64_t draws;
    } chain[4] = {{9, 4, 6}, {UINT64_MAX, 0, 5}, {9, UINT64_MAX, 12}, {2, 7, 9}};
    static const int sorted[4] = {3, 0, 2, 1};
    for (int i = 0; i < 4; i++) {
        o.seed = chain[i].seed;
        t.first_chain = chain[i].id;
        t.draws = chain[i].draws;
        s[i] = build_oracle(model, context, &o);
    }
    OK(fa_sketch_merge((const fa_sketch *const *)s, 4, &merged));
    OK(fa_sketch_merge((const fa_sketch *[]){s[3], s[1], s[0], s[2]}, 4, &again));
    check_same_file(merged, again);
    for (int i = 0; i < 4; i++) {
        fa_chain_info info = {.struct_size = sizeof info}, own = {.struct_size = sizeof own};
        OK(fa_sketch_get_chain(merged, i, &info));
        OK(fa_sketch_get_chain(s[sorted[i]], 0, &own));
        ck_assert_uint_eq(info.seed, chain[sorted[i]].seed);
        ck_assert_mem_eq(&info, &own, sizeof info); /* what is said of a chain does not depend on its company */
    }
    for (int i = 0; i < 4; i++) fa_sketch_release(s[i]);
    fa_sketch_release(merged);
    fa_sketch_release(again);
}
END_TEST

START_TEST(refuses_what_does_not_belong_together)
{
    fa_sketch *first, *other, *out = NULL;
    fa_sketch_options o, p;
    fa_trace_options t, u;
    oracle_options(0, &o, &t);
    first = build_oracle(model, context, &o);
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, first}, 2, &out), FA_ERR_ARGUMENT, "twice");
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, NULL}, 2, &out), FA_ERR_ARGUMENT, "sketch 1");
    FAILS(fa_sketch_merge((const fa_sketch *[]){first}, 0, &out), FA_ERR_ARGUMENT, "0 sketches");
    FAILS(fa_sketch_merge(NULL, 1, &out), FA_ERR_ARGUMENT, "sketches");
    for (int i = 0; i < 8; i++) {
        oracle_options(0, &p, &u);
        u.first_chain = 77;
        switch (i) {
        case 0: u.gamma *= 2; break;
        case 1: u.partial = 1; break;
        case 2: u.storage = FA_DRAWS_INT8; break;
        case 3: u.sampler = FA_SAMPLER_SGLD; break;
        case 4: p.ridge = 0.3; break;
        case 5: p.topk = 2; break;
        case 6: u.parameters = "w*"; break;
        default: u.batchnorm = FA_BATCHNORM_REESTIMATE; break;
        }
        other = build_oracle(model, context, &p);
        FAILS(fa_sketch_merge((const fa_sketch *[]){first, other}, 2, &out), FA_ERR_MISMATCH, "its options");
        fa_sketch_release(other);
    }
    /* Other references, another calibration set, none. */
    t.first_chain = 77;
    fa_refset *refs = reference_set(context), *cal = image_set(context, R, C, NULL), *fewer = image_set(context, 0, R - 1, NULL), *uncalled = image_set(context, 0, R, NULL),
              *late = image_set(context, R + C, C, NULL);
    OK(fa_sketch_build(model, fewer, cal, &o, &other));
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, other}, 2, &out), FA_ERR_MISMATCH, "references");
    fa_sketch_release(other);
    OK(fa_sketch_build(model, uncalled, cal, &o, &other));
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, other}, 2, &out), FA_ERR_MISMATCH, "references");
    fa_sketch_release(other);
    OK(fa_sketch_build(model, refs, late, &o, &other));
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, other}, 2, &out), FA_ERR_MISMATCH, "calibration");
    fa_sketch_release(other);
    OK(fa_sketch_build(model, refs, NULL, &o, &other));
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, other}, 2, &out), FA_ERR_MISMATCH, "calibration");
    fa_sketch_release(other);
    OK(fa_sketch_build(model, refs, cal, NULL, &other));
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, other}, 2, &out), FA_ERR_ARGUMENT, "gradient sketch");
    fa_sketch_release(other);
    /* Another network. */
    fa_model *plain = mlp(context, true);
    fa_refset *rows = normal_set(context, 6, 6, 1);
    OK(fa_sketch_build(plain, rows, NULL, &o, &other));
    FAILS(fa_sketch_merge((const fa_sketch *[]){first, other}, 2, &out), FA_ERR_MISMATCH, "model");
    ck_assert_ptr_null(out);
    fa_sketch_release(other);
    fa_sketch_release(first);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_refset_release(fewer);
    fa_refset_release(uncalled);
    fa_refset_release(late);
    fa_refset_release(rows);
    fa_model_release(plain);
}
END_TEST

START_TEST(as_many_chains_as_a_file_holds)
{
    enum { EACH = 1024, SKETCHES = FA_TRACE_CHAINS_MOST / EACH + 1 };
    fa_sketch *s[SKETCHES], *merged = NULL, *read;
    fa_sketch_options o;
    fa_trace_options t;
    fa_model *m = mlp(context, true);
    fa_refset *refs = normal_set(context, 3, 6, 1);
    size_t size;
    fa_sketch_options_init(&o, sizeof o);
    fa_trace_options_init(&t, sizeof t);
    o.trace = &t;
    o.seed = UINT64_MAX; /* long names */
    t.chains = EACH;
    t.draws = 4;
    t.gamma = 10;
    t.parameters = "b3";
    t.first_chain = UINT64_MAX / 2;
    for (int i = 0; i < SKETCHES; i++, t.first_chain += EACH) OK(fa_sketch_build(m, refs, NULL, &o, &s[i]));
    FAILS(fa_sketch_merge((const fa_sketch *const *)s, SKETCHES, &merged), FA_ERR_LIMIT, "8192");
    ck_assert_ptr_null(merged);
    OK(fa_sketch_merge((const fa_sketch *const *)s, SKETCHES - 1, &merged));
    unsigned char *p = saved(merged, &size);
    OK(fa_sketch_load_memory(context, p, size, &read));
    check_same_bits(merged, read);
    free(p);
    for (int i = 0; i < SKETCHES; i++) fa_sketch_release(s[i]);
    fa_sketch_release(merged);
    fa_sketch_release(read);
    fa_refset_release(refs);
    fa_model_release(m);
}
END_TEST

/* ---- stopping early */

enum { DRAWS = 128, REFS = 30, SPLITS = 12, CAL = 120, TESTS = 100, WIDTH = 6 };

static fa_sketch *sketch_to_stop(fa_model *m, fa_refset *refs, int32_t chains)
{
    fa_sketch *s;
    fa_sketch_options o;
    fa_trace_options t;
    fa_sketch_options_init(&o, sizeof o);
    fa_trace_options_init(&t, sizeof t);
    o.trace = &t;
    t.draws = DRAWS / chains;
    t.chains = chains;
    t.gamma = 100;
    OK(fa_sketch_build(m, refs, NULL, &o, &s));
    return s;
}

static fa_scorer *scorer_for(const fa_sketch *s, const fa_model *m, int32_t score, double confidence, int32_t batch)
{
    fa_scorer_options o;
    fa_scorer *scorer;
    fa_scorer_options_init(&o, sizeof o);
    o.score = score;
    o.alpha = 0.1;
    o.confidence = confidence;
    o.max_batch = batch;
    OK(fa_scorer_create(s, m, &o, &scorer));
    return scorer;
}

static fa_result score_row(fa_scorer *scorer, const float *x)
{
    fa_result r;
    OK(fa_score(scorer, &(fa_array){x, (int64_t[]){1, WIDTH}, 2, FA_FLOAT32, NULL}, 1, &r));
    return r;
}

typedef struct tally {
    int64_t verdicts, same, draws, early, beyond[FA_LEVELS];
} tally;

/* One split: calibration inputs and test inputs drawn alike. */
static void one_split(const fa_sketch *uncalibrated, fa_model *m, int32_t score, double confidence, uint64_t stream, tally *sum)
{
    fa_sketch *s;
    fa_refset *cal = normal_set(context, CAL, WIDTH, 2 * stream);
    float *x = normal_rows(TESTS, WIDTH, 2 * stream + 1);
    OK(fa_sketch_recalibrate(uncalibrated, m, cal, NULL, &s));
    fa_scorer *all = scorer_for(s, m, score, 0, 1), *early = scorer_for(s, m, score, confidence, 1), *part[FA_LEVELS] = {NULL};
    const fa_levels *l = &early->levels;
    ck_assert_int_eq(l->n, FA_LEVELS);
    /* Draws are made again from their seeds, so a level's sketch scores on its own. */
    for (int k = 0; k < l->n - 1; k++) part[k] = scorer_for(l->level[k].own, m, score, 0, 1);
    for (int i = 0; i < TESTS; i++) {
        fa_result full = score_row(all, x + i * WIDTH), quick = score_row(early, x + i * WIDTH);
        int32_t verdict = -1;
        int64_t draws = DRAWS;
        for (int k = 0; k < l->n - 1; k++) {
            fa_result r = score_row(part[k], x + i * WIDTH);
            sum->beyond[k] += full.score - r.score > l->level[k].high || full.score - r.score < l->level[k].low;
            if (verdict < 0 && (verdict = fa_level_verdict(l, k, r.score)) >= 0) draws = r.draws;
        }
        ck_assert_int_eq(quick.draws, draws);
        ck_assert_int_eq(quick.flagged, verdict >= 0 ? verdict : full.flagged);
        ck_assert(full.flagged == (full.score > l->threshold)); /* the threshold is that of the p-value */
        sum->verdicts++;
        sum->same += quick.flagged == full.flagged;
        sum->draws += quick.draws;
        sum->early += quick.draws < DRAWS;
    }
    for (int k = 0; k < l->n - 1; k++) fa_scorer_destroy(part[k]);
    fa_scorer_destroy(early);
    fa_scorer_destroy(all);
    fa_refset_release(cal);
    fa_sketch_release(s);
    free(x);
}

START_TEST(verdicts_settled_early_are_those_of_all_draws)
{
    static const int32_t scores[] = {FA_SCORE_CONE, FA_SCORE_MEAN_CCC};
    const double confidence = 0.9, risk = (1 - confidence) / (FA_LEVELS - 1); /* of a level, both sides */
    fa_model *m = mlp(context, true);
    fa_refset *refs = normal_set(context, REFS, WIDTH, 1);
    fa_sketch *s = sketch_to_stop(m, refs, 1);
    for (int k = 0; k < 2; k++) {
        tally sum = {0};
        for (uint64_t i = 0; i < SPLITS; i++) one_split(s, m, scores[k], confidence, 10 + i, &sum);
        double agreement = (double)sum.same / (double)sum.verdicts, spread = sqrt(risk * (1.0 / (SPLITS * CAL) + 1.0 / (SPLITS * TESTS)));
        ck_assert_msg(agreement >= confidence, "%s: %.4f of the verdicts agree", fa_score_name(scores[k]), agreement);
        for (int level = 0; level < FA_LEVELS - 1; level++)
            ck_assert_msg((double)sum.beyond[level] / (double)sum.verdicts < risk + 4 * spread, "%s: %.4f of the scores leave the bounds of level %d, %.4f may", fa_score_name(scores[k]),
                          (double)sum.beyond[level] / (double)sum.verdicts, level, risk);
        ck_assert_msg(sum.early > 0 && sum.draws < sum.verdicts * DRAWS, "%s: no verdict was settled early", fa_score_name(scores[k]));
        if (getenv("FATTR_SHOW")) printf("%s: %.4f agree, %.1f of %d draws\n", fa_score_name(scores[k]), agreement, (double)sum.draws / (double)sum.verdicts, DRAWS);
    }
    fa_sketch_release(s);
    fa_refset_release(refs);
    fa_model_release(m);
}
END_TEST

START_TEST(batches_stop_like_single_inputs)
{
    fa_model *m = mlp(context, true);
    fa_refset *refs = normal_set(context, REFS, WIDTH, 1), *cal = normal_set(context, CAL, WIDTH, 2);
    fa_sketch *bare = sketch_to_stop(m, refs, 2), *s;
    float *x = normal_rows(TESTS, WIDTH, 3);
    fa_result batch[16];
    OK(fa_sketch_recalibrate(bare, m, cal, NULL, &s));
    fa_scorer *one = scorer_for(s, m, FA_SCORE_CONE, 0.9, 1), *many = scorer_for(s, m, FA_SCORE_CONE, 0.9, 16);
    int64_t different = 0;
    for (int64_t i = 0; i + 16 <= TESTS; i += 16) {
        OK(fa_score_batch(many, &(fa_array){x + i * WIDTH, (int64_t[]){16, WIDTH}, 2, FA_FLOAT32, NULL}, 1, batch, 16));
        for (int64_t k = 0; k < 16; k++) {
            fa_result r = score_row(one, x + (i + k) * WIDTH);
            ck_assert_int_eq(r.draws, batch[k].draws);
            ck_assert_int_eq(r.flagged, batch[k].flagged);
            ck_assert_double_eq_tol(r.score, batch[k].score, 1e-5);
            for (int j = 0; j < REFS; j++) ck_assert_float_eq_tol(r.couplings[j], batch[k].couplings[j], 1e-5f);
            different += batch[k].draws != batch[0].draws;
        }
    }
    ck_assert_int_gt(different, 0);
    fa_scorer_destroy(one);
    fa_scorer_destroy(many);
    fa_sketch_release(bare);
    fa_sketch_release(s);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_model_release(m);
    free(x);
}
END_TEST

START_TEST(few_calibration_inputs_and_no_signal_settle_nothing)
{
    fa_model *m = mlp(context, false);
    fa_refset *refs = normal_set(context, REFS, WIDTH, 1), *cal = normal_set(context, CAL, WIDTH, 2), *few = normal_set(context, 40, WIDTH, 2);
    fa_sketch *bare = sketch_to_stop(m, refs, 1), *s, *small;
    float *x = normal_rows(20, WIDTH, 3), zero[WIDTH] = {0};
    OK(fa_sketch_recalibrate(bare, m, cal, NULL, &s));
    OK(fa_sketch_recalibrate(bare, m, few, NULL, &small));
    fa_scorer *early = scorer_for(s, m, FA_SCORE_MEAN, 0.9, 1), *careful = scorer_for(small, m, FA_SCORE_CONE, 0.9, 1);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(score_row(careful, x + i * WIDTH).draws, DRAWS); /* 59 inputs are the least at this confidence */
    /* Without biases the loss of a zero input never moves. */
    fa_result r = score_row(early, zero);
    ck_assert(r.no_signal == 1 && r.flagged == 1 && r.draws == DRAWS && r.score == 0);
    ck_assert_double_eq_tol(r.p_value, 1.0 / (1 + CAL), 1e-12);
    fa_scorer_destroy(early);
    fa_scorer_destroy(careful);
    fa_sketch_release(bare);
    fa_sketch_release(s);
    fa_sketch_release(small);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_refset_release(few);
    fa_model_release(m);
    free(x);
}
END_TEST

START_TEST(confidence_is_refused_where_it_means_nothing)
{
    fa_model *m = mlp(context, true);
    fa_refset *refs = normal_set(context, REFS, WIDTH, 1), *cal = normal_set(context, CAL, WIDTH, 2);
    fa_sketch *bare = sketch_to_stop(m, refs, 1), *s, *gradient;
    fa_scorer *scorer = NULL;
    fa_scorer_options o;
    OK(fa_sketch_recalibrate(bare, m, cal, NULL, &s));
    OK(fa_sketch_build(m, refs, cal, NULL, &gradient));
    fa_scorer_options_init(&o, sizeof o);
    o.confidence = 0.9;
    FAILS(fa_scorer_create(gradient, m, &o, &scorer), FA_ERR_ARGUMENT, "confidence");
    FAILS(fa_scorer_create(bare, m, &o, &scorer), FA_ERR_STATE, "confidence");
    static const double wrong[] = {1, -0.1, 2, (double)NAN};
    for (int i = 0; i < 4; i++) {
        o.confidence = wrong[i];
        FAILS(fa_scorer_create(s, m, &o, &scorer), FA_ERR_ARGUMENT, "confidence");
    }
    ck_assert_ptr_null(scorer);
    fa_sketch_release(bare);
    fa_sketch_release(s);
    fa_sketch_release(gradient);
    fa_refset_release(refs);
    fa_refset_release(cal);
    fa_model_release(m);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {merging_is_building_at_once_in_any_order,
                                  chains_of_any_length_and_seed_are_sorted,
                                  refuses_what_does_not_belong_together,
                                  as_many_chains_as_a_file_holds,
                                  verdicts_settled_early_are_those_of_all_draws,
                                  batches_stop_like_single_inputs,
                                  few_calibration_inputs_and_no_signal_settle_nothing,
                                  confidence_is_refused_where_it_means_nothing};
    return run_tests("trace_merge", tests, sizeof tests / sizeof *tests);
}
