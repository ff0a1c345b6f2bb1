/* SPDX-License-Identifier: Apache-2.0 */
/* The sketch file: written, read, altered, and made up. */
#include "base/context.h"
#include "base/hash.h"
#include "sketch/safetensors.h"
#include "sketch/sketch.h"
#include "small_models.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static fa_context *context;
static fa_model *model;
static fa_sketch *sketch;
static char path[512];
static unsigned char *file; /* the sketch's */
static size_t size, header;

static unsigned char *read_all(const char *from, size_t *n)
{
    FILE *f = fopen(from, "rb");
    ck_assert_msg(f != NULL, "%s", from);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*n + 1);
    ck_assert(p && fread(p, 1, *n, f) == *n);
    fclose(f);
    return p;
}

static uint64_t header_length(const unsigned char *p)
{
    uint64_t n = 0;
    for (int i = 0; i < 8; i++) n |= (uint64_t)p[i] << (8 * i);
    return n;
}

static void setup(void)
{
    fa_sketch_options o;
    OK(fa_context_create(NULL, &context));
    model = mlp(context, true);
    fa_refset *refs = normal_set(context, 10, 6, 1), *cal = normal_set(context, 21, 6, 2);
    fa_sketch_options_init(&o, sizeof o);
    o.k_in = 5;
    o.k_out = 3;
    o.layers = "fc*";
    o.seed = UINT64_MAX;
    o.loss = FA_LOSS_CROSS_ENTROPY;
    o.keep_moments = 1;
    OK(fa_sketch_build(model, refs, cal, &o, &sketch));
    fa_refset_release(refs);
    fa_refset_release(cal);
    snprintf(path, sizeof path, "%s/fattr-sketch-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    OK(fa_sketch_save_file(sketch, path));
    file = read_all(path, &size);
    header = (size_t)header_length(file);
}

static void teardown(void)
{
    free(file);
    remove(path);
    fa_sketch_release(sketch);
    fa_model_release(model);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static void check_same(const fa_sketch *s)
{
    const fa_sketch_body *a = sketch->body, *b = s->body;
    size_t n = (size_t)a->n_reference, length = (size_t)a->offset[a->n_layer];
    ck_assert(a->n_layer == b->n_layer && a->n_dropped == b->n_dropped && a->n_reference == b->n_reference && a->classes == b->classes);
    ck_assert(a->options.k_in == b->options.k_in && a->options.k_out == b->options.k_out && a->options.seed == b->options.seed &&
              a->options.beta == b->options.beta &&
              a->options.damping == b->options.damping && a->options.ridge == b->options.ridge && a->options.topk == b->options.topk &&
              a->options.blocks == b->options.blocks && a->options.loss == b->options.loss && a->options.batch == b->options.batch && !strcmp(a->options.layers, b->options.layers));
    ck_assert_mem_eq(a->model_digest, b->model_digest, 16);
    ck_assert_mem_eq(a->references_digest, b->references_digest, 16);
    ck_assert_str_eq(a->library_version, b->library_version);
    ck_assert(a->n_input == b->n_input && b->input[0].ndim == 1 && b->input[0].dim[0] == 6 && b->input[0].dtype == FA_FLOAT32);
    for (int32_t i = 0; i < a->n_layer; i++) {
        ck_assert_str_eq(a->layer[i].name, b->layer[i].name);
        ck_assert_str_eq(a->layer[i].weight, b->layer[i].weight);
        ck_assert(a->layer[i].index == b->layer[i].index && a->layer[i].in == b->layer[i].in && a->layer[i].k_in == b->layer[i].k_in);
        ck_assert_mem_eq(a->layer[i].p_in, b->layer[i].p_in, (size_t)(a->layer[i].in * a->layer[i].k_in) * sizeof(float));
        ck_assert_mem_eq(a->layer[i].p_out, b->layer[i].p_out, (size_t)(a->layer[i].out * a->layer[i].k_out) * sizeof(float));
        for (int e = 0; e < 2; e++) ck_assert_mem_eq(a->layer[i].moment[e], b->layer[i].moment[e], (size_t)fa_layer_moment(&a->layer[i], e) * sizeof(double));
    }
    ck_assert_mem_eq(a->offset, b->offset, (size_t)(a->n_layer + 1) * sizeof *a->offset);
    ck_assert_mem_eq(a->blocks, b->blocks, n * length * sizeof(float));
    ck_assert_mem_eq(a->share, b->share, n * (size_t)a->n_layer * sizeof(float));
    ck_assert_mem_eq(a->tau, b->tau, n * sizeof(float));
    ck_assert_mem_eq(a->gram, b->gram, n * n * sizeof(float));
    ck_assert_mem_eq(a->factor, b->factor, n * n * sizeof(float));
    ck_assert_mem_eq(a->id, b->id, n * sizeof *a->id);
    ck_assert_mem_eq(a->predicted, b->predicted, n * sizeof *a->id);
    ck_assert_mem_eq(a->label, b->label, n * sizeof *a->id);
    ck_assert_int_eq(s->n_calibration, sketch->n_calibration);
    for (int k = 0; k < FA_SCORE_COMMON_COUNT; k++) ck_assert_mem_eq(s->calibration[k], sketch->calibration[k], (size_t)s->n_calibration * sizeof(double));
}

START_TEST(comes_back_as_it_went)
{
    fa_sketch *s;
    OK(fa_sketch_load_file(context, path, &s));
    check_same(s);
    OK(fa_sketch_check_model(s, model));
    /* What was read is written as the same bytes. */
    OK(fa_sketch_save_file(s, path));
    size_t n;
    unsigned char *again = read_all(path, &n);
    ck_assert_uint_eq(n, size);
    ck_assert_mem_eq(again, file, n);
    free(again);
    fa_sketch_release(s);
    OK(fa_sketch_load_memory(context, file, size, &s));
    check_same(s);
    fa_sketch_release(s);
    ck_assert_uint_eq((8 + header) % 64, 0);
}
END_TEST

START_TEST(a_second_reader_agrees)
{
    char command[2048];
    snprintf(command, sizeof command, "%s %s/tests/data/read_sketch.py %s > %s.json", PYTHON, FA_SOURCE_ROOT, path, path);
    ck_assert_int_eq(system(command), 0);
    snprintf(command, sizeof command, "%s.json", path);
    size_t n;
    char *text = (char *)read_all(command, &n);
    text[n] = '\0';
    remove(command);
    ck_assert_msg(strstr(text, "\"references\": 10,") != NULL && strstr(text, "\"layers\": [\"fc1\", \"fc3\"]") != NULL, "%s", text);
    ck_assert(strstr(text, "\"seed\": 18446744073709551615") != NULL && strstr(text, "\"calibration\": 21") != NULL);
    free(text);
    /* It refuses what the library refuses. */
    file[size - 5] ^= 1;
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(file, 1, size, f) == size);
    fclose(f);
    snprintf(command, sizeof command, "%s %s/tests/data/read_sketch.py %s > /dev/null 2>&1", PYTHON, FA_SOURCE_ROOT, path);
    ck_assert_int_ne(system(command), 0);
}
END_TEST

static fa_status load(const unsigned char *data, size_t n)
{
    fa_sketch *s = NULL;
    uint64_t before = fa_context_memory_used(context);
    unsigned char *exact = malloc(n ? n : 1); /* a sanitizer sees a read beyond the end */
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, data, n);
    fa_status status = fa_sketch_load_memory(context, exact, n, &s);
    free(exact);
    ck_assert((status == FA_OK) == (s != NULL));
    if (status != FA_OK) ck_assert(fa_error_message()[0] != '\0');
    fa_sketch_release(s);
    ck_assert_uint_eq(fa_context_memory_used(context), before);
    return status;
}

