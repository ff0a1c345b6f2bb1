/* SPDX-License-Identifier: Apache-2.0 */
/* Files of trace sketches and checkpoints: read by the second reader, and made up. */
#include "../fuzz/checkpoint_build.h"
#include "trace_sets.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static fa_context *context;

static void setup(void)
{
    context = new_context(1, FA_KERNELS_AUTO);
}

static void teardown(void)
{
    end_context(context);
}

static char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*n + 1);
    ck_assert(p && fread(p, 1, *n, f) == *n);
    p[*n] = '\0';
    fclose(f);
    return p;
}

/* The number behind `key` in JSON text. */
static double number_of(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    ck_assert_msg(at != NULL, "%s is not in %s", key, text);
    return strtod(at + strlen(key), NULL);
}

START_TEST(the_second_reader_reads_it)
{
    char path[512], command[1600], json[520];
    fa_model *model = oracle_model(context);
    snprintf(path, sizeof path, "%s/fattr-trace-file-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    snprintf(json, sizeof json, "%s.json", path);
    for (int k = 0; k < TRACE_SETUPS; k++) {
        fa_sketch_options o;
        fa_trace_options t;
        size_t n;
        oracle_options(k, &o, &t);
        if (t.sampler != FA_SAMPLER_GAUSSIAN) t.storage = FA_DRAWS_F32 + (k + 2) % 3;
        fa_sketch *s = build_oracle(model, context, &o);
        OK(fa_sketch_save_file(s, path));
        snprintf(command, sizeof command, "%s %s/tests/data/read_sketch.py %s > %s", PYTHON, FA_SOURCE_ROOT, path, json);
        ck_assert_int_eq(system(command), 0);
        char *text = read_all(json, &n);
        ck_assert_msg(number_of(text, "\"references\": ") == R && number_of(text, "\"calibration\": ") == C && number_of(text, "\"weights\": ") == TRACE_WEIGHTS &&
                          number_of(text, "\"draws\": ") == (double)s->body->offset[s->body->n_layer], "%s", text);
        /* Its own decoding of the last draw is as far from the trained weights as the library says the chain was. */
        if (t.storage != FA_DRAWS_DEFAULT) ck_assert_double_eq_tol(number_of(text, "\"moved\": ["), number_of(text, "\"distance\": ["), 0.01);
        free(text);
        fa_sketch_release(s);
    }
    remove(path);
    remove(json);
    fa_model_release(model);
}
END_TEST

typedef struct seed {
    const char *name;
    fa_status status;
    const char *words;
} seed;

START_TEST(made_up_sketches)
{
    static const seed seeds[] = {{"replay", FA_OK, ""}, {"f32", FA_OK, ""}, {"bf16", FA_OK, ""}, {"int8", FA_OK, ""}, {"partial", FA_OK, ""}, {"uncalibrated", FA_OK, ""},
                                 {"wild-draws", FA_OK, ""}, {"still", FA_OK, ""}, {"no-losses", FA_ERR_FORMAT, "references.loss"},
                                 {"no-calibration-losses", FA_ERR_FORMAT, "calibration.loss"}, {"negative-loss", FA_ERR_FORMAT, "references.loss"},
                                 {"few-draws", FA_ERR_FORMAT, "draws.delta"}, {"same-chain", FA_ERR_FORMAT, "'chains'"}, {"one-draw", FA_ERR_FORMAT, "'chains'"},
                                 {"no-chain", FA_ERR_FORMAT, "'chains'"}, {"wide-weight", FA_ERR_FORMAT, ""}, {"no-sampler", FA_ERR_FORMAT, "'trace'"},
                                 {"chain-again", FA_ERR_FORMAT, "'trace'"}, {"more-statistics", FA_ERR_FORMAT, "draws.statistics"}, {"no-kind", FA_ERR_FORMAT, "'kind'"}};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        char path[512];
        fa_sketch *s = NULL;
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/sketch/trace-%s.fattr", FA_SOURCE_ROOT, seeds[i].name);
        fa_status status = fa_sketch_load_file(context, path, &s);
        ck_assert_msg(status == seeds[i].status, "%s: %s: %s", seeds[i].name, fa_status_name(status), fa_error_message());
        if (status != FA_OK) ck_assert_msg(strstr(fa_error_message(), seeds[i].words) != NULL, "%s: %s", seeds[i].name, fa_error_message());
        fa_sketch_release(s);
    }
}
END_TEST

START_TEST(made_up_checkpoints)
{
    static const seed seeds[] = {{"f32", FA_OK, ""}, {"begun", FA_OK, ""}, {"done", FA_OK, ""}, {"replay", FA_ERR_FORMAT, "draws.delta"}, {"newer", FA_ERR_VERSION, "version 2"},
                                 {"foreign", FA_ERR_MISMATCH, "other options"}, {"third-chain", FA_ERR_FORMAT, "'chain'"}, {"other-step", FA_ERR_FORMAT, "'step'"},
                                 {"far-step", FA_ERR_FORMAT, "'step'"}, {"seven-draws", FA_ERR_FORMAT, "'draw'"}, {"no-state", FA_ERR_FORMAT, "chain.weights"},
                                 {"wild-state", FA_ERR_FORMAT, "second_moment"}, {"one-distance", FA_ERR_FORMAT, "'chains'"}, {"sketch", FA_ERR_FORMAT, "not a checkpoint"}};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        char path[512];
        fa_checkpoint c = {.draw = 0};
        fa_arena arena = {.context = context};
        fa_sketch *s = checkpoint_build(context, FA_SAMPLER_RMSPROP_SGLD, FA_DRAWS_F32);
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/checkpoint/%s.fattr", FA_SOURCE_ROOT, seeds[i].name);
        fa_status status = fa_checkpoint_read(s, &c, path, &arena);
        ck_assert_msg(status == seeds[i].status, "%s: %s: %s", seeds[i].name, fa_status_name(status), fa_error_message());
        if (status != FA_OK) ck_assert_msg(strstr(fa_error_message(), seeds[i].words) != NULL, "%s: %s", seeds[i].name, fa_error_message());
        else ck_assert(c.chain == (strcmp(seeds[i].name, "begun") != 0) && c.draw == (c.chain ? seeds[i].name[0] == 'd' ? 6 : 4 : 0) && c.state.weights[8] == 8);
        fa_arena_clear(&arena);
        fa_sketch_free(s);
    }
}
END_TEST

