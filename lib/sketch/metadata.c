/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/metadata.h"

#include "backend/loss.h"
#include "base/error.h"
#include "sketch/fields.h"
#include "sketch/select.h"
#include "sketch/trace_metadata.h"

#include <stdio.h>
#include <string.h>

#define MAX_INPUTS 256
#define MAX_LAYERS 4096
#define MAX_K 256

static const char *const block_names[] = {[FA_BLOCKS_BOTH] = "both", [FA_BLOCKS_PLAIN] = "plain", [FA_BLOCKS_LAYER_UNIT] = "layer-unit"};

static const char *const precision_names[] = {[FA_PRECISION_F32] = "f32", [FA_PRECISION_BF16] = "bf16"};

static const char *const subset_names[] = {[FA_SUBSET_ALL] = "all", [FA_SUBSET_CLASS] = "class"};

/* ---- writing */

static void write_options(const void *of, fa_json_writer *w)
{
    const fa_sketch_body *b = of;
    const fa_sketch_options *o = &b->options;
    fa_json_open(w, '{');
    if (!b->trace) {
        fa_put_int(w, "k_in", o->k_in);
        fa_put_int(w, "k_out", o->k_out);
        fa_put_real(w, "beta", o->beta);
        fa_put_real(w, "damping", o->damping);
        fa_put_string(w, "blocks", block_names[o->blocks]);
    }
    fa_put_string(w, "loss", fa_loss_kind_of(o->loss)->name);
    if (!b->trace) {
        fa_put_string_or_null(w, "layers", o->layers);
        fa_put_bool(w, "keep_moments", o->keep_moments != 0);
        fa_put_real(w, "max_forwards", o->max_forwards);
        fa_put_string(w, "subset", subset_names[o->subset]);
    }
    fa_put_real(w, "ridge", o->ridge);
    fa_put_int(w, "topk", o->topk);
    fa_put_int(w, "batch", o->batch);
    fa_put_bool(w, "drop_misclassified", o->drop_misclassified != 0);
    fa_json_close(w, '}');
}

static void write_inputs(const void *of, fa_json_writer *w)
{
    const fa_sketch_body *b = of;
    fa_json_open(w, '[');
    for (int32_t i = 0; i < b->n_input; i++) {
        fa_json_open(w, '{');
        fa_put_int(w, "dtype", b->input[i].dtype);
        fa_json_key(w, "shape");
        fa_json_open(w, '[');
        for (int32_t d = 0; d < b->input[i].ndim; d++) fa_json_int(w, b->input[i].dim[d]);
        fa_json_close(w, ']');
        fa_json_close(w, '}');
    }
    fa_json_close(w, ']');
}

static void write_layers(const void *of, fa_json_writer *w)
{
    const fa_sketch_body *b = of;
    fa_json_open(w, '[');
    for (int32_t i = 0; i < b->n_layer + b->n_dropped; i++) {
        const fa_sketch_layer *l = &b->layer[i];
        fa_json_open(w, '{');
        fa_put_string(w, "name", l->name);
        fa_put_string(w, "weight", l->weight);
        fa_put_int(w, "index", l->index);
        fa_put_int(w, "in", l->in);
        fa_put_int(w, "out", l->out);
        fa_put_int(w, "groups", l->groups);
        fa_put_int(w, "k_in", l->k_in);
        fa_put_int(w, "k_out", l->k_out);
        fa_put_bool(w, "random_in", l->random_in != 0);
        fa_put_bool(w, "random_out", l->random_out != 0);
        fa_put_bool(w, "dropped", i >= b->n_layer);
        fa_json_close(w, '}');
    }
    fa_json_close(w, ']');
}

void fa_metadata_write(const fa_sketch *s, fa_json_writer *w)
{
    const fa_sketch_body *b = s->body;
    fa_put_string(w, "format", "fattr-sketch");
    fa_put_string(w, "kind", b->trace ? "trace" : "gradient");
    fa_put_decimal(w, "format_version", FA_FORMAT_VERSION);
    fa_put_string(w, "library_version", b->library_version);
    fa_put_digest(w, "model_digest", b->model_digest);
    fa_put_digest(w, "references_digest", b->references_digest);
    fa_put_unsigned(w, "seed", b->options.seed);
    fa_put_decimal(w, "classes", b->classes);
    fa_put_decimal(w, "logits_node", b->logits_node);
    if (b->precision != FA_PRECISION_F32) fa_put_string(w, "precision", precision_names[b->precision]);
    fa_put_part(w, "options", b, write_options);
    fa_put_part(w, "inputs", b, write_inputs);
    if (s->calibration_loss) fa_put_digest(w, "calibration_digest", s->calibration_digest);
    if (b->trace) fa_trace_metadata_write(b, w);
    else fa_put_part(w, "layers", b, write_layers);
}

