/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/waves.h"

#include "base/error.h"

#include <stdio.h>

/* An error's text belongs to the thread it happened on: it is carried to the caller's. */
typedef struct outcome {
    fa_status status;
    char text[512];
} outcome;

typedef struct state {
    const fa_waves *waves;
    int64_t first; /* of this wave */
    outcome *outcome;
} state;

static void work(void *user, int32_t t)
{
    const state *s = user;
    const fa_waves *w = s->waves;
    int64_t first = s->first + t * w->batch;
    if (first >= w->n) return;
    int64_t n = w->n - first < w->batch ? w->n - first : w->batch;
    outcome *o = &s->outcome[t];
    o->status = w->chunk(w->user, t, first, n);
    if (o->status != FA_OK) snprintf(o->text, sizeof o->text, "%s", fa_error_message());
}

fa_status fa_waves_run(const fa_waves *w, fa_context *context)
{
    int32_t threads = fa_pool_threads(w->pool);
    state s = {.waves = w, .outcome = fa_new_array(context, (size_t)threads, sizeof *s.outcome)};
    if (!s.outcome) return FA_ERR_MEMORY;
    fa_status status = FA_OK;
    for (; s.first < w->n && status == FA_OK; s.first += threads * w->batch) {
        fa_pool_run(w->pool, work, &s);
        int64_t end = w->n - s.first < threads * w->batch ? w->n : s.first + threads * w->batch;
        for (int32_t t = 0; t < threads && status == FA_OK && s.first + t * w->batch < end; t++) {
            if (s.outcome[t].status != FA_OK) status = fa_error_set(s.outcome[t].status, s.outcome[t].text);
            else if (w->reduce) w->reduce(w->user, t);
        }
        if (status == FA_OK) status = fa_progress_add(w->progress, w->stage, end - s.first);
    }
    fa_delete(context, s.outcome);
    return status;
}
