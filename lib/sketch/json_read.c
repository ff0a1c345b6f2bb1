/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "sketch/json.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    fa_arena *arena;
    const char *start, *at, *end;
    int32_t depth, values;
} reader;

static fa_status read_value(reader *r, fa_json *out);

static fa_status fail(const reader *r, const char *what)
{
    return fa_fail(FA_ERR_FORMAT, "%s at byte %zu", what, (size_t)(r->at - r->start));
}

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static bool take(reader *r, char c)
{
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    return true;
}

size_t fa_utf8_length(const char *text, size_t size)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
    if (size == 0) return 0;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (n == 1) return 1;
    if (p[0] < 0xc0 || p[0] > 0xf4 || n > size) return 0;
    uint32_t code = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

static fa_status read_hex(reader *r, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = r->at < r->end ? *r->at : '\0';
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return fail(r, "no four hexadecimal digits");
        v = v << 4 | (uint32_t)digit;
        r->at++;
    }
    *out = v;
    return FA_OK;
}

static char *put_utf8(char *to, uint32_t c)
{
    static const uint32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    int n = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)(lead[n] | c >> (6 * n));
    while (n--) *to++ = (char)(0x80 | (c >> (6 * n) & 0x3f));
    return to;
}

static fa_status read_unicode(reader *r, char **to)
{
    uint32_t c, low;
    FA_TRY(read_hex(r, &c));
    if (c >= 0xd800 && c < 0xdc00) {
        if (!take(r, '\\') || !take(r, 'u')) return fail(r, "half a surrogate pair");
        FA_TRY(read_hex(r, &low));
        if (low < 0xdc00 || low > 0xdfff) return fail(r, "half a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c == 0 || (c >= 0xdc00 && c < 0xe000)) return fail(r, "a character that a string cannot hold");
    *to = put_utf8(*to, c);
    return FA_OK;
}

static fa_status read_escape(reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *which = r->at < r->end && *r->at ? strchr(from, *r->at) : NULL;
    if (which) {
        r->at++;
        *(*to)++ = into[which - from];
        return FA_OK;
    }
    return take(r, 'u') ? read_unicode(r, to) : fail(r, "an unknown escape");
}

/* Escapes only ever shrink: the room between the quotes is enough. */
static fa_status read_string(reader *r, const char **out)
{
    if (!take(r, '"')) return fail(r, "no string");
    const char *quote = r->at;
    while (quote < r->end && *quote != '"') quote += *quote == '\\' && r->end - quote > 1 ? 2 : 1;
    if (quote >= r->end) return fail(r, "a string without end");
    char *text = fa_arena_new(r->arena, (size_t)(quote - r->at) + 1), *to = text;
    if (!text) return FA_ERR_MEMORY;
    while (r->at < quote) {
        if (take(r, '\\')) {
            FA_TRY(read_escape(r, &to));
            continue;
        }
        size_t n = (unsigned char)*r->at < 0x20 ? 0 : fa_utf8_length(r->at, (size_t)(quote - r->at));
        if (n == 0) return fail(r, "a control character or no UTF-8");
        memcpy(to, r->at, n);
        to += n;
        r->at += n;
    }
    if (r->at != quote) return fail(r, "an unknown escape");
    r->at++;
    *to = '\0';
    *out = text;
    return FA_OK;
}

static size_t digits(const char *p, const char *end)
{
    size_t n = 0;
    while (p + n < end && p[n] >= '0' && p[n] <= '9') n++;
    return n;
}

/* strtod() wants the locale's decimal point. */
static fa_status to_real(reader *r, const char *number, size_t size, double *out)
{
    char text[96], *to = text;
    const char *point = localeconv()->decimal_point;
    if (size + strlen(point) >= sizeof text) return fail(r, "a number of too many digits");
    for (size_t i = 0; i < size; i++) {
        if (number[i] != '.') {
            *to++ = number[i];
            continue;
        }
        for (const char *p = point; *p; p++) *to++ = *p;
    }
    *to = '\0';
    *out = strtod(text, NULL);
    return *out > -1e308 && *out < 1e308 ? FA_OK : fail(r, "a number out of range");
}

static fa_status read_number(reader *r, fa_json *out)
{
    const char *start = r->at;
    bool whole = true;
    take(r, '-');
    size_t n = digits(r->at, r->end);
    if (n == 0 || (n > 1 && *r->at == '0')) return fail(r, "no value");
    r->at += n;
    if (take(r, '.')) {
        whole = false;
        if ((n = digits(r->at, r->end)) == 0) return fail(r, "no digit behind the point");
        r->at += n;
    }
    if (take(r, 'e') || take(r, 'E')) {
        whole = false;
        if (!take(r, '-')) take(r, '+');
        if ((n = digits(r->at, r->end)) == 0) return fail(r, "no digit in the exponent");
        r->at += n;
    }
    size_t size = (size_t)(r->at - start);
    FA_TRY(to_real(r, start, size, &out->real));
    out->kind = FA_JSON_REAL;
    if (!whole) return FA_OK;
    char text[96];
    memcpy(text, start, size);
    text[size] = '\0';
    errno = 0;
    out->kind = FA_JSON_INT;
    out->integer = strtoll(text, NULL, 10);
    return errno ? fail(r, "an integer out of range") : FA_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(const fa_json *const *)a)->key, (*(const fa_json *const *)b)->key);
}

