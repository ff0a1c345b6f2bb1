/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/metadata.h"

#include "base/error.h"
#include "sketch/json.h"
#include "sketch/select.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUTS 256
#define MAX_LAYERS 4096
#define MAX_K 256

static const char *const block_names[] = {[FA_BLOCKS_BOTH] = "both", [FA_BLOCKS_PLAIN] = "plain", [FA_BLOCKS_LAYER_UNIT] = "layer-unit"};

/* ---- writing */

/* Names come from model files, which may hold any bytes; JSON holds UTF-8. */
static json_t *string_of(fa_context *context, const char *text)
{
    json_t *s = json_string(text);
    size_t n = strlen(text);
    char *copy = s ? NULL : fa_new(context, n + 1);
    if (!copy) return s;
    for (size_t i = 0; i < n; i++) copy[i] = (unsigned char)text[i] < 128 ? text[i] : '?';
    s = json_string(copy);
    fa_delete(context, copy);
    return s;
}

static bool put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

/* Takes `value` over and stores its text. */
static bool put_text(fa_context *context, json_t *object, const char *key, json_t *value)
{
    size_t size;
    char *text = fa_json_text(context, value, &size);
    bool ok = text && put(object, key, json_stringn(text, size));
    fa_delete(context, text);
    json_decref(value);
    return ok;
}

static bool put_i64(json_t *object, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return put(object, key, json_string(text));
}

static bool put_digest(json_t *object, const char *key, const uint8_t digest[16])
{
    char text[33];
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return put(object, key, json_string(text));
}

static json_t *options_of(const fa_sketch_body *b)
{
    const fa_sketch_options *o = &b->options;
    return json_pack("{s:i, s:i, s:f, s:f, s:f, s:s, s:i, s:o, s:i, s:b}", "k_in", o->k_in, "k_out", o->k_out, "beta", o->beta, "damping", o->damping, "ridge", o->ridge,
                     "blocks", block_names[o->blocks], "topk", o->topk, "layers", o->layers ? string_of(b->arena.context, o->layers) : json_null(), "batch", o->batch,
                     "drop_misclassified", o->drop_misclassified);
}

static json_t *inputs_of(const fa_sketch_body *b)
{
    json_t *list = json_array();
    for (int32_t i = 0; list && i < b->n_input; i++) {
        const fa_sketch_input *in = &b->input[i];
        json_t *shape = json_array();
        bool ok = shape != NULL;
        for (int32_t d = 0; ok && d < in->ndim; d++) ok = json_array_append_new(shape, json_integer(in->dim[d])) == 0;
        if (!ok || json_array_append_new(list, json_pack("{s:i, s:o}", "dtype", in->dtype, "shape", json_incref(shape)))) {
            json_decref(list);
            list = NULL;
        }
        json_decref(shape);
    }
    return list;
}

