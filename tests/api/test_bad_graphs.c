/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs that are well-formed files and cannot be run (tests/data/make_hostile_graphs.py): refused when loaded, run or built upon, with the node at fault, in little
 * memory, and with nothing left behind. */
#include "support.h"

#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MEMORY (64u << 20)
#define GROWS "loops_in_loops" /* is refused when it has been unrolled as far as a graph may be: no seed for a fuzzer, and takes more */

typedef struct expectation {
    const char *name;
    fa_status status;
    const char *says;
    bool late; /* loading it works: shapes of inputs decide */
} expectation;

static const expectation known[] = {
    /* arithmetic of shapes */
    {"reshape_overflows", FA_ERR_LIMIT, "node 'bad' (Reshape)", true},
    {"product_wraps", FA_ERR_LIMIT, "node 'big' (Mul): element 0 is 8589934592 * 8589934592, which does not fit int64", false},
    {"sum_wraps", FA_ERR_LIMIT, "node 'to' (Add): element 0 is 2 + 9223372036854775807, which does not fit int64", true},
    {"difference_wraps", FA_ERR_LIMIT, "node 'to' (Sub): element 0 is -9223372036854775808 - 2, which does not fit int64", true},
    {"reshape_by_zero", FA_ERR_SHAPE, "node 'q' (Div): element 0 is 2 / 0, which divides by zero", true},
    {"remainder_by_zero", FA_ERR_SHAPE, "node 'q' (Mod): element 0 is 2 % 0, which divides by zero", true},
    {"least_by_minus_one", FA_ERR_SHAPE, "node 'bad' (Reshape)", true},
    {"reshape_least", FA_ERR_SHAPE, "node 'bad' (Reshape)", true},
    {"reshape_product_wraps", FA_ERR_LIMIT, "node 'bad' (Reshape)", true},
    {"expand_overflows", FA_ERR_SHAPE, "node 'bad' (Expand)", true},
    {"expand_negative", FA_ERR_SHAPE, "node 'bad' (Expand)", true},
    {"constant_of_shape_overflows", FA_ERR_LIMIT, "node 'c' (ConstantOfShape)", false},
    {"constant_of_shape_negative", FA_ERR_SHAPE, "node 'c' (ConstantOfShape)", false},
    {"constant_of_shape_large", FA_ERR_MEMORY, "node 'c' (ConstantOfShape)", false},
    {"tile_overflows", FA_ERR_SHAPE, "node 'bad' (Tile)", true},
    {"tile_negative", FA_ERR_SHAPE, "node 'bad' (Tile)", true},
    {"range_endless", FA_ERR_SHAPE, "node 'r' (Range)", false},
    {"range_overflows", FA_ERR_SHAPE, "node 'r' (Range)", false},
    {"pad_overflows", FA_ERR_LIMIT, "node 'bad' (Pad)", true},
    {"pad_cuts_all", FA_ERR_LIMIT, "node 'bad' (Pad)", true},
    {"slice_extremes", FA_ERR_SHAPE, "node 'bad' (Reshape)", true},
    {"slice_step_zero", FA_ERR_FORMAT, "node 'bad' (Slice)", true},
    {"concat_overflows", FA_ERR_SHAPE, "node 'e' (Expand)", true},
    {"one_hot_large", FA_ERR_SHAPE, "node 'bad' (OneHot)", true},
    {"top_k_large", FA_ERR_SHAPE, "node 'bad' (TopK)", true},
    {"split_other_sum", FA_ERR_SHAPE, "node 'bad' (Split)", true},
    {"resize_overflows", FA_ERR_SHAPE, "node 'bad' (Resize)", true},
    {"resize_not_a_number", FA_ERR_SHAPE, "node 'bad' (Resize)", true},
    {"conv_stride_zero", FA_ERR_FORMAT, "node 'bad' (Conv)", true},
    {"conv_dilation_overflows", FA_ERR_FORMAT, "node 'bad' (Conv)", true},
    {"conv_pads_overflow", FA_ERR_FORMAT, "node 'bad' (Conv)", true},
    {"conv_group_zero", FA_ERR_FORMAT, "node 'bad' (Conv)", true},
    {"conv_transpose_overflows", FA_ERR_FORMAT, "node 'bad' (ConvTranspose)", true},
    {"pool_kernel_zero", FA_ERR_FORMAT, "node 'bad' (MaxPool)", true},
    {"depth_to_space_zero", FA_ERR_FORMAT, "node 'bad' (DepthToSpace)", true},
    {"depth_to_space_overflows", FA_ERR_FORMAT, "node 'bad' (DepthToSpace)", true},
    {"blackman_window_large", FA_ERR_SHAPE, "node 'w' (BlackmanWindow)", false},
    /* tokens that are none; indices that are known beforehand; a sequence longer than there are places for */
    {"tokens", FA_ERR_ARGUMENT, "node 'rows': element 0 of input 0 of 'ids' is 3; the table has rows 0 to 2", true},
    {"gather_constant", FA_ERR_SHAPE, "node 'bad' (Gather): index 4 of axis 1 with 4 elements", true},
    {"gather_least", FA_ERR_SHAPE, "node 'bad' (Gather): index -9223372036854775808", true},
    {"gather_elements", FA_ERR_SHAPE, "node 'bad' (GatherElements)", true},
    {"gather_nd", FA_ERR_SHAPE, "node 'bad' (GatherND)", true},
    {"scatter_elements", FA_ERR_SHAPE, "node 'bad' (ScatterElements)", true},
    {"gather_past_shape", FA_ERR_SHAPE, "node 'd' (Gather)", true},
    {"places", FA_ERR_SHAPE, "node 'rows' (Gather): index 5 of axis 0 with 5 elements", true},
    /* graphs that are none */
    {"cycle", FA_ERR_FORMAT, "node 'a' is part of a cycle", false},
    {"cycle_of_one", FA_ERR_FORMAT, "node 'bad' is part of a cycle", false},
    {"dangling_input", FA_ERR_FORMAT, "node 'bad': nothing produces its input 'nothing'", false},
    {"dangling_output", FA_ERR_FORMAT, "nothing produces the output 'y'", false},
    {"made_twice", FA_ERR_FORMAT, "node 'second'", false},
    /* bodies */
    {"loop_rounds_large", FA_ERR_LIMIT, "node 'bad' (Loop)", false},
    {"loop_rounds_computed", FA_ERR_UNSUPPORTED, "node 'bad' (Loop)", true},
    {"loops_in_loops", FA_ERR_LIMIT, "(Loop)", false},
    {"ifs_in_ifs", FA_ERR_LIMIT, "graphs are nested deeper than 8", false},
    {"if_of_an_input", FA_ERR_FORMAT, "node 'bad' (If)", true},
};
enum { KNOWN = sizeof known / sizeof known[0] };

