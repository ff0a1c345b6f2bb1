/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"

#include "api/check.h"
#include "base/alloc.h"
#include "base/options.h"
#include "kernels/kernels.h"

#include <stdlib.h>

#define MAX_THREADS 256

static const fa_context_options defaults = {.struct_size = sizeof defaults, .threads = 1, .kernels = FA_KERNELS_AUTO};

void fa_context_options_init(fa_context_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

static fa_status resolve_kernels(int32_t asked, int32_t *kernels)
{
    switch (asked) {
    case FA_KERNELS_AUTO: *kernels = fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE; return FA_OK;
    case FA_KERNELS_REFERENCE: *kernels = FA_KERNELS_REFERENCE; return FA_OK;
    case FA_KERNELS_FAST:
        if (!fa_kernels_available()) return fa_fail(FA_ERR_UNSUPPORTED, "fa_context_options.kernels: this build has no fast kernels for this CPU");
        *kernels = FA_KERNELS_FAST;
        return FA_OK;
    default: return fa_fail(FA_ERR_ARGUMENT, "fa_context_options.kernels: %d is none of FA_KERNELS_...", asked);
    }
}

fa_status fa_context_create(const fa_context_options *options, fa_context **out)
{
    fa_context_options o = defaults;
    FA_CHECK(out);
    FA_TRY(fa_options_read("fa_context_options", &o, sizeof o, options));
    if (!o.alloc != !o.free) return fa_fail(FA_ERR_ARGUMENT, "fa_context_options: alloc and free are given together or not at all");
    if (o.parallel_user && !o.parallel_for) return fa_fail(FA_ERR_ARGUMENT, "fa_context_options.parallel_user: there is no parallel_for");
    if (o.threads < 0 || o.threads > MAX_THREADS)
        return fa_fail(FA_ERR_ARGUMENT, "fa_context_options.threads: %d is not in 0 to %d", o.threads, MAX_THREADS);
    int32_t kernels = FA_KERNELS_REFERENCE;
    FA_TRY(resolve_kernels(o.kernels, &kernels));
    fa_allocator allocator = o.alloc ? (fa_allocator){o.alloc, o.free, o.alloc_user} : fa_system_allocator;
    /* The one block that is not counted: there is nothing yet to count it in. */
    fa_context *c = allocator.alloc(allocator.user, sizeof *c, FA_ALIGN);
    if (!c) return fa_fail_memory(sizeof *c);
    *c = (fa_context){.allocator = allocator,
                      .log = o.log,
                      .log_user = o.log_user,
                      .threads = o.threads ? o.threads : 1,
                      .parallel_for = o.parallel_for,
                      .parallel_user = o.parallel_user,
                      .kernels = kernels,
                      .memory_limit = o.memory_limit};
    atomic_init(&c->references, 1);
    atomic_init(&c->used, 0);
    atomic_init(&c->peak, 0);
    *out = c;
    return FA_OK;
}

fa_context *fa_context_retain(fa_context *c)
{
    if (c) atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    return c;
}

void fa_context_release(fa_context *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) > 1) return;
    fa_allocator allocator = c->allocator;
    allocator.free(allocator.user, c, sizeof *c, FA_ALIGN);
}

uint64_t fa_context_memory_used(const fa_context *c)
{
    return c ? atomic_load_explicit(&((fa_context *)c)->used, memory_order_relaxed) : 0;
}

uint64_t fa_context_memory_peak(const fa_context *c)
{
    return c ? atomic_load_explicit(&((fa_context *)c)->peak, memory_order_relaxed) : 0;
}

void fa_context_memory_peak_reset(fa_context *c)
{
    if (c) atomic_store_explicit(&c->peak, atomic_load_explicit(&c->used, memory_order_relaxed), memory_order_relaxed);
}

const char *fa_context_kernels(const fa_context *c)
{
    if (!c) return "";
    return c->kernels == FA_KERNELS_FAST ? fa_kernels_name() : "reference";
}
