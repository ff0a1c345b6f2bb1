/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_FIELDS_H
#define FA_SKETCH_FIELDS_H

#include "sketch/json.h"

/* Members of JSON objects, as the metadata of our files has them. */

void fa_put_string(fa_json_writer *w, const char *key, const char *value);
void fa_put_string_or_null(fa_json_writer *w, const char *key, const char *value);
void fa_put_int(fa_json_writer *w, const char *key, int64_t value);
void fa_put_real(fa_json_writer *w, const char *key, double value); /* null for what is not finite */
void fa_put_bool(fa_json_writer *w, const char *key, bool value);
void fa_put_decimal(fa_json_writer *w, const char *key, int64_t value); /* a number as a string */
void fa_put_unsigned(fa_json_writer *w, const char *key, uint64_t value);
void fa_put_digest(fa_json_writer *w, const char *key, const uint8_t digest[16]);

/* JSON text as a string. */
void fa_put_part(fa_json_writer *w, const char *key, const void *of, void (*write)(const void *of, fa_json_writer *));

/* All false when the member is missing, of another kind or out of range. */
bool fa_int_field(const fa_json *object, const char *key, int64_t least, int64_t most, int64_t *out);
bool fa_i32_field(const fa_json *object, const char *key, int32_t least, int32_t most, int32_t *out);
bool fa_real_field(const fa_json *object, const char *key, double least, double most, double *out);
bool fa_real_or_null_field(const fa_json *object, const char *key, double *out); /* null: NaN */
bool fa_bool_field(const fa_json *object, const char *key, int32_t *out);
bool fa_unsigned_field(const fa_json *object, const char *key, uint64_t *out); /* a string of decimal digits */

/* Strings of `__metadata__`. */
const char *fa_text_field(const fa_json *object, const char *key); /* "" when it is missing */
bool fa_parse_i64(const char *text, int64_t least, int64_t most, int64_t *out);
bool fa_parse_unsigned(const char *text, uint64_t *out);
bool fa_parse_digest(const char *text, uint8_t digest[16]);

fa_status fa_fail_field(const char *key);

/* Reads JSON text inside a string of `__metadata__`. `read` says false for what is malformed; when it failed for another reason, *status says so. */
typedef bool (*fa_part_reader)(const fa_json *part, void *into, fa_status *status);
fa_status fa_read_part(fa_context *context, const fa_json *metadata, const char *key, fa_part_reader read, void *into);

#endif
