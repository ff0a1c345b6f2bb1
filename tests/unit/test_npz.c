/* SPDX-License-Identifier: Apache-2.0 */
#include <fattr/npz.h>

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* A .npy file of a written-out dictionary and elements. */
static size_t npy(unsigned char *out, int version, const char *dictionary, const void *elements, size_t bytes)
{
    size_t start = version == 1 ? 10 : 12, length = strlen(dictionary);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version;
    out[7] = 0;
    memset(out + 8, 0, 4);
    out[8] = (unsigned char)(length & 255);
    out[9] = (unsigned char)(length >> 8);
    memcpy(out + start, dictionary, length);
    memcpy(out + start + length, elements, bytes);
    return start + length + bytes;
}

static fa_status load(const char *dictionary, const void *elements, size_t bytes, fa_npz **out)
{
    unsigned char file[4096];
    return fa_npz_load_memory(file, npy(file, 1, dictionary, elements, bytes), out);
}

static char folder[] = "/tmp/test_npz.XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[sizeof folder + 256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_folder(void)
{
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int files_in_folder(bool and_remove)
{
    int n = 0;
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        n++;
        if (and_remove) unlink(in_folder(e->d_name));
    }
    closedir(d);
    return n;
}

static void remove_folder(void)
{
    files_in_folder(true);
    rmdir(folder);
}

static unsigned char *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    unsigned char *p = malloc(1 << 20);
    *size = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}

START_TEST(reads_types)
{
    static const float reals[2] = {1.5f, -2};
    static const unsigned char big[8] = {0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0};
    const struct {
        const char *dictionary;
        const void *elements;
        size_t bytes;
        int32_t dtype, ndim;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", reals, 8, FA_FLOAT32, 1},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", big, 8, FA_FLOAT32, 1},
        {"{\"shape\":(2,1),\"fortran_order\":True,\"descr\":\"<f4\"}\n", reals, 8, FA_FLOAT32, 2},
        {" { 'descr' : 'f4' , 'fortran_order' : False , 'shape' : ( 2L , ) } ", reals, 8, FA_FLOAT32, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fa_npz *npz;
        fa_array a;
        ck_assert_msg(load(cases[i].dictionary, cases[i].elements, cases[i].bytes, &npz) == FA_OK, "%s: %s", cases[i].dictionary, fa_error_message());
        ck_assert_int_eq(fa_npz_count(npz), 1);
        ck_assert_int_eq(fa_npz_find(npz, "x", &a), FA_OK);
        ck_assert_int_eq(a.dtype, cases[i].dtype);
        ck_assert_int_eq(a.ndim, cases[i].ndim);
        ck_assert_int_eq(a.shape[0], 2);
        ck_assert(((const float *)a.data)[0] == 1.5f && ((const float *)a.data)[1] == -2);
        fa_npz_release(npz);
    }
}
END_TEST

START_TEST(transposes_fortran_order)
{
    /* [2, 3] with element (i, j) = 10 i + j, first index fastest */
    static const int16_t file[6] = {0, 10, 1, 11, 2, 12}, wanted[6] = {0, 1, 2, 10, 11, 12};
    fa_npz *npz;
    fa_array a;
    ck_assert_int_eq(load("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3)}", file, sizeof file, &npz), FA_OK);
    ck_assert_int_eq(fa_npz_get(npz, 0, &a), FA_OK);
    ck_assert_int_eq(a.dtype, FA_INT16);
    ck_assert_mem_eq(a.data, wanted, sizeof wanted);
    fa_npz_release(npz);
}
END_TEST

