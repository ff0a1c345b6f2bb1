/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_TESTS_BENCH_H
#define FA_TESTS_BENCH_H

#include <fattr/status.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the benchmark programs share. A failure ends the program. */

static inline double clock_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* `size` cleared bytes, aligned to 64, and as many behind them as the next 64. */
static inline void *memory(size_t size)
{
    const size_t whole = (size + 127) / 64 * 64;
    void *p = aligned_alloc(64, whole);
    if (!p) exit(1);
    return memset(p, 0, whole);
}

static inline void need(fa_status status)
{
    if (status == FA_OK) return;
    fprintf(stderr, "%s\n", fa_error_message());
    exit(1);
}

#endif
