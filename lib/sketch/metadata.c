/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/metadata.h"

#include "base/error.h"
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

static void put_string(fa_json_writer *w, const char *key, const char *value)
{
    fa_json_key(w, key);
    fa_json_string(w, value);
}

static void put_int(fa_json_writer *w, const char *key, int64_t value)
{
    fa_json_key(w, key);
    fa_json_int(w, value);
}

static void put_real(fa_json_writer *w, const char *key, double value)
{
    fa_json_key(w, key);
    fa_json_real(w, value);
}

static void put_bool(fa_json_writer *w, const char *key, bool value)
{
    fa_json_key(w, key);
    fa_json_word(w, value ? "true" : "false");
}

/* A number as a string. */
static void put_decimal(fa_json_writer *w, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    put_string(w, key, text);
}

static void put_digest(fa_json_writer *w, const char *key, const uint8_t digest[16])
{
    char text[33];
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    put_string(w, key, text);
}

/* JSON text as a string. */
static void put_part(fa_json_writer *w, const char *key, const fa_sketch_body *b, void (*write)(const fa_sketch_body *, fa_json_writer *))
{
    fa_json_writer part = {.context = w->context};
    write(b, &part);
    if (part.failed) w->failed = true;
    else put_string(w, key, part.text);
    fa_delete(w->context, part.text);
}

static void write_options(const fa_sketch_body *b, fa_json_writer *w)
{
    const fa_sketch_options *o = &b->options;
    fa_json_open(w, '{');
    put_int(w, "k_in", o->k_in);
    put_int(w, "k_out", o->k_out);
    put_real(w, "beta", o->beta);
    put_real(w, "damping", o->damping);
    put_real(w, "ridge", o->ridge);
    put_string(w, "blocks", block_names[o->blocks]);
    put_int(w, "topk", o->topk);
    fa_json_key(w, "layers");
    if (o->layers) fa_json_string(w, o->layers);
    else fa_json_word(w, "null");
    put_int(w, "batch", o->batch);
    put_bool(w, "drop_misclassified", o->drop_misclassified != 0);
    fa_json_close(w, '}');
}

static void write_inputs(const fa_sketch_body *b, fa_json_writer *w)
{
    fa_json_open(w, '[');
    for (int32_t i = 0; i < b->n_input; i++) {
        fa_json_open(w, '{');
        put_int(w, "dtype", b->input[i].dtype);
        fa_json_key(w, "shape");
        fa_json_open(w, '[');
        for (int32_t d = 0; d < b->input[i].ndim; d++) fa_json_int(w, b->input[i].dim[d]);
        fa_json_close(w, ']');
        fa_json_close(w, '}');
    }
    fa_json_close(w, ']');
}

static void write_layers(const fa_sketch_body *b, fa_json_writer *w)
{
    fa_json_open(w, '[');
    for (int32_t i = 0; i < b->n_layer + b->n_dropped; i++) {
        const fa_sketch_layer *l = &b->layer[i];
        fa_json_open(w, '{');
        put_string(w, "name", l->name);
        put_string(w, "weight", l->weight);
        put_int(w, "index", l->index);
        put_int(w, "in", l->in);
        put_int(w, "out", l->out);
        put_int(w, "groups", l->groups);
        put_int(w, "k_in", l->k_in);
        put_int(w, "k_out", l->k_out);
        put_bool(w, "random_in", l->random_in != 0);
        put_bool(w, "random_out", l->random_out != 0);
        put_bool(w, "dropped", i >= b->n_layer);
        fa_json_close(w, '}');
    }
    fa_json_close(w, ']');
}

void fa_metadata_write(const fa_sketch_body *b, fa_json_writer *w)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, b->options.seed);
    put_string(w, "format", "fattr-sketch");
    put_decimal(w, "format_version", FA_FORMAT_VERSION);
    put_string(w, "library_version", b->library_version);
    put_digest(w, "model_digest", b->model_digest);
    put_digest(w, "references_digest", b->references_digest);
    put_string(w, "seed", seed);
    put_decimal(w, "classes", b->classes);
    put_decimal(w, "logits_node", b->logits_node);
    put_part(w, "options", b, write_options);
    put_part(w, "inputs", b, write_inputs);
    put_part(w, "layers", b, write_layers);
}

/* ---- reading */

static fa_status fail_field(const char *key)
{
    return fa_fail(FA_ERR_FORMAT, "__metadata__: '%s' is missing or malformed", key);
}