static json_t *layers_of(const fa_sketch_body *b)
{
    json_t *list = json_array();
    for (int32_t i = 0; list && i < b->n_layer + b->n_dropped; i++) {
        const fa_sketch_layer *l = &b->layer[i];
        json_t *entry = json_pack("{s:o, s:o, s:i, s:I, s:I, s:I, s:i, s:i, s:b, s:b, s:b}", "name", string_of(b->arena.context, l->name), "weight", string_of(b->arena.context, l->weight), "index", l->index, "in",
                                  (json_int_t)l->in, "out", (json_int_t)l->out, "groups", (json_int_t)l->groups, "k_in", l->k_in, "k_out", l->k_out, "random_in",
                                  l->random_in, "random_out", l->random_out, "dropped", i >= b->n_layer);
        if (json_array_append_new(list, entry)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

json_t *fa_metadata_write(const fa_sketch_body *b)
{
    json_t *m = json_object();
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, b->options.seed);
    bool ok = m && put(m, "format", json_string("fattr-sketch")) && put_i64(m, "format_version", FA_FORMAT_VERSION) &&
              put(m, "library_version", json_string(b->library_version)) && put_digest(m, "model_digest", b->model_digest) &&
              put_digest(m, "references_digest", b->references_digest) && put(m, "seed", json_string(seed)) && put_i64(m, "classes", b->classes) &&
              put_i64(m, "logits_node", b->logits_node) && put_text(b->arena.context, m, "options", options_of(b)) && put_text(b->arena.context, m, "inputs", inputs_of(b)) &&
              put_text(b->arena.context, m, "layers", layers_of(b));
    if (ok) return m;
    json_decref(m);
    return NULL;
}

/* ---- reading */

static fa_status fail_field(const char *key)
{
    return fa_fail(FA_ERR_FORMAT, "__metadata__: '%s' is missing or malformed", key);
}

static const char *text_of(const json_t *metadata, const char *key)
{
    const char *text = json_string_value(json_object_get(metadata, key));
    return text ? text : "";
}

static bool parse_i64(const char *text, int64_t least, int64_t most, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < least || v > most) return false;
    *out = v;
    return true;
}

fa_status fa_metadata_check_version(const json_t *m)
{
    int64_t version;
    if (strcmp(text_of(m, "format"), "fattr-sketch")) return fa_fail(FA_ERR_FORMAT, "a safetensors file whose format is not 'fattr-sketch': not a sketch file");
    if (!parse_i64(text_of(m, "format_version"), 1, INT64_MAX, &version)) return fail_field("format_version");
    if (version > FA_FORMAT_VERSION)
        return fa_fail(FA_ERR_VERSION, "the sketch has format version %lld, written by libfattr %.40s; this library reads up to version %d", (long long)version,
                       text_of(m, "library_version"), FA_FORMAT_VERSION);
    return FA_OK;
}

static bool parse_digest(const char *text, uint8_t digest[16])
{
    if (strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32) return false;
    for (int i = 0; i < 16; i++) {
        char byte[3] = {text[2 * i], text[2 * i + 1], '\0'};
        digest[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return true;
}

static bool parse_seed(const char *text, uint64_t *seed)
{
    char *end;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return !errno && text[0] >= '0' && text[0] <= '9' && !*end;
}

/* A field of one of the JSON objects inside a string, an integer in [least, most]. */
static bool int_field(const json_t *object, const char *key, int64_t least, int64_t most, int64_t *out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most) return false;
    *out = json_integer_value(v);
    return true;
}

static bool i32_field(const json_t *object, const char *key, int32_t least, int32_t most, int32_t *out)
{
    int64_t v;
    if (!int_field(object, key, least, most, &v)) return false;
    *out = (int32_t)v;
    return true;
}

static bool real_field(const json_t *object, const char *key, double least, double most, double *out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v)) return false;
    *out = json_number_value(v);
    return *out >= least && *out <= most;
}

static bool bool_field(const json_t *object, const char *key, int32_t *out)
{
    const json_t *v = json_object_get(object, key);
    *out = json_is_true(v);
    return json_is_boolean(v);
}

static bool read_options(const json_t *o, fa_sketch_options *out, fa_arena *arena, fa_status *status)
{
    const json_t *layers = json_object_get(o, "layers");
    const char *blocks = json_string_value(json_object_get(o, "blocks"));
    out->blocks = -1;
    for (int32_t k = 0; blocks && k < 3; k++)
        if (!strcmp(blocks, block_names[k])) out->blocks = k;
    if (json_is_string(layers)) {
        if (!fa_layer_patterns_valid(json_string_value(layers))) return false;
        out->layers = fa_arena_string(arena, json_string_value(layers));
        if (!out->layers) *status = FA_ERR_MEMORY;
    } else if (!json_is_null(layers)) {
        return false;
    }
    return out->blocks >= 0 && i32_field(o, "k_in", 1, MAX_K, &out->k_in) && i32_field(o, "k_out", 1, MAX_K, &out->k_out) && real_field(o, "beta", 0, 1, &out->beta) &&
           real_field(o, "damping", 0, 1e30, &out->damping) && real_field(o, "ridge", 0, 1e30, &out->ridge) && i32_field(o, "topk", 1, INT32_MAX, &out->topk) &&
           i32_field(o, "batch", 1, 4096, &out->batch) && bool_field(o, "drop_misclassified", &out->drop_misclassified);
}

static bool read_inputs(const json_t *list, fa_sketch_body *b, fa_status *status)
{
    size_t n = json_array_size(list);
    if (n < 1 || n > MAX_INPUTS) return false;
    b->n_input = (int32_t)n;
    b->input = fa_arena_array(&b->arena, n, sizeof *b->input);
    if (!b->input) {
        *status = FA_ERR_MEMORY;
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(list, i), *shape = json_object_get(entry, "shape");
        fa_sketch_input *in = &b->input[i];
        if (!i32_field(entry, "dtype", 1, FA_BFLOAT16, &in->dtype) || !json_is_array(shape) || json_array_size(shape) >= FA_MAX_DIMS) return false;
        in->ndim = (int32_t)json_array_size(shape);
        for (int32_t d = 0; d < in->ndim; d++) {
            const json_t *dim = json_array_get(shape, (size_t)d);
            if (!json_is_integer(dim) || json_integer_value(dim) < 1 || json_integer_value(dim) > INT32_MAX) return false;
            in->dim[d] = json_integer_value(dim);
        }
    }
    return true;
}

