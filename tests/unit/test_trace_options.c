/* SPDX-License-Identifier: Apache-2.0 */
/* Options of trace sketches: which weights move, and what is refused. */
#include "trace_fixture.h"

#include <math.h>

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

int main(void)
{
    const TTest *const tests[] = {parameters_choose_what_moves, refuses};
    return run_tests("trace_options", tests, sizeof tests / sizeof *tests);
}
