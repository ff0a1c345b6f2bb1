/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/tracer.h"

#include "base/error.h"
#include "sketch/progress.h"

static float *floats(fa_context *context, int64_t n)
{
    return fa_new_array(context, (size_t)n + 1, sizeof(float));
}

fa_status fa_tracer_begin(fa_tracer *t, fa_context *context, const fa_program *program, const fa_array *inputs, int32_t n_inputs, int64_t batch, int32_t loss)
{
    *t = (fa_tracer){.context = context, .program = program, .at = FA_AT_NOTHING};
    FA_TRY(fa_pass_create(&(fa_pass_request){.program = program, .context = context, .inputs = inputs, .n_inputs = n_inputs, .batch = batch, .loss = loss}, &t->pass));
    t->batch = fa_pass_batch(t->pass);
    t->trained = floats(context, fa_program_weight_count(program));
    t->weights = floats(context, fa_program_weight_count(program));
    t->statistics = floats(context, fa_program_statistics_count(program));
    if (!t->trained || !t->weights || !t->statistics) return FA_ERR_MEMORY;
    fa_program_trained(program, t->trained, t->statistics);
    return FA_OK;
}

void fa_tracer_end(fa_tracer *t)
{
    if (!t->context) return;
    fa_pass_destroy(t->pass);
    fa_delete(t->context, t->trained);
    fa_delete(t->context, t->weights);
    fa_delete(t->context, t->statistics);
    fa_delete(t->context, t->kept);
    fa_delete(t->context, t->has);
    *t = (fa_tracer){.context = NULL};
}

fa_status fa_own_begin(fa_own *own, fa_context *context, const fa_head *head, int64_t rows)
{
    const bool numbers = head->kind->output == FA_OUTPUT_NUMBERS;
    size_t count;
    *own = (fa_own){.context = context};
    if (!fa_mul_size((size_t)rows, (size_t)(numbers ? head->outputs : head->positions), &count)) return fa_fail_memory(SIZE_MAX);
    if (numbers) own->output = fa_new_array(context, count, sizeof *own->output);
    else own->target = fa_new_array(context, count, sizeof *own->target);
    return own->output || own->target ? FA_OK : FA_ERR_MEMORY;
}

size_t fa_own_bytes(const fa_head *head, int64_t rows)
{
    return (size_t)rows * (size_t)head->positions * (head->kind->output == FA_OUTPUT_NUMBERS ? sizeof(float) : sizeof(int64_t));
}

void fa_own_end(fa_own *own)
{
    if (!own->context) return;
    fa_delete(own->context, own->target);
    fa_delete(own->context, own->output);
    *own = (fa_own){.context = NULL};
}

fa_asked fa_own_asked(const fa_own *own, const fa_array *mask)
{
    return (fa_asked){.mask = mask, .own_target = own->target, .own_output = own->output};
}

fa_status fa_tracer_keep(fa_tracer *t, int64_t draws, uint64_t bytes)
{
    t->kept_bytes = fa_pass_kept_bytes(t->pass);
    uint64_t most = bytes / (t->kept_bytes + sizeof *t->has);
    int64_t slots = most < (uint64_t)draws ? (int64_t)most : draws;
    if (!slots || !t->kept_bytes) return FA_OK;
    size_t all;
    if (!fa_mul_size((size_t)slots, t->kept_bytes, &all)) return fa_fail_memory(SIZE_MAX);
    t->kept = fa_new_uncleared(t->context, all);
    t->has = fa_new_array(t->context, (size_t)slots, sizeof *t->has);
    if (!t->kept || !t->has) return FA_ERR_MEMORY;
    t->slots = slots;
    return FA_OK;
}

/* Inputs index[0 ... n - 1], or first ... first + n - 1 when index is NULL, in as many passes as it takes. */
static fa_status forward(fa_tracer *t, const fa_array *inputs, const int64_t *index, int64_t first, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs)
{
    uint64_t begin = fa_now_ns();
    for (int64_t i = 0; i < n; i += t->batch) {
        fa_pass_outputs o = {.predicted = outputs->predicted ? outputs->predicted + i : NULL,
                             .confidence = outputs->confidence ? outputs->confidence + i : NULL,
                             .loss = outputs->loss ? outputs->loss + i : NULL,
                             .target = outputs->target ? outputs->target + i * fa_pass_head(t->pass)->positions : NULL,
                             .output = outputs->output ? outputs->output + i * fa_pass_head(t->pass)->outputs : NULL};
        int64_t part = n - i < t->batch ? n - i : t->batch;
        FA_TRY(fa_pass_forward_some(t->pass, inputs, index ? index + i : NULL, first + i, part, asked, &o));
    }
    t->forward_ns += fa_now_ns() - begin;
    return FA_OK;
}

fa_status fa_tracer_predict(fa_tracer *t, const fa_array *inputs, int64_t first, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs)
{
    if (t->at != FA_AT_TRAINED) {
        t->at = FA_AT_NOTHING;
        FA_TRY(fa_pass_set_weights(t->pass, t->trained, t->statistics));
        t->at = FA_AT_TRAINED;
    }
    return forward(t, inputs, NULL, first, n, asked, outputs);
}

fa_status fa_tracer_set(fa_tracer *t, const fa_sketch_body *b, int64_t draw)
{
    if (t->at == draw) return FA_OK;
    uint64_t begin = fa_now_ns();
    char *kept = draw < t->slots ? t->kept + (size_t)draw * t->kept_bytes : NULL;
    if (kept && t->has[draw]) {
        fa_pass_use_weights(t->pass, kept);
    } else {
        const float *statistics = fa_trace_statistics(b, draw);
        fa_trace_weights(b, draw, t->trained, t->weights);
        t->at = FA_AT_NOTHING;
        FA_TRY(fa_pass_set_weights(t->pass, t->weights, statistics ? statistics : t->statistics));
        if (kept) fa_pass_keep_weights(t->pass, kept);
        if (kept) t->has[draw] = true;
    }
    t->at = draw;
    t->draw_ns += fa_now_ns() - begin;
    return FA_OK;
}

fa_status fa_tracer_losses(fa_tracer *t, const fa_array *inputs, const int64_t *index, int64_t first, int64_t n, const fa_asked *asked, float *loss)
{
    FA_TRY(forward(t, inputs, index, first, n, asked, &(fa_pass_outputs){.loss = loss}));
    for (int64_t i = 0; i < n; i++)
        if (!(loss[i] <= FA_TRACE_LOSS_MOST))
            return fa_fail(FA_ERR_NOT_FINITE, "input %lld: its loss at draw %lld is not finite", (long long)(index ? index[i] : first + i), (long long)t->at);
    return FA_OK;
}
