/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile and mistaken arguments: each gets its own status and a message that names the place, and nothing is half-changed. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static fa_context *context;
static fa_model *model;
static fa_refset *references, *calibration;
static fa_sketch *sketch;
static fa_scorer *scorer;
static float *image;
static int64_t shape[4];
static const char *folder;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    OK(fa_model_load_file(context, model_path("mlp.onnx"), NULL, &model));
    references = make_refset(context, 30, 1);
    calibration = make_refset(context, 25, 2);
    OK(fa_sketch_build(model, references, calibration, NULL, &sketch));
    OK(fa_scorer_create(sketch, model, NULL, &scorer));
    image = make_images(2, 8);
    folder = make_folder();
}

static void teardown(void)
{
    remove_folder(folder);
    free(image);
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_refset_release(calibration);
    fa_refset_release(references);
    fa_model_release(model);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static const char *in_folder(const char *name)
{
    static char path[4300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

START_TEST(arrays)
{
    fa_result before, r;
    fa_array x = images_array(image, 1, shape);
    OK(fa_score(scorer, &x, 1, &before));
    memset(&r, 0x5A, sizeof r);
    fa_result untouched = r;
    shape[3] = 27;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_SHAPE, "28");
    shape[3] = 28;
    x.ndim = 3;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_SHAPE, "image");
    x.ndim = 4;
    shape[0] = 2;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_SHAPE, "");
    shape[0] = -1;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_SHAPE, "");
    shape[0] = 1;
    x.ndim = 99;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_SHAPE, "99");
    x.ndim = 4;
    x.dtype = 8; /* strings */
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_DTYPE, "8");
    x.dtype = FA_FLOAT32;
    x.data = NULL;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_ARGUMENT, "NULL");
    x.data = image;
    x.name = "nonsense";
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_ARGUMENT, "nonsense");
    x.name = NULL;
    image[300] = NAN;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_NOT_FINITE, "300");
    image[300] = INFINITY;
    FAILS(fa_score(scorer, &x, 1, &r), FA_ERR_NOT_FINITE, "300");
    image[300] = 0;
    FAILS(fa_score(scorer, NULL, 1, &r), FA_ERR_ARGUMENT, "NULL");
    FAILS(fa_score(scorer, &x, 1, NULL), FA_ERR_ARGUMENT, "NULL");
    FAILS(fa_score(NULL, &x, 1, &r), FA_ERR_ARGUMENT, "NULL");
    fa_array two[] = {x, x};
    FAILS(fa_score(scorer, two, 2, &r), FA_ERR_ARGUMENT, "2");
    FAILS(fa_score(scorer, &x, 9, &r), FA_ERR_ARGUMENT, "9");
    two[1].name = FA_ARRAY_MASK; /* [1, 1, 28, 28] where there is one position */
    FAILS(fa_score(scorer, two, 2, &r), FA_ERR_SHAPE, "mask");
    FAILS(fa_score(scorer, &x, 0, &r), FA_ERR_ARGUMENT, "0");
    ck_assert_mem_eq(&r, &untouched, sizeof r);
}
END_TEST

START_TEST(reference_sets)
{
    fa_refset *set = NULL;
    fa_array x = images_array(image, 0, shape);
    FAILS(fa_refset_create(context, &x, 1, NULL, &set), FA_ERR_ARGUMENT, "");
    shape[0] = 2;
    image[PIXELS + 5] = NAN;
    FAILS(fa_refset_create(context, &x, 1, NULL, &set), FA_ERR_NOT_FINITE, "5");
    image[PIXELS + 5] = 0;
    int64_t ids[] = {7, 7};
    fa_refset_options o;
    fa_refset_options_init(&o, sizeof o);
    o.ids = ids;
    FAILS(fa_refset_create(context, &x, 1, &o, &set), FA_ERR_ARGUMENT, "7");
    ck_assert_ptr_null(set);
    /* One reference cannot tell anything. */
    fa_sketch *s = NULL;
    set = make_refset(context, 1, 1);
    FAILS(fa_sketch_build(model, set, NULL, NULL, &s), FA_ERR_ARGUMENT, "two");
    fa_refset_release(set);
    ck_assert_ptr_null(s);
    /* Of another shape than the model's input. */
    int64_t wrong[] = {2, 1, 14, 56};
    x.shape = wrong;
    OK(fa_refset_create(context, &x, 1, NULL, &set));
    FAILS(fa_sketch_build(model, set, NULL, NULL, &s), FA_ERR_SHAPE, "56");
    fa_refset_release(set);
}
END_TEST

