/* SPDX-License-Identifier: Apache-2.0 */
/* Trace sketches, as a host has them. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#define N_REF 24
#define N_CAL 40
#define N 6
#define DRAWS 12

static fa_context *context;
static fa_model *model;
static fa_refset *references, *calibration;
static fa_sketch *sketch;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    OK(fa_model_load_file(context, model_path("mlp.onnx"), NULL, &model));
    references = make_refset(context, N_REF, 1);
    calibration = make_refset(context, N_CAL, 2);
    fa_sketch_options o;
    fa_trace_options t;
    fa_sketch_options_init(&o, sizeof o);
    fa_trace_options_init(&t, sizeof t);
    o.trace = &t;
    t.draws = DRAWS;
    OK(fa_sketch_build(model, references, calibration, &o, &sketch));
}

static void teardown(void)
{
    fa_sketch_release(sketch);
    fa_refset_release(calibration);
    fa_refset_release(references);
    fa_model_release(model);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* Draws that are kept, some or all, give the bits that draws made again give; twice, so that kept ones are used. */
START_TEST(kept_draws_change_nothing)
{
    static const uint64_t room[] = {0, 3 << 20, 1 << 30};
    float *images = make_images(N, 9), couplings[3][N][N_REF];
    double score[3][N];
    for (int k = 0; k < 3; k++) {
        fa_scorer *scorer;
        fa_scorer_options o;
        fa_scorer_options_init(&o, sizeof o);
        o.draw_cache_bytes = room[k];
        uint64_t before = fa_context_memory_used(context);
        OK(fa_scorer_create(sketch, model, &o, &scorer));
        uint64_t held = fa_context_memory_used(context) - before;
        if (k == 1) ck_assert(held > (2u << 20) && held < (8u << 20));
        for (int again = 0; again < 2; again++)
            for (int64_t i = 0; i < N; i++) {
                int64_t shape[4];
                fa_array x = images_array(images + i * PIXELS, 1, shape);
                fa_result r;
                OK(fa_score(scorer, &x, 1, &r));
                ck_assert_int_eq(r.draws, DRAWS);
                if (again) ck_assert(r.score == score[k][i]);
                score[k][i] = r.score;
                memcpy(couplings[k][i], r.couplings, sizeof couplings[k][i]);
            }
        fa_scorer_destroy(scorer);
        ck_assert_mem_eq(score[k], score[0], sizeof score[0]);
        ck_assert_mem_eq(couplings[k], couplings[0], sizeof couplings[0]);
    }
    free(images);
}
END_TEST

/* What is for draws alone is refused where there are none. */
START_TEST(a_gradient_sketch_has_no_draws)
{
    fa_sketch *plain;
    fa_scorer *scorer = NULL;
    fa_scorer_options o;
    fa_trace_info info = {.struct_size = sizeof info};
    OK(fa_sketch_build(model, references, calibration, NULL, &plain));
    fa_scorer_options_init(&o, sizeof o);
    o.draw_cache_bytes = 1;
    FAILS(fa_scorer_create(plain, model, &o, &scorer), FA_ERR_ARGUMENT, "draw_cache_bytes");
    FAILS(fa_sketch_get_trace_info(plain, &info), FA_ERR_STATE, "no draws");
    ck_assert_ptr_null(scorer);
    fa_sketch_release(plain);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, kept_draws_change_nothing);
    tcase_add_test(t, a_gradient_sketch_has_no_draws);
}

int main(void)
{
    return run_suite("trace", add, setup, teardown);
}
