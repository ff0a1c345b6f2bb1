/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"
#include "base/error.h"
#include "score/build_parts.h"
#include "score/scorer.h"
#include "score/trace_build.h"
#include "sketch/crew.h"
#include "sketch/file.h"
#include "sketch/sampling.h"

/* What a build of a trace sketch will take: passes, solvers and the program by making one, the rest from the functions beside the code that allocates. */
typedef struct sizing {
    const fa_build_request *request;
    fa_context counter; /* counts what is made to find out */
    fa_arena arena;
    fa_sketch_body body; /* dimensions alone */
    fa_sketch_trace trace;
    fa_program *program;
    size_t program_bytes, sampling_bytes, scores_bytes;
} sizing;

/* Everything about the body that sizes depend on. */
static fa_status describe(sizing *z)
{
    const fa_build_request *r = z->request;
    const fa_trace_options *o = r->options->trace;
    fa_context *context = r->network->context;
    uint64_t before = fa_context_memory_used(context);
    z->trace.options = *o;
    FA_TRY(fa_trace_program(r->network, &z->trace, &z->program));
    z->program_bytes = (size_t)(fa_context_memory_used(context) - before);
    FA_TRY(fa_trace_describe(z->program, &z->arena, &z->trace));
    fa_sketch_body *b = &z->body;
    b->trace = &z->trace;
    b->options = *r->options;
    b->n_reference = r->references->n;
    b->n_layer = z->trace.n_chain = o->chains;
    b->offset = fa_arena_array(&z->arena, (size_t)o->chains + 1, sizeof *b->offset);
    if (!b->offset) return FA_ERR_MEMORY;
    for (int32_t c = 0; c < o->chains; c++) b->offset[c + 1] = b->offset[c] + o->draws;
    return FA_OK;
}

static fa_status measure_scores(sizing *z)
{
    fa_scores *scores;
    fa_scores_setup setup = fa_body_scores_setup(&z->body, z->counter.kernels, fa_body_scores(&z->body));
    setup.predicted = fa_arena_array(&z->arena, (size_t)z->body.n_reference, sizeof(int64_t));
    if (!setup.predicted) return FA_ERR_MEMORY;
    FA_TRY(fa_scores_create(&z->counter, &setup, &scores));
    z->scores_bytes = (size_t)fa_context_memory_used(&z->counter);
    fa_scores_destroy(scores);
    return FA_OK;
}

static fa_status measure_tracer(sizing *z, const fa_array *inputs, int64_t batch, int64_t rows, size_t *bytes, size_t *own, int64_t *taken)
{
    fa_tracer tracer;
    fa_status status = fa_tracer_begin(&tracer, &z->counter, z->program, inputs, z->request->network->n_input, batch, z->request->options->loss);
    *bytes = (size_t)fa_context_memory_used(&z->counter);
    *taken = tracer.batch;
    if (status == FA_OK) *own = fa_own_bytes(fa_pass_head(tracer.pass), rows);
    fa_tracer_end(&tracer);
    return status;
}

static fa_status estimate(sizing *z, fa_memory_estimate *out)
{
    const fa_build_request *r = z->request;
    const fa_trace_options *o = r->options->trace;
    const fa_refset *sampling = o->sampling ? o->sampling : r->references;
    int64_t n = r->references->n, m = r->calibration ? r->calibration->n : 0, k = o->sampling ? sampling->n : 0, most = n > m ? n : m, batch, one;
    fa_array *inputs, *samples;
    size_t tracer, single, own, own_single;
    FA_TRY(describe(z));
    FA_TRY(fa_build_order(r->network, r->references, &z->arena, "references", &inputs));
    FA_TRY(fa_build_order(r->network, sampling, &z->arena, "fa_trace_options.sampling", &samples));
    FA_TRY(measure_scores(z));
    FA_TRY(measure_tracer(z, inputs, r->options->batch, n + m + sampling->n, &tracer, &own, &batch));
    FA_TRY(measure_tracer(z, inputs, 1, 1, &single, &own_single, &one));
    fa_sampling s = {.network = r->network, .program = z->program, .body = &z->body, .inputs = samples, .n = sampling->n};
    FA_TRY(fa_sampling_bytes(&s, &z->counter, &z->sampling_bytes));
    most = most > k ? most : k;
    size_t threads = (size_t)fa_crew_threads(r->network->context, r->options->batch, most), names = sizeof(int64_t) + sizeof(float);
    size_t base = z->program_bytes + threads * tracer + (size_t)most * sizeof(float) + (size_t)(2 * n + m) * names + own + FA_ARENA_SLACK;
    size_t copies = r->options->drop_misclassified ? (size_t)n * fa_refset_row_bytes(r->references) : 0;
    size_t judging = m ? threads * (fa_judge_bytes(&z->body, n, 16, fa_body_scores(&z->body)) + z->scores_bytes) : 0;
    out->sketch_bytes = fa_sketch_bytes(&z->body, n, m);
    out->build_bytes = base + copies + out->sketch_bytes + (judging > z->sampling_bytes ? judging : z->sampling_bytes);
    out->file_bytes = fa_sketch_file_bytes(&z->body, n, m);
    out->scorer_bytes = z->program_bytes + single + own_single + z->scores_bytes + fa_scorer_bytes(&z->body, n, r->network->n_input, 1);
    out->draw_bytes = (uint64_t)z->body.offset[z->body.n_layer] * (z->trace.draw_bytes + (size_t)z->trace.n_statistics * sizeof(float));
    return FA_OK;
}

fa_status fa_trace_estimate(const fa_build_request *r, fa_memory_estimate *out)
{
    sizing z = {.request = r, .arena.context = r->network->context};
    fa_memory_estimate own = *out;
    fa_build_shadow(r->network->context, &z.counter);
    fa_status status = estimate(&z, &own);
    fa_program_destroy(z.program);
    fa_arena_clear(&z.arena);
    if (status == FA_OK) *out = own;
    return status;
}
