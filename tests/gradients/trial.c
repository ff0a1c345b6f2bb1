/* SPDX-License-Identifier: Apache-2.0 */
#include "trial.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void fail_case(const gradient_case *c, const char *what, const char *text)
{
    ck_abort_msg("%s %d, inputs '%s', attributes '%s': %s '%s'", c->op, c->opset, c->inputs, c->attrs ? c->attrs : "", what, text);
}

/* Numbers that look random and are the same everywhere. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Evenly spread over the range in random order, so that no two elements come close: the largest of several stays the largest nearby. `shift`
 * moves them within their share of the range, for operators that compare one input with another. */
static void spread(double *x, int64_t n, double low, double high, bool signs, double shift, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = low + (high - low) * ((double)i + shift) / (double)n;
        if (signs && next(&seed) & 1) x[i] = -x[i];
    }
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = (int64_t)(next(&seed) % (uint64_t)(i + 1));
        double swap = x[i];
        x[i] = x[k];
        x[k] = swap;
    }
}

static void *memory(trial *t, size_t count, size_t size)
{
    void *p = fa_arena_array(&t->arena, count, size);
    ck_assert_ptr_nonnull(p);
    return p;
}

static int64_t *int_list(trial *t, const char *text, int64_t *count)
{
    int64_t *list = memory(t, strlen(text) + 1, sizeof *list);
    *count = 0;
    while (*text) {
        char *end;
        if (*text == ',') {
            text++;
            continue;
        }
        list[(*count)++] = strtoll(text, &end, 10);
        if (end == text) fail_case(t->from, "no list of integers:", text);
        text = end;
    }
    return list;
}

static double number(trial *t, const char *from, const char *to)
{
    char text[32] = "", *end;
    if ((size_t)(to - from) < sizeof text) memcpy(text, from, (size_t)(to - from));
    double v = strtod(text, &end);
    if (end == text || *end) fail_case(t->from, "no number:", text);
    return v;
}

static const char *real_list(trial *t, const char *text, double *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        char *end;
        to[i] = strtod(text, &end);
        if (end == text) fail_case(t->from, "no list of numbers:", text);
        text = end + (*end == ',');
    }
    return text;
}

static void read_input(trial *t, int32_t i, char *text)
{
    fa_view *v = &t->in[i];
    if (strcmp(text, "-") == 0) return;
    t->in_at[i] = v;
    char *type = strchr(text, '@');
    if (type) *type++ = '\0';
    size_t shape = strcspn(text, ":=?~#!@");
    char kind = text[shape];
    const char *rest = text + shape + (kind != '\0');
    text[shape] = '\0';
    int64_t ndim = 0;
    const int64_t *dim = strcmp(text, "s") == 0 ? NULL : int_list(t, text, &ndim);
    if (!fa_view_set_shape(v, (int32_t)ndim, dim)) fail_case(t->from, "no shape:", text);
    v->dtype = type ? (int32_t)strtol(type, NULL, 10) : kind == '?' ? FA_BOOL : kind == '=' || kind == '~' ? FA_INT64 : FA_FLOAT64;
    t->known[i] = kind == '=';
    if (kind == '=' || kind == '?' || kind == '~') {
        int64_t n;
        int64_t *elements = int_list(t, rest, &n);
        if (n != v->count) fail_case(t->from, "the number of elements does not fit the shape:", rest);
        v->data = malloc((size_t)n * sizeof *elements + !n);
        memcpy(v->data, elements, (size_t)n * sizeof *elements);
        return;
    }
    const char *end = rest + strlen(rest), *dots = strstr(rest, "..");
    double low = -1, high = 1;
    bool fixed = kind == '!' || (end > rest && end[-1] == '!'), signs = strncmp(rest, "+-", 2) == 0;
    if (kind == ':') {
        if (!dots) fail_case(t->from, "no range:", rest);
        low = number(t, rest + (signs ? 2 : 0), dots);
        high = number(t, dots + 2, end - fixed);
    }
    v->data = malloc((size_t)v->count * sizeof(double) + !v->count);
    if (kind == '#') {
        const char *behind = real_list(t, rest, v->data, v->count);
        t->known[i] = *behind == '!';
        if (behind[t->known[i]]) fail_case(t->from, "the number of elements does not fit the shape:", rest);
        return;
    }
    spread(v->data, v->count, low, high, signs, 0.5 + 0.37 * sin(i), 77 + (uint64_t)i);
    t->varies[i] = !fixed;
}

