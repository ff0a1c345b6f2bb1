/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/safetensors.h"

#include "base/error.h"
#include "base/hash.h"
#include "sketch/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 16 /* hexadecimal digits of an XXH3-64 */

static const char checksum_key[] = "\"header_checksum\":\"";
static const char zeros[DIGITS + 1] = "0000000000000000";

static const struct {
    const char *name;
    size_t size;
} types[] = {[FA_ST_U8] = {"U8", 1}, [FA_ST_I64] = {"I64", 8}, [FA_ST_F32] = {"F32", 4}, [FA_ST_F64] = {"F64", 8}};

size_t fa_st_type_size(fa_st_type type)
{
    return types[type].size;
}

static void hash_text(uint64_t hash, char text[DIGITS + 1])
{
    snprintf(text, DIGITS + 1, "%016" PRIx64, hash);
}

/* Where the sixteen digits of the header's checksum are, or SIZE_MAX. A quote inside a JSON string is escaped, so the first match is the key. */
static size_t find_checksum(const unsigned char *header, size_t size)
{
    size_t key = sizeof checksum_key - 1;
    for (size_t i = 0; i + key + DIGITS < size; i++)
        if (header[i] == '"' && !memcmp(header + i, checksum_key, key)) return i + key;
    return SIZE_MAX;
}

/* ---- writing */

static fa_status fail_json(void)
{
    return fa_fail(FA_ERR_MEMORY, "out of memory while writing a sketch's header");
}

static size_t gap(size_t at)
{
    return (FA_ST_ALIGN - at % FA_ST_ALIGN) % FA_ST_ALIGN;
}

static bool put_entry(json_t *root, const char *name, const char *type, int32_t ndim, const int64_t *dim, size_t begin, size_t end)
{
    json_t *shape = json_array(), *entry;
    for (int32_t i = 0; shape && i < ndim; i++)
        if (json_array_append_new(shape, json_integer(dim[i]))) {
            json_decref(shape);
            return false;
        }
    /* "o" takes the reference to `shape`, whatever happens. */
    entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", type, "shape", shape, "data_offsets", (json_int_t)begin, (json_int_t)end);
    return entry && json_object_set_new(root, name, entry) == 0;
}

static bool put_entries(json_t *root, const fa_st_tensor *tensor, int32_t count)
{
    size_t at = 0;
    int32_t pads = 0;
    for (int32_t i = 0; i < count; i++) {
        const fa_st_tensor *t = &tensor[i];
        int64_t pad = (int64_t)gap(at);
        if (pad) {
            char name[FA_ST_NAME];
            snprintf(name, sizeof name, "pad.%d", pads++);
            if (!put_entry(root, name, "U8", 1, &pad, at, at + (size_t)pad)) return false;
            at += (size_t)pad;
        }
        if (!put_entry(root, t->name, types[t->type].name, t->ndim, t->dim, at, at + t->size)) return false;
        at += t->size;
    }
    return true;
}

static bool put_checksums(fa_context *context, json_t *metadata, const fa_st_tensor *tensor, int32_t count)
{
    json_t *sums = json_object();
    bool ok = sums != NULL;
    for (int32_t i = 0; ok && i < count; i++) {
        char digits[DIGITS + 1];
        hash_text(fa_hash64(tensor[i].data, tensor[i].size), digits);
        ok = json_object_set_new(sums, tensor[i].name, json_string(digits)) == 0;
    }
    size_t size;
    char *text = ok ? fa_json_text(context, sums, &size) : NULL;
    json_decref(sums);
    ok = text && json_object_set_new(metadata, "checksums", json_stringn(text, size)) == 0 && json_object_set_new(metadata, "header_checksum", json_string(zeros)) == 0;
    fa_delete(context, text);
    return ok;
}

