/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"
#include "sketch/refset.h"
#include "small_models.h"

#include <math.h>

static fa_context *context;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static fa_array floats(const float *data, const int64_t *shape, int32_t ndim)
{
    return (fa_array){.data = data, .shape = shape, .ndim = ndim, .dtype = FA_FLOAT32, .name = "x"};
}

START_TEST(keeps_a_copy)
{
    float x[6] = {1, 2, 3, 4, 5, 6};
    uint8_t mask[3] = {0, 1, 0};
    int64_t shape[] = {3, 2}, one[] = {3}, labels[] = {4, -1, 0}, ids[] = {30, 10, 20}, v;
    fa_array in[] = {floats(x, shape, 2), {mask, one, 1, FA_UINT8, "mask"}}, out;
    fa_refset_options o;
    fa_refset *set;
    fa_refset_options_init(&o, sizeof o);
    o.labels = labels;
    o.ids = ids;
    OK(fa_refset_create(context, in, 2, &o, &set));
    x[3] = -1;
    labels[0] = ids[0] = mask[1] = 9;
    shape[0] = 0;
    ck_assert_int_eq(fa_refset_count(set), 3);
    ck_assert_int_eq(fa_refset_input_count(set), 2);
    OK(fa_refset_get_input(set, 0, &out));
    ck_assert_str_eq(out.name, "x");
    ck_assert(out.ndim == 2 && out.shape[0] == 3 && out.shape[1] == 2 && ((const float *)out.data)[3] == 4);
    OK(fa_refset_get_input(set, 1, &out));
    ck_assert(out.dtype == FA_UINT8 && ((const uint8_t *)out.data)[1] == 1);
    OK(fa_refset_get_label(set, 0, &v));
    ck_assert_int_eq(v, 4);
    OK(fa_refset_get_label(set, 1, &v));
    ck_assert_int_eq(v, -1);
    OK(fa_refset_get_id(set, 0, &v));
    ck_assert_int_eq(v, 30);
    FAILS(fa_refset_get_id(set, 3, &v), FA_ERR_ARGUMENT, "3");
    FAILS(fa_refset_get_label(set, -1, &v), FA_ERR_ARGUMENT, "-1");
    FAILS(fa_refset_get_input(set, 2, &out), FA_ERR_ARGUMENT, "2");
    fa_refset_release(set);
    /* Without options: ids count up, there are no labels. */
    shape[0] = 3;
    OK(fa_refset_create(context, in, 1, NULL, &set));
    OK(fa_refset_get_id(set, 2, &v));
    ck_assert_int_eq(v, 2);
    FAILS(fa_refset_get_label(set, 0, &v), FA_ERR_STATE, "labels");
    fa_refset_release(fa_refset_retain(set));
    fa_refset_release(set);
}
END_TEST

START_TEST(refuses)
{
    float x[6] = {1, 2, 3, 4, 5, 6};
    double wide[2] = {1, 1e300};
    uint16_t half[2] = {0x3c00, 0x7c00};
    int64_t shape[] = {3, 2}, two[] = {2}, none[] = {0, 2}, negative[] = {3, -2}, huge[] = {INT64_C(1) << 31, INT64_C(1) << 31}, ids[] = {1, 2, 1},
        labels[] = {0, 0, -2};
    fa_array a = floats(x, shape, 2), pair[2] = {a, floats(x, two, 1)};
    fa_refset_options o;
    fa_refset *set = NULL;
    fa_refset_options_init(&o, sizeof o);
    FAILS(fa_refset_create(context, &a, 0, NULL, &set), FA_ERR_ARGUMENT, "0 input");
    FAILS(fa_refset_create(NULL, &a, 1, NULL, &set), FA_ERR_ARGUMENT, "context");
    FAILS(fa_refset_create(context, NULL, 1, NULL, &set), FA_ERR_ARGUMENT, "inputs");
    FAILS(fa_refset_create(context, &a, 1, NULL, NULL), FA_ERR_ARGUMENT, "out");
    FAILS(fa_refset_create(context, pair, 2, NULL, &set), FA_ERR_SHAPE, "2 inputs, but 3");
    a.shape = none;
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_ARGUMENT, "empty");
    a.shape = negative;
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_SHAPE, "-2");
    a.shape = huge;
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_LIMIT, "'x'");
    a.shape = NULL;
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_ARGUMENT, "shape");
    a = floats(NULL, shape, 2);
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_ARGUMENT, "data");
    a = floats(x, shape, 9);
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_SHAPE, "9 dimensions");
    a = floats(x, shape, 0);
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_SHAPE, "no dimension");
    a = floats(x, shape, 2);
    a.dtype = 8;
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_DTYPE, "8");
    a.dtype = FA_FLOAT32;
    x[3] = NAN;
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_NOT_FINITE, "'x': element 1 of input 1");
    x[3] = INFINITY;
    FAILS(fa_refset_create(context, &a, 1, NULL, &set), FA_ERR_NOT_FINITE, "element 1 of input 1");
    x[3] = 4;
    FAILS(fa_refset_create(context, &(fa_array){wide, two, 1, FA_FLOAT64, NULL}, 1, NULL, &set), FA_ERR_NOT_FINITE,
          "input array 0: element 0 of input 1");
    FAILS(fa_refset_create(context, &(fa_array){half, two, 1, FA_FLOAT16, NULL}, 1, NULL, &set), FA_ERR_NOT_FINITE, "element 0 of input 1");
    FAILS(fa_refset_create(context, &(fa_array){half, two, 1, FA_BFLOAT16, NULL}, 1, &o, NULL), FA_ERR_ARGUMENT, "out");
    o.ids = ids;
    FAILS(fa_refset_create(context, &a, 1, &o, &set), FA_ERR_ARGUMENT, "id 1");
    o.ids = NULL;
    o.labels = labels;
    FAILS(fa_refset_create(context, &a, 1, &o, &set), FA_ERR_ARGUMENT, "label -2 of input 2");
    ck_assert_ptr_null(set);
    ck_assert_int_eq(fa_refset_count(NULL), 0);
    fa_refset_release(NULL);
}
END_TEST

