/* SPDX-License-Identifier: Apache-2.0 */
/* Which layers a sketch taps, and what becomes of them. */
#include "sketch/select.h"
#include "sketch/sketch.h"
#include "small_models.h"

#include <math.h>

static fa_context *context;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

START_TEST(patterns)
{
    static const struct {
        const char *patterns, *name;
        bool selected;
    } cases[] = {
        {NULL, "anything", true},
        {"conv1", "conv1", true},
        {"conv1", "conv10", false},
        {"conv*", "conv10", true},
        {"conv*", "/block1/conv1/Conv", false},
        {"*conv?/*", "/block1/conv1/Conv", true},
        {"a,b", "b", true},
        {" a , b ", "b", true},
        {"a,b", "c", false},
        {"!head", "conv", true},
        {"!head", "head", false},
        {"*,!head", "head", false},
        {"*,!head", "conv", true},
        {"*,!conv*,conv3", "conv3", true},
        {"*,!conv*,conv3", "conv2", false},
        {"conv3,!conv*", "conv3", false},
        {"! head", "head", true}, /* spaces belong around a pattern, not into it */
        {"[ab]x", "bx", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(fa_layer_selected(cases[i].patterns, cases[i].name) == cases[i].selected, "'%s' and '%s'",
                      cases[i].patterns ? cases[i].patterns : "NULL", cases[i].name);
    char longest[2 * FA_LAYER_PATTERN];
    memset(longest, 'x', sizeof longest);
    longest[FA_LAYER_PATTERN - 1] = '\0';
    ck_assert(fa_layer_patterns_valid(longest) && fa_layer_selected(longest, longest));
    longest[FA_LAYER_PATTERN - 1] = 'x';
    longest[FA_LAYER_PATTERN] = '\0';
    ck_assert(!fa_layer_patterns_valid(longest));
    ck_assert(fa_layer_patterns_valid(NULL) && fa_layer_patterns_valid("a,!b"));
    ck_assert(!fa_layer_patterns_valid("") && !fa_layer_patterns_valid("a,,b") && !fa_layer_patterns_valid("a,") && !fa_layer_patterns_valid("!"));
}
END_TEST

/* A sketch of `m` with 12 references of width 6. */
static fa_status build(fa_model *m, const char *layers, uint64_t seed, fa_sketch **out)
{
    fa_sketch_options o;
    fa_refset *set = normal_set(context, 12, 6, 1);
    fa_sketch_options_init(&o, sizeof o);
    o.layers = layers;
    o.seed = seed;
    fa_status status = fa_sketch_build(m, set, NULL, &o, out);
    fa_refset_release(set);
    return status;
}

START_TEST(a_shared_weight_is_one_block)
{
    fa_model *m = mlp(context, true);
    fa_sketch *s;
    fa_sketch_layer_info l;
    fa_sketch_info info = {.struct_size = sizeof info};
    OK(build(m, NULL, 0, &s));
    OK(fa_sketch_get_info(s, &info));
    ck_assert_int_eq(info.layer_count, 3);
    ck_assert_int_eq(info.dropped_layer_count, 0);
    ck_assert_int_eq(info.signature_length, 2 * (7 * 8 + 8 * 8 + 9 * 4)); /* no side is longer than 16: nothing is cut off */
    static const struct {
        const char *name;
        int64_t in, out;
    } want[] = {{"fc1", 7, 8}, {"shared_a", 8, 8}, {"fc3", 9, 4}};
    for (int32_t i = 0; i < 3; i++) {
        OK(fa_sketch_get_layer(s, i, &l));
        ck_assert_str_eq(l.name, want[i].name);
        ck_assert(l.in == want[i].in && l.out == want[i].out && l.k_in == want[i].in && l.k_out == want[i].out && l.groups == 1 && !l.dropped);
    }
    FAILS(fa_sketch_get_layer(s, 3, &l), FA_ERR_ARGUMENT, "3");
    fa_sketch_release(s);
    /* Either use selects both. */
    OK(build(m, "shared_b", 0, &s));
    OK(fa_sketch_get_info(s, &info));
    ck_assert_int_eq(info.layer_count, 1);
    OK(fa_sketch_get_layer(s, 0, &l));
    ck_assert_str_eq(l.name, "shared_a");
    fa_sketch_release(s);
    FAILS(build(m, "conv*", 0, &s), FA_ERR_ARGUMENT, "fc1, shared_a, shared_b, fc3");
    FAILS(build(m, "fc1,,", 0, &s), FA_ERR_ARGUMENT, "fc1,,");
    fa_model_release(m);
}
END_TEST

/* fc_dead's output is multiplied by 0, fc_loose's is used by nobody. */
static fa_model *half_dead(void)
{
    net g = {0};
    fa_model *m;
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_weight(&g, "w1", 6, 8, 0.5f);
    net_weight(&g, "w2", 8, 8, 0.5f);
    net_weight(&g, "w3", 8, 4, 0.5f);
    net_weight(&g, "w4", 8, 3, 0.5f);
    net_weight(&g, "zero", 8, 0, 0);
    net_node(&g, "Gemm", "x", "w1", NULL, "fc1");
    net_node(&g, "Gemm", "fc1", "w2", NULL, "fc_dead");
    net_node(&g, "Mul", "fc_dead", "zero", NULL, "nothing");
    net_node(&g, "Add", "fc1", "nothing", NULL, "sum");
    net_node(&g, "Gemm", "fc1", "w4", NULL, "fc_loose");
    net_node(&g, "Gemm", "sum", "w3", NULL, "fc3");
    net_output(&g, "fc3", 4);
    OK(net_load(&g, context, &m));
    return m;
}

/* As many of the last layers as a score may cost: with each the FLOPs that the scorer plans are within it, and with one more they are not. */
START_TEST(what_a_score_may_cost)
{
    fa_model *m = mlp(context, true);
    fa_refset *set = normal_set(context, 12, 6, 1);
    fa_sketch_options o;
    fa_sketch *s;
    double cost[3], forward, score;
    fa_sketch_options_init(&o, sizeof o);
    o.k_in = o.k_out = 2;
    /* From behind: fc3; the weight that shared_a and shared_b use; fc1. */
    static const char *const last[] = {"fc3", "fc3,shared_a", "*"};
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 3; i++) {
            o.layers = pass ? NULL : last[i];
            o.max_forwards = pass ? cost[i] + 1e-9 : 0;
            OK(fa_sketch_build(m, set, NULL, &o, &s));
            ck_assert_int_eq(s->body->n_layer, i + 1);
            ck_assert_str_eq(s->body->layer[0].name, i == 2 ? "fc1" : i == 1 ? "shared_a" : "fc3");
            fa_scorer *scorer;
            OK(fa_scorer_create(s, m, NULL, &scorer));
            OK(fa_scorer_get_flops(scorer, &forward, &score));
            if (!pass) cost[i] = score / forward;
            ck_assert(fabs(score / forward - cost[i]) < 1e-12 && (i == 0 || cost[i] > cost[i - 1]));
            fa_scorer_destroy(scorer);
            fa_sketch_release(s);
        }
    o.max_forwards = cost[1] - 1e-9;
    OK(fa_sketch_build(m, set, NULL, &o, &s));
    ck_assert_int_eq(s->body->n_layer, 1);
    fa_sketch_release(s);
    o.max_forwards = cost[0] - 1e-9;
    FAILS(fa_sketch_build(m, set, NULL, &o, &s), FA_ERR_ARGUMENT, "'fc3' alone takes");
    o.max_forwards = 1;
    FAILS(fa_sketch_build(m, set, NULL, &o, &s), FA_ERR_ARGUMENT, "max_forwards: 1 is neither");
    fa_refset_release(set);
    fa_model_release(m);
}
END_TEST

START_TEST(layers_without_signal_are_dropped_and_listed)
{
    fa_model *m = half_dead();
    fa_sketch *s = NULL;
    fa_sketch_layer_info l;
    fa_sketch_info info = {.struct_size = sizeof info};
    OK(build(m, NULL, 0, &s));
    OK(fa_sketch_get_info(s, &info));
    ck_assert_int_eq(info.layer_count, 2);
    ck_assert_int_eq(info.dropped_layer_count, 2);
    for (int32_t i = 0; i < 4; i++) {
        OK(fa_sketch_get_layer(s, i, &l));
        ck_assert_str_eq(l.name, ((const char *[]){"fc1", "fc3", "fc_dead", "fc_loose"})[i]);
        ck_assert_int_eq(l.dropped, i >= 2);
        ck_assert((l.k_in == 0) == (i >= 2));
    }
    fa_sketch_release(s);
    s = NULL;
    FAILS(build(m, "fc_*", 0, &s), FA_ERR_NO_SIGNAL, "none of the 2 tapped layers");
    ck_assert_ptr_null(s);
    fa_model_release(m);
}
END_TEST

START_TEST(a_model_without_parameters_has_nothing_to_attribute_to)
{
    net g = {0};
    fa_model *m;
    fa_sketch *s;
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_node(&g, "Tanh", "x", NULL, NULL, "y");
    net_output(&g, "y", 6);
    OK(net_load(&g, context, &m));
    FAILS(build(m, NULL, 0, &s), FA_ERR_NO_SIGNAL, "no layer with weights");
    fa_model_release(m);
}
END_TEST

START_TEST(long_sides_take_random_projections)
{
    net g = {0};
    fa_model *m;
    fa_sketch *s[3];
    fa_sketch_layer_info l;
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_weight(&g, "w1", 6, 8200, 0.5f);
    net_weight(&g, "w2", 8200, 3, 0.02f);
    net_node(&g, "Gemm", "x", "w1", NULL, "wide");
    net_node(&g, "Relu", "wide", NULL, NULL, "r");
    net_node(&g, "Gemm", "r", "w2", NULL, "narrow");
    net_output(&g, "narrow", 3);
    OK(net_load(&g, context, &m));
    for (int i = 0; i < 3; i++) OK(build(m, NULL, i == 2 ? 5 : 0, &s[i]));
    OK(fa_sketch_get_layer(s[0], 0, &l));
    ck_assert(!l.random_in && l.random_out && l.k_out == 16 && l.out == 8200);
    OK(fa_sketch_get_layer(s[0], 1, &l));
    ck_assert(l.random_in && !l.random_out && l.k_in == 16 && l.k_out == 3);
    const fa_sketch_body *a = s[0]->body, *b = s[1]->body, *c = s[2]->body;
    ck_assert_mem_eq(a->gram, b->gram, 144 * sizeof(float));
    ck_assert_mem_eq(a->layer[0].p_out, b->layer[0].p_out, 8200 * 16 * sizeof(float));
    ck_assert_mem_ne(a->layer[0].p_out, c->layer[0].p_out, 8200 * 16 * sizeof(float));
    double sum = 0;
    for (int i = 0; i < 8200 * 16; i++) sum += (double)a->layer[0].p_out[i] * a->layer[0].p_out[i];
    ck_assert_double_eq_tol(sum, 8200, 200); /* variance 1 / k */
    for (int i = 0; i < 3; i++) fa_sketch_release(s[i]);
    fa_model_release(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layer_choice");
    TCase *t = tcase_create("layer_choice");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, patterns);
    tcase_add_test(t, a_shared_weight_is_one_block);
    tcase_add_test(t, what_a_score_may_cost);
    tcase_add_test(t, layers_without_signal_are_dropped_and_listed);
    tcase_add_test(t, a_model_without_parameters_has_nothing_to_attribute_to);
    tcase_add_test(t, long_sides_take_random_projections);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
