/* SPDX-License-Identifier: Apache-2.0 */
/* Language models: responses scored as sequences and token by token, and the model's own continuations, against what PyTorch and SciPy make of the same decoders. */
#include "token_sets.h"

#include <math.h>

static fa_context *context;

static void begin(int32_t kernels)
{
    context = token_context(kernels);
}

static void end(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* `_i`: kernels, then tied. */
START_TEST(the_oracle)
{
    const bool tied = _i & 1;
    begin(_i / 2 ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO);
    fa_model *m = decoder(context, tied);
    const fa_sketch_options o = token_options();
    fa_sketch *s = token_sketch(context, m, &o);
    fa_scorer *scorer = token_scorer(s, m, TOKENS_INPUTS), *single = token_scorer(s, m, 1);
    fa_result results[TOKENS_INPUTS], one;
    sequences in;
    take(FIRST, TOKENS_INPUTS, TOKENS_LENGTH, &in);
    OK(fa_score_batch(scorer, in.array, 2, results, TOKENS_INPUTS));
    const double *want = tokens_scores + (tied ? 0 : TOKENS_INPUTS * 5), *losses = tokens_losses + (tied ? 0 : TOKENS_INPUTS * (TOKENS_LENGTH - 1));
    for (int64_t i = 0; i < TOKENS_INPUTS; i++) {
        double sum = 0, counted = 0;
        for (int64_t t = 0; t < TOKENS_LENGTH - 1; t++) {
            sum += losses[i * (TOKENS_LENGTH - 1) + t];
            counted += tokens_mask[(FIRST + i) * TOKENS_LENGTH + t + 1];
        }
        ck_assert_double_eq_tol(results[i].confidence, exp(-sum / counted), 1e-5);
        for (int k = 0; k < FA_SCORE_COMMON_COUNT; k++)
            ck_assert_msg(fabs(results[i].scores[k] - want[5 * i + k]) < 1e-4, "input %d, %s: %.9g, the oracle says %.9g", (int)i, fa_score_name(k), results[i].scores[k], want[5 * i + k]);
        sequences alone;
        take(FIRST + i, 1, TOKENS_LENGTH, &alone);
        int32_t narrow[TOKENS_LENGTH]; /* by itself, and in a narrower type */
        for (int t = 0; t < TOKENS_LENGTH; t++) narrow[t] = (int32_t)alone.x[t];
        alone.array[0].data = narrow;
        alone.array[0].dtype = FA_INT32;
        OK(fa_score(single, alone.array, 2, &one));
        ck_assert_double_eq_tol(one.score, results[i].score, 1e-5);
        drop(&alone);
    }
    drop(&in);
    fa_scorer_destroy(scorer);
    fa_scorer_destroy(single);
    fa_sketch_release(s);
    fa_model_release(m);
    end();
}
END_TEST

START_TEST(token_by_token)
{
    const bool tied = _i & 1;
    begin(_i / 2 ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO);
    fa_model *m = decoder(context, tied);
    const fa_sketch_options o = token_options();
    fa_sketch *s = token_sketch(context, m, &o);
    fa_scorer *scorer = token_scorer(s, m, 1);
    const double *couplings = tokens_couplings + (tied ? 0 : TOKENS_DETAILED * TOKENS_LENGTH * TOKENS_REFERENCES),
                 *scores = tokens_token_scores + (tied ? 0 : TOKENS_DETAILED * TOKENS_LENGTH), *losses = tokens_losses + (tied ? 0 : TOKENS_INPUTS * (TOKENS_LENGTH - 1));
    for (int64_t i = 0; i < TOKENS_DETAILED; i++) {
        fa_token token[TOKENS_LENGTH];
        float c[TOKENS_LENGTH * TOKENS_REFERENCES], w[TOKENS_LENGTH * TOKENS_REFERENCES];
        int64_t count = -1, at = 0;
        sequences in;
        take(FIRST + i, 1, TOKENS_LENGTH, &in);
        OK(fa_score_tokens(scorer, in.array, 2, TOKENS_LENGTH, token, c, w, &count));
        for (int64_t t = 1; t < TOKENS_LENGTH; t++) {
            if (!in.mask[t]) continue;
            ck_assert_int_lt(at, count);
            ck_assert(token[at].position == t && token[at].token == in.x[t] && !token[at].no_signal);
            ck_assert_double_eq_tol(token[at].loss, losses[i * (TOKENS_LENGTH - 1) + t - 1], 1e-4);
            ck_assert_double_eq_tol(token[at].score, scores[i * TOKENS_LENGTH + t], 1e-4);
            for (int64_t r = 0; r < TOKENS_REFERENCES; r++) {
                ck_assert_double_eq_tol((double)c[at * TOKENS_REFERENCES + r], couplings[(i * TOKENS_LENGTH + t) * TOKENS_REFERENCES + r], 1e-4);
                ck_assert(w[at * TOKENS_REFERENCES + r] >= 0);
            }
            at++;
        }
        ck_assert_int_eq(at, count);
        /* No more room than the response needs, and less. */
        OK(fa_score_tokens(scorer, in.array, 2, count, token, NULL, NULL, &count));
        at = count;
        FAILS(fa_score_tokens(scorer, in.array, 2, count - 1, token, NULL, NULL, &count), FA_ERR_LIMIT, "room");
        ck_assert_int_eq(at, count);
        drop(&in);
    }
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_model_release(m);
    end();
}
END_TEST

/* What stands behind a response changes nothing, in an input or in a reference, and neither does the batch. */
START_TEST(padding_is_nothing)
{
    double scores[3][TOKENS_INPUTS];
    begin(_i ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO);
    fa_model *m = decoder(context, true);
    for (int k = 0; k < 3; k++) {
        /* At k = 1 the padding is other tokens than the oracle's zeros. */
        sequences sets[2], in;
        take(0, TOKENS_REFERENCES, TOKENS_LENGTH, &sets[0]);
        take(FIRST, TOKENS_INPUTS, TOKENS_LENGTH, &in);
        for (int which = 0; which < 2 && k == 1; which++) {
            sequences *s = which ? &in : &sets[0];
            for (int64_t i = 0; i < s->shape[0]; i++)
                for (int64_t t = TOKENS_LENGTH - 1; t > 0 && !s->mask[i * TOKENS_LENGTH + t]; t--) s->x[i * TOKENS_LENGTH + t] = (3 * i + t) % TOKENS_VOCABULARY;
        }
        fa_refset *references;
        fa_sketch *sketch;
        fa_result results[TOKENS_INPUTS];
        fa_sketch_options o = token_options();
        o.batch = k == 2 ? 20 : 3;
        OK(fa_refset_create(context, sets[0].array, 2, NULL, &references));
        OK(fa_sketch_build(m, references, NULL, &o, &sketch));
        fa_scorer_options so;
        fa_scorer *scorer;
        fa_scorer_options_init(&so, sizeof so);
        so.max_batch = TOKENS_INPUTS;
        OK(fa_scorer_create(sketch, m, &so, &scorer));
        OK(fa_score_batch(scorer, in.array, 2, results, TOKENS_INPUTS));
        for (int i = 0; i < TOKENS_INPUTS; i++) scores[k][i] = results[i].score;
        for (int i = 0; i < TOKENS_INPUTS && k; i++) ck_assert_double_eq_tol(scores[k][i], scores[0][i], 2e-5);
        for (int i = 0; i < TOKENS_INPUTS; i++) {
            int64_t length = TOKENS_LENGTH; /* and as long as it is, without any padding */
            while (!in.mask[i * TOKENS_LENGTH + length - 1]) length--;
            sequences cut;
            fa_result r;
            take(FIRST + i, 1, length, &cut);
            OK(fa_score(scorer, cut.array, 2, &r));
            ck_assert_double_eq_tol(r.score, scores[0][i], 2e-5);
            drop(&cut);
        }
        fa_scorer_destroy(scorer);
        fa_sketch_release(sketch);
        fa_refset_release(references);
        drop(&sets[0]);
        drop(&in);
    }
    fa_model_release(m);
    end();
}
END_TEST

/* A trace sketch takes the mean loss of the response alone too. */
START_TEST(traces_of_responses)
{
    begin(FA_KERNELS_AUTO);
    fa_model *m = decoder(context, true);
    fa_trace_options trace;
    fa_trace_options_init(&trace, sizeof trace);
    trace.draws = 12;
    fa_sketch_options o = token_options();
    o.trace = &trace;
    fa_sketch *s = token_sketch(context, m, &o);
    fa_scorer *scorer = token_scorer(s, m, TOKENS_INPUTS);
    fa_result r[TOKENS_INPUTS];
    double marked[TOKENS_INPUTS];
    sequences in;
    take(FIRST, TOKENS_INPUTS, TOKENS_LENGTH, &in);
    OK(fa_score_batch(scorer, in.array, 2, r, TOKENS_INPUTS));
    for (int64_t i = 0; i < TOKENS_INPUTS; i++) {
        marked[i] = r[i].score;
        for (int64_t t = TOKENS_LENGTH - 1; t > 0 && !in.mask[i * TOKENS_LENGTH + t]; t--) in.x[i * TOKENS_LENGTH + t] = (3 * i + t) % TOKENS_VOCABULARY;
    }
    OK(fa_score_batch(scorer, in.array, 2, r, TOKENS_INPUTS));
    for (int i = 0; i < TOKENS_INPUTS; i++) ck_assert_double_eq_tol(r[i].score, marked[i], 1e-4);
    OK(fa_score_batch(scorer, in.array, 1, r, TOKENS_INPUTS)); /* the prompt as well: another loss */
    int differ = 0;
    for (int i = 0; i < TOKENS_INPUTS; i++) differ += fabs(r[i].score - marked[i]) > 1e-3;
    ck_assert_int_ge(differ, TOKENS_INPUTS - 2);
    memset(in.mask, 0, TOKENS_LENGTH);
    FAILS(fa_score_batch(scorer, in.array, 2, r, TOKENS_INPUTS), FA_ERR_ARGUMENT, "input 0");
    fa_token token[TOKENS_LENGTH];
    int64_t count;
    in.shape[0] = 1;
    FAILS(fa_score_tokens(scorer, in.array, 1, TOKENS_LENGTH, token, NULL, NULL, &count), FA_ERR_STATE, "trace");
    drop(&in);
    fa_scorer_destroy(scorer);
    fa_sketch_release(s);
    fa_model_release(m);
    end();
}
END_TEST

START_TEST(continuations)
{
    begin(_i ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO);
    for (int tied = 1; tied >= 0; tied--) {
        fa_model *m = decoder(context, tied);
        const int *want = tokens_continuation + (tied ? 0 : TOKENS_PROMPTS * TOKENS_NEW);
        int64_t prompts[TOKENS_PROMPTS * 4], lengths[TOKENS_PROMPTS];
        for (int i = 0; i < TOKENS_PROMPTS * 4; i++) prompts[i] = tokens_prompt[i];
        for (int i = 0; i < TOKENS_PROMPTS; i++) lengths[i] = tokens_prompt_length[i];
        for (int stopped = 0; stopped < 2; stopped++) {
            fa_generate_options o;
            fa_tensor *tokens, *mask;
            fa_array x, r;
            fa_generate_options_init(&o, sizeof o);
            o.tokens = TOKENS_NEW;
            o.lengths = lengths;
            o.batch = 3;
            o.pad = 1;
            o.stop = stopped ? want[1] : -1; /* the second new token of the first prompt, or an earlier one like it */
            OK(fa_model_generate(m, &(fa_array){prompts, (int64_t[]){TOKENS_PROMPTS, 4}, 2, FA_INT64, NULL}, &o, &tokens, &mask));
            OK(fa_tensor_view(tokens, &x));
            OK(fa_tensor_view(mask, &r));
            ck_assert(x.ndim == 2 && x.shape[0] == TOKENS_PROMPTS && x.shape[1] == 4 + TOKENS_NEW && x.dtype == FA_INT64 && strcmp(r.name, FA_ARRAY_MASK) == 0 && r.dtype == FA_UINT8);
            for (int64_t i = 0; i < TOKENS_PROMPTS; i++) {
                const int64_t *row = (const int64_t *)x.data + i * x.shape[1];
                const uint8_t *of = (const uint8_t *)r.data + i * x.shape[1];
                int64_t t = 0;
                for (; t < lengths[i]; t++) ck_assert(row[t] == prompts[4 * i + t] && !of[t]);
                for (int64_t k = 0; k < TOKENS_NEW; k++, t++) {
                    ck_assert(row[t] == want[i * TOKENS_NEW + k] && of[t] == 1);
                    if (row[t] == o.stop && (t++, true)) break;
                }
                for (; t < x.shape[1]; t++) ck_assert(row[t] == 1 && !of[t]);
            }
            fa_tensor_release(tokens);
            fa_tensor_release(mask);
        }
        fa_model_release(m);
    }
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokens");
    TCase *t = tcase_create("tokens");
    tcase_add_loop_test(t, the_oracle, 0, 4);
    tcase_add_loop_test(t, token_by_token, 0, 4);
    tcase_add_loop_test(t, padding_is_nothing, 0, 2);
    tcase_add_test(t, traces_of_responses);
    tcase_add_loop_test(t, continuations, 0, 2);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