static void digest_of(const fa_array *a, const fa_refset_options *o, uint8_t digest[16])
{
    fa_refset *set;
    OK(fa_refset_create(context, a, 1, o, &set));
    OK(fa_refset_digest(set, digest));
    fa_refset_release(set);
}

START_TEST(digest_sees_everything)
{
    float x[6] = {1, 2, 3, 4, 5, 6};
    int64_t shape[] = {3, 2}, flat[] = {3, 1, 2}, labels[] = {0, 1, 2}, ids[] = {0, 1, 2}, others[] = {0, 1, 3};
    uint8_t first[16], again[16];
    fa_array a = floats(x, shape, 2);
    fa_refset_options o;
    fa_refset_options_init(&o, sizeof o);
    digest_of(&a, NULL, first);
    o.ids = ids; /* the default ids */
    digest_of(&a, &o, again);
    ck_assert_mem_eq(first, again, 16);
    o.ids = others;
    digest_of(&a, &o, again);
    ck_assert_mem_ne(first, again, 16);
    o.ids = NULL;
    o.labels = labels;
    digest_of(&a, &o, again);
    ck_assert_mem_ne(first, again, 16);
    a.dtype = FA_INT32;
    digest_of(&a, NULL, again);
    ck_assert_mem_ne(first, again, 16);
    a = floats(x, flat, 3);
    digest_of(&a, NULL, again);
    ck_assert_mem_ne(first, again, 16);
    a = floats(x, shape, 2);
    x[5] = 7;
    digest_of(&a, NULL, again);
    ck_assert_mem_ne(first, again, 16);
}
END_TEST

START_TEST(selects_rows)
{
    float x[6] = {1, 2, 3, 4, 5, 6};
    int64_t shape[] = {3, 2}, labels[] = {7, 8, 9};
    fa_array a = floats(x, shape, 2);
    fa_refset_options o;
    fa_refset *set, *part;
    fa_refset_options_init(&o, sizeof o);
    o.labels = labels;
    OK(fa_refset_create(context, &a, 1, &o, &set));
    OK(fa_refset_select(context, set, (bool[]){true, false, true}, &part));
    ck_assert_int_eq(part->n, 2);
    ck_assert_int_eq(part->input[0].shape[0], 2);
    ck_assert_mem_eq(part->input[0].data, ((float[]){1, 2, 5, 6}), 16);
    ck_assert(part->id[1] == 2 && part->label[1] == 9);
    fa_refset_free(part);
    fa_refset_release(set);
}
END_TEST

static int64_t calls, fail_at;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return calls++ == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

START_TEST(every_allocation_may_fail)
{
    float x[6] = {1, 2, 3, 4, 5, 6};
    int64_t shape[] = {3, 2}, ids[] = {5, 6, 7};
    fa_array a = floats(x, shape, 2);
    fa_refset_options o;
    fa_refset_options_init(&o, sizeof o);
    o.ids = ids;
    o.labels = ids;
    context->allocator.alloc = failing_alloc;
    fa_status status = FA_ERR_MEMORY;
    for (fail_at = 0; status != FA_OK; fail_at++) {
        fa_refset *set = NULL;
        calls = 0;
        status = fa_refset_create(context, &a, 1, &o, &set);
        ck_assert_int_eq(status, calls > fail_at ? FA_ERR_MEMORY : FA_OK);
        fa_refset_release(set);
        ck_assert_uint_eq(fa_context_memory_used(context), 0);
        ck_assert_int_lt(fail_at, 100);
    }
    ck_assert_int_gt(fail_at, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("refset");
    TCase *t = tcase_create("refset");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, keeps_a_copy);
    tcase_add_test(t, refuses);
    tcase_add_test(t, digest_sees_everything);
    tcase_add_test(t, selects_rows);
    tcase_add_test(t, every_allocation_may_fail);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
