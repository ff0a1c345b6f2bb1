/* SPDX-License-Identifier: Apache-2.0 */
/* Linkage against its definition; grouping of planted mechanisms; the file of mechanisms, altered and made up. */
#include "base/context.h"
#include "mechanism/grouping.h"
#include "mechanism/linkage.h"
#include "mechanism/mechanisms.h"
#include "small_models.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static fa_context *context;
static fa_model *model;
static fa_sketch *sketch;
static char path[512];

static fa_sketch *build(const fa_model *of, uint64_t seed)
{
    fa_sketch_options o;
    fa_sketch *s;
    fa_refset *refs = normal_set(context, 40, 6, seed), *cal = normal_set(context, 21, 6, 2);
    fa_sketch_options_init(&o, sizeof o);
    OK(fa_sketch_build(of, refs, cal, &o, &s));
    fa_refset_release(refs);
    fa_refset_release(cal);
    return s;
}

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
    model = mlp(context, true);
    sketch = build(model, 1);
    snprintf(path, sizeof path, "%s/fattr-mechanisms-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
}

static void teardown(void)
{
    remove(path);
    fa_sketch_release(sketch);
    fa_model_release(model);
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static void unit(float *x, int64_t length)
{
    double s = 0;
    for (int64_t k = 0; k < length; k++) s += (double)x[k] * x[k];
    for (int64_t k = 0; k < length; k++) x[k] = (float)(x[k] / sqrt(s));
}

/* [n, length]: input i of mechanism i % mechanisms, its direction plus noise as long as `spread`; beyond `planted` inputs like nothing else. */
static float *plant(int64_t n, int64_t planted, int64_t mechanisms, int64_t length, double spread, uint64_t seed)
{
    float *x = malloc((size_t)(n * length) * sizeof *x), *direction = malloc((size_t)length * sizeof *direction);
    ck_assert(x && direction);
    fa_normal(seed, 1, 0, n * length, x);
    for (int64_t i = 0; i < n; i++) {
        unit(x + i * length, length);
        if (i >= planted) continue;
        fa_normal(99, (uint64_t)(i % mechanisms), 0, length, direction);
        unit(direction, length);
        for (int64_t k = 0; k < length; k++) x[i * length + k] = direction[k] + (float)spread * x[i * length + k];
        unit(x + i * length, length);
    }
    free(direction);
    return x;
}

/* Average linkage as it is defined: all pairs of clusters, all pairs of their members, in every step. */
static void by_definition(const float *x, int64_t n, int64_t length, double cut, int64_t *label)
{
    for (int64_t i = 0; i < n; i++) label[i] = i;
    for (;;) {
        double best = -2;
        int64_t a = -1, b = -1;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                double sum = 0, pairs = 0;
                if (label[p] != p || label[q] != q) continue;
                for (int64_t i = 0; i < n; i++)
                    for (int64_t j = 0; j < n; j++) {
                        if (label[i] != p || label[j] != q) continue;
                        for (int64_t k = 0; k < length; k++) sum += (double)x[i * length + k] * x[j * length + k];
                        pairs++;
                    }
                if (sum / pairs > best) {
                    best = sum / pairs;
                    a = p;
                    b = q;
                }
            }
        if (best < cut) return;
        for (int64_t i = 0; i < n; i++)
            if (label[i] == b) label[i] = a;
    }
}

START_TEST(linkage_is_average_linkage)
{
    enum { N = 40, LENGTH = 8 };
    for (uint64_t seed = 0; seed < 6; seed++) {
        float *x = plant(N, N / 2, 3, LENGTH, 1.0, seed);
        const float *row[N];
        int64_t label[N], expected[N];
        for (int i = 0; i < N; i++) row[i] = x + i * LENGTH;
        for (double cut = -0.2; cut < 0.9; cut += 0.15) {
            OK(fa_linkage(context, fa_dot_kernels_for(FA_KERNELS_REFERENCE), NULL, row, N, LENGTH, cut, label));
            by_definition(x, N, LENGTH, cut, expected);
            ck_assert_mem_eq(label, expected, sizeof label);
        }
        free(x);
    }
}
END_TEST

