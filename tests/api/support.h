/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_API_SUPPORT_H
#define TESTS_API_SUPPORT_H

#include <check.h>
#include <fattr/fattr.h>

/* What the API suites share. They link the shared object alone, so everything goes through the public headers. */

#define PIXELS 784
#define OK(call) ck_assert_msg((call) == FA_OK, "%s", fa_error_message())
/* The call fails with this status and its message holds `text`. */
#define FAILS(call, status, text)                                                                                                                        \
    do {                                                                                                                                                 \
        fa_status got_ = (call);                                                                                                                         \
        ck_assert_msg(got_ == (status), "%s instead of %s: %s", fa_status_name(got_), fa_status_name(status), fa_error_message());                       \
        ck_assert_msg(strstr(fa_error_message(), text) != NULL, "'%s' is not in: %s", text, fa_error_message());                                         \
    } while (0)

/* `n` made-up pictures [n, 1, 28, 28] in [0, 1]: blobs and bars at random places, so that a network sees several classes. Free with free(). */
float *make_images(int64_t n, uint64_t seed);

/* A view of `n` pictures; `shape` is room for it. */
fa_array images_array(const float *images, int64_t n, int64_t shape[4]);

/* A reference set of `n` made-up pictures. */
fa_refset *make_refset(fa_context *context, int64_t n, uint64_t seed);

/* The path of a model in examples/models, e.g. "mlp.onnx"; static room. */
const char *model_path(const char *name);

/* A whole file in memory; free with free(). */
void *read_bytes(const char *path, size_t *size);
void write_bytes(const char *path, const void *data, size_t size);

/* A fresh folder below the system's place for temporary files; static room. remove_folder() takes it away with what is in it. */
const char *make_folder(void);
void remove_folder(const char *path);

/* An allocator for a context (alloc_user a counter): counts, and fails call number `fail_at`. */
typedef struct counter {
    long calls, fail_at, held;
} counter;
void *count_alloc(void *user, size_t size, size_t align);
void count_free(void *user, void *block, size_t size, size_t align);

int run_suite(const char *name, void (*add)(TCase *), void (*setup)(void), void (*teardown)(void));

#endif
