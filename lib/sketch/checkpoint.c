/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/checkpoint.h"

#include "base/error.h"
#include "base/file.h"
#include "sketch/fields.h"
#include "sketch/sampling.h"
#include "sketch/tensors.h"
#include "sketch/trace_tensors.h"

#include <float.h>
#include <string.h>

#define FORMAT_VERSION 1
#define MOST_TENSORS 8

/* ---- writing */

static void write_distances(const void *of, fa_json_writer *w)
{
    const fa_sketch_trace *t = of;
    fa_json_open(w, '[');
    for (int32_t c = 0; c < t->n_chain; c++) {
        fa_json_open(w, '{');
        fa_put_real(w, "distance", t->chain[c].distance);
        fa_json_close(w, '}');
    }
    fa_json_close(w, ']');
}

fa_status fa_checkpoint_write(const fa_sketch *s, const fa_checkpoint *c, const char *path)
{
    const fa_sketch_trace *t = s->body->trace;
    fa_st_tensor list[MOST_TENSORS];
    int32_t count = 0;
    fa_list_trace_tensors(s, c->draw, list, &count);
    if (c->state.weights) {
        fa_st_add(list, &count, "chain.weights", FA_ST_F32, t->layout.n_weight, 0, c->state.weights);
        fa_st_add(list, &count, "chain.second_moment", FA_ST_F32, t->layout.n_weight, 0, c->state.second_moment);
        if (t->n_statistics) fa_st_add(list, &count, "chain.statistics", FA_ST_F32, t->n_statistics, 0, c->state.statistics);
    }
    fa_json_writer header = {.context = s->context};
    fa_json_open(&header, '{');
    fa_json_key(&header, "__metadata__");
    fa_json_open(&header, '{');
    fa_put_string(&header, "format", "fattr-checkpoint");
    fa_put_decimal(&header, "format_version", FORMAT_VERSION);
    fa_put_digest(&header, "request", c->request);
    fa_put_decimal(&header, "chain", c->chain);
    fa_put_decimal(&header, "draw", c->draw);
    fa_put_decimal(&header, "step", c->state.weights ? c->state.step : 0);
    fa_put_part(&header, "chains", t, write_distances);
    fa_status status = fa_st_write(&header, path, list, count);
    fa_delete(s->context, header.text);
    return status;
}

/* ---- reading */

static fa_status check_format(const fa_json *m)
{
    int64_t version;
    if (strcmp(fa_text_field(m, "format"), "fattr-checkpoint")) return fa_fail(FA_ERR_FORMAT, "a safetensors file whose format is not 'fattr-checkpoint': not a checkpoint");
    if (!fa_parse_i64(fa_text_field(m, "format_version"), 1, INT64_MAX, &version)) return fa_fail_field("format_version");
    if (version > FORMAT_VERSION)
        return fa_fail(FA_ERR_VERSION, "the checkpoint has format version %lld; this library reads up to version %d", (long long)version, FORMAT_VERSION);
    return FA_OK;
}

static bool read_distances(const fa_json *list, void *into, fa_status *status)
{
    fa_sketch_trace *t = into;
    (void)status;
    if (!fa_json_is(list, FA_JSON_ARRAY) || list->count != (size_t)t->n_chain) return false;
    const fa_json *entry = list->first;
    for (int32_t c = 0; c < t->n_chain; c++, entry = entry->next)
        if (!fa_real_or_null_field(entry, "distance", &t->chain[c].distance)) return false;
    return true;
}

static fa_status read_state(fa_st_file *f, const fa_sketch_trace *t, fa_arena *arena, fa_chain_state *state)
{
    size_t weights = (size_t)t->layout.n_weight;
    state->weights = fa_arena_array(arena, weights, sizeof(float));
    state->second_moment = fa_arena_array(arena, weights, sizeof(float));
    state->statistics = fa_arena_array(arena, (size_t)t->n_statistics + 1, sizeof(float));
    if (!state->weights || !state->second_moment || !state->statistics) return FA_ERR_MEMORY;
    FA_TRY(fa_st_take_floats(f, "chain.weights", t->layout.n_weight, 0, -FLT_MAX, FLT_MAX, state->weights));
    FA_TRY(fa_st_take_floats(f, "chain.second_moment", t->layout.n_weight, 0, 0, FLT_MAX, state->second_moment));
    return t->n_statistics ? fa_st_take_floats(f, "chain.statistics", t->n_statistics, 0, -FLT_MAX, FLT_MAX, state->statistics) : FA_OK;
}

static fa_status read_open(fa_st_file *f, fa_sketch *s, fa_checkpoint *c, const void *data, size_t size, fa_arena *arena)
{
    fa_sketch_body *b = s->body;
    const fa_sketch_trace *t = b->trace;
    uint8_t request[16];
    int64_t chain, step;
    FA_TRY(fa_st_open(s->context, data, size, f));
    const fa_json *m = f->metadata;
    FA_TRY(check_format(m));
    FA_TRY(fa_st_read_tensors(f));
    FA_TRY(fa_st_verify(f));
    if (!fa_parse_digest(fa_text_field(m, "request"), request)) return fa_fail_field("request");
    if (memcmp(request, c->request, sizeof request))
        return fa_fail(FA_ERR_MISMATCH, "the checkpoint was written by a build with another model, other inputs or other options");
    if (!fa_parse_i64(fa_text_field(m, "chain"), 0, t->n_chain - 1, &chain)) return fa_fail_field("chain");
    if (!fa_parse_i64(fa_text_field(m, "draw"), 0, b->offset[b->n_layer], &c->draw)) return fa_fail_field("draw");
    if (!fa_parse_i64(fa_text_field(m, "step"), 0, fa_sampling_steps(&t->options), &step)) return fa_fail_field("step");
    c->chain = (int32_t)chain;
    FA_TRY(fa_read_part(s->context, m, "chains", read_distances, b->trace));
    FA_TRY(fa_read_draws(f, b, c->draw));
    if (s->n_calibration) FA_TRY(fa_read_calibration_loss(f, s));
    if (t->options.sampler == FA_SAMPLER_GAUSSIAN) return FA_OK;
    FA_TRY(read_state(f, t, arena, &c->state));
    /* The step and the draws say the same. */
    const fa_trace_options *o = &t->options;
    int64_t behind = step - 1 - o->burn_in, done = behind < 0 ? 0 : behind / o->thinning + 1;
    if (c->draw != b->offset[chain] + done) return fa_fail_field("step");
    c->state.step = step;
    return FA_OK;
}

fa_status fa_checkpoint_parse(fa_sketch *s, fa_checkpoint *c, const void *data, size_t size, fa_arena *arena)
{
    fa_st_file f = {0};
    fa_status status = read_open(&f, s, c, data, size, arena);
    if (f.context) fa_st_close(&f);
    return status;
}

fa_status fa_checkpoint_read(fa_sketch *s, fa_checkpoint *c, const char *path, fa_arena *arena)
{
    void *data;
    size_t size;
    FA_TRY(fa_file_read(s->context, path, &data, &size));
    fa_status status = fa_checkpoint_parse(s, c, data, size, arena);
    fa_delete(s->context, data);
    return status == FA_OK ? FA_OK : fa_fail_at(status, "%s", path);
}
