/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences that make no sense, in every place that takes them: a status and a message with the node's or the input's name, nothing held. And what sequences cost. */
#include "api/model.h"
#include "base/context.h"
#include "sketch/extract.h"
#include "token_sets.h"

#include <math.h>

static fa_context *context;
static fa_model *model;
static fa_sketch *sketch;
static fa_scorer *scorer;
static sequences in;

static void setup(void)
{
    context = token_context(FA_KERNELS_AUTO);
    model = decoder(context, true);
    const fa_sketch_options o = token_options();
    sketch = token_sketch(context, model, &o);
    scorer = token_scorer(sketch, model, 4);
    take(FIRST, 4, TOKENS_LENGTH, &in);
}

static void teardown(void)
{
    drop(&in);
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_model_release(model);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* A sketch on these sequences. */
static fa_status build(const fa_array *arrays, int32_t count, int32_t loss)
{
    fa_refset *set;
    fa_sketch *s = NULL;
    fa_sketch_options o = token_options();
    o.loss = loss;
    const uint64_t before = fa_context_memory_used(context);
    OK(fa_refset_create(context, arrays, count, NULL, &set));
    fa_status status = fa_sketch_build(model, set, NULL, &o, &s);
    fa_refset_release(set);
    ck_assert(!s == (status != FA_OK));
    fa_sketch_release(s);
    ck_assert_uint_eq(fa_context_memory_used(context), before);
    return status;
}

START_TEST(tokens_that_are_none)
{
    static const int64_t wrong[] = {TOKENS_VOCABULARY, -TOKENS_VOCABULARY - 1, INT64_MAX, INT64_MIN};
    fa_result r[4], untouched[4];
    fa_token token[TOKENS_LENGTH];
    int64_t count;
    fa_tensor *a = NULL, *b = NULL;
    memset(r, 0x5A, sizeof r);
    memcpy(untouched, r, sizeof r);
    for (int i = 0; i < 4; i++) {
        const int64_t kept = in.x[2 * TOKENS_LENGTH + 3];
        in.x[2 * TOKENS_LENGTH + 3] = wrong[i];
        FAILS(fa_score_batch(scorer, in.array, 2, r, 4), FA_ERR_ARGUMENT, "node '/word/Gather': element 3 of input 2 of 'ids'");
        FAILS(build(in.array, 2, FA_LOSS_NEXT_TOKEN), FA_ERR_ARGUMENT, "node '/word/Gather': element 3 of input 2 of 'ids'");
        FAILS(fa_model_run(model, in.array, 2, NULL, &a), FA_ERR_ARGUMENT, "node '/word/Gather': element 3 of input 2 of 'ids'");
        FAILS(fa_model_generate(model, in.array, NULL, &a, &b), FA_ERR_SHAPE, "/place/Gather"); /* 12 tokens and 32 more */
        fa_generate_options o;
        fa_generate_options_init(&o, sizeof o);
        o.tokens = 1;
        o.lengths = (const int64_t[]){4, 4, 4, 4};
        in.shape[1] = 4; /* four rows out of the first two */
        FAILS(fa_model_generate(model, (fa_array[]){{in.x + 2 * TOKENS_LENGTH, in.shape, 2, FA_INT64, NULL}}, &o, &a, &b), FA_ERR_ARGUMENT, "/word/Gather");
        in.shape[1] = TOKENS_LENGTH;
        in.shape[0] = 1;
        FAILS(fa_score_tokens(scorer, (fa_array[]){{in.x + 2 * TOKENS_LENGTH, in.shape, 2, FA_INT64, NULL}}, 1, TOKENS_LENGTH, token, NULL, NULL, &count), FA_ERR_ARGUMENT, "/word/Gather");
        in.shape[0] = 4;
        in.x[2 * TOKENS_LENGTH + 3] = kept;
    }
    ck_assert_mem_eq(r, untouched, sizeof r);
    ck_assert(!a && !b);
    OK(fa_score_batch(scorer, in.array, 2, r, 4));
}
END_TEST

START_TEST(masks_that_mark_nothing)
{
    fa_result r[4];
    fa_array two[] = {in.array[0], in.array[1], in.array[1]};
    memset(in.mask + 2 * TOKENS_LENGTH, 0, TOKENS_LENGTH);
    FAILS(fa_score_batch(scorer, in.array, 2, r, 4), FA_ERR_ARGUMENT, "input 2");
    FAILS(build(in.array, 2, FA_LOSS_NEXT_TOKEN), FA_ERR_ARGUMENT, "input 2");
    in.mask[2 * TOKENS_LENGTH] = 1; /* the first token is predicted by nothing */
    FAILS(fa_score_batch(scorer, in.array, 2, r, 4), FA_ERR_ARGUMENT, "input 2");
    in.mask[2 * TOKENS_LENGTH + 1] = 1;
    OK(fa_score_batch(scorer, in.array, 2, r, 4));
    FAILS(fa_score_batch(scorer, two, 3, r, 4), FA_ERR_ARGUMENT, "twice");
    const int64_t narrow[] = {4, TOKENS_LENGTH - 1}, flat[] = {4}, few[] = {3, TOKENS_LENGTH};
    two[1].shape = narrow;
    FAILS(fa_score_batch(scorer, two, 2, r, 4), FA_ERR_SHAPE, "mask");
    two[1].shape = few;
    FAILS(fa_score_batch(scorer, two, 2, r, 4), FA_ERR_SHAPE, "mask");
    two[1].shape = flat;
    two[1].ndim = 1;
    FAILS(fa_score_batch(scorer, two, 2, r, 4), FA_ERR_SHAPE, "mask");
    float weights[4 * TOKENS_LENGTH] = {0};
    for (int i = 0; i < 4 * TOKENS_LENGTH; i++) weights[i] = 1;
    two[1] = (fa_array){weights, in.shape, 2, FA_FLOAT32, FA_ARRAY_MASK};
    OK(fa_score_batch(scorer, two, 2, r, 4));
    weights[7] = -1;
    FAILS(fa_score_batch(scorer, two, 2, r, 4), FA_ERR_ARGUMENT, "element 7");
    weights[7] = NAN;
    ck_assert_int_ne(fa_score_batch(scorer, two, 2, r, 4), FA_OK);
    two[1].name = FA_ARRAY_TARGET;
    FAILS(fa_score_batch(scorer, two, 2, r, 4), FA_ERR_DTYPE, "target");
}
END_TEST

/* Targets of the caller's own: the tokens again, without those that are no part of the response, say what the mask says. */
START_TEST(targets_in_the_place_of_a_mask)
{
    fa_result r[4];
    int64_t target[4 * TOKENS_LENGTH];
    double scores[4];
    OK(fa_score_batch(scorer, in.array, 2, r, 4));
    for (int i = 0; i < 4; i++) scores[i] = r[i].score;
    for (int i = 0; i < 4 * TOKENS_LENGTH; i++) target[i] = in.mask[i] ? in.x[i] : -1;
    fa_array two[] = {in.array[0], {target, in.shape, 2, FA_INT64, FA_ARRAY_TARGET}};
    OK(fa_score_batch(scorer, two, 2, r, 4));
    for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(r[i].score, scores[i], 1e-6);
    for (int i = 1; i < TOKENS_LENGTH; i++)
        if (target[i] >= 0) target[i] = TOKENS_VOCABULARY;
    FAILS(fa_score_batch(scorer, two, 2, r, 4), FA_ERR_ARGUMENT, "input 0");
}
END_TEST

START_TEST(sequences_of_another_length)
{
    sequences longer;
    fa_result r[4];
    take(0, 4, TOKENS_LENGTH + 1, &longer);
    FAILS(build(longer.array, 2, FA_LOSS_NEXT_TOKEN), FA_ERR_SHAPE, "/place/Gather");
    FAILS(fa_score_batch(scorer, longer.array, 2, r, 4), FA_ERR_SHAPE, "/place/Gather");
    drop(&longer);
    FAILS(build(in.array, 2, FA_LOSS_MARGIN), FA_ERR_SHAPE, "next-token");
}
END_TEST

START_TEST(losses_without_tokens)
{
    fa_model *m = mlp(context, true);
    fa_refset *set = normal_set(context, 12, 6, 1);
    fa_sketch *s;
    fa_scorer *one;
    fa_token token[4];
    int64_t count = 7;
    float *x = normal_rows(1, 6, 2);
    const fa_array input = {x, (int64_t[]){1, 6}, 2, FA_FLOAT32, NULL};
    fa_tensor *a, *b;
    OK(fa_sketch_build(m, set, NULL, NULL, &s));
    OK(fa_scorer_create(s, m, NULL, &one));
    FAILS(fa_score_tokens(one, &input, 1, 4, token, NULL, NULL, &count), FA_ERR_STATE, "margin");
    ck_assert_int_eq(count, 7);
    FAILS(fa_model_generate(m, in.array, NULL, &a, &b), FA_ERR_ARGUMENT, "no input of tokens");
    free(x);
    fa_scorer_destroy(one);
    fa_sketch_release(s);
    fa_refset_release(set);
    fa_model_release(m);
}
END_TEST

START_TEST(prompts)
{
    static const struct {
        const char *field;
        int64_t tokens, pad, batch, length, dtype, ndim, rows;
        fa_status status;
        const char *words;
    } cases[] = {
        {"tokens", -1, 0, 1, 2, FA_INT64, 2, 4, FA_ERR_ARGUMENT, "tokens"},
        {"tokens", (1 << 20) + 1, 0, 1, 2, FA_INT64, 2, 4, FA_ERR_ARGUMENT, "tokens"},
        {"batch", 1, 0, -1, 2, FA_INT64, 2, 4, FA_ERR_ARGUMENT, "batch"},
        {"pad", 1, -1, 1, 2, FA_INT64, 2, 4, FA_ERR_ARGUMENT, "pad"},
        {"pad", 1, 99, 1, 2, FA_INT64, 2, 4, FA_ERR_ARGUMENT, "/word/Gather"},
        {"lengths", 1, 0, 1, 0, FA_INT64, 2, 4, FA_ERR_ARGUMENT, "prompt 0"},
        {"lengths", 1, 0, 1, TOKENS_LENGTH + 1, FA_INT64, 2, 4, FA_ERR_ARGUMENT, "prompt 0"},
        {"dtype", 1, 0, 1, 2, FA_FLOAT32, 2, 4, FA_ERR_DTYPE, "float32"},
        {"rank", 1, 0, 1, 2, FA_INT64, 1, 4, FA_ERR_SHAPE, "[n, tokens]"},
        {"rows", 1, 0, 1, 2, FA_INT64, 2, 0, FA_ERR_ARGUMENT, "none"},
        {"room", TOKENS_LENGTH, 0, 1, 2, FA_INT64, 2, 4, FA_ERR_SHAPE, "/place/Gather"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fa_generate_options o;
        fa_tensor *a = NULL, *b = NULL;
        fa_generate_options_init(&o, sizeof o);
        const int64_t lengths[] = {cases[i].length, cases[i].length, cases[i].length, cases[i].length}, shape[] = {cases[i].rows, TOKENS_LENGTH};
        const uint64_t before = fa_context_memory_used(context);
        o.tokens = cases[i].tokens;
        o.pad = cases[i].pad;
        o.batch = (int32_t)cases[i].batch;
        o.lengths = lengths;
        FAILS(fa_model_generate(model, &(fa_array){in.x, shape, (int32_t)cases[i].ndim, (int32_t)cases[i].dtype, NULL}, &o, &a, &b), cases[i].status, cases[i].words);
        ck_assert_msg(!a && !b && fa_context_memory_used(context) == before, "%s", cases[i].field);
    }
    fa_tensor *a, *b;
    FAILS(fa_model_generate(model, &(fa_array){in.x, in.shape, 2, FA_INT64, "words"}, NULL, &a, &b), FA_ERR_ARGUMENT, "words");
    FAILS(fa_model_generate(model, NULL, NULL, &a, &b), FA_ERR_ARGUMENT, "NULL");
}
END_TEST

/* Masks and places are made up, whatever else the model wants is not. */
static fa_model *with_inputs(const char *third)
{
    net g = {0};
    fa_model *m;
    static const char *const inputs[] = {"position_ids", "attention_mask"};
    for (int i = 0; i < 2; i++) net_tokens(&g, inputs[i], -1);
    net_tokens(&g, third, -1);
    net_weight(&g, "word", TOKENS_VOCABULARY, 8, 0.5f);
    net_weight(&g, "place", 8, 8, 0.5f);
    net_weight(&g, "kind", 2, 8, 0.5f);
    net_weight(&g, "w", 8, TOKENS_VOCABULARY, 0.9f);
    net_node(&g, "Gather", "word", third, NULL, "words");
    net_node(&g, "Gather", "place", "position_ids", NULL, "places");
    net_node(&g, "Gather", "kind", "attention_mask", NULL, "kinds");
    net_node(&g, "Add", "words", "places", NULL, "both");
    net_node(&g, "Add", "both", "kinds", NULL, "all");
    net_node(&g, "MatMul", "all", "w", NULL, "logits");
    net_typed_value(&g, 12, "logits", FA_FLOAT32, 3, (int64_t[]){-1, -1, TOKENS_VOCABULARY});
    OK(net_load(&g, context, &m));
    return m;
}

START_TEST(inputs_that_are_made_up)
{
    fa_model *m = with_inputs("ids");
    fa_generate_options o;
    fa_tensor *tokens, *mask, *logits;
    fa_array x, z;
    int64_t ones[4 * 8], places[4 * 8];
    const int64_t begun[] = {3, 1, 4, 1, 5, 9, 2, 6}, shape[] = {4, 2};
    fa_generate_options_init(&o, sizeof o);
    o.tokens = 6;
    o.batch = 3;
    OK(fa_model_generate(m, &(fa_array){begun, shape, 2, FA_INT64, NULL}, &o, &tokens, &mask));
    OK(fa_tensor_view(tokens, &x));
    ck_assert_int_eq(x.shape[1], 8);
    for (int i = 0; i < 32; i++) ones[i] = 1, places[i] = i % 8;
    const fa_array inputs[] = {{x.data, x.shape, 2, FA_INT64, "ids"}, {ones, x.shape, 2, FA_INT64, "attention_mask"}, {places, x.shape, 2, FA_INT64, "position_ids"}};
    OK(fa_model_run(m, inputs, 3, NULL, &logits));
    OK(fa_tensor_view(logits, &z));
    for (int i = 0; i < 4; i++)
        for (int t = 2; t < 8; t++) {
            const float *row = (const float *)z.data + (i * 8 + t - 1) * TOKENS_VOCABULARY;
            for (int k = 0; k < TOKENS_VOCABULARY; k++) ck_assert(row[k] <= row[((const int64_t *)x.data)[i * 8 + t]]);
        }
    fa_tensor_release(tokens);
    fa_tensor_release(mask);
    fa_tensor_release(logits);
    tokens = mask = NULL;
    o.tokens = 7;
    FAILS(fa_model_generate(m, &(fa_array){begun, shape, 2, FA_INT64, NULL}, &o, &tokens, &mask), FA_ERR_ARGUMENT, "'places'"); /* place 8 of 8 */
    FAILS(fa_model_generate(m, &(fa_array){begun, shape, 2, FA_INT64, "attention_mask"}, &o, &tokens, &mask), FA_ERR_UNSUPPORTED, "'ids'");
    fa_model_release(m);
}
END_TEST

static int32_t stop_at_once(void *user, const char *stage, int64_t done, int64_t total)
{
    *(int64_t *)user += 1;
    ck_assert(stage && done <= total);
    return 1;
}

START_TEST(generation_is_cancelled)
{
    fa_generate_options o;
    fa_tensor *a = NULL, *b = NULL;
    int64_t calls = 0;
    fa_generate_options_init(&o, sizeof o);
    o.tokens = 2;
    o.lengths = (const int64_t[]){2, 2, 2, 2};
    o.progress = stop_at_once;
    o.progress_user = &calls;
    FAILS(fa_model_generate(model, in.array, &o, &a, &b), FA_ERR_CANCELLED, "responses");
    ck_assert(calls == 1 && !a && !b);
}
END_TEST

static int64_t calls, fail_at;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return calls++ == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

START_TEST(every_allocation_may_fail)
{
    fa_generate_options o;
    fa_scorer_options so;
    fa_generate_options_init(&o, sizeof o);
    fa_scorer_options_init(&so, sizeof so);
    so.alpha = 0.1;
    o.tokens = 2;
    o.lengths = (const int64_t[]){2, 2, 2, 2};
    for (int what = 0; what < 2; what++) {
        const uint64_t before = fa_context_memory_used(context);
        fa_status status = FA_ERR_MEMORY;
        context->allocator.alloc = failing_alloc;
        for (fail_at = 0; status != FA_OK; fail_at++) {
            fa_tensor *a = NULL, *b = NULL;
            fa_scorer *s = NULL;
            calls = 0;
            status = what ? fa_scorer_create(sketch, model, &so, &s) : fa_model_generate(model, in.array, &o, &a, &b);
            ck_assert_int_eq(status, calls > fail_at ? FA_ERR_MEMORY : FA_OK);
            fa_scorer_destroy(s);
            fa_tensor_release(a);
            fa_tensor_release(b);
            ck_assert_uint_eq(fa_context_memory_used(context), before);
            ck_assert_int_lt(fail_at, 10000);
        }
        context->allocator.alloc = fa_system_allocator.alloc;
        ck_assert_int_gt(fail_at, 10);
    }
}
END_TEST

/* What a scorer holds on sequences of `length`, and of that what its pass does. */
static void measure(int64_t length, uint64_t *whole, uint64_t *pass_bytes, uint64_t *signatures)
{
    sequences s;
    fa_refset *set;
    fa_sketch *of;
    fa_scorer *one;
    fa_pass *pass;
    bool tapped[16];
    const fa_sketch_options o = token_options();
    take(0, TOKENS_REFERENCES, length, &s);
    for (int64_t i = 0; i < TOKENS_REFERENCES; i++) s.mask[i * length + 1] = 1;
    OK(fa_refset_create(context, s.array, 2, NULL, &set));
    uint64_t before = fa_context_memory_used(context);
    OK(fa_sketch_build(model, set, NULL, &o, &of));
    *signatures = fa_context_memory_used(context) - before;
    before = fa_context_memory_used(context);
    OK(fa_scorer_create(of, model, NULL, &one));
    *whole = fa_context_memory_used(context) - before;
    fa_scorer_destroy(one);
    fa_body_taps(model->program, of->body, tapped);
    OK(fa_pass_create(&(fa_pass_request){.program = model->program, .context = context, .inputs = s.array, .n_inputs = 1, .batch = 1, .tapped = tapped, .loss = FA_LOSS_NEXT_TOKEN}, &pass));
    *pass_bytes = fa_context_memory_used(context) - before;
    fa_pass_destroy(pass);
    fa_sketch_release(of);
    fa_refset_release(set);
    drop(&s);
}

/* A signature is as long for many tokens as for few, and beside its pass a scorer keeps a few numbers for a position: the kernels' projections of a layer's input and gradient, and
 * what fa_score_tokens() says of it. */
START_TEST(memory_does_not_grow_with_tokens)
{
    uint64_t whole[2], pass[2], signatures[2];
    measure(4, &whole[0], &pass[0], &signatures[0]);
    measure(TOKENS_LENGTH, &whole[1], &pass[1], &signatures[1]);
    ck_assert_uint_eq(signatures[0], signatures[1]);
    ck_assert_uint_gt(pass[1], pass[0]);
    const uint64_t beside[] = {whole[0] - pass[0], whole[1] - pass[1]}, a_position = (TOKENS_K_IN + TOKENS_K_OUT) * sizeof(float) + 2 * sizeof(float) + sizeof(int64_t);
    const uint64_t widest = (2 * 8 + 1) * sizeof(float); /* of a row that the kernels take to pieces */
    ck_assert_msg(beside[1] <= beside[0] + (TOKENS_LENGTH - 4) * (a_position + widest) + 6 * 64, "%llu bytes beside a pass of %llu for 4 tokens, %llu beside %llu for %d",
                  (unsigned long long)beside[0], (unsigned long long)pass[0], (unsigned long long)beside[1], (unsigned long long)pass[1], TOKENS_LENGTH);
    ck_assert_uint_lt(beside[1] - beside[0], pass[1] - pass[0]);
}
END_TEST

/* A table of more rows than a side may have moments of, tied to the output: two random projections, of which the embedding looks rows up, and nothing of rows by rows. */
START_TEST(a_wide_vocabulary)
{
    enum { ROWS = 9000, N = 6, T = 5 };
    net g = {0};
    fa_model *m;
    fa_refset *set;
    fa_sketch *s;
    fa_scorer *one;
    fa_result r;
    fa_sketch_layer_info layer;
    int64_t x[N * T];
    net_tokens(&g, "ids", T);
    net_weight(&g, "word", ROWS, 8, 0.5f);
    net_weight(&g, "w", 8, 8, 0.5f);
    net_node(&g, "Gather", "word", "ids", NULL, "embedded");
    net_node(&g, "MatMul", "embedded", "w", NULL, "fc");
    net_node(&g, "Tanh", "fc", NULL, NULL, "bent");
    net_node(&g, "Transpose", "word", NULL, NULL, "turned");
    net_node(&g, "MatMul", "bent", "turned", NULL, "logits");
    net_typed_value(&g, 12, "logits", FA_FLOAT32, 3, (int64_t[]){-1, T, ROWS});
    OK(net_load(&g, context, &m));
    for (int64_t i = 0; i < N * T; i++) x[i] = i * i * 37 % ROWS;
    const fa_array ids = {x, (int64_t[]){N, T}, 2, FA_INT64, NULL}, first = {x, (int64_t[]){1, T}, 2, FA_INT64, NULL};
    OK(fa_refset_create(context, &ids, 1, NULL, &set));
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.loss = FA_LOSS_NEXT_TOKEN;
    o.batch = 2;
    fa_context_memory_peak_reset(context);
    const uint64_t before = fa_context_memory_used(context);
    fa_memory_estimate estimate = {.struct_size = sizeof estimate};
    OK(fa_sketch_memory_estimate(m, set, NULL, &o, &estimate));
    OK(fa_sketch_build(m, set, NULL, &o, &s));
    ck_assert_uint_lt(fa_context_memory_peak(context) - before, (uint64_t)ROWS * ROWS);
    ck_assert_uint_lt(estimate.build_bytes, (uint64_t)ROWS * ROWS);
    OK(fa_sketch_get_layer(s, 1, &layer));
    ck_assert(strcmp(layer.name, "logits") == 0 && layer.in == 8 && layer.out == ROWS && !layer.random_in && layer.random_out && layer.k_out == 16);
    OK(fa_scorer_create(s, m, NULL, &one));
    OK(fa_score(one, &first, 1, &r));
    ck_assert_float_eq_tol(r.couplings[0], 1, 1e-4f); /* a reference again */
    ck_assert(r.score > 0 && r.score < 1 && r.couplings[1] < 0.9f);
    fa_scorer_destroy(one);
    fa_sketch_release(s);
    fa_refset_release(set);
    fa_model_release(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bad tokens");
    TCase *t = tcase_create("bad tokens");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, tokens_that_are_none);
    tcase_add_test(t, masks_that_mark_nothing);
    tcase_add_test(t, targets_in_the_place_of_a_mask);
    tcase_add_test(t, sequences_of_another_length);
    tcase_add_test(t, losses_without_tokens);
    tcase_add_test(t, prompts);
    tcase_add_test(t, inputs_that_are_made_up);
    tcase_add_test(t, generation_is_cancelled);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_test(t, memory_does_not_grow_with_tokens);
    tcase_add_test(t, a_wide_vocabulary);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
