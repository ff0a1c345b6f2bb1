/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * Einsum of up to three inputs: one walk over every label, those of the output first. An operand stands still along labels it does not have, and
 * takes the diagonal where it has one twice; the dots of an ellipsis are labels that NumPy's broadcasting joins.
 */
#define LABELS 52
#define DOTS FA_MAX_DIMS
enum { NO_PLACE = -1 };

typedef struct term {
    int32_t label[FA_MAX_DIMS]; /* letters 0 ... 51, the dots' k-th axis from the last 52 + k */
    int32_t ndim;
} term;

static int32_t letter(char c)
{
    return c >= 'a' && c <= 'z' ? c - 'a' : c >= 'A' && c <= 'Z' ? c - 'A' + 26 : -1;
}

static fa_status bad(const char *equation)
{
    return fa_fail(FA_ERR_FORMAT, "the equation is '%.80s'", equation);
}

/* The labels of one term, up to a comma, an arrow or the end; `dots` are the axes that an ellipsis stands for. */
static fa_status read_term(const char *equation, const char **at, int32_t dots, term *t)
{
    bool seen = false;
    t->ndim = 0;
    for (; **at && **at != ',' && **at != '-'; ++*at) {
        bool is_dots = strncmp(*at, "...", 3) == 0;
        int32_t label = letter(**at);
        if (**at == ' ') continue;
        if ((is_dots && seen) || (!is_dots && label < 0)) return bad(equation);
        if (t->ndim + (is_dots ? dots : 1) > FA_MAX_DIMS) return fa_fail(FA_ERR_LIMIT, "a term of '%.80s' has more than %d labels", equation, FA_MAX_DIMS);
        if (!is_dots) {
            t->label[t->ndim++] = label;
            continue;
        }
        for (int32_t k = dots - 1; k >= 0; k--) t->label[t->ndim++] = LABELS + k;
        seen = true;
        *at += 2;
    }
    return FA_OK;
}

static int32_t count_letters(const char *at)
{
    int32_t n = 0;
    for (; *at && *at != ',' && *at != '-'; at++) n += letter(*at) >= 0;
    return n;
}

/* Without an arrow the output has the dots' axes and then, in alphabetical order, the letters that stand once. */
static fa_status implicit_output(const char *equation, const term *in, int32_t n, int32_t dots, term *out)
{
    int32_t uses[LABELS] = {0};
    out->ndim = 0;
    for (int32_t k = dots - 1; k >= 0; k--) out->label[out->ndim++] = LABELS + k;
    for (int32_t i = 0; i < n; i++)
        for (int32_t d = 0; d < in[i].ndim; d++)
            if (in[i].label[d] < LABELS) uses[in[i].label[d]]++;
    for (int32_t k = 0; k < LABELS; k++) {
        int32_t label = (k + 26) % LABELS; /* capitals come first */
        if (uses[label] != 1) continue;
        if (out->ndim == FA_MAX_DIMS) return fa_fail(FA_ERR_LIMIT, "the output of '%.80s' has more than %d labels", equation, FA_MAX_DIMS);
        out->label[out->ndim++] = label;
    }
    return FA_OK;
}

static fa_status parse(const fa_op_setup *s, const char *equation, term *in, term *out)
{
    const char *at = equation;
    int32_t most = 0;
    for (int32_t i = 0; i < s->n_in; i++) {
        const char *start = at;
        int32_t dots = s->in[i]->ndim - count_letters(at);
        if (dots < 0) return fa_fail(FA_ERR_SHAPE, "input %d has %d dimensions, fewer than '%.80s' says", i, s->in[i]->ndim, equation);
        FA_TRY(read_term(equation, &at, dots, &in[i]));
        if (in[i].ndim != s->in[i]->ndim) return fa_fail(FA_ERR_SHAPE, "input %d has %d dimensions, '%.80s' says %d", i, s->in[i]->ndim, equation, in[i].ndim);
        if (memchr(start, '.', (size_t)(at - start)) && dots > most) most = dots;
        if (i + 1 < s->n_in && *at++ != ',') return bad(equation);
    }
    if (*at == '-') {
        if (*++at != '>') return bad(equation);
        at++;
        FA_TRY(read_term(equation, &at, most, out));
    } else {
        FA_TRY(implicit_output(equation, in, s->n_in, most, out));
    }
    return *at ? bad(equation) : FA_OK;
}

/* Elements along each label, and its place among the walk's dimensions: the output's labels come first. */
typedef struct labels {
    int64_t size[LABELS + DOTS];
    int32_t place[LABELS + DOTS];
} labels;