START_TEST(every_truncation_is_a_format_error)
{
    for (size_t n = 0; n < size; n += n < 8 + header ? 1 + n / 64 : 61) {
        fa_status status = load(file, n);
        ck_assert_msg(status == FA_ERR_FORMAT, "%zu bytes: %s: %s", n, fa_status_name(status), fa_error_message());
    }
    ck_assert_int_eq(load(file, size - 1), FA_ERR_FORMAT);
    ck_assert(strstr(fa_error_message(), "truncated") != NULL);
    file = realloc(file, size + 1);
    file[size] = 0;
    ck_assert_int_eq(load(file, size + 1), FA_ERR_FORMAT);
    ck_assert(strstr(fa_error_message(), "behind the last tensor") != NULL);
}
END_TEST

START_TEST(every_altered_byte_is_noticed)
{
    int checksums = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char was = file[i];
        file[i] = (unsigned char)(was ^ (1u << i % 8));
        fa_status status = load(file, size);
        ck_assert_msg(status == FA_ERR_FORMAT || status == FA_ERR_CHECKSUM || status == FA_ERR_VERSION, "byte %zu: %s", i, fa_status_name(status));
        if (i >= 8 + header) ck_assert_msg(status == FA_ERR_CHECKSUM, "byte %zu: %s", i, fa_status_name(status));
        checksums += status == FA_ERR_CHECKSUM;
        file[i] = was;
    }
    ck_assert_int_gt(checksums, (int)(size - header));
    ck_assert_int_eq(load(file, size), FA_OK);
}
END_TEST