static void read_attribute(trial *t, fa_attr *a, char *text)
{
    char *value = strchr(text, '=');
    if (!value) fail_case(t->from, "no attribute:", text);
    *value++ = '\0';
    a->name = fa_arena_string(&t->arena, text);
    ck_assert_ptr_nonnull(a->name);
    bool letters = strspn(value, "0123456789-.,") != strlen(value), list = strchr(value, ','), point = strchr(value, '.');
    if (strchr(value, ';')) {
        const char **strings = memory(t, strlen(value), sizeof *strings);
        for (char *part = strtok(value, ";"); part; part = strtok(NULL, ";")) {
            strings[a->count] = fa_arena_string(&t->arena, part);
            ck_assert_ptr_nonnull(strings[a->count++]);
        }
        a->kind = FA_ATTR_STRINGS;
        a->strings = strings;
    } else if (letters) {
        a->kind = FA_ATTR_STRING;
        a->s = fa_arena_string(&t->arena, value);
        a->count = (int64_t)strlen(value);
    } else if (point) {
        float *floats = memory(t, strlen(value), sizeof *floats);
        for (char *part = strtok(value, ","); part; part = strtok(NULL, ",")) floats[a->count++] = strtof(part, NULL);
        a->kind = list ? FA_ATTR_FLOATS : FA_ATTR_FLOAT;
        a->f = floats[0];
        a->floats = floats;
    } else {
        a->kind = list ? FA_ATTR_INTS : FA_ATTR_INT;
        a->ints = int_list(t, value, &a->count);
        a->i = a->count ? a->ints[0] : 0;
    }
}

/* The parts of `text` between blanks; returns how many. */
static int32_t words(trial *t, const char *text, char **word, int32_t most)
{
    int32_t n = 0;
    char *copy = fa_arena_string(&t->arena, text ? text : "");
    ck_assert_ptr_nonnull(copy);
    for (char *at = copy; *(at += strspn(at, " "));) {
        if (n == most) fail_case(t->from, "too long:", text);
        word[n++] = at;
        at += strcspn(at, " ");
        if (*at) *at++ = '\0';
    }
    return n;
}

void *filled(const fa_view *v)
{
    void *data = malloc((size_t)v->count * 8 + !v->count);
    ck_assert_ptr_nonnull(data);
    for (int64_t i = 0; i < v->count; i++) {
        if (fa_dtype_is_real(v->dtype)) ((double *)data)[i] = NAN;
        else ((int64_t *)data)[i] = INT64_C(0x4a4a4a4a4a4a4a4a);
    }
    return data;
}