START_TEST(refuses_bad_headers)
{
    static const struct {
        const char *dictionary;
        fa_status status;
        const char *words;
    } cases[] = {
        {"", FA_ERR_FORMAT, "no dictionary"},
        {"[]", FA_ERR_FORMAT, "no dictionary"},
        {"{}", FA_ERR_FORMAT, "lacks 'descr'"},
        {"{'descr': '<f4'", FA_ERR_FORMAT, "malformed"},
        {"{'descr': '<f4', 'fortran_order': False}", FA_ERR_FORMAT, "lacks 'shape'"},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}", FA_ERR_FORMAT, "fortran_order"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", FA_ERR_FORMAT, "'x'"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", FA_ERR_FORMAT, "repeated key 'descr'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", FA_ERR_FORMAT, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", FA_ERR_FORMAT, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", FA_ERR_FORMAT, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", FA_ERR_FORMAT, "do not fit"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", FA_ERR_FORMAT, "do not fit"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", FA_ERR_FORMAT, "do not fit"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} more", FA_ERR_FORMAT, "goes on"},
        {"{'descr': [('a', '<f4', 'fortran_order': False, 'shape': (2,)}", FA_ERR_FORMAT, "descr"},
        {"{'descr': '<f4\\", FA_ERR_FORMAT, "descr"},
    };
    static const float reals[2];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fa_npz *npz = (fa_npz *)folder;
        fa_status status = load(cases[i].dictionary, reals, sizeof reals, &npz);
        ck_assert_msg(status == cases[i].status && strstr(fa_error_message(), cases[i].words), "%s: %s, '%s'", cases[i].dictionary, fa_status_name(status), fa_error_message());
        ck_assert_ptr_eq(npz, folder);
    }
    char nested[200];
    size_t n = (size_t)snprintf(nested, sizeof nested, "{'descr': ");
    memset(nested + n, '[', 150);
    nested[n + 150] = '\0';
    fa_npz *npz;
    ck_assert_int_eq(load(nested, reals, 8, &npz), FA_ERR_FORMAT);
}
END_TEST

START_TEST(lists_what_it_cannot_view)
{
    fa_npz *npz;
    fa_array a;
    ck_assert_int_eq(load("{'descr': [('a', '<f4'), ('b', '<i8', (2,))], 'fortran_order': False, 'shape': (2,)}", "", 0, &npz), FA_OK);
    ck_assert_int_eq(fa_npz_count(npz), 1);
    ck_assert_str_eq(fa_npz_name(npz, 0), "x");
    ck_assert_ptr_null(fa_npz_name(npz, 1));
    ck_assert_int_eq(fa_npz_get(npz, 0, &a), FA_ERR_DTYPE);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "structured"));
    fa_npz_release(npz);
    ck_assert_int_eq(load("{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}", "", 0, &npz), FA_OK);
    ck_assert_int_eq(fa_npz_find(npz, "x", &a), FA_ERR_DTYPE);
    ck_assert_int_eq(fa_npz_find(npz, "image", &a), FA_ERR_ARGUMENT);
    ck_assert_str_eq(fa_error_message(), "there is no array 'image' (there is: x)");
    fa_npz_release(npz);
    ck_assert_int_eq(load("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", "1234", 4, &npz), FA_OK);
    ck_assert_int_eq(fa_npz_get(npz, 0, &a), FA_ERR_LIMIT);
    fa_npz_release(npz);
    fa_npz_release(NULL);
    ck_assert_int_eq(fa_npz_count(NULL), 0);
}
END_TEST

static void save_example(const char *path)
{
    static const float x[6] = {0, 1, 2, 3, 4, 5};
    static const int64_t y[2] = {4, -1}, x_shape[2] = {2, 3}, y_shape[1] = {2};
    const fa_array arrays[] = {{x, x_shape, 2, FA_FLOAT32, "x"}, {y, y_shape, 1, FA_INT64, "y"}, {x, NULL, 0, FA_FLOAT64, "pi"}, {NULL, (int64_t[]){0, 5}, 2, FA_UINT8, "none"}};
    ck_assert_msg(fa_npz_save_file(path, arrays, 4) == FA_OK, "%s", fa_error_message());
}

