/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

static float uniform(uint64_t *state)
{
    return (float)((double)next(state) / 9007199254740992.0);
}

static void add_blob(float *image, float cx, float cy, float rx, float ry, float level)
{
    for (int y = 0; y < 28; y++)
        for (int x = 0; x < 28; x++) {
            float d = ((float)x - cx) * ((float)x - cx) / (rx * rx) + ((float)y - cy) * ((float)y - cy) / (ry * ry);
            if (d < 1 && image[y * 28 + x] < level) image[y * 28 + x] = level;
        }
}

float *make_images(int64_t n, uint64_t seed)
{
    float *images = calloc((size_t)n * PIXELS, sizeof *images);
    ck_assert_ptr_nonnull(images);
    uint64_t state = seed * 2654435761u + 88172645463325252u;
    for (int i = 0; i < 8; i++) next(&state);
    for (int64_t i = 0; i < n; i++) {
        int blobs = 1 + (int)(next(&state) % 3);
        for (int b = 0; b < blobs; b++) {
            float cx = 6 + 16 * uniform(&state), cy = 6 + 16 * uniform(&state), rx = 3 + 9 * uniform(&state), ry = 3 + 9 * uniform(&state);
            add_blob(images + i * PIXELS, cx, cy, rx, ry, 0.3f + 0.7f * uniform(&state));
        }
        for (int p = 0; p < PIXELS; p++) images[i * PIXELS + p] = fminf(1, images[i * PIXELS + p] * (0.8f + 0.2f * uniform(&state)));
    }
    return images;
}

fa_array images_array(const float *images, int64_t n, int64_t shape[4])
{
    shape[0] = n;
    shape[1] = 1;
    shape[2] = shape[3] = 28;
    return (fa_array){images, shape, 4, FA_FLOAT32, NULL};
}

fa_refset *make_refset(fa_context *context, int64_t n, uint64_t seed)
{
    int64_t shape[4];
    float *images = make_images(n, seed);
    fa_array array = images_array(images, n, shape);
    fa_refset *set = NULL;
    OK(fa_refset_create(context, &array, 1, NULL, &set));
    free(images);
    return set;
}

const char *model_path(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/examples/models/%s", FATTR_SOURCE_ROOT, name);
    return path;
}

void *read_bytes(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    void *data = malloc(*size + 1);
    ck_assert_uint_eq(fread(data, 1, *size, f), *size);
    fclose(f);
    return data;
}

void write_bytes(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    fclose(f);
}

const char *make_folder(void)
{
    static char path[4096];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/fattr-test-XXXXXX", base && base[0] ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(path));
    return path;
}

void remove_folder(const char *path)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    ck_assert_int_eq(system(command), 0);
}

void *count_alloc(void *user, size_t size, size_t align)
{
    counter *c = user;
    void *p = NULL;
    if (c->calls++ == c->fail_at || posix_memalign(&p, align, size)) return NULL;
    c->held++;
    return p;
}

void count_free(void *user, void *block, size_t size, size_t align)
{
    (void)size;
    (void)align;
    if (block) ((counter *)user)->held--;
    free(block);
}

int run_suite(const char *name, void (*add)(TCase *), void (*setup)(void), void (*teardown)(void))
{
    Suite *s = suite_create(name);
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 300);
    if (setup) tcase_add_checked_fixture(t, setup, teardown);
    add(t);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
