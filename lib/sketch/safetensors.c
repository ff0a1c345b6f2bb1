/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/safetensors.h"

#include "base/error.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 20000
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

static size_t gap(size_t at)
{
    return (FA_ST_ALIGN - at % FA_ST_ALIGN) % FA_ST_ALIGN;
}

static void put_entry(fa_json_writer *w, const char *name, const char *type, int32_t ndim, const int64_t *dim, size_t begin, size_t end)
{
    fa_json_key(w, name);
    fa_json_open(w, '{');
    fa_json_key(w, "dtype");
    fa_json_string(w, type);
    fa_json_key(w, "shape");
    fa_json_open(w, '[');
    for (int32_t i = 0; i < ndim; i++) fa_json_int(w, dim[i]);
    fa_json_close(w, ']');
    fa_json_key(w, "data_offsets");
    fa_json_open(w, '[');
    fa_json_int(w, (int64_t)begin);
    fa_json_int(w, (int64_t)end);
    fa_json_close(w, ']');
    fa_json_close(w, '}');
}

static void put_entries(fa_json_writer *w, const fa_st_tensor *tensor, int32_t count)
{
    size_t at = 0;
    int32_t pads = 0;
    for (int32_t i = 0; i < count; i++) {
        const fa_st_tensor *t = &tensor[i];
        int64_t pad = (int64_t)gap(at);
        if (pad) {
            char name[FA_ST_NAME];
            snprintf(name, sizeof name, "pad.%d", pads++);
            put_entry(w, name, "U8", 1, &pad, at, at + (size_t)pad);
            at += (size_t)pad;
        }
        put_entry(w, t->name, types[t->type].name, t->ndim, t->dim, at, at + t->size);
        at += t->size;
    }
}

static void put_checksums(fa_json_writer *w, const fa_st_tensor *tensor, int32_t count)
{
    fa_json_writer sums = {.context = w->context};
    fa_json_open(&sums, '{');
    for (int32_t i = 0; i < count; i++) {
        char digits[DIGITS + 1];
        hash_text(fa_hash64(tensor[i].data, tensor[i].size), digits);
        fa_json_key(&sums, tensor[i].name);
        fa_json_string(&sums, digits);
    }
    fa_json_close(&sums, '}');
    fa_json_key(w, "checksums");
    if (sums.failed) w->failed = true;
    else fa_json_string(w, sums.text);
    fa_json_key(w, "header_checksum");
    fa_json_string(w, zeros);
    fa_delete(sums.context, sums.text);
}

