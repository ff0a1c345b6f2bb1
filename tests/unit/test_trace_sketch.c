/* SPDX-License-Identifier: Apache-2.0 */
/* Trace sketches: what must hold of any of them. */
#include "score/scorer.h"
#include "trace_fixture.h"

#include <math.h>
#include <time.h>

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
    const TTest *const tests[] = {threads_do_not_change_a_bit, threads_share_a_gradient, recalibrating, dropping_the_misclassified_is_not_giving_them, the_sampling_set_moves_the_chain, progress_and_cancel, gradient_and_trace_sketches_keep_apart};
    return run_tests("trace_sketch", tests, sizeof tests / sizeof *tests);
}