/* The same partition under other numbers. */
static void check_partition(const int64_t *group, int64_t planted, int64_t n, int64_t mechanisms)
{
    for (int64_t i = 0; i < planted; i++) ck_assert_int_eq(group[i], group[i % mechanisms]);
    for (int64_t i = 0; i < mechanisms; i++) ck_assert_int_lt(group[i], mechanisms);
    for (int64_t i = 0; i < mechanisms; i++)
        for (int64_t j = 0; j < i; j++) ck_assert_int_ne(group[i], group[j]);
    for (int64_t i = planted; i < n; i++) ck_assert_int_ge(group[i], mechanisms);
}

static int64_t group_on(int32_t threads, const float *x, int64_t n, int64_t length, int64_t *label, uint64_t *peak)
{
    fa_context_options o;
    fa_context *c;
    fa_context_options_init(&o, sizeof o);
    o.threads = threads;
    OK(fa_context_create(&o, &c));
    fa_groups groups = {.context = c, .length = length};
    const fa_grouping how = {.context = c, .cut = 0.35, .like = 0.55};
    OK(fa_group(&how, x, n, &groups, label));
    int64_t found = groups.n, members = 0;
    for (int64_t i = 0; i < found; i++) members += groups.count[i];
    ck_assert_int_eq(members, n);
    for (int64_t i = 1; i < found; i++) ck_assert_int_ge(groups.count[i - 1], groups.count[i]);
    if (peak) *peak = fa_context_memory_peak(c);
    fa_groups_clear(&groups);
    ck_assert_uint_eq(fa_context_memory_used(c), 0);
    fa_context_release(c);
    return found;
}

START_TEST(order_and_threads_do_not_matter)
{
    enum { N = 5000, PLANTED = 4700, MECHANISMS = 5, LENGTH = 200 };
    float *x = plant(N, PLANTED, MECHANISMS, LENGTH, 1.0, 7), *y = malloc(N * LENGTH * sizeof *y);
    int64_t *one = malloc(N * sizeof *one), *other = malloc(N * sizeof *other);
    ck_assert(y && one && other);
    int64_t found = group_on(1, x, N, LENGTH, one, NULL);
    check_partition(one, PLANTED, N, MECHANISMS);
    for (int32_t threads = 2; threads < 6; threads += 3) {
        ck_assert_int_eq(group_on(threads, x, N, LENGTH, other, NULL), found);
        ck_assert_mem_eq(one, other, N * sizeof *one);
    }
    for (int64_t step = 7; step < 4000; step = 529 * step + 6) { /* 7, 3709: no factor in common with N, so a permutation */
        for (int64_t i = 0; i < N; i++) memcpy(y + i * LENGTH, x + i * step % N * LENGTH, LENGTH * sizeof *x);
        ck_assert_int_eq(group_on(2, y, N, LENGTH, other, NULL), found);
        for (int64_t i = 0; i < N; i++) ck_assert_int_eq(other[i], one[i * step % N]);
    }
    free(x);
    free(y);
    free(one);
    free(other);
}
END_TEST

START_TEST(none_one_and_all_the_same)
{
    enum { N = 3000, LENGTH = 16 };
    float *x = plant(1, 0, 1, LENGTH, 0, 3), *same = malloc(N * LENGTH * sizeof *same);
    int64_t *label = calloc(N, sizeof *label);
    ck_assert(same && label);
    ck_assert_int_eq(group_on(1, NULL, 0, LENGTH, NULL, NULL), 0);
    ck_assert_int_eq(group_on(1, x, 1, LENGTH, label, NULL), 1);
    ck_assert_int_eq(label[0], 0);
    for (int64_t i = 0; i < N; i++) memcpy(same + i * LENGTH, x, LENGTH * sizeof *x);
    ck_assert_int_eq(group_on(1, same, N, LENGTH, label, NULL), 1);
    for (int64_t i = 0; i < N; i++) ck_assert_int_eq(label[i], 0);
    free(x);
    free(same);
    free(label);
}
END_TEST

START_TEST(memory_grows_with_the_inputs_and_no_faster)
{
    enum { N = 10000, LENGTH = 100 };
    uint64_t fixed = (uint64_t)FA_LINKAGE_MOST * FA_LINKAGE_MOST * sizeof(float), half, whole;
    int64_t *label = malloc(N * sizeof *label);
    /* A third of the inputs are like nothing else: groups of their own, the most that memory can be asked for. */
    float *x = plant(N, N * 2 / 3, 8, LENGTH, 1.0, 5);
    ck_assert_ptr_nonnull(label);
    group_on(1, x + N / 2 * LENGTH, N / 2, LENGTH, label, &half);
    group_on(1, x, N, LENGTH, label, &whole);
    ck_assert_uint_le(whole, fixed + (uint64_t)N * (3 * LENGTH * sizeof(float) + 300) + (1 << 20));
    free(x);
    free(label);
    ck_assert_uint_le(whole, 2 * half);
}
END_TEST