/* Length, header and padding in one block. */
static fa_status make_head(fa_json_writer *w, const fa_st_tensor *tensor, int32_t count, unsigned char **out, size_t *size)
{
    put_checksums(w, tensor, count);
    fa_json_close(w, '}');
    put_entries(w, tensor, count);
    fa_json_close(w, '}');
    if (w->failed) return FA_ERR_MEMORY;
    size_t padded = w->size + gap(8 + w->size);
    if (padded > FA_ST_HEADER_MAX) return fa_fail(FA_ERR_LIMIT, "the sketch's header would have %zu bytes; %u are allowed", padded, FA_ST_HEADER_MAX);
    unsigned char *head = fa_new_uncleared(w->context, 8 + padded);
    if (!head) return FA_ERR_MEMORY;
    for (int i = 0; i < 8; i++) head[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    memcpy(head + 8, w->text, w->size);
    memset(head + 8 + w->size, ' ', padded - w->size);
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

fa_status fa_st_write(fa_json_writer *header, const char *path, const fa_st_tensor *tensor, int32_t count)
{
    fa_context *context = header->context;
    unsigned char *head = NULL;
    size_t size = 0;
    fa_file_writer *w;
    FA_TRY(make_head(header, tensor, count, &head, &size));
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

static bool get_size(const fa_json *value, size_t *out)
{
    if (!fa_json_is(value, FA_JSON_INT) || value->integer < 0) return false;
    *out = (size_t)value->integer;
    return true;
}

/* One entry of the header. Tensors of other types or with more dimensions than a sketch has are no part of one. */
static fa_status read_entry(const fa_json *entry, const unsigned char *data, size_t data_size, fa_st_tensor *t, span *at)
{
    const fa_json *shape = fa_json_get(entry, "shape"), *offsets = fa_json_get(entry, "data_offsets");
    const char *name = entry->key, *type = fa_json_text_of(fa_json_get(entry, "dtype"));
    size_t elements = 1, dim;
    int32_t kind = -1;
    for (int32_t k = 0; type && k < (int32_t)(sizeof types / sizeof types[0]); k++)
        if (!strcmp(type, types[k].name)) kind = k;
    if (kind < 0) return fail_tensor(name, "its dtype is none of U8, I64, F32, F64");
    if (strlen(name) >= FA_ST_NAME) return fail_tensor(name, "its name is too long");
    if (!fa_json_is(shape, FA_JSON_ARRAY) || shape->count < 1 || shape->count > FA_ST_DIMS)
        return fail_tensor(name, "its shape has not one or two dimensions");
    snprintf(t->name, sizeof t->name, "%s", name);
    t->type = (fa_st_type)kind;
    t->ndim = (int32_t)shape->count;
    for (int32_t i = 0; i < t->ndim; i++) {
        if (!get_size(fa_json_at(shape, (size_t)i), &dim) || !fa_mul_size(elements, dim, &elements))
            return fail_tensor(name, "its shape is malformed");
        t->dim[i] = (int64_t)dim;
    }
    if (!offsets || offsets->count != 2 || !get_size(fa_json_at(offsets, 0), &at->begin) || !get_size(fa_json_at(offsets, 1), &at->end) ||
        at->begin > at->end)
        return fail_tensor(name, "its data_offsets are malformed");
    if (at->end > data_size) return fail_tensor(name, "its data lies beyond the end of the file: truncated");
    if (!fa_mul_size(elements, types[kind].size, &t->size) || t->size != at->end - at->begin)
        return fail_tensor(name, "its shape does not fit its data_offsets");
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
        if (s[i].begin != at) return fail_tensor(s[i].name,
                                                 s[i].begin > at ? "there is a hole before its data" : "its data overlaps another tensor's");
    if (at != data_size) return fa_fail(FA_ERR_FORMAT, "%zu bytes of data behind the last tensor", data_size - at);
    return FA_OK;
}

fa_status fa_st_read_tensors(fa_st_file *f)
{
    size_t entries = f->root->count;
    if (entries > MAX_TENSORS) return fa_fail(FA_ERR_FORMAT, "%zu tensors; a sketch has at most %d", entries, MAX_TENSORS);
    span *spans = fa_new_array(f->context, entries, sizeof *spans);
    f->tensor = fa_new_array(f->context, entries, sizeof *f->tensor);
    fa_status status = spans && f->tensor ? FA_OK : FA_ERR_MEMORY;
    for (const fa_json *entry = f->root->first; entry && status == FA_OK; entry = entry->next) {
        if (entry == f->metadata) continue;
        status = read_entry(entry, f->data, f->data_size, &f->tensor[f->count], &spans[f->count]);
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
    fa_status status = fa_json_parse(&f->arena, (const char *)f->header, f->header_size, &f->root);
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
    f->context = f->arena.context = context;
    if (size < 8) return fa_fail(FA_ERR_FORMAT, "%zu bytes are too few for a sketch file: truncated", size);
    for (int i = 0; i < 8; i++) length |= (uint64_t)bytes[i] << (8 * i);
    if (length > FA_ST_HEADER_MAX) return fa_fail(FA_ERR_FORMAT, "a header of %" PRIu64 " bytes; a sketch has at most %u: not a sketch file", length,
                                                  FA_ST_HEADER_MAX);
    if (length > size - 8) return fa_fail(FA_ERR_FORMAT, "a header of %" PRIu64 " bytes in a file of %zu: truncated", length, size);
    f->header = bytes + 8;
    f->header_size = (size_t)length;
    if (length == 0 || bytes[8] != '{') return fa_fail(FA_ERR_FORMAT, "the header does not begin with '{': not a sketch file");
    FA_TRY(parse_header(f));
    f->metadata = fa_json_get(f->root, "__metadata__");
    if (!fa_json_is(f->metadata, FA_JSON_OBJECT)) return fa_fail(FA_ERR_FORMAT, "the header has no __metadata__: not a sketch file");
    for (const fa_json *m = f->metadata->first; m; m = m->next)
        if (m->kind != FA_JSON_STRING) return fa_fail(FA_ERR_FORMAT, "__metadata__: '%.100s' is no string", m->key);
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

/* `*next`: where the tensor's checksum is when they come in the tensors' order. */
static bool intact(const fa_st_tensor *t, const fa_json *sums, const fa_json **next)
{
    if (!strncmp(t->name, "pad.", 4)) return all_zero(t);
    const fa_json *sum = *next && !strcmp((*next)->key, t->name) ? *next : fa_json_get(sums, t->name);
    char digits[DIGITS + 1];
    hash_text(fa_hash64(t->data, t->size), digits);
    *next = sum ? sum->next : NULL;
    return fa_json_is(sum, FA_JSON_STRING) && !strcmp(sum->string, digits);
}

static fa_status verify_tensors(const fa_st_file *f, const fa_json *sums)
{
    if (!fa_json_is(sums, FA_JSON_OBJECT) || sums->count > (size_t)f->count)
        return fa_fail(FA_ERR_FORMAT, "__metadata__: 'checksums' does not fit the tensors");
    const fa_json *next = sums->first;
    for (int32_t i = 0; i < f->count; i++)
        if (!intact(&f->tensor[i], sums, &next))
            return fa_fail(FA_ERR_CHECKSUM, "tensor '%s' does not match its checksum: the file was altered", f->tensor[i].name);
    return FA_OK;
}

fa_status fa_st_verify(const fa_st_file *f)
{
    FA_TRY(verify_header(f));
    const char *text = fa_json_text_of(fa_json_get(f->metadata, "checksums"));
    fa_arena arena = {.context = f->context};
    const fa_json *sums;
    fa_status status = fa_json_parse(&arena, text ? text : "", text ? strlen(text) : 0, &sums);
    if (status != FA_OK) fa_fail_at(status, "__metadata__: 'checksums'");
    else status = verify_tensors(f, sums);
    fa_arena_clear(&arena);
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
    fa_arena_clear(&f->arena);
    fa_delete(f->context, f->tensor);
    *f = (fa_st_file){0};
}