static const char *text_of(const fa_json *metadata, const char *key)
{
    const char *text = fa_json_text_of(fa_json_get(metadata, key));
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

fa_status fa_metadata_check_version(const fa_json *m)
{
    int64_t version;
    if (strcmp(text_of(m, "format"), "fattr-sketch"))
        return fa_fail(FA_ERR_FORMAT, "a safetensors file whose format is not 'fattr-sketch': not a sketch file");
    if (!parse_i64(text_of(m, "format_version"), 1, INT64_MAX, &version)) return fail_field("format_version");
    if (version > FA_FORMAT_VERSION)
        return fa_fail(FA_ERR_VERSION, "the sketch has format version %lld, written by libfattr %.40s; this library reads up to version %d",
                       (long long)version,
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
static bool int_field(const fa_json *object, const char *key, int64_t least, int64_t most, int64_t *out)
{
    const fa_json *v = fa_json_get(object, key);
    if (!fa_json_is(v, FA_JSON_INT) || v->integer < least || v->integer > most) return false;
    *out = v->integer;
    return true;
}

static bool i32_field(const fa_json *object, const char *key, int32_t least, int32_t most, int32_t *out)
{
    int64_t v;
    if (!int_field(object, key, least, most, &v)) return false;
    *out = (int32_t)v;
    return true;
}

static bool real_field(const fa_json *object, const char *key, double least, double most, double *out)
{
    const fa_json *v = fa_json_get(object, key);
    if (!fa_json_is(v, FA_JSON_REAL) && !fa_json_is(v, FA_JSON_INT)) return false;
    *out = v->real;
    return *out >= least && *out <= most;
}

static bool bool_field(const fa_json *object, const char *key, int32_t *out)
{
    const fa_json *v = fa_json_get(object, key);
    if (!fa_json_is(v, FA_JSON_BOOL)) return false;
    *out = (int32_t)v->integer;
    return true;
}

static bool read_options(const fa_json *o, fa_sketch_options *out, fa_arena *arena, fa_status *status)
{
    const fa_json *layers = fa_json_get(o, "layers");
    const char *blocks = fa_json_text_of(fa_json_get(o, "blocks"));
    out->blocks = -1;
    for (int32_t k = 0; blocks && k < 3; k++)
        if (!strcmp(blocks, block_names[k])) out->blocks = k;
    if (fa_json_is(layers, FA_JSON_STRING)) {
        if (!fa_layer_patterns_valid(layers->string)) return false;
        out->layers = fa_arena_string(arena, layers->string);
        if (!out->layers) *status = FA_ERR_MEMORY;
    } else if (!fa_json_is(layers, FA_JSON_NULL)) {
        return false;
    }
    return out->blocks >= 0 && i32_field(o, "k_in", 1, MAX_K, &out->k_in) && i32_field(o, "k_out", 1, MAX_K, &out->k_out) &&
           real_field(o, "beta", 0, 1, &out->beta) && real_field(o, "damping", 0, 1e30, &out->damping) && real_field(o, "ridge", 0, 1e30, &out->ridge) &&
           i32_field(o, "topk", 1, INT32_MAX, &out->topk) && i32_field(o, "batch", 1, 4096, &out->batch) &&
           bool_field(o, "drop_misclassified", &out->drop_misclassified);
}

static bool read_inputs(const fa_json *list, fa_sketch_body *b, fa_status *status)
{
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
        if (!i32_field(entry, "dtype", 1, FA_BFLOAT16, &in->dtype) || !fa_json_is(shape, FA_JSON_ARRAY) || shape->count >= FA_MAX_DIMS) return false;
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
    if (!name || !weight || !i32_field(entry, "index", 0, INT32_MAX, &l->index) || !int_field(entry, "in", 1, INT32_MAX, &l->in) ||
        !int_field(entry, "out", 1, INT32_MAX, &l->out) || !int_field(entry, "groups", 1, INT32_MAX, &l->groups) ||
        !i32_field(entry, "k_in", 0, MAX_K, &l->k_in) || !i32_field(entry, "k_out", 0, MAX_K, &l->k_out) ||
        !bool_field(entry, "random_in", &l->random_in) || !bool_field(entry, "random_out", &l->random_out) || !bool_field(entry, "dropped", dropped))
        return false;
    if (*dropped ? l->k_in || l->k_out : l->k_in < 1 || l->k_out < 1 || l->k_in > l->in || l->k_out > l->out) return false;
    l->name = fa_arena_string(arena, name);
    l->weight = fa_arena_string(arena, weight);
    if (!l->name || !l->weight) *status = FA_ERR_MEMORY;
    return true;
}

static bool read_layers(const fa_json *list, fa_sketch_body *b, fa_status *status)
{
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

typedef bool (*part_reader)(const fa_json *part, fa_sketch_body *body, fa_status *status);

static bool read_options_part(const fa_json *part, fa_sketch_body *b, fa_status *status)
{
    return read_options(part, &b->options, &b->arena, status);
}

/* JSON text inside a string. */
static fa_status read_part(const fa_json *m, const char *key, part_reader read, fa_sketch_body *b)
{
    fa_arena arena = {.context = b->arena.context};
    const fa_json *part;
    const char *text = text_of(m, key);
    fa_status status = fa_json_parse(&arena, text, strlen(text), &part);
    if (status != FA_OK) fa_fail_at(status, "__metadata__: '%s'", key);
    else if (!read(part, b, &status) && status == FA_OK) status = fail_field(key);
    fa_arena_clear(&arena);
    return status;
}

fa_status fa_metadata_read(const fa_json *m, fa_sketch_body *b)
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