/* ---- the public functions */

/* Fingerprints of planted mechanisms at a handle's length. */
static float *fingerprints(const fa_mechanisms *m, int64_t n, int64_t mechanisms, uint64_t seed)
{
    return plant(n, n, mechanisms, fa_mechanisms_fingerprint_length(m), 0.6, seed);
}

START_TEST(known_groups_keep_number_and_name)
{
    fa_mechanisms *nothing, *first, *second;
    fa_mechanism_info a, b;
    int64_t g1[30], g2[40], group;
    double like;
    OK(fa_mechanisms_create(sketch, NULL, &nothing));
    int64_t length = fa_mechanisms_fingerprint_length(nothing);
    float *x = fingerprints(nothing, 30, 2, 1), *y = fingerprints(nothing, 40, 3, 2);
    ck_assert_int_eq(fa_mechanisms_count(nothing), 0);
    OK(fa_mechanisms_assign(nothing, x, &group, &like));
    ck_assert(group == -1 && like == -INFINITY);
    OK(fa_mechanisms_group(nothing, x, 30, g1, &first));
    ck_assert_int_eq(fa_mechanisms_count(first), 2);
    OK(fa_mechanisms_group(first, y, 40, g2, &second));
    ck_assert_int_eq(fa_mechanisms_count(second), 3);
    for (int i = 0; i < 40; i++) ck_assert_int_eq(g2[i], i % 3 == 2 ? 2 : g1[i % 3]);
    for (int64_t i = 0; i < 2; i++) {
        OK(fa_mechanisms_get(first, i, &a));
        OK(fa_mechanisms_get(second, i, &b));
        ck_assert_str_eq(a.name, b.name);
        ck_assert_int_eq(strlen(a.name), 12);
        ck_assert_int_gt(b.count, a.count);
    }
    for (int i = 0; i < 40; i++) {
        OK(fa_mechanisms_assign(second, y + i * length, &group, &like));
        ck_assert_int_eq(group, g2[i]);
        ck_assert(like >= 0.55 && like < 2);
        OK(fa_mechanisms_assign(first, y + i * length, &group, NULL));
        ck_assert_int_eq(group, i % 3 == 2 ? -1 : g2[i]);
    }
    /* Without `out` nothing is kept, and the known ones are as they were. */
    OK(fa_mechanisms_group(first, y, 40, g2, NULL));
    ck_assert_int_eq(fa_mechanisms_count(first), 2);
    OK(fa_mechanisms_group(first, NULL, 0, NULL, NULL));
    free(x);
    free(y);
    fa_mechanisms_release(second);
    fa_mechanisms_release(first);
    fa_mechanisms_release(nothing);
}
END_TEST

START_TEST(scored_inputs_have_fingerprints)
{
    fa_scorer_options o;
    fa_scorer *scorer;
    fa_mechanisms *m;
    fa_result r;
    float x[6], one[2048], two[2048];
    int64_t shape[2] = {1, 6};
    fa_scorer_options_init(&o, sizeof o);
    o.want_residual = 1;
    OK(fa_scorer_create(sketch, model, &o, &scorer));
    OK(fa_mechanisms_create(sketch, NULL, &m));
    int64_t length = fa_mechanisms_fingerprint_length(m);
    ck_assert(length > 0 && length <= 2048);
    fa_normal(5, 5, 0, 6, x);
    fa_array a = {x, shape, 2, FA_FLOAT32, NULL};
    OK(fa_score(scorer, &a, 1, &r));
    OK(fa_mechanisms_fingerprint(m, r.residual, one));
    double squares = 0;
    for (int64_t k = 0; k < length; k++) squares += (double)one[k] * one[k];
    ck_assert(fabs(squares - 1) < 1e-5);
    /* How much is unexplained is the score's business: the fingerprint is about what. */
    float *small = malloc((size_t)r.signature_length * sizeof *small);
    ck_assert_ptr_nonnull(small);
    for (int64_t k = 0; k < r.signature_length; k++) small[k] = r.residual[k] / 1024;
    OK(fa_mechanisms_fingerprint(m, small, two));
    for (int64_t k = 0; k < length; k++) ck_assert(fabs((double)one[k] - two[k]) < 1e-5);
    memset(small, 0, (size_t)r.signature_length * sizeof *small);
    OK(fa_mechanisms_fingerprint(m, small, two)); /* no residual at all: still a fingerprint */
    small[3] = NAN;
    FAILS(fa_mechanisms_fingerprint(m, small, two), FA_ERR_NOT_FINITE, "element 3");
    small[3] = 3e38f;
    fa_status status = fa_mechanisms_fingerprint(m, small, two);
    ck_assert(status == FA_OK || status == FA_ERR_NOT_FINITE);
    free(small);
    fa_mechanisms_release(m);
    fa_scorer_destroy(scorer);
}
END_TEST

