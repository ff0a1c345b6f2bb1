/* SPDX-License-Identifier: Apache-2.0 */
/* Weights outside the model's file: where they may lie, and every way out of the folder that a file could try. */
#include "onnx_message.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];
static fa_context context;

static const char *path(const char *name)
{
    static char text[4][256];
    static int next;
    next = (next + 1) % 4;
    snprintf(text[next], sizeof text[next], "%s/%s", root, name);
    return text[next];
}

static void write_file(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(path(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

/* root/model holds the model and its weights; root/secret, root/modelling/secret and what the links lead to do not belong to it. */
static void setup(void)
{
    static const float weights[] = {0, 0, 0, 0, 1, 2, 3, 4};
    context = plain_context();
    strcpy(root, "/tmp/test_onnx.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_int_eq(mkdir(path("model"), 0700), 0);
    ck_assert_int_eq(mkdir(path("model/sub"), 0700), 0);
    ck_assert_int_eq(mkdir(path("modelling"), 0700), 0);
    write_file("model/weights.bin", weights, sizeof weights);
    write_file("model/sub/weights..bin", weights, sizeof weights);
    write_file("secret", weights, sizeof weights);
    write_file("modelling/secret", weights, sizeof weights);
    ck_assert_int_eq(symlink("weights.bin", path("model/inside")), 0);
    ck_assert_int_eq(symlink("../secret", path("model/outside")), 0);
    ck_assert_int_eq(symlink("../modelling", path("model/neighbour")), 0);
    ck_assert_int_eq(symlink("nothing", path("model/dangling")), 0);
    ck_assert_int_eq(symlink("model", path("alias")), 0);
    ck_assert_int_eq(mkfifo(path("model/pipe"), 0600), 0);
}

static void teardown(void)
{
    static const char *const files[] = {"model/weights.bin", "model/sub/weights..bin", "secret", "modelling/secret", "model/inside", "model/outside",
                                        "model/neighbour", "model/dangling", "alias", "model/pipe", "model/model.onnx"};
    static const char *const folders[] = {"modelling", "model/sub", "model"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) unlink(path(files[i]));
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) rmdir(path(folders[i]));
    ck_assert_int_eq(rmdir(root), 0);
    ck_assert_uint_eq(context.used, 0);
}

/* A model whose initialiser w, float32 [4], lies at `location`; NULL leaves an entry out. */
static msg model_with(const char *location, const char *offset, const char *length)
{
    const char *const pairs[][2] = {{"location", location}, {"offset", offset}, {"length", length}, {"checksum", "0"}};
    int64_t four = 4;
    msg t = tensor("w", FA_FLOAT32, 1, &four), more = {0};
    for (int i = 0; i < 4; i++) {
        msg entry = {0};
        if (!pairs[i][1]) continue;
        put_text(&entry, 1, pairs[i][0]);
        put_text(&entry, 2, pairs[i][1]);
        put_msg(&t, 13, &entry);
    }
    put_int(&t, 14, 1);
    put_msg(&more, 5, &t);
    msg g = relu_graph(&more);
    return model_of(&g);
}

static void expect(const msg *m, const char *folder, fa_status status, const char *words)
{
    static const float expected[] = {1, 2, 3, 4};
    fa_graph *g = NULL;
    fa_status got = fa_onnx_read_memory(&context, m->data, m->n, folder, &g);
    ck_assert_msg(got == status, "%s, not %s (%s): %s", fa_status_name(got), fa_status_name(status), words, fa_error_message());
    if (got != FA_OK) {
        ck_assert_msg(strstr(fa_error_message(), words) != NULL, "'%s' has no '%s'", fa_error_message(), words);
        ck_assert_msg(strstr(fa_error_message(), "initialiser 'w'") != NULL, "%s", fa_error_message());
        return;
    }
    ck_assert_mem_eq(g->value[fa_graph_find_value(g, "w")].view.data, expected, sizeof expected);
    fa_graph_destroy(g);
}

static void expect_place(const char *location, const char *offset, const char *length, fa_status status, const char *words)
{
    msg m = model_with(location, offset, length);
    expect(&m, path("model"), status, words);
}

START_TEST(test_inside)
{
    expect_place("weights.bin", "16", "16", FA_OK, "");
    expect_place("weights.bin", "16", NULL, FA_OK, "");
    expect_place("./weights.bin", "16", "16", FA_OK, "");
    expect_place("sub/weights..bin", "16", "16", FA_OK, "");
    expect_place("inside", "16", "16", FA_OK, "");
    msg m = model_with("weights.bin", "16", "16");
    expect(&m, path("alias"), FA_OK, "");
    expect(&m, path("model/"), FA_OK, "");
    expect(&m, path("model/sub/.."), FA_OK, "");
}
END_TEST

START_TEST(test_beside_the_file)
{
    static const float expected[] = {1, 2, 3, 4};
    msg m = model_with("weights.bin", "16", "16");
    write_file("model/model.onnx", m.data, m.n);
    fa_graph *g = NULL;
    ck_assert_int_eq(fa_onnx_read_file(&context, path("model/model.onnx"), &g), FA_OK);
    ck_assert_mem_eq(g->value[fa_graph_find_value(g, "w")].view.data, expected, sizeof expected);
    fa_graph_destroy(g);
    ck_assert_int_eq(chdir(path("model")), 0);
    ck_assert_int_eq(fa_onnx_read_file(&context, "model.onnx", &g), FA_OK);
    fa_graph_destroy(g);
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(test_outside)
{
    expect_place(path("secret"), "16", "16", FA_ERR_FORMAT, "lies outside the model's folder");
    expect_place("../secret", "16", "16", FA_ERR_FORMAT, "lies outside the model's folder");
    expect_place("sub/../../secret", "16", "16", FA_ERR_FORMAT, "lies outside the model's folder");
    expect_place("sub/..", "16", "16", FA_ERR_FORMAT, "lies outside the model's folder");
    expect_place("..", "16", "16", FA_ERR_FORMAT, "lies outside the model's folder");
    expect_place("outside", "16", "16", FA_ERR_FORMAT, "a link that leads outside");
    expect_place("neighbour/secret", "16", "16", FA_ERR_FORMAT, "a link that leads outside");
}
END_TEST

START_TEST(test_no_file)
{
    expect_place("sub", "16", "16", FA_ERR_IO, "is not a regular file");
    expect_place("pipe", "16", "16", FA_ERR_IO, "is not a regular file");
    expect_place("absent", "16", "16", FA_ERR_IO, "cannot open external data");
    expect_place("dangling", "16", "16", FA_ERR_IO, "cannot open external data");
    expect_place("weights.bin/x", "16", "16", FA_ERR_IO, "cannot open external data");
    static char name[2000];
    memset(name, 'n', sizeof name - 1);
    expect_place(name, "16", "16", FA_ERR_IO, "cannot open external data");
    msg m = model_with("weights.bin", "16", "16");
    expect(&m, path("nowhere"), FA_ERR_IO, "cannot find the folder");
    expect(&m, NULL, FA_ERR_UNSUPPORTED, "external data 'weights.bin', and a model in memory has no folder");
}
END_TEST

START_TEST(test_ranges)
{
    expect_place("weights.bin", "17", "16", FA_ERR_FORMAT, "16 bytes from byte 17 on are wanted, the file has 32");
    expect_place("weights.bin", "33", NULL, FA_ERR_FORMAT, "from byte 33 on");
    expect_place("weights.bin", "18446744073709551615", "16", FA_ERR_FORMAT, "from byte 18446744073709551615 on");
    expect_place("weights.bin", "18446744073709551616", "16", FA_ERR_FORMAT, "offset '18446744073709551616' is no number");
    expect_place("weights.bin", "-1", "16", FA_ERR_FORMAT, "offset '-1' is no number");
    expect_place("weights.bin", "", "16", FA_ERR_FORMAT, "offset '' is no number");
    expect_place("weights.bin", "16", "1x", FA_ERR_FORMAT, "length '1x' is no number");
    expect_place("weights.bin", "16", "12", FA_ERR_FORMAT, "its length is 12 bytes, the tensor's shape asks for 16");
    expect_place(NULL, "16", "16", FA_ERR_FORMAT, "without a location");
    expect_place("", "16", "16", FA_ERR_FORMAT, "without a location");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx-external");
    TCase *c = tcase_create("places");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_inside);
    tcase_add_test(c, test_beside_the_file);
    tcase_add_test(c, test_outside);
    tcase_add_test(c, test_no_file);
    tcase_add_test(c, test_ranges);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