static fa_status size_labels(const fa_op_setup *s, const term *in, labels *l)
{
    for (int32_t k = 0; k < LABELS + DOTS; k++) {
        l->size[k] = -1;
        l->place[k] = NO_PLACE;
    }
    for (int32_t i = 0; i < s->n_in; i++)
        for (int32_t d = 0; d < in[i].ndim; d++) {
            int64_t *size = &l->size[in[i].label[d]], dim = s->in[i]->dim[d];
            if (*size < 0 || *size == 1) *size = dim;
            else if (*size != dim && dim != 1)
                return fa_fail(FA_ERR_SHAPE, "axis %d of input %d has %lld elements, and %lld elsewhere", d, i, (long long)dim, (long long)*size);
        }
    return FA_OK;
}

static fa_status place_labels(const char *equation, const term *t, bool is_output, labels *l, fa_walk *w)
{
    for (int32_t d = 0; d < t->ndim; d++) {
        int32_t label = t->label[d];
        if (l->size[label] < 0 || (is_output && l->place[label] != NO_PLACE)) return bad(equation); /* in no input, or twice in the output */
        if (l->place[label] != NO_PLACE) continue;
        if (w->ndim == FA_WALK_DIMS) return fa_fail(FA_ERR_LIMIT, "'%.80s' has more than %d labels", equation, FA_WALK_DIMS);
        w->dim[w->ndim] = l->size[label];
        l->place[label] = w->ndim++;
    }
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, FA_WALK_OPERANDS - 1, 1));
    for (int32_t i = 0; i < s->n_in; i++)
        if (!s->in[i]) return fa_fail(FA_ERR_FORMAT, "input %d is missing", i);
    FA_TRY(FA_R(fa_op_need_real)(s));
    term in[FA_WALK_OPERANDS - 1], out;
    labels l;
    const char *equation = fa_node_string(s->node, "equation", "");
    FA_TRY(parse(s, equation, in, &out));
    FA_TRY(size_labels(s, in, &l));
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    w->operands = s->n_in + 1;
    FA_TRY(place_labels(equation, &out, true, &l, w));
    FA_TRY(FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, w->ndim, w->dim));
    for (int32_t i = 0; i < s->n_in; i++) FA_TRY(place_labels(equation, &in[i], false, &l, w));
    int64_t stride[FA_MAX_DIMS];
    double all = 1;
    FA_R(fa_op_strides)(&s->out[0], stride);
    for (int32_t d = 0; d < out.ndim; d++) w->step[0][l.place[out.label[d]]] = stride[d];
    for (int32_t i = 0; i < s->n_in; i++) {
        FA_R(fa_op_strides)(s->in[i], stride);
        for (int32_t d = 0; d < in[i].ndim; d++)
            if (s->in[i]->dim[d] != 1) w->step[i + 1][l.place[in[i].label[d]]] += stride[d];
    }
    for (int32_t d = 0; d < w->ndim; d++) all *= (double)w->dim[d];
    fa_walk_pack(w);
    s->params = w;
    s->flops = 2 * all;
    return FA_OK;
}

static void forward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    const int64_t *step = w->row_step;
    fa_walk_place p;
    fa_real *y = c->out[0]->data;
    for (int64_t i = 0; i < c->out[0]->count; i++) y[i] = 0;
    FA_WALK_ROWS(w, p) {
        const fa_real *x[3] = {NULL};
        double sum = 0;
        for (int32_t k = 0; k < c->n_in; k++) x[k] = (const fa_real *)c->in[k]->data + p.at[k + 1];
        for (int64_t i = 0; i < w->row; i++) {
            double product = (double)x[0][i * step[1]];
            for (int32_t k = 1; k < c->n_in; k++) product *= (double)x[k][i * step[k + 1]];
            if (step[0]) y[p.at[0] + i * step[0]] += (fa_real)product;
            else sum += product;
        }
        if (!step[0]) y[p.at[0]] += (fa_real)sum;
    }
}

static void backward(const fa_op_call *c)
{
    const fa_walk *w = c->params;
    fa_walk_place p;
    for (int32_t to = 0; to < c->n_in; to++) {
        fa_real *t = c->grad_in[to];
        if (!t) continue;
        FA_WALK_ROWS(w, p) {
            for (int64_t i = 0; i < w->row; i++) {
                double product = (double)((const fa_real *)c->grad_out[0])[p.at[0] + i * w->row_step[0]];
                for (int32_t k = 0; k < c->n_in; k++)
                    if (k != to) product *= (double)((const fa_real *)c->in[k]->data)[p.at[k + 1] + i * w->row_step[k + 1]];
                t[p.at[to + 1] + i * w->row_step[to + 1]] += (fa_real)product;
            }
        }
    }
}

const fa_op FA_R(fa_ops_einsum)[] = {
    {"Einsum", "", 12, FA_OPSET_ANY, 0, 7, 0, prepare, forward, backward},
    {NULL},
};
