/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/fields.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing */

void fa_put_string(fa_json_writer *w, const char *key, const char *value)
{
    fa_json_key(w, key);
    fa_json_string(w, value);
}

void fa_put_string_or_null(fa_json_writer *w, const char *key, const char *value)
{
    fa_json_key(w, key);
    if (value) fa_json_string(w, value);
    else fa_json_word(w, "null");
}

void fa_put_int(fa_json_writer *w, const char *key, int64_t value)
{
    fa_json_key(w, key);
    fa_json_int(w, value);
}

void fa_put_real(fa_json_writer *w, const char *key, double value)
{
    fa_json_key(w, key);
    if (isfinite(value)) fa_json_real(w, value);
    else fa_json_word(w, "null");
}

void fa_put_bool(fa_json_writer *w, const char *key, bool value)
{
    fa_json_key(w, key);
    fa_json_word(w, value ? "true" : "false");
}

void fa_put_decimal(fa_json_writer *w, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    fa_put_string(w, key, text);
}

void fa_put_unsigned(fa_json_writer *w, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    fa_put_string(w, key, text);
}

void fa_put_digest(fa_json_writer *w, const char *key, const uint8_t digest[16])
{
    char text[33];
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    fa_put_string(w, key, text);
}

void fa_put_part(fa_json_writer *w, const char *key, const void *of, void (*write)(const void *of, fa_json_writer *))
{
    fa_json_writer part = {.context = w->context};
    write(of, &part);
    if (part.failed) w->failed = true;
    else fa_put_string(w, key, part.text);
    fa_delete(w->context, part.text);
}

/* ---- reading */

bool fa_int_field(const fa_json *object, const char *key, int64_t least, int64_t most, int64_t *out)
{
    const fa_json *v = fa_json_get(object, key);
    if (!fa_json_is(v, FA_JSON_INT) || v->integer < least || v->integer > most) return false;
    *out = v->integer;
    return true;
}

bool fa_i32_field(const fa_json *object, const char *key, int32_t least, int32_t most, int32_t *out)
{
    int64_t v;
    if (!fa_int_field(object, key, least, most, &v)) return false;
    *out = (int32_t)v;
    return true;
}

bool fa_real_field(const fa_json *object, const char *key, double least, double most, double *out)
{
    const fa_json *v = fa_json_get(object, key);
    if (!fa_json_is(v, FA_JSON_REAL) && !fa_json_is(v, FA_JSON_INT)) return false;
    *out = v->real;
    return *out >= least && *out <= most;
}

bool fa_real_or_null_field(const fa_json *object, const char *key, double *out)
{
    if (!fa_json_is(fa_json_get(object, key), FA_JSON_NULL)) return fa_real_field(object, key, -HUGE_VAL, HUGE_VAL, out);
    *out = (double)NAN;
    return true;
}

bool fa_bool_field(const fa_json *object, const char *key, int32_t *out)
{
    const fa_json *v = fa_json_get(object, key);
    if (!fa_json_is(v, FA_JSON_BOOL)) return false;
    *out = (int32_t)v->integer;
    return true;
}

bool fa_unsigned_field(const fa_json *object, const char *key, uint64_t *out)
{
    return fa_parse_unsigned(fa_text_field(object, key), out);
}

const char *fa_text_field(const fa_json *object, const char *key)
{
    const char *text = fa_json_text_of(fa_json_get(object, key));
    return text ? text : "";
}

bool fa_parse_i64(const char *text, int64_t least, int64_t most, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < least || v > most) return false;
    *out = v;
    return true;
}

bool fa_parse_unsigned(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !errno && text[0] >= '0' && text[0] <= '9' && !*end;
}

bool fa_parse_digest(const char *text, uint8_t digest[16])
{
    if (strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32) return false;
    for (int i = 0; i < 16; i++) {
        char byte[3] = {text[2 * i], text[2 * i + 1], '\0'};
        digest[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return true;
}

fa_status fa_fail_field(const char *key)
{
    return fa_fail(FA_ERR_FORMAT, "__metadata__: '%s' is missing or malformed", key);
}

fa_status fa_read_part(fa_context *context, const fa_json *metadata, const char *key, fa_part_reader read, void *into)
{
    fa_arena arena = {.context = context};
    const fa_json *part;
    const char *text = fa_text_field(metadata, key);
    fa_status status = fa_json_parse(&arena, text, strlen(text), &part);
    if (status != FA_OK) fa_fail_at(status, "__metadata__: '%s'", key);
    else if (!read(part, into, &status) && status == FA_OK) status = fa_fail_field(key);
    fa_arena_clear(&arena);
    return status;
}
