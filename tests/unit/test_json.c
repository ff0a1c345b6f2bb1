/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/json.h"
#include "small_models.h"

#include <float.h>
#include <locale.h>
#include <stdio.h>

static fa_context *context;
static fa_arena arena;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    arena = (fa_arena){.context = context};
}

static void teardown(void)
{
    fa_arena_clear(&arena);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* From an exact-size copy, so that a sanitizer sees a read beyond the end. */
static fa_status parse_bytes(const char *text, size_t n, const fa_json **out)
{
    char *exact = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, text, n);
    fa_status status = fa_json_parse(&arena, exact, n, out);
    free(exact);
    return status;
}

static const fa_json *parse(const char *text)
{
    const fa_json *v = NULL;
    ck_assert_msg(parse_bytes(text, strlen(text), &v) == FA_OK, "%s: %s", text, fa_error_message());
    return v;
}

START_TEST(values)
{
    const fa_json *v = parse(" { \"a\" : [ 1 , -2.5e1, true,false , null ] ,\"\":{} , \"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00\xc3\xa9\" }\r\n\t"), *a = fa_json_get(v, "a");
    ck_assert(fa_json_is(v, FA_JSON_OBJECT) && v->count == 3 && fa_json_is(a, FA_JSON_ARRAY) && a->count == 5);
    ck_assert(fa_json_at(a, 0)->kind == FA_JSON_INT && fa_json_at(a, 0)->integer == 1 && fa_json_at(a, 0)->real == 1);
    ck_assert(fa_json_at(a, 1)->kind == FA_JSON_REAL && fa_json_at(a, 1)->real == -25);
    ck_assert(fa_json_at(a, 2)->kind == FA_JSON_BOOL && fa_json_at(a, 2)->integer == 1 && fa_json_at(a, 3)->integer == 0 &&
              fa_json_at(a, 4)->kind == FA_JSON_NULL);
    ck_assert_ptr_null(fa_json_at(a, 5));
    ck_assert(fa_json_is(fa_json_get(v, ""), FA_JSON_OBJECT) && fa_json_get(v, "")->count == 0);
    ck_assert_str_eq(fa_json_text_of(fa_json_get(v, "s")), "\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9");
    ck_assert_ptr_null(fa_json_get(v, "b"));
    ck_assert_ptr_null(fa_json_get(a, "a"));
    ck_assert_ptr_null(fa_json_text_of(a));
    ck_assert_ptr_null(fa_json_get(NULL, "a"));
    ck_assert(parse("9223372036854775807")->integer == INT64_MAX && parse("-9223372036854775808")->integer == INT64_MIN && parse("-0")->integer == 0);
    ck_assert(parse("0.1")->real == 0.1 && parse("1E+2")->real == 100 && parse("5e-324")->real == 5e-324);
}
END_TEST

