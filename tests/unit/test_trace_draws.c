/* SPDX-License-Identifier: Apache-2.0 */
/* Draws of trace sketches as they are kept: in each storage, and in the sketch file. */
#include "trace_fixture.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

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

int main(void)
{
    const TTest *const tests[] = {stored_draws_say_the_same, files_keep_every_bit};
    return run_tests("trace_draws", tests, sizeof tests / sizeof *tests);
}
