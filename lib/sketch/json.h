/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_JSON_H
#define FA_SKETCH_JSON_H

#include "base/alloc.h"

/* JSON (RFC 8259) as sketch files need it: strict, bounded, in the context's memory, the same under every locale. */

typedef enum fa_json_kind { FA_JSON_NULL, FA_JSON_BOOL, FA_JSON_INT, FA_JSON_REAL, FA_JSON_STRING, FA_JSON_ARRAY, FA_JSON_OBJECT } fa_json_kind;

typedef struct fa_json {
    fa_json_kind kind;
    const char *key;     /* of a member of an object */
    const char *string;  /* UTF-8 */
    int64_t integer;     /* of a bool: 0 or 1 */
    double real;         /* of an integer too */
    struct fa_json *first, *next; /* elements or members, in order */
    size_t count;
} fa_json;

#define FA_JSON_DEPTH 16         /* arrays and objects inside each other */
#define FA_JSON_VALUES (1 << 18) /* values in one text */

/* FA_ERR_FORMAT with the byte where it goes wrong: no JSON, a duplicate key, a NUL in a string, deeper or more than the limits. */
fa_status fa_json_parse(fa_arena *arena, const char *text, size_t size, const fa_json **out);

/* All take NULL, as for a missing member. */
const fa_json *fa_json_get(const fa_json *object, const char *key);
const fa_json *fa_json_at(const fa_json *array, size_t index);
const char *fa_json_text_of(const fa_json *value); /* NULL when it is no string */
bool fa_json_is(const fa_json *value, fa_json_kind kind);

/* Text under construction. Separators are put in by themselves. When memory runs out, `failed` is set and everything after is left out. */
typedef struct fa_json_writer {
    fa_context *context;
    char *text; /* NUL-terminated; for fa_delete() */
    size_t size, room;
    bool failed;
} fa_json_writer;

void fa_json_open(fa_json_writer *writer, char bracket); /* '{' or '[' */
void fa_json_close(fa_json_writer *writer, char bracket);
void fa_json_key(fa_json_writer *writer, const char *key);
void fa_json_string(fa_json_writer *writer, const char *text); /* bytes that are no UTF-8 become '?' */
void fa_json_int(fa_json_writer *writer, int64_t value);
void fa_json_real(fa_json_writer *writer, double value); /* the shortest text that reads back as the same number */
void fa_json_word(fa_json_writer *writer, const char *word); /* true, false, null */

/* Bytes of the UTF-8 character at `text`, 0 when there is none in `size` bytes. */
size_t fa_utf8_length(const char *text, size_t size);

#endif