/* ---- reading */

fa_status fa_metadata_check_version(const fa_json *m)
{
    int64_t version;
    if (strcmp(fa_text_field(m, "format"), "fattr-sketch"))
        return fa_fail(FA_ERR_FORMAT, "a safetensors file whose format is not 'fattr-sketch': not a sketch file");
    if (!fa_parse_i64(fa_text_field(m, "format_version"), 1, INT64_MAX, &version)) return fa_fail_field("format_version");
    if (version > FA_FORMAT_VERSION)
        return fa_fail(FA_ERR_VERSION, "the sketch has format version %lld, written by libfattr %.40s; this library reads up to version %d",
                       (long long)version,
                       fa_text_field(m, "library_version"), FA_FORMAT_VERSION);
    return FA_OK;
}

/* A field that is one of `n` names, as its number. */
static bool name_field(const fa_json *object, const char *key, const char *const *names, int32_t n, int32_t *out)
{
    const char *text = fa_json_text_of(fa_json_get(object, key));
    for (int32_t k = 0; text && k < n; k++) {
        if (strcmp(text, names[k])) continue;
        *out = k;
        return true;
    }
    return false;
}

static bool loss_field(const fa_json *object, int32_t *out)
{
    *out = fa_loss_number(fa_json_text_of(fa_json_get(object, "loss")));
    return *out >= 0;
}

/* What gradient sketches alone have. */
static bool read_projection_options(const fa_json *o, fa_sketch_options *out, fa_arena *arena, fa_status *status)
{
    const fa_json *layers = fa_json_get(o, "layers");
    if (fa_json_is(layers, FA_JSON_STRING)) {
        if (!fa_layer_patterns_valid(layers->string)) return false;
        out->layers = fa_arena_string(arena, layers->string);
        if (!out->layers) *status = FA_ERR_MEMORY;
    } else if (!fa_json_is(layers, FA_JSON_NULL)) {
        return false;
    }
    if (fa_json_get(o, "keep_moments") && !fa_bool_field(o, "keep_moments", &out->keep_moments)) return false; /* older files have none */
    if (fa_json_get(o, "max_forwards") && !fa_real_field(o, "max_forwards", 0, 1e9, &out->max_forwards)) return false;
    if (fa_json_get(o, "subset") && !name_field(o, "subset", subset_names, 2, &out->subset)) return false;
    return name_field(o, "blocks", block_names, 3, &out->blocks) &&
           fa_i32_field(o, "k_in", 1, MAX_K, &out->k_in) && fa_i32_field(o, "k_out", 1, MAX_K, &out->k_out) &&
           fa_real_field(o, "beta", 0, 1, &out->beta) && fa_real_field(o, "damping", 0, 1e30, &out->damping);
}

static bool read_options(const fa_json *o, void *into, fa_status *status)
{
    fa_sketch_body *b = into;
    fa_sketch_options *out = &b->options;
    out->blocks = FA_BLOCKS_PLAIN;
    out->loss = FA_LOSS_CROSS_ENTROPY;
    if ((!b->trace || fa_json_get(o, "loss")) && !loss_field(o, &out->loss)) return false; /* older trace sketches have none */
    if (!b->trace && !read_projection_options(o, out, &b->arena, status)) return false;
    return fa_real_field(o, "ridge", 0, 1e30, &out->ridge) && fa_i32_field(o, "topk", 1, INT32_MAX, &out->topk) && fa_i32_field(o, "batch", 1, 4096, &out->batch) &&
           fa_bool_field(o, "drop_misclassified", &out->drop_misclassified);
}

static bool read_inputs(const fa_json *list, void *into, fa_status *status)
{
    fa_sketch_body *b = into;
    size_t n = fa_json_is(list, FA_JSON_ARRAY) ? list->count : 0;
    if (n < 1 || n > MAX_INPUTS) return false;
    b->n_input = (int32_t)n;
    b->input = fa_arena_array(&b->arena, n, sizeof *b->input);
    if (!b->input) {
        *status = FA_ERR_MEMORY;
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const fa_json *entry = fa_json_at(list, i), *shape = fa_json_get(entry, "shape");
        fa_sketch_input *in = &b->input[i];
        if (!fa_i32_field(entry, "dtype", 1, FA_BFLOAT16, &in->dtype) || !fa_json_is(shape, FA_JSON_ARRAY) || shape->count >= FA_MAX_DIMS) return false;
        in->ndim = (int32_t)shape->count;
        for (int32_t d = 0; d < in->ndim; d++) {
            const fa_json *dim = fa_json_at(shape, (size_t)d);
            if (!fa_json_is(dim, FA_JSON_INT) || dim->integer < 1 || dim->integer > INT32_MAX) return false;
            in->dim[d] = dim->integer;
        }
    }
    return true;
}

