/* SPDX-License-Identifier: Apache-2.0 */
#include "npz.h"

#include <stdlib.h>
#include <string.h>

/*
 * The header of a .npy file is a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }. This reads that much Python and
 * no more: one dictionary, strings, booleans, tuples of integers, and lists of anything nested, which are skipped (structured types).
 */

typedef struct cursor {
    const char *p, *end;
} cursor;

static void skip_space(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r')) c->p++;
}

static bool take(cursor *c, char wanted)
{
    skip_space(c);
    if (c->p == c->end || *c->p != wanted) return false;
    c->p++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) return false;
    c->p += n;
    return true;
}

/* A quoted string, copied as far as it fits. */
static bool take_string(cursor *c, char *out, size_t room)
{
    skip_space(c);
    if (c->p == c->end || (*c->p != '\'' && *c->p != '"')) return false;
    char quote = *c->p++;
    size_t n = 0;
    for (; c->p < c->end && *c->p != quote; c->p++) {
        if (*c->p == '\\' && ++c->p == c->end) return false;
        if (n + 1 < room) out[n++] = *c->p;
    }
    if (c->p == c->end) return false;
    c->p++;
    out[n] = '\0';
    return true;
}

/* A bracketed value of any content: only quotes and brackets matter. */
static bool skip_nested(cursor *c)
{
    char closing[64];
    int depth = 0;
    char dropped[2];
    do {
        skip_space(c);
        if (c->p == c->end) return false;
        char k = *c->p;
        if (k == '\'' || k == '"') {
            if (!take_string(c, dropped, sizeof dropped)) return false;
            continue;
        }
        c->p++;
        if (k == '[' || k == '(' || k == '{') {
            if (depth == (int)sizeof closing) return false;
            closing[depth++] = k == '[' ? ']' : k == '(' ? ')' : '}';
        } else if (k == ']' || k == ')' || k == '}') {
            if (depth == 0 || closing[depth - 1] != k) return false;
            depth--;
        }
    } while (depth > 0);
    return true;
}

/* A non-negative integer; Python 2 wrote a trailing L. */
static bool take_size(cursor *c, int64_t *out)
{
    int64_t value = 0;
    skip_space(c);
    const char *start = c->p;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        if (value > (INT64_MAX - 9) / 10) return false;
        value = value * 10 + (*c->p - '0');
    }
    if (c->p == start) return false;
    if (c->p < c->end && *c->p == 'L') c->p++;
    *out = value;
    return true;
}

static bool take_shape(cursor *c, npy_header *h)
{
    if (!take(c, '(')) return false;
    h->ndim = 0;
    while (!take(c, ')')) {
        int64_t size;
        if (h->ndim > 0 && !take(c, ',')) return false;
        if (h->ndim > 0 && take(c, ')')) return true;
        if (!take_size(c, &size) || h->ndim == 1024) return false;
        if (h->ndim < FA_MAX_DIMS) h->shape[h->ndim] = size;
        h->ndim++;
    }
    return true;
}

static void read_type(npy_header *h)
{
    static const struct {
        char name[4];
        int32_t dtype;
        size_t element;
    } types[] = {{"f4", FA_FLOAT32, 4}, {"f8", FA_FLOAT64, 8}, {"f2", FA_FLOAT16, 2}, {"u1", FA_UINT8, 1}, {"i1", FA_INT8, 1},
                 {"u2", FA_UINT16, 2}, {"i2", FA_INT16, 2}, {"u4", FA_UINT32, 4}, {"i4", FA_INT32, 4}, {"u8", FA_UINT64, 8},
                 {"i8", FA_INT64, 8}, {"b1", FA_BOOL, 1}, {"?", FA_BOOL, 1}};
    const char *name = h->descr;
    char order = *name;
    if (order == '<' || order == '>' || order == '|' || order == '=') name++;
    h->dtype = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, types[i].name) != 0) continue;
        h->dtype = types[i].dtype;
        h->element = types[i].element;
        h->swapped = h->element > 1 && order == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<');
    }
}

fa_status npy_header_parse(const char *text, size_t size, npy_header *out)
{
    cursor c = {text, text + size};
    npy_header h = {.element = 0};
    bool descr = false, order = false, shape = false, first = true;
    if (!take(&c, '{')) return npz_fail(FA_ERR_FORMAT, "the header is no dictionary");
    while (!take(&c, '}')) {
        char key[32];
        if (!first && !take(&c, ',')) return npz_fail(FA_ERR_FORMAT, "the header is malformed at byte %zu", (size_t)(c.p - text));
        if (!first && take(&c, '}')) break;
        first = false;
        if (!take_string(&c, key, sizeof key) || !take(&c, ':'))
            return npz_fail(FA_ERR_FORMAT, "the header is malformed at byte %zu", (size_t)(c.p - text));
        if (strcmp(key, "descr") == 0 && !descr) {
            descr = true;
            if (!take_string(&c, h.descr, sizeof h.descr)) {
                if (!skip_nested(&c)) return npz_fail(FA_ERR_FORMAT, "the header's 'descr' is malformed");
                strcpy(h.descr, "structured");
            }
        } else if (strcmp(key, "fortran_order") == 0 && !order) {
            order = true;
            h.fortran_order = take_word(&c, "True");
            if (!h.fortran_order && !take_word(&c, "False")) return npz_fail(FA_ERR_FORMAT, "the header's 'fortran_order' is neither True nor False");
        } else if (strcmp(key, "shape") == 0 && !shape) {
            shape = true;
            if (!take_shape(&c, &h)) return npz_fail(FA_ERR_FORMAT, "the header's 'shape' is malformed");
        } else {
            return npz_fail(FA_ERR_FORMAT, "the header has an unexpected or repeated key '%s'", key);
        }
    }
    skip_space(&c);
    if (c.p != c.end) return npz_fail(FA_ERR_FORMAT, "the header goes on after its dictionary");
    if (!descr || !order || !shape) return npz_fail(FA_ERR_FORMAT, "the header lacks '%s'", !descr ? "descr" : !order ? "fortran_order" : "shape");
    read_type(&h);
    *out = h;
    return FA_OK;
}