/* Length, header and padding in one block. */
static fa_status make_head(fa_context *context, json_t *metadata, const fa_st_tensor *tensor, int32_t count, unsigned char **out, size_t *size)
{
    json_t *root = json_object();
    bool ok = root && json_object_set(root, "__metadata__", metadata) == 0 && put_checksums(context, metadata, tensor, count) && put_entries(root, tensor, count);
    size_t length;
    char *text = ok ? fa_json_text(context, root, &length) : NULL;
    json_decref(root);
    if (!text) return fail_json();
    size_t padded = length + gap(8 + length);
    if (padded > FA_ST_HEADER_MAX) {
        fa_delete(context, text);
        return fa_fail(FA_ERR_LIMIT, "the sketch's header would have %zu bytes; %u are allowed", padded, FA_ST_HEADER_MAX);
    }
    unsigned char *head = fa_new_uncleared(context, 8 + padded);
    if (!head) {
        fa_delete(context, text);
        return FA_ERR_MEMORY;
    }
    for (int i = 0; i < 8; i++) head[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    memcpy(head + 8, text, length);
    memset(head + 8 + length, ' ', padded - length);
    fa_delete(context, text);
    char digits[DIGITS + 1];
    hash_text(fa_hash64(head + 8, padded), digits);
    memcpy(head + 8 + find_checksum(head + 8, padded), digits, DIGITS);
    *out = head;
    *size = 8 + padded;
    return FA_OK;
}

static fa_status write_data(fa_file_writer *w, const fa_st_tensor *tensor, int32_t count)
{
    static const unsigned char pad[FA_ST_ALIGN];
    size_t at = 0;
    for (int32_t i = 0; i < count; i++) {
        FA_TRY(fa_file_writer_write(w, pad, gap(at)));
        at += gap(at) + tensor[i].size;
        FA_TRY(fa_file_writer_write(w, tensor[i].data, tensor[i].size));
    }
    return FA_OK;
}

fa_status fa_st_write(fa_context *context, const char *path, json_t *metadata, const fa_st_tensor *tensor, int32_t count)
{
    unsigned char *head = NULL;
    size_t size = 0;
    fa_file_writer *w;
    FA_TRY(make_head(context, metadata, tensor, count, &head, &size));
    fa_status status = fa_file_writer_open(context, path, &w);
    if (status == FA_OK) {
        status = fa_file_writer_write(w, head, size);
        if (status == FA_OK) status = write_data(w, tensor, count);
        if (status == FA_OK) status = fa_file_writer_commit(w);
        else fa_file_writer_discard(w);
    }
    fa_delete(context, head);
    return status;
}

/* ---- reading */

typedef struct span {
    size_t begin, end;
    const char *name;
} span;

static fa_status fail_tensor(const char *name, const char *what)
{
    return fa_fail(FA_ERR_FORMAT, "tensor '%.100s': %s", name, what);
}

static bool get_size(const json_t *value, size_t *out)
{
    json_int_t v = json_is_integer(value) ? json_integer_value(value) : -1;
    *out = (size_t)v;
    return v >= 0;
}

/* One entry of the header. Tensors of other types or with more dimensions than a sketch has are no part of one. */
static fa_status read_entry(const char *name, const json_t *entry, const unsigned char *data, size_t data_size, fa_st_tensor *t, span *at)
{
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    size_t elements = 1, dim;
    int32_t kind = -1;
    for (int32_t k = 0; type && k < (int32_t)(sizeof types / sizeof types[0]); k++)
        if (!strcmp(type, types[k].name)) kind = k;
    if (kind < 0) return fail_tensor(name, "its dtype is none of U8, I64, F32, F64");
    if (strlen(name) >= FA_ST_NAME) return fail_tensor(name, "its name is too long");
    if (!json_is_array(shape) || json_array_size(shape) < 1 || json_array_size(shape) > FA_ST_DIMS) return fail_tensor(name, "its shape has not one or two dimensions");
    snprintf(t->name, sizeof t->name, "%s", name);
    t->type = (fa_st_type)kind;
    t->ndim = (int32_t)json_array_size(shape);
    for (int32_t i = 0; i < t->ndim; i++) {
        if (!get_size(json_array_get(shape, (size_t)i), &dim) || !fa_mul_size(elements, dim, &elements)) return fail_tensor(name, "its shape is malformed");
        t->dim[i] = (int64_t)dim;
    }
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &at->begin) ||
        !get_size(json_array_get(offsets, 1), &at->end) || at->begin > at->end)
        return fail_tensor(name, "its data_offsets are malformed");
    if (at->end > data_size) return fail_tensor(name, "its data lies beyond the end of the file: truncated");
    if (!fa_mul_size(elements, types[kind].size, &t->size) || t->size != at->end - at->begin) return fail_tensor(name, "its shape does not fit its data_offsets");
    t->data = data + at->begin;
    at->name = t->name;
    return FA_OK;
}