static bool read_layer(const fa_json *entry, fa_sketch_layer *l, fa_arena *arena, int32_t *dropped, fa_status *status)
{
    const char *name = fa_json_text_of(fa_json_get(entry, "name")), *weight = fa_json_text_of(fa_json_get(entry, "weight"));
    if (!name || !weight || !fa_i32_field(entry, "index", 0, INT32_MAX, &l->index) || !fa_int_field(entry, "in", 1, INT32_MAX, &l->in) ||
        !fa_int_field(entry, "out", 1, INT32_MAX, &l->out) || !fa_int_field(entry, "groups", 1, INT32_MAX, &l->groups) ||
        !fa_i32_field(entry, "k_in", 0, MAX_K, &l->k_in) || !fa_i32_field(entry, "k_out", 0, MAX_K, &l->k_out) ||
        !fa_bool_field(entry, "random_in", &l->random_in) || !fa_bool_field(entry, "random_out", &l->random_out) || !fa_bool_field(entry, "dropped", dropped))
        return false;
    if (*dropped ? l->k_in || l->k_out : l->k_in < 1 || l->k_out < 1 || l->k_in > l->in || l->k_out > l->out) return false;
    l->name = fa_arena_string(arena, name);
    l->weight = fa_arena_string(arena, weight);
    if (!l->name || !l->weight) *status = FA_ERR_MEMORY;
    return true;
}

static bool read_layers(const fa_json *list, void *into, fa_status *status)
{
    fa_sketch_body *b = into;
    size_t n = fa_json_is(list, FA_JSON_ARRAY) ? list->count : 0;
    if (n < 1 || n > MAX_LAYERS) return false;
    b->layer = fa_arena_array(&b->arena, n, sizeof *b->layer);
    b->offset = fa_arena_array(&b->arena, n + 1, sizeof *b->offset);
    if (!b->layer || !b->offset) {
        *status = FA_ERR_MEMORY;
        return false;
    }
    const fa_json *entry = list->first;
    for (size_t i = 0; i < n; i++, entry = entry->next) {
        fa_sketch_layer *l = &b->layer[i];
        int32_t dropped;
        if (!read_layer(entry, l, &b->arena, &dropped, status) || (!dropped && b->n_dropped)) return false;
        if (dropped) {
            b->n_dropped++;
            continue;
        }
        b->offset[i + 1] = b->offset[i] + (int64_t)l->k_in * l->k_out;
        b->n_layer++;
    }
    return b->n_layer > 0;
}

fa_status fa_metadata_read(const fa_json *m, fa_sketch *s)
{
    fa_sketch_body *b = s->body;
    int64_t node;
    const char *kind = fa_text_field(m, "kind");
    if (!strcmp(kind, "trace")) {
        if (!(b->trace = fa_arena_new(&b->arena, sizeof *b->trace))) return FA_ERR_MEMORY;
    } else if (*kind && strcmp(kind, "gradient")) {
        return fa_fail_field("kind");
    }
    if (b->trace && fa_json_get(m, "calibration_digest") && !fa_parse_digest(fa_text_field(m, "calibration_digest"), s->calibration_digest))
        return fa_fail_field("calibration_digest");
    b->options = (fa_sketch_options){.struct_size = sizeof b->options};
    snprintf(b->library_version, sizeof b->library_version, "%s", fa_text_field(m, "library_version"));
    if (!fa_parse_digest(fa_text_field(m, "model_digest"), b->model_digest)) return fa_fail_field("model_digest");
    if (!fa_parse_digest(fa_text_field(m, "references_digest"), b->references_digest)) return fa_fail_field("references_digest");
    if (!fa_parse_i64(fa_text_field(m, "classes"), 0, INT32_MAX, &b->classes)) return fa_fail_field("classes");
    if (!fa_parse_i64(fa_text_field(m, "logits_node"), -1, INT32_MAX, &node)) return fa_fail_field("logits_node");
    b->logits_node = (int32_t)node;
    if (fa_json_get(m, "precision") && (b->trace || !name_field(m, "precision", precision_names, 2, &b->precision))) return fa_fail_field("precision"); /* f32 has none */
    FA_TRY(fa_read_part(b->arena.context, m, "options", read_options, b));
    if (!fa_parse_unsigned(fa_text_field(m, "seed"), &b->options.seed)) return fa_fail_field("seed");
    const fa_loss_kind *loss = fa_loss_kind_of(b->options.loss);
    if (b->classes < loss->classes || (loss->output == FA_OUTPUT_NUMBERS && b->classes)) return fa_fail_field("classes");
    FA_TRY(fa_read_part(b->arena.context, m, "inputs", read_inputs, b));
    return b->trace ? fa_trace_metadata_read(m, b) : fa_read_part(b->arena.context, m, "layers", read_layers, b);
}