START_TEST(what_is_no_json)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "no value at byte 0"},       {" ", "no value at byte 1"},        {"{", "no string at byte 1"},       {"[1,]", "no value at byte 3"},
        {"{\"a\":1,}", "no string"},      {"{\"a\" 1}", "no ':'"},            {"[1 2]", "no ','"},                {"{} {}", "something behind"},
        {"01", "no value"},               {"+1", "no value"},                 {".5", "no value"},                 {"1.", "no digit behind the point"},
        {"1e", "no digit in the exponent"}, {"-", "no value"},                {"nul", "no value"},                {"NaN", "no value"},
        {"1e400", "out of range"},        {"9223372036854775808", "integer out of range"}, {"\"a", "without end"}, {"\"\\", "without end"},
        {"\"\\\"", "without end"},        {"\"\\x\"", "unknown escape"},      {"\"\\u12g4\"", "hexadecimal"},     {"\"\\u12\"", "hexadecimal"},
        {"\"\\ud800\"", "surrogate"},     {"\"\\ud800\\u0041\"", "surrogate"}, {"\"\\udc00\"", "cannot hold"},    {"\"\\u0000\"", "cannot hold"},
        {"\"\n\"", "control"},            {"\"\xff\"", "no UTF-8"},           {"\"\xc0\xaf\"", "no UTF-8"},       {"\"\xed\xa0\x80\"", "no UTF-8"},
        {"\"\xe2\x82\"", "no UTF-8"},     {"\"\xf5\x80\x80\x80\"", "no UTF-8"}, {"{\"a\":1,\"b\":2,\"a\":3}", "duplicate key 'a'"},
        {"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "too deep"},
    };
    const fa_json *v = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fa_status status = parse_bytes(cases[i].text, strlen(cases[i].text), &v);
        ck_assert_msg(status == FA_ERR_FORMAT && strstr(fa_error_message(), cases[i].words), "%s: %s: %s", cases[i].text, fa_status_name(status),
                      fa_error_message());
    }
    ck_assert_ptr_null(v);
    FAILS(parse_bytes("[\0]", 3, &v), FA_ERR_FORMAT, "no value at byte 1");
    size_t many = 2 * ((size_t)FA_JSON_VALUES + 1);
    char *long_list = malloc(many + 1);
    ck_assert_ptr_nonnull(long_list);
    for (size_t i = 0; i < many; i++) long_list[i] = i % 2 ? '0' : ',';
    long_list[0] = '[';
    long_list[many] = ']';
    FAILS(parse_bytes(long_list, many + 1, &v), FA_ERR_FORMAT, "too many values");
    memset(long_list, '1', many);
    FAILS(parse_bytes(long_list, many, &v), FA_ERR_FORMAT, "too many digits");
    free(long_list);
}
END_TEST

START_TEST(every_truncation_fails)
{
    static const char text[] = "{\"k\":[1.5e3,\"\\u00e9\\\\\",{\"x\":null}],\"l\":false}";
    const fa_json *v;
    for (size_t n = 0; n + 1 < sizeof text; n++) ck_assert_int_eq(parse_bytes(text, n, &v), FA_ERR_FORMAT);
    OK(parse_bytes(text, sizeof text - 1, &v));
}
END_TEST

static void check_reals(void)
{
    static const double numbers[] = {0, 0.1, 0.25, -1.0 / 3, 1e300, 5e-324, DBL_EPSILON, 123456789.125, 1e15 + 0.3};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        fa_json_writer w = {.context = context};
        fa_json_real(&w, numbers[i]);
        ck_assert_msg(!w.failed && !strchr(w.text, ',') && parse(w.text)->real == numbers[i], "%.17g became %s", numbers[i], w.text);
        fa_delete(context, w.text);
    }
}

START_TEST(writing)
{
    fa_json_writer w = {.context = context};
    fa_json_open(&w, '{');
    fa_json_key(&w, "list");
    fa_json_open(&w, '[');
    fa_json_int(&w, -5);
    fa_json_real(&w, 0.25);
    fa_json_word(&w, "null");
    fa_json_open(&w, '[');
    fa_json_close(&w, ']');
    fa_json_close(&w, ']');
    fa_json_key(&w, "\"{[:");
    fa_json_string(&w, "a\\\n\xc3\xa9\xff{");
    fa_json_key(&w, "o");
    fa_json_open(&w, '{');
    fa_json_close(&w, '}');
    fa_json_close(&w, '}');
    ck_assert(!w.failed);
    ck_assert_str_eq(w.text, "{\"list\":[-5,0.25,null,[]],\"\\\"{[:\":\"a\\\\\\u000a\xc3\xa9?{\",\"o\":{}}");
    ck_assert_uint_eq(w.size, strlen(w.text));
    const fa_json *v = parse(w.text);
    ck_assert_str_eq(fa_json_text_of(fa_json_get(v, "\"{[:")), "a\\\n\xc3\xa9?{");
    fa_delete(context, w.text);
    check_reals();
    /* A host's locale with a decimal comma, where the machine has one. */
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (setlocale(LC_NUMERIC, names[i])) check_reals();
    setlocale(LC_NUMERIC, "C");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *t = tcase_create("json");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, values);
    tcase_add_test(t, what_is_no_json);
    tcase_add_test(t, every_truncation_fails);
    tcase_add_test(t, writing);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