/* A copy of the file with `from` replaced by `to` in the header (as long, or padded from the spaces behind it) and the header's checksum made right. */
static fa_status load_edited(const char *from, const char *to)
{
    size_t a = strlen(from), b = strlen(to), room = 8 + header;
    unsigned char *edited = malloc(size);
    ck_assert_ptr_nonnull(edited);
    memcpy(edited, file, size);
    unsigned char *at = NULL;
    for (size_t i = 8; i + a <= room && !at; i++)
        if (!memcmp(edited + i, from, a)) at = edited + i;
    ck_assert_msg(at != NULL, "'%s' is not in the header", from);
    size_t behind = (size_t)(edited + room - at) - a;
    if (b > a)
        for (size_t i = room - (b - a); i < room; i++) ck_assert_msg(edited[i] == ' ', "no room for '%s'", to);
    memmove(at + b, at + a, b > a ? behind - (b - a) : behind);
    memcpy(at, to, b);
    if (a > b) memset(edited + room - (a - b), ' ', a - b);
    static const char key[] = "\"header_checksum\":\"";
    for (size_t i = 8; i + 40 < room; i++)
        if (!memcmp(edited + i, key, sizeof key - 1)) {
            char digits[17];
            memset(edited + i + sizeof key - 1, '0', 16);
            snprintf(digits, sizeof digits, "%016llx", (unsigned long long)fa_hash64(edited + 8, header));
            memcpy(edited + i + sizeof key - 1, digits, 16);
            break;
        }
    fa_status status = load(edited, size);
    free(edited);
    return status;
}

