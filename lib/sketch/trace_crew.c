/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/trace_crew.h"

#include "base/context.h"
#include "base/error.h"
#include "sketch/crew.h"

fa_status fa_trace_crew_begin(fa_trace_crew *c, const fa_network *network, const fa_program *program, const fa_sketch_options *options, const fa_array *inputs, int64_t most,
                              int64_t units)
{
    *c = (fa_trace_crew){.context = network->context, .program = program};
    fa_progress_begin(&c->progress, options, units);
    FA_TRY(fa_progress_add(&c->progress, "planning", 0));
    FA_TRY(fa_pool_create(c->context, fa_crew_threads(c->context, options->batch, most), &c->pool));
    int32_t threads = fa_pool_threads(c->pool);
    c->tracer = fa_new_array(c->context, (size_t)threads, sizeof *c->tracer);
    c->column = fa_new_array(c->context, (size_t)most, sizeof *c->column);
    if (!c->tracer || !c->column) return FA_ERR_MEMORY;
    c->threads = threads;
    for (int32_t t = 0; t < threads; t++) FA_TRY(fa_tracer_begin(&c->tracer[t], c->context, program, inputs, network->n_input, options->batch, options->loss));
    c->batch = c->tracer[0].batch;
    return FA_OK;
}

void fa_trace_crew_end(fa_trace_crew *c)
{
    if (!c->context) return;
    fa_pool_destroy(c->pool);
    for (int32_t t = 0; t < c->threads; t++) fa_tracer_end(&c->tracer[t]);
    fa_delete(c->context, c->tracer);
    fa_delete(c->context, c->column);
    *c = (fa_trace_crew){.context = NULL};
}

typedef struct work {
    fa_trace_crew *crew;
    const fa_sketch_body *body;
    int64_t draw;
    const fa_array *inputs;
    const fa_asked *asked;
    const fa_pass_outputs *outputs;
} work;

static fa_status run(work *w, int64_t n, const char *stage, fa_status (*chunk)(void *, int32_t, int64_t, int64_t))
{
    fa_trace_crew *c = w->crew;
    fa_waves waves = {.pool = c->pool, .n = n, .batch = c->batch, .stage = stage, .progress = &c->progress, .user = w, .chunk = chunk};
    return fa_waves_run(&waves, c->context);
}

static fa_status predict_chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    const work *w = user;
    const fa_pass_outputs *all = w->outputs;
    const fa_head *head = fa_pass_head(w->crew->tracer[t].pass);
    fa_pass_outputs outputs = {.predicted = all->predicted ? all->predicted + first : NULL,
                               .loss = all->loss ? all->loss + first : NULL,
                               .target = all->target ? all->target + first * head->positions : NULL,
                               .output = all->output ? all->output + first * head->outputs : NULL};
    return fa_tracer_predict(&w->crew->tracer[t], w->inputs, first, n, w->asked, &outputs);
}

fa_status fa_trace_crew_predict(fa_trace_crew *c, const fa_array *inputs, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs)
{
    work w = {.crew = c, .inputs = inputs, .asked = asked, .outputs = outputs};
    return run(&w, n, "predictions", predict_chunk);
}

static fa_status loss_chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    const work *w = user;
    FA_TRY(fa_tracer_set(&w->crew->tracer[t], w->body, w->draw));
    return fa_tracer_losses(&w->crew->tracer[t], w->inputs, NULL, first, n, w->asked, w->crew->column + first);
}

fa_status fa_trace_crew_losses(fa_trace_crew *c, const fa_sketch_body *b, int64_t draw, const fa_array *inputs, int64_t n, const fa_asked *asked, float *loss, int64_t stride)
{
    work w = {.crew = c, .body = b, .draw = draw, .inputs = inputs, .asked = asked};
    FA_TRY(run(&w, n, "losses at the draws", loss_chunk));
    for (int64_t i = 0; i < n; i++) loss[i * stride] = c->column[i];
    return FA_OK;
}