static fa_status check_keys(reader *r, const fa_json *object)
{
    const fa_json **member = fa_new_array(r->arena->context, object->count, sizeof *member);
    if (!member) return FA_ERR_MEMORY;
    size_t n = 0;
    for (const fa_json *m = object->first; m; m = m->next) member[n++] = m;
    qsort(member, n, sizeof *member, compare_keys);
    fa_status status = FA_OK;
    for (size_t i = 1; i < n && status == FA_OK; i++)
        if (!strcmp(member[i]->key, member[i - 1]->key)) status = fa_fail(FA_ERR_FORMAT, "duplicate key '%.100s'", member[i]->key);
    fa_delete(r->arena->context, member);
    return status;
}

/* Elements of an array or members of an object, behind the opening bracket. */
static fa_status read_members(reader *r, fa_json *out, char closing)
{
    fa_json **last = &out->first;
    skip_space(r);
    if (take(r, closing)) return FA_OK;
    do {
        fa_json *v = fa_arena_new(r->arena, sizeof *v);
        if (!v) return FA_ERR_MEMORY;
        skip_space(r);
        if (out->kind == FA_JSON_OBJECT) {
            FA_TRY(read_string(r, &v->key));
            skip_space(r);
            if (!take(r, ':')) return fail(r, "no ':'");
        }
        FA_TRY(read_value(r, v));
        *last = v;
        last = &v->next;
        out->count++;
        skip_space(r);
    } while (take(r, ','));
    if (!take(r, closing)) return fail(r, "no ',' and no closing bracket");
    return out->kind == FA_JSON_OBJECT ? check_keys(r, out) : FA_OK;
}

static bool take_word(reader *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return false;
    r->at += n;
    return true;
}

static fa_status read_value(reader *r, fa_json *out)
{
    fa_status status = FA_OK;
    skip_space(r);
    if (++r->values > FA_JSON_VALUES) return fail(r, "too many values");
    if (++r->depth > FA_JSON_DEPTH) return fail(r, "nested too deep");
    if (take(r, '{')) {
        out->kind = FA_JSON_OBJECT;
        status = read_members(r, out, '}');
    } else if (take(r, '[')) {
        out->kind = FA_JSON_ARRAY;
        status = read_members(r, out, ']');
    } else if (r->at < r->end && *r->at == '"') {
        out->kind = FA_JSON_STRING;
        status = read_string(r, &out->string);
    } else if (take_word(r, "null")) {
        out->kind = FA_JSON_NULL;
    } else if (take_word(r, "true")) {
        out->kind = FA_JSON_BOOL;
        out->integer = 1;
    } else if (take_word(r, "false")) {
        out->kind = FA_JSON_BOOL;
    } else {
        status = read_number(r, out);
    }
    r->depth--;
    return status;
}

fa_status fa_json_parse(fa_arena *arena, const char *text, size_t size, const fa_json **out)
{
    reader r = {.arena = arena, .start = text, .at = text, .end = text + size};
    fa_json *root = fa_arena_new(arena, sizeof *root);
    if (!root) return FA_ERR_MEMORY;
    FA_TRY(read_value(&r, root));
    skip_space(&r);
    if (r.at < r.end) return fail(&r, "something behind the value");
    *out = root;
    return FA_OK;
}

const fa_json *fa_json_get(const fa_json *object, const char *key)
{
    if (!fa_json_is(object, FA_JSON_OBJECT)) return NULL;
    for (const fa_json *m = object->first; m; m = m->next)
        if (!strcmp(m->key, key)) return m;
    return NULL;
}

const fa_json *fa_json_at(const fa_json *array, size_t index)
{
    if (!fa_json_is(array, FA_JSON_ARRAY)) return NULL;
    const fa_json *v = array->first;
    while (v && index--) v = v->next;
    return v;
}

const char *fa_json_text_of(const fa_json *value)
{
    return fa_json_is(value, FA_JSON_STRING) ? value->string : NULL;
}

bool fa_json_is(const fa_json *value, fa_json_kind kind)
{
    return value && value->kind == kind;
}