START_TEST(saves_and_loads)
{
    make_folder();
    char first[256];
    strcpy(first, in_folder("a.npz"));
    save_example(first);
    fa_npz *npz;
    fa_array a;
    ck_assert_msg(fa_npz_load_file(first, &npz) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_npz_count(npz), 4);
    ck_assert_int_eq(fa_npz_find(npz, "x", &a), FA_OK);
    ck_assert(a.ndim == 2 && a.shape[0] == 2 && a.shape[1] == 3 && a.dtype == FA_FLOAT32 && ((const float *)a.data)[5] == 5);
    ck_assert_int_eq(fa_npz_find(npz, "y", &a), FA_OK);
    ck_assert(a.dtype == FA_INT64 && ((const int64_t *)a.data)[0] == 4 && ((const int64_t *)a.data)[1] == -1);
    ck_assert_int_eq(fa_npz_find(npz, "pi", &a), FA_OK);
    ck_assert(a.dtype == FA_FLOAT64 && a.ndim == 0);
    ck_assert_int_eq(fa_npz_find(npz, "none", &a), FA_OK);
    ck_assert(a.dtype == FA_UINT8 && a.ndim == 2 && a.shape[0] == 0 && a.shape[1] == 5);
    fa_npz_release(npz);

    sleep(2); /* a zip archive's clock ticks every two seconds */
    save_example(in_folder("b.npz"));
    size_t na, nb;
    unsigned char *pa = read_all(first, &na), *pb = read_all(in_folder("b.npz"), &nb);
    ck_assert_uint_eq(na, nb);
    ck_assert_mem_eq(pa, pb, na);
    free(pa);
    free(pb);
    ck_assert_int_eq(files_in_folder(false), 2);
    remove_folder();
}
END_TEST

START_TEST(save_is_atomic)
{
    make_folder();
    char path[256];
    strcpy(path, in_folder("a.npz"));
    save_example(path);
    size_t before_size, after_size;
    unsigned char *before = read_all(path, &before_size);

    static float many[65536];
    const int64_t shape[1] = {65536};
    const fa_array big = {many, shape, 1, FA_FLOAT32, "x"};
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = 4096;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    fa_status status = fa_npz_save_file(path, &big, 1);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
    ck_assert_msg(status == FA_ERR_IO && strstr(fa_error_message(), path), "%s '%s'", fa_status_name(status), fa_error_message());
    unsigned char *after = read_all(path, &after_size);
    ck_assert_uint_eq(before_size, after_size);
    ck_assert_mem_eq(before, after, before_size);
    free(before);
    free(after);
    ck_assert_int_eq(files_in_folder(false), 1);

    ck_assert_int_eq(fa_npz_save_file(folder, &big, 1), FA_ERR_IO);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "folder"));
    ck_assert_int_eq(fa_npz_save_file("/nowhere/at/all.npz", &big, 1), FA_ERR_IO);
    remove_folder();
}
END_TEST

START_TEST(save_refuses)
{
    static const float x[2];
    const int64_t shape[1] = {2}, negative[1] = {-1};
    const fa_array good = {x, shape, 1, FA_FLOAT32, "x"};
    fa_array a[2] = {good, good};
    ck_assert_int_eq(fa_npz_save_file("/tmp/never.npz", a, 2), FA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "'x'"));
    ck_assert_int_eq(fa_npz_save_file("/tmp/never.npz", a, 0), FA_ERR_ARGUMENT);
    a[0].name = NULL;
    ck_assert_int_eq(fa_npz_save_file("/tmp/never.npz", a, 1), FA_ERR_ARGUMENT);
    a[0] = good;
    a[0].dtype = FA_BFLOAT16;
    ck_assert_int_eq(fa_npz_save_file("/tmp/never.npz", a, 1), FA_ERR_DTYPE);
    a[0] = good;
    a[0].shape = negative;
    ck_assert_int_eq(fa_npz_save_file("/tmp/never.npz", a, 1), FA_ERR_SHAPE);
    a[0] = good;
    a[0].data = NULL;
    ck_assert_int_eq(fa_npz_save_file("/tmp/never.npz", a, 1), FA_ERR_ARGUMENT);
    ck_assert_int_eq(access("/tmp/never.npz", F_OK), -1);
}
END_TEST

