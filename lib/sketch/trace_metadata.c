/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/trace_metadata.h"

#include "base/error.h"
#include "sketch/select.h"

#include <math.h>
#include <string.h>

#define MAX_PARAMETERS 16384
#define MAX_DRAWS 1000000

static const char *const sampler_names[] = {[FA_SAMPLER_GAUSSIAN] = "gaussian", [FA_SAMPLER_RMSPROP_SGLD] = "rmsprop_sgld", [FA_SAMPLER_SGLD] = "sgld"};
static const char *const storage_names[] = {[FA_DRAWS_REPLAY] = "replay", [FA_DRAWS_F32] = "f32", [FA_DRAWS_BF16] = "bf16", [FA_DRAWS_INT8] = "int8"};
static const char *const batchnorm_names[] = {[FA_BATCHNORM_FROZEN] = "frozen", [FA_BATCHNORM_REESTIMATE] = "reestimate"};

/* ---- writing */

static void write_diagnosis(const fa_diagnosis *d, fa_json_writer *w)
{
    fa_json_key(w, "diagnosis");
    fa_json_open(w, '{');
    fa_put_real(w, "ess", d->ess);
    fa_put_real(w, "ess_min", d->ess_min);
    fa_put_real(w, "split_rhat", d->split_rhat);
    fa_put_real(w, "split_rhat_max", d->split_rhat_max);
    fa_put_real(w, "drift", d->drift);
    fa_put_real(w, "signal", d->signal);
    fa_put_real(w, "moved", d->moved);
    fa_put_int(w, "shortest", d->shortest);
    fa_json_close(w, '}');
}

static void write_trace(const void *of, fa_json_writer *w)
{
    const fa_sketch_trace *t = of;
    const fa_trace_options *o = &t->options;
    fa_json_open(w, '{');
    fa_put_string(w, "sampler", sampler_names[o->sampler]);
    fa_put_string(w, "storage", storage_names[o->storage]);
    fa_put_string(w, "batchnorm", batchnorm_names[o->batchnorm]);
    fa_put_bool(w, "partial", o->partial != 0);
    fa_put_int(w, "burn_in", o->burn_in);
    fa_put_int(w, "thinning", o->thinning);
    fa_put_int(w, "minibatch", o->minibatch);
    fa_put_real(w, "step_size", o->step_size);
    fa_put_real(w, "gamma", o->gamma);
    fa_put_real(w, "nbeta", o->nbeta);
    fa_put_real(w, "noise", o->noise);
    fa_put_real(w, "decay", o->decay);
    fa_put_real(w, "epsilon", o->epsilon);
    fa_put_string_or_null(w, "parameters", o->parameters);
    fa_put_int(w, "statistics", t->n_statistics);
    fa_put_real(w, "loss_before", t->loss_before);
    fa_put_real(w, "loss_after", t->loss_after);
    write_diagnosis(&t->diagnosis, w);
    fa_json_close(w, '}');
}

static void write_parameters(const void *of, fa_json_writer *w)
{
    const fa_sketch_trace *t = of;
    fa_json_open(w, '[');
    for (int32_t i = 0; i < t->n_parameter; i++) {
        fa_json_open(w, '{');
        fa_put_string(w, "name", t->parameter[i].name);
        fa_put_int(w, "rows", t->parameter[i].rows);
        fa_put_int(w, "row_length", t->parameter[i].row_length);
        fa_json_close(w, '}');
    }
    fa_json_close(w, ']');
}

static void write_chains(const void *of, fa_json_writer *w)
{
    const fa_sketch_trace *t = of;
    fa_json_open(w, '[');
    for (int32_t i = 0; i < t->n_chain; i++) {
        const fa_trace_chain *c = &t->chain[i];
        fa_json_open(w, '{');
        fa_put_unsigned(w, "seed", c->seed);
        fa_put_unsigned(w, "id", c->id);
        fa_put_int(w, "draws", c->draws);
        fa_put_real(w, "loss_before", c->loss_before);
        fa_put_real(w, "loss_after", c->loss_after);
        fa_put_real(w, "distance", c->distance);
        write_diagnosis(&c->diagnosis, w);
        fa_json_close(w, '}');
    }
    fa_json_close(w, ']');
}

void fa_trace_metadata_write(const fa_sketch_body *b, fa_json_writer *w)
{
    fa_put_part(w, "trace", b->trace, write_trace);
    fa_put_part(w, "parameters", b->trace, write_parameters);
    fa_put_part(w, "chains", b->trace, write_chains);
}

/* ---- reading */

static bool read_name(const fa_json *object, const char *key, const char *const *names, int32_t count, int32_t *out)
{
    const char *text = fa_text_field(object, key);
    for (*out = 0; *out < count; ++*out)
        if (!strcmp(text, names[*out])) return true;
    return false;
}

static bool read_diagnosis(const fa_json *object, fa_diagnosis *d)
{
    const fa_json *o = fa_json_get(object, "diagnosis");
    return fa_real_or_null_field(o, "ess", &d->ess) && fa_real_or_null_field(o, "ess_min", &d->ess_min) && fa_real_or_null_field(o, "split_rhat", &d->split_rhat) &&
           fa_real_or_null_field(o, "split_rhat_max", &d->split_rhat_max) && fa_real_or_null_field(o, "drift", &d->drift) && fa_real_or_null_field(o, "signal", &d->signal) &&
           fa_real_or_null_field(o, "moved", &d->moved) && fa_int_field(o, "shortest", 0, INT64_MAX, &d->shortest);
}

