/* SPDX-License-Identifier: Apache-2.0 */
/* Builds that are interrupted and go on to the same bits, and checkpoints that are damaged or somebody else's. */
#include "trace_sets.h"

#include <stdio.h>
#include <unistd.h>

static fa_context *context;
static fa_model *model;
static char path[512];

static void setup(void)
{
    context = new_context(2, FA_KERNELS_AUTO);
    model = oracle_model(context);
    snprintf(path, sizeof path, "%s/fattr-checkpoint-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    remove(path);
}

static void teardown(void)
{
    remove(path);
    fa_model_release(model);
    end_context(context);
}

typedef struct sets {
    fa_refset *references, *calibration;
} sets;

static sets both(void)
{
    return (sets){reference_set(context), image_set(context, R, C, NULL)};
}

static void end(sets s)
{
    fa_refset_release(s.references);
    fa_refset_release(s.calibration);
}

/* The oracle's setup `k`, longer. */
static void long_options(int k, fa_sketch_options *o, fa_trace_options *t)
{
    oracle_options(k, o, t);
    t->draws = 40;
    t->chains = 2;
    t->checkpoint = path;
    t->checkpoint_ms = 1;
}

static bool exists(void)
{
    return access(path, F_OK) == 0;
}

static unsigned char *read_all(size_t *n)
{
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*n + 1);
    ck_assert(p && fread(p, 1, *n, f) == *n);
    fclose(f);
    return p;
}

