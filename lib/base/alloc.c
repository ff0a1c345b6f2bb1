/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include "base/context.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

/* In front of each block, in a space of FA_ALIGN bytes so that the block keeps its alignment. */
typedef struct header {
    size_t size; /* of the whole allocation */
} header;

/* Where the kernel leaves that to programs, large blocks lie in large pages: looking up small ones takes 5 % of a score of MobileNetV3-small. */
#define LARGE_PAGE ((size_t)2 << 20)

static void *system_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    if (posix_memalign(&p, size >= LARGE_PAGE ? LARGE_PAGE : align, size) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    if (size >= LARGE_PAGE) madvise(p, size & ~(LARGE_PAGE - 1), MADV_HUGEPAGE);
#endif
    return p;
}

static void system_free(void *user, void *block, size_t size, size_t align)
{
    (void)user;
    (void)size;
    (void)align;
    free(block);
}

const fa_allocator fa_system_allocator = {system_alloc, system_free, NULL};

static bool charge(fa_context *c, uint64_t size)
{
    uint64_t now = atomic_fetch_add_explicit(&c->used, size, memory_order_relaxed) + size;
    if (c->memory_limit && now > c->memory_limit) {
        atomic_fetch_sub_explicit(&c->used, size, memory_order_relaxed);
        fa_fail(FA_ERR_MEMORY, "the context's memory limit of %llu bytes would be passed by %llu more", (unsigned long long)c->memory_limit,
                (unsigned long long)size);
        return false;
    }
    uint64_t peak = atomic_load_explicit(&c->peak, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(&c->peak, &peak, now, memory_order_relaxed, memory_order_relaxed)) {
    }
    return true;
}

void *fa_new_uncleared(fa_context *c, size_t size)
{
    size_t whole;
    if (!fa_add_size(size, FA_ALIGN, &whole)) {
        fa_fail_memory(size);
        return NULL;
    }
    if (!charge(c, whole)) return NULL;
    char *p = c->allocator.alloc(c->allocator.user, whole, FA_ALIGN);
    if (!p) {
        atomic_fetch_sub_explicit(&c->used, whole, memory_order_relaxed);
        fa_fail_memory(size);
        return NULL;
    }
    ((header *)(void *)p)->size = whole;
    return p + FA_ALIGN;
}

void *fa_new(fa_context *c, size_t size)
{
    void *p = fa_new_uncleared(c, size);
    if (p) memset(p, 0, size);
    return p;
}

void *fa_new_array(fa_context *c, size_t count, size_t size)
{
    size_t whole;
    if (!fa_mul_size(count, size, &whole)) {
        fa_fail_memory(SIZE_MAX);
        return NULL;
    }
    return fa_new(c, whole);
}

void fa_delete(fa_context *c, void *block)
{
    if (!block) return;
    char *p = (char *)block - FA_ALIGN;
    size_t whole = ((header *)(void *)p)->size;
    c->allocator.free(c->allocator.user, p, whole, FA_ALIGN);
    atomic_fetch_sub_explicit(&c->used, whole, memory_order_relaxed);
}

bool fa_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool fa_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

bool fa_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