static int64_t calls, fail_at;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return calls++ == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

START_TEST(every_allocation_of_a_checkpoint_may_fail)
{
    char path[512];
    float weights[9] = {0}, moments[9] = {0}, statistics[2] = {1, 1};
    fa_checkpoint c = {.draw = 4, .chain = 1, .state = {.weights = weights, .second_moment = moments, .statistics = statistics, .step = 6}};
    snprintf(path, sizeof path, "%s/fattr-trace-state-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    fa_sketch *s = checkpoint_build(context, FA_SAMPLER_SGLD, FA_DRAWS_BF16);
    for (int reading = 0; reading < 2; reading++) {
        fa_status status = FA_ERR_MEMORY;
        for (fail_at = 0; status != FA_OK; fail_at++) {
            uint64_t before = fa_context_memory_used(context);
            fa_arena arena = {.context = context};
            calls = 0;
            context->allocator.alloc = failing_alloc;
            status = reading ? fa_checkpoint_read(s, &c, path, &arena) : fa_checkpoint_write(s, &c, path);
            context->allocator.alloc = fa_system_allocator.alloc;
            ck_assert_msg(status == (calls > fail_at ? FA_ERR_MEMORY : FA_OK), "allocation %d: %s", (int)fail_at, fa_error_message());
            ck_assert(reading || status == FA_OK || access(path, F_OK) != 0);
            fa_arena_clear(&arena);
            ck_assert_uint_eq(fa_context_memory_used(context), before);
        }
        ck_assert_int_gt(fail_at, 3);
    }
    fa_sketch_free(s);
    remove(path);
}
END_TEST

START_TEST(checkpoints_are_read_as_they_were_written)
{
    char path[512];
    fa_checkpoint c = {.draw = 4, .chain = 1, .state = {.step = 6}}, back = {.draw = 0};
    fa_arena arena = {.context = context};
    snprintf(path, sizeof path, "%s/fattr-trace-state-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    for (int32_t storage = FA_DRAWS_F32; storage <= FA_DRAWS_INT8; storage++) {
        fa_sketch *a = checkpoint_build(context, FA_SAMPLER_SGLD, storage), *b = checkpoint_build(context, FA_SAMPLER_SGLD, storage);
        fa_sketch_trace *t = a->body->trace;
        float weights[9] = {1, -2, 3e30f, 4, 0, 6, 7, 8, 9}, moments[9] = {0}, statistics[2] = {-1, 2};
        for (size_t i = 0; i < 4 * t->draw_bytes; i++) t->draw[i] = (unsigned char)(7 * i);
        for (int i = 0; i < 18; i++) t->loss[i] = (float)i;
        for (int i = 0; i < 12; i++) a->calibration_loss[i] = (float)i / 8;
        for (int i = 0; i < 8; i++) t->statistics[i] = (float)-i;
        t->chain[0].distance = 0.125;
        c.state.weights = weights;
        c.state.second_moment = moments;
        c.state.statistics = statistics;
        memset(c.request, 0xab, sizeof c.request);
        memset(back.request, 0xab, sizeof back.request);
        OK(fa_checkpoint_write(a, &c, path));
        OK(fa_checkpoint_read(b, &back, path, &arena));
        const fa_sketch_trace *u = b->body->trace;
        ck_assert(back.chain == 1 && back.draw == 4 && back.state.step == 6 && u->chain[0].distance == 0.125);
        ck_assert_mem_eq(u->draw, t->draw, 4 * t->draw_bytes);
        ck_assert_mem_eq(u->loss, t->loss, 18 * sizeof(float));
        ck_assert_mem_eq(u->statistics, t->statistics, 8 * sizeof(float));
        ck_assert_mem_eq(b->calibration_loss, a->calibration_loss, 12 * sizeof(float));
        ck_assert_mem_eq(back.state.weights, weights, sizeof weights);
        ck_assert_mem_eq(back.state.second_moment, moments, sizeof moments);
        ck_assert_mem_eq(back.state.statistics, statistics, sizeof statistics);
        fa_sketch_free(a);
        fa_sketch_free(b);
    }
    fa_arena_clear(&arena);
    remove(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace_file");
    TCase *t = tcase_create("trace_file");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_second_reader_reads_it);
    tcase_add_test(t, made_up_sketches);
    tcase_add_test(t, made_up_checkpoints);
    tcase_add_test(t, checkpoints_are_read_as_they_were_written);
    tcase_add_test(t, every_allocation_of_a_checkpoint_may_fail);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