START_TEST(one_class_and_duplicates)
{
    fa_refset *set;
    fa_sketch *s;
    fa_scorer *sc;
    float *same = calloc(8 * PIXELS, sizeof *same);
    for (int i = 0; i < 8; i++) memcpy(same + i * PIXELS, image, PIXELS * sizeof *same);
    fa_array x = images_array(same, 8, shape);
    OK(fa_refset_create(context, &x, 1, NULL, &set));
    OK(fa_sketch_build(model, set, NULL, NULL, &s));
    OK(fa_scorer_create(s, model, NULL, &sc));
    shape[0] = 1;
    fa_result r;
    OK(fa_score(sc, &x, 1, &r));
    ck_assert(r.score >= 0 && r.score < 0.112);
    ck_assert(isnan(r.p_value));
    ck_assert_int_eq(r.flagged, -1);
    fa_scorer_destroy(sc);
    fa_sketch_release(s);
    fa_refset_release(set);
    free(same);
}
END_TEST

START_TEST(options)
{
    fa_sketch *s = NULL;
    fa_sketch_options o;
#define WITH(field, value, text)                                                                                                                         \
    fa_sketch_options_init(&o, sizeof o);                                                                                                                \
    o.field = value;                                                                                                                                     \
    FAILS(fa_sketch_build(model, references, NULL, &o, &s), FA_ERR_ARGUMENT, text)
    WITH(k_in, -1, "k_in");
    WITH(k_in, 100000, "k_in");
    WITH(k_out, -5, "k_out");
    WITH(beta, 2, "beta");
    WITH(beta, NAN, "beta");
    WITH(damping, INFINITY, "damping");
    WITH(ridge, -1, "ridge");
    WITH(blocks, 9, "blocks");
    WITH(loss, FA_LOSS_COUNT, "loss");
    WITH(topk, -1, "topk");
    WITH(batch, -1, "batch");
    WITH(layers, "no-such-layer", "no-such-layer");
    WITH(drop_misclassified, 1, "label");
    WITH(struct_size, 3, "struct_size");
    WITH(struct_size, 1u << 30, "struct_size");
    fa_scorer *sc = NULL;
    fa_scorer_options p;
    fa_scorer_options_init(&p, sizeof p);
    p.alpha = 0.001; /* below 1 / (1 + 25) */
    FAILS(fa_scorer_create(sketch, model, &p, &sc), FA_ERR_ARGUMENT, "alpha");
    p.alpha = 1.5;
    FAILS(fa_scorer_create(sketch, model, &p, &sc), FA_ERR_ARGUMENT, "alpha");
    p.alpha = 0;
    p.score = 17;
    FAILS(fa_scorer_create(sketch, model, &p, &sc), FA_ERR_ARGUMENT, "score");
    p.score = 0;
    p.max_batch = -3;
    FAILS(fa_scorer_create(sketch, model, &p, &sc), FA_ERR_ARGUMENT, "max_batch");
    fa_sketch *bare;
    OK(fa_sketch_build(model, references, NULL, NULL, &bare));
    p.max_batch = 1;
    p.alpha = 0.05;
    FAILS(fa_scorer_create(bare, model, &p, &sc), FA_ERR_STATE, "calibration");
    fa_sketch_release(bare);
    fa_context_options c;
    fa_context *none = NULL;
    fa_context_options_init(&c, sizeof c);
    c.threads = -1;
    FAILS(fa_context_create(&c, &none), FA_ERR_ARGUMENT, "threads");
    c.threads = 1;
    c.kernels = 99;
    FAILS(fa_context_create(&c, &none), FA_ERR_ARGUMENT, "kernels");
    ck_assert_ptr_null(none);
    ck_assert_ptr_null(sc);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(model_files)
{
    fa_model *m = NULL;
    size_t size;
    FAILS(fa_model_load_file(context, "/nowhere/model.onnx", NULL, &m), FA_ERR_IO, "/nowhere/model.onnx");
    FAILS(fa_model_load_file(context, folder, NULL, &m), FA_ERR_IO, "folder");
    FAILS(fa_model_load_file(context, NULL, NULL, &m), FA_ERR_ARGUMENT, "NULL");
    write_bytes(in_folder("empty"), "", 0);
    FAILS(fa_model_load_file(context, in_folder("empty"), NULL, &m), FA_ERR_FORMAT, "");
    uint8_t *bytes = read_bytes(model_path("mlp.onnx"), &size);
    for (size_t cut = 1; cut < size; cut = cut * 3 / 2 + 1) {
        fa_status s = fa_model_load_memory(context, bytes, cut, NULL, &m);
        ck_assert_msg(s != FA_OK, "a model cut to %zu of %zu bytes was read", cut, size);
        ck_assert_int_gt((int)strlen(fa_error_message()), 0);
    }
    fa_model_options o;
    fa_model_options_init(&o, sizeof o);
    o.output = "no such output";
    FAILS(fa_model_load_memory(context, bytes, size, &o, &m), FA_ERR_ARGUMENT, "no such output");
    free(bytes);
    ck_assert_ptr_null(m);
}
END_TEST

START_TEST(sketch_files)
{
    fa_sketch *s = NULL;
    size_t size;
    char path[4300];
    snprintf(path, sizeof path, "%s", in_folder("a.fattr"));
    OK(fa_sketch_save_file(sketch, path));
    uint8_t *bytes = read_bytes(path, &size);
    FAILS(fa_sketch_load_file(context, folder, &s), FA_ERR_IO, "folder");
    FAILS(fa_sketch_load_file(context, in_folder("none"), &s), FA_ERR_IO, "none");
    FAILS(fa_sketch_load_memory(context, bytes, 0, &s), FA_ERR_FORMAT, "");
    for (size_t cut = 1; cut < size; cut = cut * 3 / 2 + 1) FAILS(fa_sketch_load_memory(context, bytes, cut, &s), FA_ERR_FORMAT, "");
    FAILS(fa_sketch_load_memory(context, bytes, size - 1, &s), FA_ERR_FORMAT, "");
    bytes[size - 5] ^= 4;
    FAILS(fa_sketch_load_memory(context, bytes, size, &s), FA_ERR_CHECKSUM, "");
    bytes[size - 5] ^= 4;
    OK(fa_sketch_load_memory(context, bytes, size, &s));
    fa_sketch_release(s);
    s = NULL;
    size_t model_size;
    void *onnx = read_bytes(model_path("mlp.onnx"), &model_size);
    FAILS(fa_sketch_load_memory(context, onnx, model_size, &s), FA_ERR_FORMAT, "");
    free(onnx);
    free(bytes);
    ck_assert_ptr_null(s);
    FAILS(fa_sketch_save_file(sketch, "/nowhere/s.fattr"), FA_ERR_IO, "/nowhere/s.fattr");
    FAILS(fa_sketch_save_file(sketch, folder), FA_ERR_IO, "folder");
}
END_TEST

START_TEST(a_sketch_and_another_model)
{
    fa_model *other;
    fa_scorer *sc = NULL;
    OK(fa_model_load_file(context, model_path("clean.onnx"), NULL, &other));
    FAILS(fa_sketch_check_model(sketch, other), FA_ERR_MISMATCH, "");
    FAILS(fa_scorer_create(sketch, other, NULL, &sc), FA_ERR_MISMATCH, "");
    ck_assert_ptr_null(sc);
    fa_model_release(other);
}
END_TEST

START_TEST(a_full_disk_leaves_the_old_file)
{
    if (access("/dev/full", W_OK)) return;
    char path[4300];
    snprintf(path, sizeof path, "%s", in_folder("old.fattr"));
    OK(fa_sketch_save_file(sketch, path));
    size_t size, after;
    void *bytes = read_bytes(path, &size);
    /* The writer makes its temporary file beside the target: a size limit on files stands in for the full disk. */
    FAILS(fa_sketch_save_file(sketch, "/dev/full/x"), FA_ERR_IO, "");
    struct rlimit limit, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &small);
    fa_status status = fa_sketch_save_file(sketch, path);
    setrlimit(RLIMIT_FSIZE, &limit);
    ck_assert_int_eq(status, FA_ERR_IO);
    void *now = read_bytes(path, &after);
    ck_assert_uint_eq(size, after);
    ck_assert_mem_eq(bytes, now, size);
    free(bytes);
    free(now);
    char command[4400];
    snprintf(command, sizeof command, "test \"$(ls '%s' | wc -l)\" = 1", folder);
    ck_assert_msg(system(command) == 0, "a temporary file was left behind");
}
END_TEST