START_TEST(a_header_that_lies)
{
    static const struct {
        const char *from, *to;
        fa_status status;
        const char *words;
    } cases[] = {
        {"fattr-sketch", "other-format", FA_ERR_FORMAT, "not a sketch"},
        {"\"format_version\":\"1\"", "\"format_version\":\"2\"", FA_ERR_VERSION, "format version 2"},
        {"\"format_version\":\"1\"", "\"format_version\":\"0\"", FA_ERR_FORMAT, "format_version"},
        {"\"format_version\":\"1\"", "\"format_version\":\"x\"", FA_ERR_FORMAT, "format_version"},
        {"\"classes\":\"4\"", "\"classes\":\"1\"", FA_ERR_FORMAT, "classes"},
        {"\"classes\":\"4\"", "\"classes\": 4 ", FA_ERR_FORMAT, "'classes' is no string"},
        {"\"classes\":\"4\"", "\"classez\":\"4\"", FA_ERR_FORMAT, "classes"},
        {"\"kind\":\"gradient\"", "\"precision\":\"bf\" ", FA_ERR_FORMAT, "precision"},
        {"\"kind\":\"gradient\"", "\"precision\":  {} ", FA_ERR_FORMAT, "precision"},
        {"\"seed\":\"1844", "\"seed\":\"9944", FA_ERR_FORMAT, "seed"},
        {"\\\"k_in\\\":5,\\\"k_out\\\":3,\\\"random", "\\\"k_in\\\":6,\\\"k_out\\\":3,\\\"random", FA_ERR_FORMAT, "layer.0.p_in"},
        {"\\\"k_in\\\":5,\\\"k_out\\\":3,\\\"random", "\\\"k_in\\\":0,\\\"k_out\\\":3,\\\"random", FA_ERR_FORMAT, "layers"},
        {"\\\"k_in\\\":5,\\\"k_out\\\":3,\\\"random", "\\\"k_in\\\":-,\\\"k_out\\\":3,\\\"random", FA_ERR_FORMAT, "layers"},
        {"\\\"in\\\":7", "\\\"in\\\":4", FA_ERR_FORMAT, "layers"},
        {"\\\"in\\\":7", "\\\"in\\\":8", FA_ERR_FORMAT, "layer.0.p_in"},
        {"\\\"blocks\\\":\\\"both\\\"", "\\\"blocks\\\":\\\"bath\\\"", FA_ERR_FORMAT, "options"},
        {"\\\"loss\\\":\\\"cross-entropy\\\"", "\\\"loss\\\":\\\"cross_entropy\\\"", FA_ERR_FORMAT, "options"},
        {"\\\"loss\\\":", "\\\"boss\\\":", FA_ERR_FORMAT, "options"},
        {"\\\"beta\\\":0.25", "\\\"beta\\\":9.25", FA_ERR_FORMAT, "options"},
        {"\\\"layers\\\":\\\"fc*\\\"", "\\\"layers\\\":\\\"f,,\\\"", FA_ERR_FORMAT, "options"},
        {"\\\"shape\\\":[6]", "\\\"shape\\\":[0]", FA_ERR_FORMAT, "inputs"},
        {"\"shape\":[10,10]", "\"shape\":[10,11]", FA_ERR_FORMAT, "references.gram"},
        {"\"shape\":[10,10]", "\"shape\":[100]  ", FA_ERR_FORMAT, "references.gram"},
        {"\"shape\":[10,10]", "\"shape\":[-5,9]", FA_ERR_FORMAT, "references.gram"},
        {"\"shape\":[7,5]", "\"shape\":[5,7]", FA_ERR_FORMAT, "layer.0.p_in"},
        {"\"dtype\":\"I64\"", "\"dtype\":\"F64\"", FA_ERR_FORMAT, "references."},
        {"\"dtype\":\"I64\"", "\"dtype\":\"U64\"", FA_ERR_FORMAT, "dtype"},
        {"\\\"keep_moments\\\":true", "\\\"keep_moments\\\":1   ", FA_ERR_FORMAT, "options"},
        {"\"layer.0.moment_in\":", "\"layer.0.moment_on\":", FA_ERR_CHECKSUM, "layer.0.moment_on"},
        {"\"shape\":[28]", "\"shape\":[27]", FA_ERR_FORMAT, "layer.0.moment_in"},
        {"\"shape\":[28]", "\"shape\":[4,7]", FA_ERR_FORMAT, "layer.0.moment_in"},
        {"\\\"random_in\\\":false", "\\\"random_in\\\":maybe", FA_ERR_FORMAT, "layers"},
        {"references.label", "references.lebal", FA_ERR_CHECKSUM, "references.label"},
        {"\"data_offsets\":[0,", "\"data_offsets\":[4,", FA_ERR_FORMAT, "data_offsets"},
        {"\"calibration.mean\":", "\"calibration.span\":", FA_ERR_FORMAT, "duplicate"},
        {"\"pad.0\":", "\"pad,0\":", FA_ERR_CHECKSUM, "pad,0"},
        {"\\\"dropped\\\":false}]", "\\\"dropped\\\":true }]", FA_ERR_FORMAT, "layers"},
        {"\\\"name\\\":\\\"fc1\\\"", "\\\"nome\\\":\\\"fc1\\\"", FA_ERR_FORMAT, "layers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fa_status status = load_edited(cases[i].from, cases[i].to);
        ck_assert_msg(status == cases[i].status && strstr(fa_error_message(), cases[i].words), "'%s' to '%s': %s: %s", cases[i].from, cases[i].to,
                      fa_status_name(status),
                      fa_error_message());
    }
    /* A missing kind is `gradient`, a missing precision `f32`. */
    ck_assert_int_eq(load_edited("\"kind\":\"gradient\"", "\"precision\":\"f32\""), FA_OK);
    /* Names are free. */
    ck_assert_int_eq(load_edited("\\\"name\\\":\\\"fc1\\\"", "\\\"name\\\":\\\"fcX\\\""), FA_OK);
}
END_TEST

START_TEST(numbers_that_lie)
{
    /* Contents altered on purpose, with checksums that fit: the file is written through the container itself. */
    fa_sketch *s;
    fa_sketch_body *b = sketch->body;
    struct {
        void *at;
        bool is_float;
        double value;
        const char *words;
    } cases[] = {
        {&b->blocks[3], true, NAN, "references.blocks"},     {&b->blocks[3], true, 2, "references.blocks"},
        {&b->share[1], true, -1, "references.share"},        {&b->gram[12], true, 0.123, "not symmetric"},
        {&b->gram[11], true, 0.5, "diagonal"},               {&b->gram[0], true, INFINITY, "references.gram"},
        {(void *)&b->layer[0].p_in[2], true, INFINITY, "layer.0.p_in"}, {&b->predicted[1], false, 4, "references.predicted"},
        {&b->predicted[1], false, -1, "references.predicted"}, {&b->label[1], false, -2, "references.label"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char was[8];
        size_t n = cases[i].is_float ? sizeof(float) : sizeof(int64_t);
        memcpy(was, cases[i].at, n);
        if (cases[i].is_float) *(float *)cases[i].at = (float)cases[i].value;
        else *(int64_t *)cases[i].at = (int64_t)cases[i].value;
        OK(fa_sketch_save_file(sketch, path));
        FAILS(fa_sketch_load_file(context, path, &s), FA_ERR_FORMAT, cases[i].words);
        memcpy(cases[i].at, was, n);
    }
    static const struct {
        int at;
        double value;
    } moments[] = {{0, -1}, {2, -1e-30}, {27, -1}, {0, NAN}, {1, INFINITY}, {26, -INFINITY}};
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        double *at = (double *)b->layer[0].moment[0] + moments[i].at, was = *at;
        *at = moments[i].value;
        OK(fa_sketch_save_file(sketch, path));
        FAILS(fa_sketch_load_file(context, path, &s), FA_ERR_FORMAT, "layer.0.moment_in");
        *at = was;
    }
    double was = sketch->calibration[1][3];
    sketch->calibration[1][3] = was + 10;
    OK(fa_sketch_save_file(sketch, path));
    FAILS(fa_sketch_load_file(context, path, &s), FA_ERR_FORMAT, "calibration.span");
    sketch->calibration[1][3] = was;
}
END_TEST

START_TEST(other_files)
{
    fa_sketch *s;
    static const char not_json[] = "\x08\0\0\0\0\0\0\0{\"a\": 1,", no_metadata[] = "\x08\0\0\0\0\0\0\0{      }";
    FAILS(fa_sketch_load_memory(context, "", 0, &s), FA_ERR_FORMAT, "truncated");
    FAILS(fa_sketch_load_memory(context, NULL, 5, &s), FA_ERR_ARGUMENT, "data");
    FAILS(fa_sketch_load_memory(context, "\x89PNG\r\n\x1a\n____", 12, &s), FA_ERR_FORMAT, "not a sketch");
    FAILS(fa_sketch_load_memory(context, not_json, 16, &s), FA_ERR_FORMAT, "no JSON");
    FAILS(fa_sketch_load_memory(context, no_metadata, 16, &s), FA_ERR_FORMAT, "__metadata__");
    FAILS(fa_sketch_load_file(context, "/nowhere/at/all", &s), FA_ERR_IO, "/nowhere");
    FAILS(fa_sketch_load_file(context, "/tmp", &s), FA_ERR_IO, "folder");
    FAILS(fa_sketch_save_file(sketch, "/nowhere/at/all"), FA_ERR_IO, "/nowhere");
    FAILS(fa_sketch_save_file(sketch, "/tmp"), FA_ERR_IO, "folder");
    /* A deep nest of brackets ends in an error, not at the end of the stack. */
    size_t depth = 1u << 20;
    unsigned char *nest = malloc(depth + 8);
    ck_assert_ptr_nonnull(nest);
    memset(nest, '[', depth + 8);
    for (int i = 0; i < 8; i++) nest[i] = (unsigned char)((uint64_t)depth >> (8 * i));
    memcpy(nest + 8, "{\"a\":", 5);
    ck_assert_int_eq(load(nest, depth + 8), FA_ERR_FORMAT);
    free(nest);
}
END_TEST

START_TEST(the_model_must_fit)
{
    fa_model *other = mlp(context, false), *twin = mlp(context, true);
    net g = {0};
    fa_model *longer;
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_weight(&g, "w1", 6, 8, 0.5f);
    net_weight(&g, "b1", 8, 0, 0.2f);
    net_node(&g, "Gemm", "x", "w1", "b1", "fc1");
    net_output(&g, "fc1", 8);
    OK(net_load(&g, context, &longer));
    OK(fa_sketch_check_model(sketch, twin));
    FAILS(fa_sketch_check_model(sketch, other), FA_ERR_MISMATCH, "'fc1' is 7 x 8");
    FAILS(fa_sketch_check_model(sketch, longer), FA_ERR_MISMATCH, "'fc3' is number 3, but the model has 1 layers");
    sketch->body->model_digest[0] ^= 1;
    FAILS(fa_sketch_check_model(sketch, model), FA_ERR_MISMATCH, "digest");
    sketch->body->model_digest[0] ^= 1;
    sketch->body->logits_node--;
    FAILS(fa_sketch_check_model(sketch, model), FA_ERR_MISMATCH, "another value is taken as logits");
    fa_scorer *scorer;
    FAILS(fa_scorer_create(sketch, other, NULL, &scorer), FA_ERR_MISMATCH, "fc1");
    fa_model_release(other);
    fa_model_release(twin);
    fa_model_release(longer);
}
END_TEST

static int64_t calls, fail_at;

static void *failing_alloc(void *user, size_t n, size_t align)
{
    return calls++ == fail_at ? NULL : fa_system_allocator.alloc(user, n, align);
}

START_TEST(every_allocation_may_fail)
{
    uint64_t before = fa_context_memory_used(context);
    char other[600];
    snprintf(other, sizeof other, "%s.other", path);
    for (int saving = 0; saving < 2; saving++) {
        fa_status status = FA_ERR_MEMORY;
        for (fail_at = 0; status != FA_OK; fail_at++) {
            fa_sketch *s = NULL;
            calls = 0;
            context->allocator.alloc = failing_alloc;
            status = saving ? fa_sketch_save_file(sketch, other) : fa_sketch_load_file(context, path, &s);
            context->allocator.alloc = fa_system_allocator.alloc;
            ck_assert_msg(status == (calls > fail_at ? FA_ERR_MEMORY : FA_OK), "%s, allocation %d: %s", saving ? "saving" : "loading", (int)fail_at,
                          fa_error_message());
            if (status != FA_OK) ck_assert_int_ne(access(other, F_OK), 0);
            fa_sketch_release(s);
            ck_assert_uint_eq(fa_context_memory_used(context), before);
            ck_assert_int_lt(fail_at, 1000);
        }
        ck_assert_int_gt(fail_at, 3 - saving);
    }
    ck_assert_int_eq(remove(other), 0);
}
END_TEST

START_TEST(names_that_are_no_text)
{
    fa_sketch *s;
    sketch->body->layer[0].name = "bytes \xff\xfe";
    OK(fa_sketch_save_file(sketch, path));
    OK(fa_sketch_load_file(context, path, &s));
    ck_assert_str_eq(s->body->layer[0].name, "bytes ??");
    fa_sketch_release(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sketch_file");
    TCase *t = tcase_create("sketch_file");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, comes_back_as_it_went);
    tcase_add_test(t, a_second_reader_agrees);
    tcase_add_test(t, every_truncation_is_a_format_error);
    tcase_add_test(t, every_altered_byte_is_noticed);
    tcase_add_test(t, a_header_that_lies);
    tcase_add_test(t, numbers_that_lie);
    tcase_add_test(t, other_files);
    tcase_add_test(t, the_model_must_fit);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_test(t, names_that_are_no_text);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