fa_status trial_begin(trial *t, fa_context *context, const gradient_case *c)
{
    char *word[64];
    *t = (trial){.from = c, .arena = {.context = context}};
    char *name = fa_arena_string(&t->arena, c->op), *colon = strchr(name, ':');
    t->node = (fa_node){.name = "case", .op = colon ? colon + 1 : name, .domain = colon ? name : "", .opset = c->opset, .n_out = c->n_out ? c->n_out : 1};
    if (colon) *colon = '\0';
    t->node.n_in = words(t, c->inputs, word, MOST_IN);
    for (int32_t i = 0; i < t->node.n_in; i++) read_input(t, i, word[i]);
    t->node.out = memory(t, (size_t)t->node.n_out, sizeof *t->node.out); /* all wanted */
    for (int32_t o = 0; o < t->node.n_out; o++) t->node.out[o] = o;
    t->node.n_attr = words(t, c->attrs, word, 64);
    t->node.attr = memory(t, (size_t)t->node.n_attr + 1, sizeof *t->node.attr);
    for (int32_t i = 0; i < t->node.n_attr; i++) read_attribute(t, &t->node.attr[i], word[i]);
    t->op = fa_op_find(&fa_op_table_f64, &t->node);
    if (!t->op) fail_case(c, "no operator:", c->op);

    fa_view known[MOST_IN];
    const fa_view *known_at[MOST_IN];
    for (int32_t i = 0; i < t->node.n_in; i++) {
        known[i] = t->in[i];
        if (!t->known[i]) known[i].data = NULL;
        known_at[i] = t->in_at[i] ? &known[i] : NULL;
    }
    fa_op_setup s = {.node = &t->node, .n_in = t->node.n_in, .n_out = t->node.n_out, .in = known_at, .out = t->out, .arena = &t->arena, .wants = UINT32_MAX};
    fa_status status = t->op->prepare(&s);
    if (status != FA_OK) return status;
    t->params = s.params;
    t->scratch = s.scratch;
    for (int32_t o = 0; o < t->node.n_out; o++) t->out[o].data = filled(&t->out[o]);
    return FA_OK;
}

void trial_end(trial *t)
{
    for (int32_t i = 0; i < t->node.n_in; i++) free(t->in[i].data);
    for (int32_t o = 0; o < t->node.n_out; o++) free(t->out[o].data);
    fa_arena_clear(&t->arena);
}

static void *scratch(const trial *t)
{
    if (!t->scratch) return NULL;
    void *p = NULL;
    ck_assert_int_eq(posix_memalign(&p, FA_ALIGN, t->scratch), 0);
    memset(p, 0xff, t->scratch); /* NaN, as double and as float */
    return p;
}

static void pick(int32_t n, const fa_view *views, const bool *wanted, const fa_view **at)
{
    for (int32_t o = 0; o < n; o++) at[o] = !wanted || wanted[o] ? &views[o] : NULL;
}

void trial_forward(const trial *t, const fa_view *out, const bool *wanted)
{
    const fa_view *out_at[MOST_OUT];
    pick(t->node.n_out, out, wanted, out_at);
    fa_op_call call = {.node = &t->node, .params = t->params, .scratch = scratch(t), .n_in = t->node.n_in, .n_out = t->node.n_out,
                       .in = t->in_at, .out = out_at};
    t->op->forward(&call);
    free(call.scratch);
}

void trial_backward(const trial *t, const fa_view *out, const bool *wanted, void *const *grad_in, const void *const *grad_out, const bool *accumulate)
{
    fa_view in_left[MOST_IN], out_left[MOST_OUT];
    const fa_view *in_at[MOST_IN], *out_at[MOST_OUT];
    for (int32_t i = 0; i < t->node.n_in; i++) {
        in_left[i] = t->in[i];
        if (!(t->op->back_in >> (i < 31 ? i : 31) & 1)) in_left[i].data = filled(&in_left[i]);
        in_at[i] = t->in_at[i] ? &in_left[i] : NULL;
    }
    for (int32_t o = 0; o < t->node.n_out; o++) {
        out_left[o] = out[o];
        if (!(t->op->back_out >> (o < 31 ? o : 31) & 1)) out_left[o].data = filled(&out_left[o]);
    }
    pick(t->node.n_out, out_left, wanted, out_at);
    fa_op_call call = {.node = &t->node, .params = t->params, .scratch = scratch(t), .n_in = t->node.n_in, .n_out = t->node.n_out, .in = in_at, .out = out_at,
                       .grad_in = grad_in, .grad_out = grad_out, .accumulate = accumulate};
    t->op->backward(&call);
    free(call.scratch);
    for (int32_t i = 0; i < t->node.n_in; i++)
        if (in_left[i].data != t->in[i].data) free(in_left[i].data);
    for (int32_t o = 0; o < t->node.n_out; o++)
        if (out_left[o].data != out[o].data) free(out_left[o].data);
}
