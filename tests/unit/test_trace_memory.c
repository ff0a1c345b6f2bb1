/* SPDX-License-Identifier: Apache-2.0 */
/* Trace sketches: the memory that is stated before the build. */
#include "trace_fixture.h"

#include <stdio.h>
#include <unistd.h>

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

int main(void)
{
    const TTest *const tests[] = {the_estimate_is_within_a_tenth};
    return run_tests("trace_memory", tests, sizeof tests / sizeof *tests);
}
