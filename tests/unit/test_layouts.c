/* SPDX-License-Identifier: Apache-2.0 */
/* Networks that put the batch elsewhere than first, and nodes whose outputs nobody wants: refused by name or run right, on both kernel sets. */
#include "kernels/normal.h"
#include "small_models.h"

#include <stdio.h>

static fa_context *context;

static void load(int32_t kernels, const char *name, fa_model **out)
{
    char path[1024];
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.kernels = kernels;
    OK(fa_context_create(&o, &context));
    snprintf(path, sizeof path, "%s/tests/%s", FA_SOURCE_ROOT, name);
    OK(fa_model_load_file(context, path, NULL, out));
}

static fa_status build(const fa_model *model, int32_t batch, fa_sketch **out)
{
    float *x = malloc(16 * 256 * sizeof *x);
    fa_refset *refs;
    fa_normal(5, 0, 0, 16 * 256, x);
    OK(fa_refset_create(context, &(fa_array){x, (int64_t[]){16, 1, 16, 16}, 4, FA_FLOAT32, NULL}, 1, NULL, &refs));
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.batch = batch;
    fa_status status = fa_sketch_build(model, refs, NULL, &o, out);
    fa_refset_release(refs);
    free(x);
    return status;
}

static void refused(const char *file, const char *node)
{
    for (int32_t kernels = FA_KERNELS_AUTO; kernels <= FA_KERNELS_REFERENCE; kernels++) {
        fa_model *model;
        fa_sketch *sketch = NULL;
        load(kernels, file, &model);
        FAILS(build(model, 16, &sketch), FA_ERR_UNSUPPORTED, node);
        ck_assert_ptr_null(sketch);
        fa_model_release(model);
        ck_assert_uint_eq(fa_context_memory_used(context), 0);
        fa_context_release(context);
    }
}

START_TEST(a_batch_elsewhere_is_refused)
{
    refused("data/graphs/batch_in_channels.onnx", "conv");
    refused("data/graphs/batch_doubled.onnx", "conv");
}
END_TEST

/* A sequence before the batch, also flattened into rows, joined with heads or behind a recurrent layer: what is taken for an input's part does not depend on who else is in the batch, not even where
 * the batch is as long as the sequence (4). */
START_TEST(a_batch_behind_a_sequence_is_found)
{
    static const char *const files[] = {"data/graphs/batch_behind.onnx", "data/graphs/batch_behind_rows.onnx", "data/graphs/batch_behind_lstm.onnx"};
    static const int32_t batches[] = {1, 4, 3, 16}, layers[] = {1, 3, 2};
    for (int i = 0; i < 6; i++) {
        fa_model *model;
        double alone[16], together[16];
        load(i / 3 ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO, files[i % 3], &model);
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            fa_sketch *sketch;
            fa_sketch_info info = {.struct_size = sizeof info};
            OK(build(model, batches[b], &sketch));
            OK(fa_sketch_get_info(sketch, &info));
            ck_assert_int_eq(info.layer_count, layers[i % 3]);
            OK(fa_sketch_audit(sketch, FA_SCORE_MEAN, b ? together : alone));
            for (int k = 0; b && k < 16; k++) ck_assert_double_eq_tol(together[k], alone[k], 1e-4);
            fa_sketch_release(sketch);
        }
        fa_model_release(model);
        ck_assert_uint_eq(fa_context_memory_used(context), 0);
        fa_context_release(context);
    }
}
END_TEST

START_TEST(unwanted_outputs_do_no_harm)
{
    static const char *const files[] = {"fuzz/corpus/onnx/unwanted_output.onnx", "fuzz/corpus/onnx/no_output.onnx"};
    for (int i = 0; i < 4; i++) {
        fa_model *model;
        fa_sketch *sketch;
        load(i / 2 ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO, files[i % 2], &model);
        OK(build(model, 16, &sketch));
        fa_sketch_release(sketch);
        fa_model_release(model);
        fa_context_release(context);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("layouts");
    TCase *t = tcase_create("layouts");
    tcase_add_test(t, a_batch_elsewhere_is_refused);
    tcase_add_test(t, a_batch_behind_a_sequence_is_found);
    tcase_add_test(t, unwanted_outputs_do_no_harm);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
