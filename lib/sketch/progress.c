/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/progress.h"

#include "base/error.h"

#include <time.h>

#define INTERVAL_NS 200000000u

uint64_t fa_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t fa_later_ns(uint64_t now, uint64_t ms)
{
    uint64_t wait, then;
    return __builtin_mul_overflow(ms, UINT64_C(1000000), &wait) || __builtin_add_overflow(now, wait, &then) ? UINT64_MAX : then;
}

void fa_progress_begin(fa_progress_state *p, const fa_sketch_options *options, int64_t total)
{
    *p = (fa_progress_state){.call = options->progress, .user = options->progress_user, .total = total, .timeout_ms = options->timeout_ms};
    if (options->timeout_ms) p->deadline_ns = fa_later_ns(fa_now_ns(), options->timeout_ms);
}

fa_status fa_progress_add(fa_progress_state *p, const char *stage, int64_t units)
{
    uint64_t now = fa_now_ns();
    p->done += units;
    if (p->deadline_ns && now >= p->deadline_ns)
        return fa_fail(FA_ERR_CANCELLED, "the deadline of %llu ms passed during '%s'", (unsigned long long)p->timeout_ms, stage);
    if (!p->call || (now < p->next_ns && p->done < p->total)) return FA_OK;
    p->next_ns = now + INTERVAL_NS;
    if (p->call(p->user, stage, p->done, p->total)) return fa_fail(FA_ERR_CANCELLED, "cancelled during '%s'", stage);
    return FA_OK;
}