START_TEST(wrong_arguments)
{
    fa_mechanisms_options o;
    fa_mechanisms *m, *out = NULL;
    int64_t group[2];
    fa_mechanism_info info;
    fa_mechanisms_options_init(&o, sizeof o);
    ck_assert(o.linkage == 0.35 && o.likeness == 0.55);
    const double wrong[] = {-1, 1.5, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        o.linkage = wrong[i];
        FAILS(fa_mechanisms_create(sketch, &o, &out), FA_ERR_ARGUMENT, "fa_mechanisms_options.linkage");
        o.linkage = 0;
        o.likeness = wrong[i];
        FAILS(fa_mechanisms_create(sketch, &o, &out), FA_ERR_ARGUMENT, "fa_mechanisms_options.likeness");
        o.likeness = 0;
    }
    OK(fa_mechanisms_create(sketch, &o, &m));
    int64_t length = fa_mechanisms_fingerprint_length(m);
    float *x = fingerprints(m, 2, 2, 4);
    FAILS(fa_mechanisms_create(NULL, NULL, &out), FA_ERR_ARGUMENT, "'sketch'");
    FAILS(fa_mechanisms_create(sketch, NULL, NULL), FA_ERR_ARGUMENT, "'out'");
    FAILS(fa_mechanisms_group(NULL, x, 2, group, &out), FA_ERR_ARGUMENT, "'mechanisms'");
    FAILS(fa_mechanisms_group(m, NULL, 2, group, &out), FA_ERR_ARGUMENT, "'fingerprints'");
    FAILS(fa_mechanisms_group(m, x, 2, NULL, &out), FA_ERR_ARGUMENT, "'group'");
    FAILS(fa_mechanisms_group(m, x, -1, group, &out), FA_ERR_ARGUMENT, "-1");
    FAILS(fa_mechanisms_get(m, 0, &info), FA_ERR_ARGUMENT, "index 0");
    FAILS(fa_mechanisms_fingerprint(m, NULL, x), FA_ERR_ARGUMENT, "'residual'");
    FAILS(fa_mechanisms_save_file(m, NULL), FA_ERR_ARGUMENT, "'path'");
    FAILS(fa_mechanisms_save_file(m, "/nowhere/at/all"), FA_ERR_IO, "/nowhere/at/all");
    x[length] *= 2;
    FAILS(fa_mechanisms_group(m, x, 2, group, &out), FA_ERR_ARGUMENT, "fingerprint 1");
    FAILS(fa_mechanisms_assign(m, x + length, group, NULL), FA_ERR_ARGUMENT, "fingerprint 0");
    x[length] = NAN;
    FAILS(fa_mechanisms_group(m, x, 2, group, &out), FA_ERR_NOT_FINITE, "fingerprint 1");
    ck_assert_ptr_null(out);
    ck_assert_int_eq(fa_mechanisms_count(NULL) + fa_mechanisms_fingerprint_length(NULL), 0);
    fa_mechanisms_release(NULL);
    free(x);
    fa_mechanisms_release(m);
}
END_TEST

/* ---- the file */

static unsigned char *saved(size_t *n)
{
    fa_mechanisms *m, *known;
    int64_t group[30];
    OK(fa_mechanisms_create(sketch, NULL, &m));
    float *x = fingerprints(m, 30, 3, 1);
    OK(fa_mechanisms_group(m, x, 30, group, &known));
    OK(fa_mechanisms_save_file(known, path));
    free(x);
    fa_mechanisms_release(known);
    fa_mechanisms_release(m);
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    unsigned char *p = malloc(1 << 20);
    ck_assert_ptr_nonnull(p);
    *n = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}