START_TEST(refuses_files)
{
    make_folder();
    fa_npz *npz;
    ck_assert_int_eq(fa_npz_load_file("/nowhere.npz", &npz), FA_ERR_IO);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "/nowhere.npz"));
    ck_assert_int_eq(fa_npz_load_file(folder, &npz), FA_ERR_IO);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "folder"));
    ck_assert_int_eq(fa_npz_load_file("/dev/zero", &npz), FA_ERR_IO);
    ck_assert_int_eq(fa_npz_load_memory("", 0, &npz), FA_ERR_FORMAT);
    ck_assert_int_eq(fa_npz_load_memory("PK\3\4 this is no archive", 22, &npz), FA_ERR_FORMAT);
    ck_assert_int_eq(fa_npz_load_memory("GIF89a", 6, &npz), FA_ERR_FORMAT);
    ck_assert_int_eq(fa_npz_load_memory(NULL, 0, &npz), FA_ERR_ARGUMENT);
    remove_folder();
}
END_TEST

/* Sizes in an archive's directory and in the array's header that promise far more than there is. */
START_TEST(refuses_bombs)
{
    make_folder();
    save_example(in_folder("a.npz"));
    size_t size;
    unsigned char *file = read_all(in_folder("a.npz"), &size);
    fa_npz *npz;
    for (size_t i = 0; i + 46 < size; i++) {
        if (memcmp(file + i, "PK\1\2", 4) != 0) continue;
        unsigned char kept[4];
        memcpy(kept, file + i + 24, 4);
        memcpy(file + i + 24, "\xff\xff\xff\x7f", 4); /* the size when unpacked */
        ck_assert_int_eq(fa_npz_load_memory(file, size, &npz), FA_ERR_FORMAT);
        memcpy(file + i + 24, kept, 4);
    }
    ck_assert_int_eq(fa_npz_load_memory(file, size, &npz), FA_OK);
    fa_npz_release(npz);
    free(file);
    remove_folder();
}
END_TEST

/* Every file of the fuzzer's corpus as it is, cut off at every length, and with bytes replaced: an error or arrays that can be read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

START_TEST(survives_mutations)
{
    DIR *d = opendir(FATTR_NPZ_CORPUS);
    ck_assert_msg(d != NULL, "%s", FATTR_NPZ_CORPUS);
    int files = 0, loaded = 0;
    uint32_t seed = 1;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char path[512];
        snprintf(path, sizeof path, "%s/%s", FATTR_NPZ_CORPUS, e->d_name);
        size_t size;
        unsigned char *file = read_all(path, &size);
        fa_npz *npz;
        files++;
        if (fa_npz_load_memory(file, size, &npz) == FA_OK) {
            loaded++;
            fa_npz_release(npz);
        }
        for (size_t n = 0; n < size; n++) {
            unsigned char *cut = malloc(n ? n : 1); /* an exact block, so that a sanitizer sees a byte too far */
            memcpy(cut, file, n);
            LLVMFuzzerTestOneInput(cut, n);
            free(cut);
        }
        unsigned char *changed = malloc(size);
        for (int round = 0; round < 3000; round++) {
            memcpy(changed, file, size);
            for (int k = 0; k <= round % 4; k++) {
                seed = seed * 1664525u + 1013904223u;
                changed[(seed >> 8) % size] = (unsigned char)(round % 3 ? seed >> 24 : 0xff);
            }
            LLVMFuzzerTestOneInput(changed, size);
        }
        free(changed);
        free(file);
    }
    closedir(d);
    ck_assert_int_ge(files, 16);
    ck_assert_int_eq(loaded, files - 1); /* all but the one that is packed with bzip2 */
}
END_TEST