static int compare_spans(const void *a, const void *b)
{
    const span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static fa_status check_spans(span *s, int32_t count, size_t data_size)
{
    size_t at = 0;
    qsort(s, (size_t)count, sizeof *s, compare_spans);
    for (int32_t i = 0; i < count; at = s[i++].end)
        if (s[i].begin != at) return fail_tensor(s[i].name, s[i].begin > at ? "there is a hole before its data" : "its data overlaps another tensor's");
    if (at != data_size) return fa_fail(FA_ERR_FORMAT, "%zu bytes of data behind the last tensor", data_size - at);
    return FA_OK;
}

fa_status fa_st_read_tensors(fa_st_file *f)
{
    size_t entries = json_object_size(f->root);
    span *spans = fa_new_array(f->context, entries, sizeof *spans);
    f->tensor = fa_new_array(f->context, entries, sizeof *f->tensor);
    fa_status status = spans && f->tensor ? FA_OK : FA_ERR_MEMORY;
    const char *name;
    json_t *entry;
    json_object_foreach (f->root, name, entry) {
        if (status != FA_OK || !strcmp(name, "__metadata__")) continue;
        status = read_entry(name, entry, f->data, f->data_size, &f->tensor[f->count], &spans[f->count]);
        f->count++;
    }
    if (status == FA_OK) status = check_spans(spans, f->count, f->data_size);
    fa_delete(f->context, spans);
    return status;
}

static fa_status verify_header(const fa_st_file *f)
{
    size_t at = find_checksum(f->header, f->header_size);
    if (at == SIZE_MAX) return fa_fail(FA_ERR_FORMAT, "the header has no checksum: not a sketch file");
    char digits[DIGITS + 1];
    unsigned char *copy = fa_new_uncleared(f->context, f->header_size);
    if (!copy) return FA_ERR_MEMORY;
    memcpy(copy, f->header, f->header_size);
    memcpy(copy + at, zeros, DIGITS);
    hash_text(fa_hash64(copy, f->header_size), digits);
    fa_delete(f->context, copy);
    return memcmp(f->header + at, digits, DIGITS) ? fa_fail(FA_ERR_CHECKSUM, "the header does not match its checksum: the file was altered") : FA_OK;
}

/* A sketch whose header was altered until it was JSON no more, or no sketch at all. */
static fa_status parse_header(fa_st_file *f)
{
    fa_status status = fa_json_parse((const char *)f->header, f->header_size, &f->root);
    if (status == FA_ERR_FORMAT) {
        fa_fail_at(status, "the header is no JSON");
        if (find_checksum(f->header, f->header_size) != SIZE_MAX) FA_TRY(verify_header(f));
    }
    return status;
}

fa_status fa_st_open(fa_context *context, const void *data, size_t size, fa_st_file *f)
{
    const unsigned char *bytes = data;
    uint64_t length = 0;
    f->context = context;
    if (size < 8) return fa_fail(FA_ERR_FORMAT, "%zu bytes are too few for a sketch file: truncated", size);
    for (int i = 0; i < 8; i++) length |= (uint64_t)bytes[i] << (8 * i);
    if (length > FA_ST_HEADER_MAX) return fa_fail(FA_ERR_FORMAT, "a header of %" PRIu64 " bytes; a sketch has at most %u: not a sketch file", length, FA_ST_HEADER_MAX);
    if (length > size - 8) return fa_fail(FA_ERR_FORMAT, "a header of %" PRIu64 " bytes in a file of %zu: truncated", length, size);
    f->header = bytes + 8;
    f->header_size = (size_t)length;
    if (length == 0 || bytes[8] != '{') return fa_fail(FA_ERR_FORMAT, "the header does not begin with '{': not a sketch file");
    FA_TRY(parse_header(f));
    f->metadata = json_object_get(f->root, "__metadata__");
    if (!json_is_object(f->metadata)) return fa_fail(FA_ERR_FORMAT, "the header has no __metadata__: not a sketch file");
    const char *name;
    json_t *value;
    json_object_foreach (f->metadata, name, value)
        if (!json_is_string(value)) return fa_fail(FA_ERR_FORMAT, "__metadata__: '%.100s' is no string", name);
    f->data = bytes + 8 + f->header_size;
    f->data_size = size - 8 - f->header_size;
    return FA_OK;
}

static bool all_zero(const fa_st_tensor *t)
{
    for (size_t i = 0; i < t->size; i++)
        if (((const unsigned char *)t->data)[i]) return false;
    return true;
}

static bool intact(const fa_st_tensor *t, const json_t *sums)
{
    if (!strncmp(t->name, "pad.", 4)) return all_zero(t);
    const char *sum = json_string_value(json_object_get(sums, t->name));
    char digits[DIGITS + 1];
    hash_text(fa_hash64(t->data, t->size), digits);
    return sum && !strcmp(sum, digits);
}

fa_status fa_st_verify(const fa_st_file *f)
{
    FA_TRY(verify_header(f));
    const char *text = json_string_value(json_object_get(f->metadata, "checksums"));
    json_t *sums = NULL;
    fa_status status = fa_json_parse(text ? text : "", text ? strlen(text) : 0, &sums);
    if (status != FA_OK) return fa_fail_at(status, "__metadata__: 'checksums'");
    for (int32_t i = 0; i < f->count && status == FA_OK; i++)
        if (!intact(&f->tensor[i], sums)) status = fa_fail(FA_ERR_CHECKSUM, "tensor '%s' does not match its checksum: the file was altered", f->tensor[i].name);
    json_decref(sums);
    return status;
}

const fa_st_tensor *fa_st_find(fa_st_file *f, const char *name)
{
    for (int32_t i = 0; i < f->count; i++) {
        int32_t at = (f->next + i) % f->count;
        if (strcmp(f->tensor[at].name, name)) continue;
        f->next = at + 1;
        return &f->tensor[at];
    }
    return NULL;
}

void fa_st_close(fa_st_file *f)
{
    json_decref(f->root);
    fa_delete(f->context, f->tensor);
    *f = (fa_st_file){0};
}
