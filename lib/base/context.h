/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_CONTEXT_H
#define FA_BASE_CONTEXT_H

#include <fattr/context.h>
#include <stdatomic.h>

typedef struct fa_allocator {
    void *(*alloc)(void *user, size_t size, size_t align);
    void (*free)(void *user, void *block, size_t size, size_t align);
    void *user;
} fa_allocator;

extern const fa_allocator fa_system_allocator;

struct fa_context {
    atomic_int references;
    fa_allocator allocator;
    void (*log)(void *user, int32_t level, const char *message);
    void *log_user;
    int32_t threads;
    void (*parallel_for)(void *user, int32_t count, fa_parallel_body body, void *argument); /* NULL: the library's own threads */
    void *parallel_user;
    int32_t kernels; /* FA_KERNELS_REFERENCE or FA_KERNELS_FAST, resolved when the context was made */
    uint64_t memory_limit;
    _Atomic uint64_t used, peak;
};

/* Says one line to the host's log sink, if there is one. */
void fa_log(const fa_context *context, int32_t level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