static fa_context *context;

static void make_context(void)
{
    make_folder();
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void drop_context(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
    remove_folder();
}

static void save(const char *name, const fa_array *arrays, int32_t count)
{
    ck_assert_msg(fa_npz_save_file(in_folder(name), arrays, count) == FA_OK, "%s", fa_error_message());
}

START_TEST(makes_reference_sets)
{
    static const uint8_t x[4] = {0, 51, 255, 102};
    static const int32_t y[2] = {3, 1};
    static const int64_t id[2] = {70, 7};
    const int64_t x_shape[2] = {2, 2}, n_shape[1] = {2};
    const fa_array arrays[] = {{x, x_shape, 2, FA_UINT8, "x"}, {y, n_shape, 1, FA_INT32, "y"}, {id, n_shape, 1, FA_INT64, "id"}};
    const char *names[] = {"image", "other"};
    fa_refset *set;
    fa_array a;
    int64_t number;
    save("set.npz", arrays, 3);
    ck_assert_msg(fa_npz_load_refset(context, in_folder("set.npz"), 1 / 255.0, names, 1, &set) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_refset_count(set), 2);
    ck_assert_int_eq(fa_refset_get_input(set, 0, &a), FA_OK);
    ck_assert_int_eq(a.dtype, FA_FLOAT32);
    ck_assert_float_eq_tol(((const float *)a.data)[1], 0.2f, 1e-7f);
    ck_assert(((const float *)a.data)[2] == 1.0f);
    ck_assert(fa_refset_get_label(set, 0, &number) == FA_OK && number == 3);
    ck_assert(fa_refset_get_id(set, 1, &number) == FA_OK && number == 7);
    fa_refset_release(set);

    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("set.npz"), 1, names, 1, &set), FA_OK);
    ck_assert_int_eq(fa_refset_get_input(set, 0, &a), FA_OK);
    ck_assert(a.dtype == FA_UINT8 && ((const uint8_t *)a.data)[1] == 51);
    fa_refset_release(set);

    fa_array two[] = {arrays[0], arrays[0]};
    two[0].name = "other";
    two[1].name = "image";
    save("two.npz", two, 2);
    ck_assert_msg(fa_npz_load_refset(context, in_folder("two.npz"), 1, names, 2, &set) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_refset_input_count(set), 2);
    ck_assert_int_eq(fa_refset_get_label(set, 0, &number), FA_ERR_STATE);
    fa_refset_release(set);
    ck_assert_msg(fa_npz_load_refset(context, in_folder("two.npz"), 1, names, 1, &set) == FA_OK, "%s", fa_error_message());
    fa_refset_release(set);
}
END_TEST