static bool read_layer(const json_t *entry, fa_sketch_layer *l, fa_arena *arena, int32_t *dropped, fa_status *status)
{
    const char *name = json_string_value(json_object_get(entry, "name")), *weight = json_string_value(json_object_get(entry, "weight"));
    if (!name || !weight || !i32_field(entry, "index", 0, INT32_MAX, &l->index) || !int_field(entry, "in", 1, INT32_MAX, &l->in) ||
        !int_field(entry, "out", 1, INT32_MAX, &l->out) || !int_field(entry, "groups", 1, INT32_MAX, &l->groups) || !i32_field(entry, "k_in", 0, MAX_K, &l->k_in) ||
        !i32_field(entry, "k_out", 0, MAX_K, &l->k_out) || !bool_field(entry, "random_in", &l->random_in) || !bool_field(entry, "random_out", &l->random_out) ||
        !bool_field(entry, "dropped", dropped))
        return false;
    if (*dropped ? l->k_in || l->k_out : l->k_in < 1 || l->k_out < 1 || l->k_in > l->in || l->k_out > l->out) return false;
    l->name = fa_arena_string(arena, name);
    l->weight = fa_arena_string(arena, weight);
    if (!l->name || !l->weight) *status = FA_ERR_MEMORY;
    return true;
}

static bool read_layers(const json_t *list, fa_sketch_body *b, fa_status *status)
{
    size_t n = json_array_size(list);
    if (n < 1 || n > MAX_LAYERS) return false;
    b->layer = fa_arena_array(&b->arena, n, sizeof *b->layer);
    b->offset = fa_arena_array(&b->arena, n + 1, sizeof *b->offset);
    if (!b->layer || !b->offset) {
        *status = FA_ERR_MEMORY;
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        fa_sketch_layer *l = &b->layer[i];
        int32_t dropped;
        if (!read_layer(json_array_get(list, i), l, &b->arena, &dropped, status) || (!dropped && b->n_dropped)) return false;
        if (dropped) {
            b->n_dropped++;
            continue;
        }
        b->offset[i + 1] = b->offset[i] + (int64_t)l->k_in * l->k_out;
        b->n_layer++;
    }
    return b->n_layer > 0;
}

typedef bool (*part_reader)(const json_t *part, fa_sketch_body *body, fa_status *status);

static bool read_options_part(const json_t *part, fa_sketch_body *b, fa_status *status)
{
    return json_is_object(part) && read_options(part, &b->options, &b->arena, status);
}

/* JSON text inside a string. */
static fa_status read_part(const json_t *m, const char *key, part_reader read, fa_sketch_body *b)
{
    json_t *part;
    const char *text = text_of(m, key);
    fa_status status = fa_json_parse(text, strlen(text), &part);
    if (status != FA_OK) return fa_fail_at(status, "__metadata__: '%s'", key);
    bool ok = read(part, b, &status);
    json_decref(part);
    return status != FA_OK ? status : ok ? FA_OK : fail_field(key);
}

fa_status fa_metadata_read(const json_t *m, fa_sketch_body *b)
{
    int64_t node;
    b->options = (fa_sketch_options){.struct_size = sizeof b->options};
    snprintf(b->library_version, sizeof b->library_version, "%s", text_of(m, "library_version"));
    if (!parse_digest(text_of(m, "model_digest"), b->model_digest)) return fail_field("model_digest");
    if (!parse_digest(text_of(m, "references_digest"), b->references_digest)) return fail_field("references_digest");
    if (!parse_i64(text_of(m, "classes"), 2, INT32_MAX, &b->classes)) return fail_field("classes");
    if (!parse_i64(text_of(m, "logits_node"), -1, INT32_MAX, &node)) return fail_field("logits_node");
    b->logits_node = (int32_t)node;
    FA_TRY(read_part(m, "options", read_options_part, b));
    if (!parse_seed(text_of(m, "seed"), &b->options.seed)) return fail_field("seed");
    FA_TRY(read_part(m, "inputs", read_inputs, b));
    return read_part(m, "layers", read_layers, b);
}
