/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/fit.h"

#include "base/error.h"
#include "sketch/project.h"

typedef struct work {
    fa_crew *crew;
    const fa_array *inputs;
    float *blocks;
    int64_t length;
    int64_t *predicted;
} work;

static fa_status run(fa_crew *crew, work *w, int64_t n, const char *stage, fa_status (*chunk)(void *, int32_t, int64_t, int64_t))
{
    return fa_waves_run(&(fa_waves){.pool = crew->pool, .n = n, .batch = crew->batch, .stage = stage, .progress = &crew->progress, .user = w,
                                    .chunk = chunk},
                        crew->context);
}

static fa_status predict_chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    const work *w = user;
    const fa_asked asked = fa_network_asked(w->crew->network, w->inputs);
    return fa_pass_forward(w->crew->member[t].pass, w->inputs, first, n, &asked, &(fa_pass_outputs){.predicted = w->predicted + first});
}

fa_status fa_predict(fa_crew *crew, const fa_array *inputs, int64_t n, int64_t *predicted)
{
    work w = {.crew = crew, .inputs = inputs, .predicted = predicted};
    return run(crew, &w, n, "predictions", predict_chunk);
}

static fa_status extract_chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    const work *w = user;
    const fa_asked asked = fa_network_asked(w->crew->network, w->inputs);
    return fa_extract(&w->crew->member[t], w->inputs, first, n, &asked, w->blocks + first * w->length, &(fa_pass_outputs){.predicted = w->predicted + first});
}

static fa_status project(fa_crew *crew, const fa_blocks *blocks, const fa_shards *shards, const fa_array *inputs, int64_t n, double *total, fa_sketch_body *body)
{
    FA_TRY(shards ? fa_shards_sum(shards, crew->network->program, blocks, total) : fa_moments_sum(crew, blocks, inputs, n, total));
    return fa_project(crew, blocks, total, n, &body->options, body);
}

fa_status fa_fit(fa_crew *crew, const fa_blocks *blocks, const fa_shards *shards, const fa_array *inputs, int64_t n, fa_sketch_body *body)
{
    bool keep = body->options.keep_moments != 0; /* where they are summed up: the layers point there */
    double *total = keep ? fa_arena_array(&body->arena, blocks->total_doubles, sizeof *total) : fa_new_array(crew->context, blocks->total_doubles, sizeof *total);
    if (!total) return FA_ERR_MEMORY;
    fa_status status = project(crew, blocks, shards, inputs, n, total, body);
    if (!keep) fa_delete(crew->context, total);
    FA_TRY(status);
    FA_TRY(fa_crew_project(crew, body));
    body->n_reference = n;
    FA_TRY(fa_sketch_body_new_references(body));
    work w = {.crew = crew, .inputs = inputs, .blocks = body->blocks, .length = body->offset[body->n_layer], .predicted = body->predicted};
    return run(crew, &w, n, "signatures", extract_chunk);
}
