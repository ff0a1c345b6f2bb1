/* SPDX-License-Identifier: Apache-2.0 */
/* What plans and scorers take of the context's memory, in bytes, beside the least they could. */
#include "backend/program.h"
#include "base/context.h"
#include "kernels/normal.h"
#include "onnx/onnx.h"

#include <check.h>
#include <fattr/fattr.h>
#include <stdlib.h>

#define OK(x) ck_assert_msg((x) == FA_OK, "%s", fa_error_message())
#define MODELS FA_SOURCE_ROOT "/examples/models/"
#define REFERENCES 4
#define PIXELS (28 * 28)

static const char *const models[] = {MODELS "clean.onnx", MODELS "mlp.onnx"};

/* The plan of a score's passes, or (`scores` false) of a forward pass alone. */
static fa_plan_memory planned(const char *path, int64_t batch, bool scores)
{
    fa_context *context;
    fa_graph *g;
    fa_program *program;
    fa_plan *plan;
    OK(fa_context_create(NULL, &context));
    OK(fa_onnx_read_file(context, path, &g));
    const int32_t logits = g->output[0];
    OK(fa_program_create(g, logits, context->kernels, &program));
    const fa_program_graph *network = &program->evaluation;
    if (scores) OK(fa_program_with_gradients(program, &network));
    const fa_layers *layers = &network->layers;
    fa_view input = {.dtype = FA_FLOAT32};
    ck_assert(fa_view_set_shape(&input, 4, (int64_t[]){batch, 1, 28, 28}));
    OK(fa_plan_create(&(fa_plan_request){.graph = network->graph, .ops = program->ops, .inputs = &input, .wanted = &logits, .n_wanted = 1, .loss = scores ? logits : -1,
                                         .tap = layers->node, .n_tap = scores ? layers->count : 0}, &plan));
    const fa_plan_memory m = fa_plan_memory_of(plan);
    fa_plan_destroy(plan);
    fa_program_destroy(program);
    fa_graph_destroy(g);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
    return m;
}

/* Places in the arena against the largest sum of what is alive at one step. */
START_TEST(places_take_little_more_than_what_is_alive)
{
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (int64_t batch = 1; batch <= 32; batch *= 4) {
            const fa_plan_memory forward = planned(models[m], batch, false), score = planned(models[m], batch, true);
            ck_assert_uint_gt(forward.live, 0);
            ck_assert_uint_le(forward.live, forward.placed);
            ck_assert_uint_le(score.live, score.placed);
            ck_assert_uint_lt(forward.live, score.live);
            ck_assert_msg(5 * score.placed <= 6 * score.live, "%s, %d inputs: %zu bytes for %zu", models[m], (int)batch, score.placed, score.live);
            ck_assert_uint_ge(forward.live, (size_t)batch * PIXELS * sizeof(float));
            ck_assert_uint_ge(score.whole, score.placed + score.scratch);
        }
}
END_TEST

static size_t scorer_bytes(const fa_sketch *sketch, const fa_model *model, fa_context *context, int32_t batch)
{
    fa_scorer_options options;
    fa_scorer *scorer;
    fa_scorer_options_init(&options, sizeof options);
    options.max_batch = batch;
    const size_t before = fa_context_memory_used(context);
    OK(fa_scorer_create(sketch, model, &options, &scorer));
    const size_t bytes = fa_context_memory_used(context) - before;
    fa_scorer_destroy(scorer);
    ck_assert_uint_eq(fa_context_memory_used(context), before);
    return bytes;
}

/* Passes over single inputs lie in the memory of those over batches, and their taps share one workspace, which has no room for the second moments of a build. */
START_TEST(scorers_hold_their_passes_once)
{
    static float pixels[REFERENCES * PIXELS];
    fa_context *context;
    fa_model *model;
    fa_refset *references;
    fa_sketch *sketch;
    fa_normal(1, 2, 0, REFERENCES * PIXELS, pixels);
    OK(fa_context_create(NULL, &context));
    OK(fa_model_load_file(context, models[0], NULL, &model));
    OK(fa_refset_create(context, &(fa_array){pixels, (int64_t[]){REFERENCES, 1, 28, 28}, 4, FA_FLOAT32, NULL}, 1, NULL, &references));
    OK(fa_sketch_build(model, references, NULL, NULL, &sketch));
    const fa_plan_memory one = planned(models[0], 1, true), many = planned(models[0], 32, true);
    fa_scorer *first; /* what scorers share comes with it and stays */
    OK(fa_scorer_create(sketch, model, NULL, &first));
    fa_scorer_destroy(first);
    const size_t single = scorer_bytes(sketch, model, context, 1), batch = scorer_bytes(sketch, model, context, 32);
    ck_assert_msg(3 * batch <= 4 * many.live, "%zu bytes for %zu", batch, many.live);
    ck_assert_uint_lt(single, one.whole + 1000000);
    fa_sketch_release(sketch);
    fa_refset_release(references);
    fa_model_release(model);
    fa_context_release(context);
}
END_TEST

/* The two kinds of passes come and go over the same memory. */
START_TEST(single_inputs_and_batches_take_turns)
{
    static float pixels[REFERENCES * PIXELS];
    const fa_array all = {pixels, (int64_t[]){REFERENCES, 1, 28, 28}, 4, FA_FLOAT32, NULL}, first = {pixels, (int64_t[]){1, 1, 28, 28}, 4, FA_FLOAT32, NULL};
    fa_context *context;
    fa_model *model;
    fa_refset *references;
    fa_sketch *sketch;
    fa_scorer *scorer;
    fa_scorer_options options;
    fa_result batch[2][REFERENCES], single[2];
    fa_normal(1, 2, 0, REFERENCES * PIXELS, pixels);
    OK(fa_context_create(NULL, &context));
    OK(fa_model_load_file(context, models[0], NULL, &model));
    OK(fa_refset_create(context, &all, 1, NULL, &references));
    OK(fa_sketch_build(model, references, NULL, NULL, &sketch));
    fa_scorer_options_init(&options, sizeof options);
    options.max_batch = REFERENCES;
    options.score = FA_SCORE_MEAN;
    OK(fa_scorer_create(sketch, model, &options, &scorer));
    for (int turn = 0; turn < 2; turn++) {
        OK(fa_score_batch(scorer, &all, 1, batch[turn], REFERENCES));
        OK(fa_score(scorer, &first, 1, &single[turn]));
    }
    for (int i = 0; i < REFERENCES; i++) ck_assert(batch[0][i].score == batch[1][i].score && batch[0][i].confidence == batch[1][i].confidence);
    ck_assert(single[0].score == single[1].score && single[0].confidence == single[1].confidence);
    ck_assert_double_eq_tol(single[0].score, batch[0][0].score, 1e-5);
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_refset_release(references);
    fa_model_release(model);
    fa_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tc = tcase_create("bytes");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, places_take_little_more_than_what_is_alive);
    tcase_add_test(tc, scorers_hold_their_passes_once);
    tcase_add_test(tc, single_inputs_and_batches_take_turns);
    suite_add_tcase(suite, tc);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
