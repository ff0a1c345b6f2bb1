/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_WAVES_H
#define FA_SKETCH_WAVES_H

#include "base/pool.h"
#include "sketch/progress.h"

/*
 * Work on items 0 ... n - 1, cut into chunks by the batch size alone. Thread t of T takes chunk wave * T + t; after each wave the calling thread
 * reduces what the threads hold in chunk order and tells the host. So the result does not depend on T.
 */
typedef struct fa_waves {
    fa_pool *pool;
    int64_t n, batch;
    const char *stage;
    fa_progress_state *progress;
    void *user;
    fa_status (*chunk)(void *user, int32_t thread, int64_t first, int64_t n);
    void (*reduce)(void *user, int32_t thread); /* NULL: nothing to reduce */
} fa_waves;

/* The failure of the first chunk that failed, with its text. */
fa_status fa_waves_run(const fa_waves *waves, fa_context *context);

#endif