START_TEST(a_file_comes_back_as_it_went)
{
    size_t n;
    unsigned char *bytes_of = saved(&n);
    fa_mechanisms *a, *b, *none;
    fa_mechanism_info one, other;
    fa_sketch *recalibrated;
    OK(fa_mechanisms_load_file(sketch, path, &a));
    OK(fa_mechanisms_load_memory(sketch, bytes_of, n, &b));
    ck_assert(fa_mechanisms_count(a) == 3 && fa_mechanisms_count(b) == 3);
    for (int64_t i = 0; i < 3; i++) {
        OK(fa_mechanisms_get(a, i, &one));
        OK(fa_mechanisms_get(b, i, &other));
        ck_assert_int_eq(one.count, 10);
        ck_assert_str_eq(one.name, other.name);
        ck_assert(one.cohesion == other.cohesion);
        ck_assert_mem_eq(one.center, other.center, (size_t)fa_mechanisms_fingerprint_length(a) * sizeof(float));
    }
    /* What was read groups like what was written. */
    int64_t group[6];
    float *x = fingerprints(a, 6, 3, 8);
    OK(fa_mechanisms_group(a, x, 6, group, NULL));
    for (int i = 0; i < 6; i++) ck_assert(group[i] < 3 && group[i] == group[i % 3]);
    free(x);
    fa_mechanisms_release(a);
    fa_mechanisms_release(b);
    /* Another calibration of the same sketch is the same sketch. */
    OK(fa_sketch_recalibrate(sketch, model, NULL, NULL, &recalibrated));
    OK(fa_mechanisms_load_file(recalibrated, path, &a));
    fa_mechanisms_release(a);
    fa_sketch_release(recalibrated);
    /* Nothing known is something to save, too. */
    OK(fa_mechanisms_create(sketch, NULL, &none));
    OK(fa_mechanisms_save_file(none, path));
    fa_mechanisms_release(none);
    OK(fa_mechanisms_load_file(sketch, path, &none));
    ck_assert_int_eq(fa_mechanisms_count(none), 0);
    fa_mechanisms_release(none);
    free(bytes_of);
}
END_TEST

/* The fuzzer's seeds: their checksums fit, so that each is refused for the rule it breaks. */
START_TEST(files_that_lie)
{
    static const struct {
        const char *name, *says;
        fa_status status;
    } files[] = {
        {"sound", "", FA_OK},
        {"no-groups", "", FA_OK},
        {"zero-sum", "", FA_OK}, /* members that have nothing in common */
        {"newer", "version 2", FA_ERR_VERSION},
        {"other-format", "not a file of mechanisms", FA_ERR_FORMAT},
        {"other-sketch", "another sketch", FA_ERR_MISMATCH},
        {"more-groups", "'groups'", FA_ERR_FORMAT},
        {"negative-groups", "'groups'", FA_ERR_FORMAT},
        {"no-count", "'groups.count'", FA_ERR_FORMAT},
        {"zero-count", "'groups.count'", FA_ERR_FORMAT},
        {"large-count", "'groups.count'", FA_ERR_FORMAT},
        {"long-name", "'groups.name'", FA_ERR_FORMAT},
        {"long-sum", "row 0", FA_ERR_FORMAT},
        {"nan-sum", "row 0", FA_ERR_FORMAT},
        {"narrow-sum", "'groups.sum'", FA_ERR_FORMAT},
        {"wrong-cut", "'linkage'", FA_ERR_FORMAT},
        {"no-likeness", "'likeness'", FA_ERR_FORMAT},
    };
    fa_sketch *sound;
    OK(fa_sketch_load_file(context, FA_SOURCE_ROOT "/tests/fuzz/corpus/sketch/sound.fattr", &sound));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[4096];
        fa_mechanisms *m = NULL;
        snprintf(from, sizeof from, "%s/tests/fuzz/corpus/mechanisms/%s", FA_SOURCE_ROOT, files[i].name);
        fa_status status = fa_mechanisms_load_file(sound, from, &m);
        ck_assert_msg(status == files[i].status && (status == FA_OK || strstr(fa_error_message(), files[i].says)), "%s: %s: %s", files[i].name,
                      fa_status_name(status), fa_error_message());
        fa_mechanisms_release(m);
    }
    fa_sketch_release(sound);
}
END_TEST

