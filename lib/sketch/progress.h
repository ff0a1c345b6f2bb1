/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_PROGRESS_H
#define FA_SKETCH_PROGRESS_H

#include <fattr/sketch.h>

/* Tells the host how far a long piece of work is, and asks whether to go on. Used on the calling thread alone. */
typedef struct fa_progress_state {
    fa_progress call;
    void *user;
    int64_t done, total;
    uint64_t deadline_ns; /* on the monotonic clock; 0: none */
    uint64_t timeout_ms;
    uint64_t next_ns;     /* not before this time again */
} fa_progress_state;

uint64_t fa_now_ns(void); /* monotonic clock */
uint64_t fa_later_ns(uint64_t now, uint64_t ms); /* UINT64_MAX where that is beyond the clock */

void fa_progress_begin(fa_progress_state *progress, const fa_sketch_options *options, int64_t total);

/* `units` more are done. FA_ERR_CANCELLED when the host or the deadline says so. */
fa_status fa_progress_add(fa_progress_state *progress, const char *stage, int64_t units);

#endif