/* Tokens and which of them are the response; a model's own input called "mask" is not taken for that. */
START_TEST(makes_sets_of_tokens)
{
    static const int64_t x[6] = {5, 1, 2, 3, 4, 0};
    static const uint8_t mask[6] = {0, 1, 1, 0, 0, 1};
    const int64_t shape[2] = {2, 3};
    const fa_array arrays[] = {{x, shape, 2, FA_INT64, "x"}, {mask, shape, 2, FA_UINT8, "mask"}, {x, shape, 2, FA_INT64, "target"}};
    const char *names[] = {"ids"}, *own[] = {"x", "mask"};
    fa_refset *set;
    fa_array a;
    save("tokens.npz", arrays, 3);
    ck_assert_msg(fa_npz_load_refset(context, in_folder("tokens.npz"), 1, names, 1, &set) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_refset_input_count(set), 3);
    ck_assert_int_eq(fa_refset_get_input(set, 0, &a), FA_OK);
    ck_assert(!a.name && a.dtype == FA_INT64 && ((const int64_t *)a.data)[4] == 4);
    ck_assert_int_eq(fa_refset_get_input(set, 1, &a), FA_OK);
    ck_assert_str_eq(a.name, "target");
    ck_assert_int_eq(fa_refset_get_input(set, 2, &a), FA_OK);
    ck_assert(strcmp(a.name, "mask") == 0 && a.dtype == FA_UINT8 && ((const uint8_t *)a.data)[5] == 1);
    fa_refset_release(set);

    ck_assert_msg(fa_npz_load_refset(context, in_folder("tokens.npz"), 0.5, own, 2, &set) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_refset_input_count(set), 3);
    ck_assert_int_eq(fa_refset_get_input(set, 1, &a), FA_OK);
    ck_assert(strcmp(a.name, "mask") == 0 && a.dtype == FA_FLOAT32);
    ck_assert_int_eq(fa_refset_get_input(set, 2, &a), FA_OK);
    ck_assert(strcmp(a.name, "target") == 0 && a.dtype == FA_INT64);
    fa_refset_release(set);

    const int64_t short_shape[1] = {1};
    const fa_array wrong[] = {arrays[0], {mask, short_shape, 1, FA_UINT8, "mask"}};
    save("wrong.npz", wrong, 2);
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("wrong.npz"), 1, names, 1, &set), FA_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "mask"));
}
END_TEST

START_TEST(refuses_reference_sets)
{
    static const float x[4];
    const int64_t x_shape[2] = {2, 2}, n_shape[1] = {3}, none[2] = {0, 2};
    const char *names[] = {"image", "mask"};
    fa_refset *set = NULL;
    save("x.npz", (fa_array[]){{x, x_shape, 2, FA_FLOAT32, "x"}}, 1);
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("x.npz"), 1, names, 2, &set), FA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "'image'"));
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("x.npz"), NAN, names, 1, &set), FA_ERR_ARGUMENT);
    save("z.npz", (fa_array[]){{x, x_shape, 2, FA_FLOAT32, "z"}}, 1);
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("z.npz"), 1, names, 1, &set), FA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "'x' (there is: z)"));
    save("y.npz", (fa_array[]){{x, x_shape, 2, FA_FLOAT32, "x"}, {x, n_shape, 1, FA_INT32, "y"}}, 2);
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("y.npz"), 1, names, 1, &set), FA_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "'y'"));
    save("r.npz", (fa_array[]){{x, x_shape, 2, FA_FLOAT32, "x"}, {x, x_shape, 1, FA_FLOAT32, "y"}}, 2);
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("r.npz"), 1, names, 1, &set), FA_ERR_DTYPE);
    save("empty.npz", (fa_array[]){{NULL, none, 2, FA_FLOAT32, "x"}}, 1);
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("empty.npz"), 1, names, 1, &set), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_npz_load_refset(context, in_folder("nowhere.npz"), 1, names, 1, &set), FA_ERR_IO);
    ck_assert_ptr_null(set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("npz");
    TCase *read = tcase_create("read");
    tcase_set_timeout(read, 60);
    tcase_add_test(read, reads_types);
    tcase_add_test(read, transposes_fortran_order);
    tcase_add_test(read, refuses_bad_headers);
    tcase_add_test(read, lists_what_it_cannot_view);
    tcase_add_test(read, refuses_files);
    tcase_add_test(read, refuses_bombs);
    tcase_add_test(read, survives_mutations);
    suite_add_tcase(suite, read);
    TCase *write = tcase_create("write");
    tcase_add_test(write, saves_and_loads);
    tcase_add_test(write, save_is_atomic);
    tcase_add_test(write, save_refuses);
    suite_add_tcase(suite, write);
    TCase *refset = tcase_create("refset");
    tcase_add_checked_fixture(refset, make_context, drop_context);
    tcase_add_test(refset, makes_reference_sets);
    tcase_add_test(refset, makes_sets_of_tokens);
    tcase_add_test(refset, refuses_reference_sets);
    suite_add_tcase(suite, refset);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