START_TEST(altered_files_are_refused)
{
    size_t n;
    unsigned char *p = saved(&n);
    fa_mechanisms *m = NULL;
    for (size_t size = 0; size < n; size += size < 64 || size > n - 64 ? 1 : 37) {
        fa_status status = fa_mechanisms_load_memory(sketch, p, size, &m);
        ck_assert_msg(status == FA_ERR_FORMAT, "cut to %zu: %s", size, fa_status_name(status));
    }
    for (size_t i = 8; i < n; i += 5) {
        p[i] ^= 4;
        fa_status status = fa_mechanisms_load_memory(sketch, p, n, &m);
        ck_assert_msg(status == FA_ERR_CHECKSUM || status == FA_ERR_FORMAT || status == FA_ERR_VERSION, "byte %zu: %s", i, fa_status_name(status));
        p[i] ^= 4;
    }
    ck_assert_ptr_null(m);
    FAILS(fa_mechanisms_load_memory(sketch, p, 0, &m), FA_ERR_FORMAT, "truncated");
    FAILS(fa_mechanisms_load_file(sketch, "/nowhere", &m), FA_ERR_IO, "/nowhere");
    OK(fa_sketch_save_file(sketch, path));
    FAILS(fa_mechanisms_load_file(sketch, path, &m), FA_ERR_FORMAT, "not a file of mechanisms");
    free(p);
}
END_TEST

START_TEST(another_sketch_or_model_is_refused)
{
    size_t n;
    free(saved(&n));
    fa_mechanisms *m = NULL;
    fa_model *small = mlp(context, false);
    fa_sketch *other = build(model, 3), *of_small = build(small, 1);
    FAILS(fa_mechanisms_load_file(other, path, &m), FA_ERR_MISMATCH, "another sketch");
    FAILS(fa_mechanisms_load_file(of_small, path, &m), FA_ERR_MISMATCH, "another sketch");
    ck_assert_ptr_null(m);
    fa_sketch_release(other);
    fa_sketch_release(of_small);
    fa_model_release(small);
}
END_TEST

/* ---- memory */

static long calls, fail_at;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return calls++ == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

static fa_status life(float *x)
{
    fa_mechanisms *m = NULL, *known = NULL, *read = NULL;
    int64_t group[30];
    fa_status s = fa_mechanisms_create(sketch, NULL, &m);
    if (s == FA_OK) s = fa_mechanisms_group(m, x, 20, group, &known);
    if (s == FA_OK) s = fa_mechanisms_save_file(known, path);
    if (s == FA_OK) s = fa_mechanisms_load_file(sketch, path, &read);
    if (s == FA_OK) s = fa_mechanisms_group(read, x, 30, group, NULL);
    fa_mechanisms_release(m);
    fa_mechanisms_release(known);
    fa_mechanisms_release(read);
    return s;
}

START_TEST(every_allocation_may_fail)
{
    fa_mechanisms *m;
    OK(fa_mechanisms_create(sketch, NULL, &m));
    float *x = fingerprints(m, 30, 4, 6);
    fa_mechanisms_release(m);
    uint64_t before = fa_context_memory_used(context);
    fa_status status = FA_ERR_MEMORY;
    for (fail_at = 0; status != FA_OK; fail_at++) {
        calls = 0;
        context->allocator.alloc = failing_alloc;
        status = life(x);
        context->allocator.alloc = fa_system_allocator.alloc;
        ck_assert_msg(status == (calls > fail_at ? FA_ERR_MEMORY : FA_OK), "allocation %ld: %s", fail_at, fa_error_message());
        ck_assert_uint_eq(fa_context_memory_used(context), before);
        ck_assert_int_lt(fail_at, 2000);
    }
    ck_assert_int_gt(fail_at, 40);
    free(x);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mechanisms");
    TCase *t = tcase_create("mechanisms");
    tcase_set_timeout(t, 110);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, linkage_is_average_linkage);
    tcase_add_test(t, order_and_threads_do_not_matter);
    tcase_add_test(t, none_one_and_all_the_same);
    tcase_add_test(t, memory_grows_with_the_inputs_and_no_faster);
    tcase_add_test(t, known_groups_keep_number_and_name);
    tcase_add_test(t, scored_inputs_have_fingerprints);
    tcase_add_test(t, wrong_arguments);
    tcase_add_test(t, a_file_comes_back_as_it_went);
    tcase_add_test(t, files_that_lie);
    tcase_add_test(t, altered_files_are_refused);
    tcase_add_test(t, another_sketch_or_model_is_refused);
    tcase_add_test(t, every_allocation_may_fail);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