static void write_all(const unsigned char *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

/* A build that is ended by its deadline once it has left a checkpoint. */
static void interrupt(sets s, fa_sketch_options *o)
{
    remove(path);
    for (o->timeout_ms = 3; !exists(); o->timeout_ms++) {
        fa_sketch *done = NULL;
        if (fa_sketch_build(model, s.references, s.calibration, o, &done) == FA_OK) fa_sketch_release(done);
        ck_assert_int_lt((int)o->timeout_ms, 10000);
    }
    o->timeout_ms = 0;
}

START_TEST(interrupted_builds_go_on_to_the_same_bits)
{
    sets s = both();
    int32_t interruptions = 0;
    for (int k = 0; k < TRACE_SETUPS; k++)
        for (int round = 0; round < 2; round++) {
            fa_sketch_options o;
            fa_trace_options t;
            fa_sketch *whole, *resumed = NULL;
            long_options(k, &o, &t);
            if (t.sampler != FA_SAMPLER_GAUSSIAN || round) t.storage = FA_DRAWS_F32 + (k + round) % 3;
            t.checkpoint = NULL;
            OK(fa_sketch_build(model, s.references, s.calibration, &o, &whole));
            t.checkpoint = path;
            t.resume = 1; /* also where there is no file yet */
            fa_status status = FA_ERR_CANCELLED;
            uint64_t before = fa_context_memory_used(context);
            for (o.timeout_ms = 2 + (uint64_t)round; status == FA_ERR_CANCELLED; o.timeout_ms += 1 + o.timeout_ms / 3) {
                context->threads = 1 + (int32_t)(o.timeout_ms % 3); /* any number of threads may go on */
                status = fa_sketch_build(model, s.references, s.calibration, &o, &resumed);
                if (status == FA_ERR_CANCELLED) {
                    interruptions += exists();
                    ck_assert_ptr_null(resumed);
                    ck_assert_uint_eq(fa_context_memory_used(context), before);
                }
            }
            ck_assert_msg(status == FA_OK, "%s", fa_error_message());
            check_same_bits(whole, resumed);
            fa_sketch_release(resumed);
            fa_sketch_release(whole);
            remove(path);
        }
    ck_assert_int_gt(interruptions, TRACE_SETUPS);
    end(s);
}
END_TEST

/* What a resumed build says of its progress goes on from where it was, to the whole. */
static int32_t follow(void *user, const char *stage, int64_t done, int64_t total)
{
    int64_t *last = user;
    ck_assert(stage && done <= total && done >= last[0]);
    last[0] = done;
    last[1] = total;
    return 0;
}

START_TEST(progress_goes_on)
{
    sets s = both();
    for (int k = 0; k < TRACE_SETUPS; k++) {
        fa_sketch_options o;
        fa_trace_options t;
        fa_sketch *resumed;
        int64_t last[2] = {0};
        long_options(k, &o, &t);
        interrupt(s, &o);
        t.resume = 1;
        o.progress = follow;
        o.progress_user = last;
        OK(fa_sketch_build(model, s.references, s.calibration, &o, &resumed));
        ck_assert(last[0] == last[1] && last[1] > 0);
        fa_sketch_release(resumed);
    }
    end(s);
}
END_TEST

static void check_refused(sets s, const fa_sketch_options *o, fa_status status, const char *words)
{
    fa_sketch *out = NULL;
    uint64_t before = fa_context_memory_used(context);
    FAILS(fa_sketch_build(model, s.references, s.calibration, o, &out), status, words);
    ck_assert(strstr(fa_error_message(), path) != NULL || status == FA_ERR_MEMORY);
    ck_assert_ptr_null(out);
    ck_assert_uint_eq(fa_context_memory_used(context), before);
}

START_TEST(a_checkpoint_of_another_build_is_refused)
{
    sets s = both(), other = both();
    fa_sketch_options o, p;
    fa_trace_options t, u;
    long_options(0, &o, &t);
    t.batchnorm = FA_BATCHNORM_FROZEN;
    interrupt(s, &o);
    t.resume = 1;
    for (int i = 0; i < 18; i++) {
        p = o;
        u = t;
        p.trace = &u;
        switch (i) {
        case 0: u.draws++; break;
        case 1: u.chains++; break;
        case 2: u.gamma += 1; break;
        case 3: u.nbeta += 1; break;
        case 4: u.step_size *= 2; break;
        case 5: u.noise /= 2; break;
        case 6: u.burn_in++; break;
        case 7: u.thinning++; break;
        case 8: u.minibatch++; break;
        case 9: u.decay /= 2; break;
        case 10: u.epsilon /= 2; break;
        case 11: u.first_chain++; break;
        case 12: u.partial = 1; break;
        case 13: u.storage = FA_DRAWS_BF16; break;
        case 14: u.sampler = FA_SAMPLER_SGLD; break;
        case 15: u.parameters = "*"; break;
        case 16: p.seed++; break;
        default: p.batch++; break;
        }
        check_refused(s, &p, FA_ERR_MISMATCH, "another model, other inputs or other options");
    }
    /* Other sets. What was the calibration set is the sampling set now: not the same build either. */
    fa_refset_release(other.calibration);
    other.calibration = image_set(context, R + 1, C, NULL);
    check_refused(other, &o, FA_ERR_MISMATCH, "other inputs");
    fa_refset_release(other.calibration);
    other.calibration = NULL;
    t.sampling = s.calibration;
    check_refused(other, &o, FA_ERR_MISMATCH, "other inputs");
    t.sampling = NULL;
    check_refused(other, &o, FA_ERR_MISMATCH, "other inputs");
    /* It is still good for its own. */
    fa_sketch *out;
    OK(fa_sketch_build(model, s.references, s.calibration, &o, &out));
    fa_sketch_release(out);
    end(s);
    fa_refset_release(other.references);
}
END_TEST

START_TEST(a_damaged_checkpoint_is_refused)
{
    sets s = both();
    size_t n;
    for (int k = 0; k < TRACE_SETUPS; k++) {
        fa_sketch_options o;
        fa_trace_options t;
        long_options(k, &o, &t);
        interrupt(s, &o);
        t.resume = 1;
        unsigned char *p = read_all(&n), *version = NULL;
        write_all(p, n / 2);
        check_refused(s, &o, FA_ERR_FORMAT, "");
        write_all(p, 0);
        check_refused(s, &o, FA_ERR_FORMAT, "");
        write_all((const unsigned char *)"not a checkpoint at all, but longer than eight bytes", 52);
        check_refused(s, &o, FA_ERR_FORMAT, "");
        p[n - 1] ^= 4;
        write_all(p, n);
        check_refused(s, &o, FA_ERR_CHECKSUM, "");
        p[n - 1] ^= 4;
        for (size_t i = 0; i + 20 < n && !version; i++)
            if (!memcmp(p + i, "\"format_version\":\"1\"", 20)) version = p + i + 18;
        ck_assert_ptr_nonnull(version);
        *version = '2';
        write_all(p, n);
        check_refused(s, &o, FA_ERR_VERSION, "format version 2");
        *version = '1';
        /* A sketch is no checkpoint, and a checkpoint no sketch. */
        fa_sketch *out = NULL;
        write_all(p, n);
        FAILS(fa_sketch_load_file(context, path, &out), FA_ERR_FORMAT, "not a sketch");
        OK(fa_sketch_build(model, s.references, s.calibration, &o, &out));
        OK(fa_sketch_save_file(out, path));
        fa_sketch_release(out);
        check_refused(s, &o, FA_ERR_FORMAT, "not a checkpoint");
        free(p);
    }
    end(s);
}
END_TEST

START_TEST(a_checkpoint_that_cannot_be_written_ends_the_build)
{
    sets s = both();
    fa_sketch *out = NULL;
    fa_sketch_options o;
    fa_trace_options t;
    long_options(0, &o, &t);
    t.draws = 2000; /* long enough for a millisecond to pass */
    t.checkpoint = "/nowhere/checkpoint";
    FAILS(fa_sketch_build(model, s.references, s.calibration, &o, &out), FA_ERR_IO, "/nowhere/checkpoint");
    t.draws = 60;
    t.checkpoint_ms = UINT64_MAX; /* never */
    OK(fa_sketch_build(model, s.references, s.calibration, &o, &out));
    fa_sketch_release(out);
    end(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *t = tcase_create("checkpoint");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, interrupted_builds_go_on_to_the_same_bits);
    tcase_add_test(t, progress_goes_on);
    tcase_add_test(t, a_checkpoint_of_another_build_is_refused);
    tcase_add_test(t, a_damaged_checkpoint_is_refused);
    tcase_add_test(t, a_checkpoint_that_cannot_be_written_ends_the_build);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