static bool read_patterns(const fa_json *o, fa_trace_options *out, fa_arena *arena, fa_status *status)
{
    const fa_json *text = fa_json_get(o, "parameters");
    if (fa_json_is(text, FA_JSON_NULL)) return true;
    if (!fa_json_is(text, FA_JSON_STRING) || !fa_layer_patterns_valid(text->string)) return false;
    out->parameters = fa_arena_string(arena, text->string);
    if (!out->parameters) *status = FA_ERR_MEMORY;
    return out->parameters != NULL;
}

static bool read_trace(const fa_json *o, void *into, fa_status *status)
{
    fa_sketch_body *b = into;
    fa_sketch_trace *t = b->trace;
    fa_trace_options *out = &t->options;
    *out = (fa_trace_options){.struct_size = sizeof *out};
    return read_name(o, "sampler", sampler_names, 3, &out->sampler) && read_name(o, "storage", storage_names, 4, &out->storage) &&
           read_name(o, "batchnorm", batchnorm_names, 2, &out->batchnorm) && (out->storage != FA_DRAWS_REPLAY || out->sampler == FA_SAMPLER_GAUSSIAN) &&
           fa_bool_field(o, "partial", &out->partial) && fa_int_field(o, "burn_in", 0, INT32_MAX, &out->burn_in) && fa_int_field(o, "thinning", 1, INT32_MAX, &out->thinning) &&
           fa_int_field(o, "minibatch", 1, INT32_MAX, &out->minibatch) && fa_real_field(o, "step_size", 0, 1e30, &out->step_size) &&
           fa_real_field(o, "gamma", 1e-30, 1e30, &out->gamma) && fa_real_field(o, "nbeta", 0, 1e30, &out->nbeta) && fa_real_field(o, "noise", 0, 1e30, &out->noise) &&
           fa_real_field(o, "decay", 0, 1, &out->decay) && fa_real_field(o, "epsilon", 0, 1e30, &out->epsilon) && read_patterns(o, out, &b->arena, status) &&
           fa_int_field(o, "statistics", 0, INT32_MAX, &t->n_statistics) && fa_real_or_null_field(o, "loss_before", &t->loss_before) &&
           fa_real_or_null_field(o, "loss_after", &t->loss_after) && read_diagnosis(o, &t->diagnosis);
}

static bool read_parameters(const fa_json *list, void *into, fa_status *status)
{
    fa_sketch_body *b = into;
    fa_sketch_trace *t = b->trace;
    size_t n = fa_json_is(list, FA_JSON_ARRAY) ? list->count : 0;
    if (n < 1 || n > MAX_PARAMETERS) return false;
    t->n_parameter = (int32_t)n;
    t->parameter = fa_arena_array(&b->arena, n, sizeof *t->parameter);
    *status = t->parameter ? FA_OK : FA_ERR_MEMORY;
    const fa_json *entry = list->first;
    int64_t weights = 0;
    for (size_t i = 0; i < n && *status == FA_OK; i++, entry = entry->next) {
        fa_trace_parameter *p = &t->parameter[i];
        const char *name = fa_json_text_of(fa_json_get(entry, "name"));
        int64_t count;
        if (!name || !fa_int_field(entry, "rows", 1, INT32_MAX, &p->rows) || !fa_int_field(entry, "row_length", 1, INT32_MAX, &p->row_length)) return false;
        if (!fa_mul_i64(p->rows, p->row_length, &count) || count > INT64_MAX / 16 - weights) return false;
        weights += count;
        p->name = fa_arena_string(&b->arena, name);
        if (!p->name) *status = FA_ERR_MEMORY;
    }
    return *status == FA_OK;
}

static bool read_chain(const fa_json *entry, fa_trace_chain *c)
{
    return fa_unsigned_field(entry, "seed", &c->seed) && fa_unsigned_field(entry, "id", &c->id) && fa_int_field(entry, "draws", 2, MAX_DRAWS, &c->draws) &&
           fa_real_or_null_field(entry, "loss_before", &c->loss_before) && fa_real_or_null_field(entry, "loss_after", &c->loss_after) &&
           fa_real_or_null_field(entry, "distance", &c->distance) && read_diagnosis(entry, &c->diagnosis);
}

static bool read_chains(const fa_json *list, void *into, fa_status *status)
{
    fa_sketch_body *b = into;
    fa_sketch_trace *t = b->trace;
    size_t n = fa_json_is(list, FA_JSON_ARRAY) ? list->count : 0;
    if (n < 1 || n > FA_TRACE_CHAINS_MOST) return false;
    t->n_chain = (int32_t)n;
    t->chain = fa_arena_array(&b->arena, n, sizeof *t->chain);
    if (!t->chain) {
        *status = FA_ERR_MEMORY;
        return false;
    }
    const fa_json *entry = list->first;
    for (size_t i = 0; i < n; i++, entry = entry->next) {
        fa_trace_chain *c = &t->chain[i];
        if (!read_chain(entry, c)) return false;
        if (i && (c->seed < c[-1].seed || (c->seed == c[-1].seed && c->id <= c[-1].id))) return false; /* in order, none twice */
    }
    return true;
}

fa_status fa_trace_metadata_read(const fa_json *m, fa_sketch_body *b)
{
    fa_context *c = b->arena.context;
    FA_TRY(fa_read_part(c, m, "trace", read_trace, b));
    FA_TRY(fa_read_part(c, m, "parameters", read_parameters, b));
    FA_TRY(fa_read_part(c, m, "chains", read_chains, b));
    return fa_trace_lay_out(&b->arena, b->trace);
}