START_TEST(null_handles)
{
    fa_sketch_release(NULL);
    fa_model_release(NULL);
    fa_refset_release(NULL);
    fa_context_release(NULL);
    fa_scorer_destroy(NULL);
    fa_tensor_release(NULL);
    ck_assert_uint_eq(fa_context_memory_used(NULL), 0);
    ck_assert_int_eq(fa_refset_count(NULL), 0);
    fa_model *m = NULL;
    fa_sketch *s = NULL;
    fa_sketch_info info = {.struct_size = sizeof info};
    FAILS(fa_model_load_file(NULL, "x", NULL, &m), FA_ERR_ARGUMENT, "");
    FAILS(fa_model_load_file(context, model_path("mlp.onnx"), NULL, NULL), FA_ERR_ARGUMENT, "");
    FAILS(fa_sketch_build(NULL, references, NULL, NULL, &s), FA_ERR_ARGUMENT, "");
    FAILS(fa_sketch_build(model, NULL, NULL, NULL, &s), FA_ERR_ARGUMENT, "");
    FAILS(fa_sketch_build(model, references, NULL, NULL, NULL), FA_ERR_ARGUMENT, "");
    FAILS(fa_sketch_get_info(NULL, &info), FA_ERR_ARGUMENT, "");
    FAILS(fa_sketch_get_info(sketch, NULL), FA_ERR_ARGUMENT, "");
    fa_layer_info layer;
    FAILS(fa_model_get_layer(model, 99, &layer), FA_ERR_ARGUMENT, "99");
    FAILS(fa_model_get_layer(model, -1, &layer), FA_ERR_ARGUMENT, "-1");
    ck_assert_str_eq(fa_status_name(FA_ERR_SHAPE), "FA_ERR_SHAPE");
    ck_assert_str_eq(fa_status_name(12345), "unknown");
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, arrays);
    tcase_add_test(t, reference_sets);
    tcase_add_test(t, one_class_and_duplicates);
    tcase_add_test(t, options);
    tcase_add_test(t, model_files);
    tcase_add_test(t, sketch_files);
    tcase_add_test(t, a_sketch_and_another_model);
    tcase_add_test(t, a_full_disk_leaves_the_old_file);
    tcase_add_test(t, null_handles);
}

int main(void)
{
    return run_suite("bad input", add, setup, teardown);
}