static const char *path_of(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/tests/%s%s.onnx", FATTR_SOURCE_ROOT, strcmp(name, GROWS) ? "fuzz/corpus/onnx/bad_" : "data/graphs/", name);
    return path;
}

static float numbers[4096];
static int64_t ids[64];

/* Two inputs, open dimensions 6 long, of zeros or tokens 3. */
static void make_inputs(const fa_model *m, int64_t shape[2][FA_MAX_DIMS], fa_array array[2], int32_t *n)
{
    fa_model_info info = {.struct_size = sizeof info};
    OK(fa_model_get_info(m, &info));
    *n = info.input_count;
    ck_assert_int_le(*n, 2);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) ids[i] = 3;
    for (int32_t i = 0; i < *n; i++) {
        fa_value_info v;
        OK(fa_model_get_input(m, i, &v));
        for (int32_t d = 0; d < v.ndim; d++) shape[i][d] = v.shape[d] > 0 ? v.shape[d] : d ? 6 : 2;
        array[i] = (fa_array){.data = v.dtype == FA_INT64 || v.dtype == FA_BOOL ? (const void *)ids : numbers, .shape = shape[i], .ndim = v.ndim, .dtype = v.dtype};
    }
}

static void refused(const expectation *e, fa_status status)
{
    ck_assert_msg(status == e->status, "%s: %s instead of %s: %s", e->name, fa_status_name(status), fa_status_name(e->status), fa_error_message());
    ck_assert_msg(strstr(fa_error_message(), e->says) != NULL, "%s: '%s' is not in: %s", e->name, e->says, fa_error_message());
}

static void check(const expectation *e, int32_t kernels)
{
    fa_context *context;
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.kernels = kernels;
    o.memory_limit = strcmp(e->name, GROWS) ? MEMORY : 0;
    OK(fa_context_create(&o, &context));
    fa_model *m = NULL;
    fa_status status = fa_model_load_file(context, path_of(e->name), NULL, &m);
    if (!e->late) {
        refused(e, status);
        ck_assert_ptr_null(m);
    } else {
        ck_assert_msg(status == FA_OK, "%s: %s", e->name, fa_error_message());
        int64_t shape[2][FA_MAX_DIMS];
        fa_array input[2];
        int32_t n;
        make_inputs(m, shape, input, &n);
        fa_tensor *t = NULL;
        refused(e, fa_model_run(m, input, n, NULL, &t));
        ck_assert_ptr_null(t);
        fa_refset *set;
        fa_sketch *sketch = NULL;
        OK(fa_refset_create(context, input, n, NULL, &set));
        /* What has no layers, or values outside what plans take, is refused for that first; never built. */
        ck_assert_int_ne(fa_sketch_build(m, set, NULL, NULL, &sketch), FA_OK);
        ck_assert_ptr_null(sketch);
        fa_refset_release(set);
    }
    fa_model_release(m);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

START_TEST(refused_with_the_node)
{
    for (int i = 0; i < KNOWN; i++) check(&known[i], _i ? FA_KERNELS_REFERENCE : FA_KERNELS_AUTO);
}
END_TEST

/* Every file of the generator is in the table. */
START_TEST(none_is_left_out)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/onnx", FATTR_SOURCE_ROOT);
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    int files = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strncmp(entry->d_name, "bad_", 4)) continue;
        bool found = false;
        for (int i = 0; i < KNOWN; i++) {
            const size_t n = strlen(known[i].name);
            found |= !strncmp(entry->d_name + 4, known[i].name, n) && !strcmp(entry->d_name + 4 + n, ".onnx");
        }
        ck_assert_msg(found, "%s is in no table", entry->d_name);
        files++;
    }
    closedir(d);
    ck_assert_int_eq(files, KNOWN - 1);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_loop_test(t, refused_with_the_node, 0, 2);
    tcase_add_test(t, none_is_left_out);
}

int main(void)
{
    return run_suite("bad graphs", add, NULL, NULL);
}
