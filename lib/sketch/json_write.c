/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/json.h"

#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(fa_json_writer *w, const char *text, size_t n)
{
    if (w->failed) return;
    if (w->room - w->size <= n) {
        size_t room = 2 * w->room > w->size + n + 1 ? 2 * w->room : w->size + n + 256;
        char *larger = fa_new(w->context, room);
        if (!larger) {
            w->failed = true;
            return;
        }
        if (w->size) memcpy(larger, w->text, w->size);
        fa_delete(w->context, w->text);
        w->text = larger;
        w->room = room;
    }
    memcpy(w->text + w->size, text, n);
    w->size += n;
    w->text[w->size] = '\0';
}

/* A comma, unless this is the first value of something. */
static void separate(fa_json_writer *w)
{
    if (w->size && !strchr("{[:", w->text[w->size - 1])) put(w, ",", 1);
}

void fa_json_open(fa_json_writer *w, char bracket)
{
    separate(w);
    put(w, &bracket, 1);
}

void fa_json_close(fa_json_writer *w, char bracket)
{
    put(w, &bracket, 1);
}

static void put_string(fa_json_writer *w, const char *text)
{
    size_t size = strlen(text);
    put(w, "\"", 1);
    while (size) {
        char escape[8];
        size_t n = fa_utf8_length(text, size);
        if (n == 0) {
            put(w, "?", 1);
            n = 1;
        } else if (*text == '"' || *text == '\\') {
            put(w, "\\", 1);
            put(w, text, 1);
        } else if ((unsigned char)*text < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)(unsigned char)*text);
            put(w, escape, 6);
        } else {
            put(w, text, n);
        }
        text += n;
        size -= n;
    }
    put(w, "\"", 1);
}

void fa_json_key(fa_json_writer *w, const char *key)
{
    separate(w);
    put_string(w, key);
    put(w, ":", 1);
}

void fa_json_string(fa_json_writer *w, const char *text)
{
    separate(w);
    put_string(w, text);
}

void fa_json_word(fa_json_writer *w, const char *word)
{
    separate(w);
    put(w, word, strlen(word));
}

void fa_json_int(fa_json_writer *w, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    fa_json_word(w, text);
}

void fa_json_real(fa_json_writer *w, double value)
{
    char text[64];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value) break;
    }
    /* Both of them use the locale's decimal point; JSON's is a point. */
    const char *local = localeconv()->decimal_point;
    char *at = strstr(text, local);
    if (at) {
        size_t n = strlen(local);
        *at = '.';
        memmove(at + 1, at + n, strlen(at + n) + 1);
    }
    fa_json_word(w, text);
}
