/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/*
 * DFT and STFT, summed out with a table of sines: plain, and linear, so that the gradient is the transposed sum. A signal's last axis is 1 (real)
 * or 2 (real and imaginary part), the result's always 2.
 */
typedef struct line {
    int64_t length, used, bins; /* of the transform; elements of the signal in it, zeros behind; results */
    int64_t parts;              /* 1 or 2 */
    double scale;               /* of the result: 1 / length for the inverse */
    double *cosine, *sine;      /* [length]; the sine's sign is the direction's */
} line;

typedef struct dft {
    line line;
    int64_t outer, inner;   /* DFT: lines [outer, elements, inner, parts] */
    int64_t signal, frames, step; /* STFT: elements of a signal */
} dft;

static fa_status set_line(fa_op_setup *s, line *l, bool inverse)
{
    const double turn = 6.283185307179586476925286766559;
    if (l->length < 1) return fa_fail(FA_ERR_SHAPE, "a transform of %lld elements", (long long)l->length);
    l->cosine = fa_arena_array(s->arena, (size_t)l->length, sizeof *l->cosine);
    l->sine = fa_arena_array(s->arena, (size_t)l->length, sizeof *l->sine);
    if (!l->cosine || !l->sine) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < l->length; i++) {
        l->cosine[i] = cos(turn * (double)i / (double)l->length);
        l->sine[i] = sin(turn * (double)i / (double)l->length) * (inverse ? 1 : -1);
    }
    l->scale = inverse ? 1 / (double)l->length : 1;
    return FA_OK;
}

static fa_status read_int(const fa_op_setup *s, int32_t input, const char *what, int64_t *out)
{
    const int64_t *data;
    int64_t n;
    if (input >= s->n_in || !s->in[input]) return FA_OK;
    FA_TRY(FA_R(fa_op_constant_ints)(s, input, what, &data, &n));
    FA_TRY(FA_R(fa_op_need_count)(s, input, 1));
    *out = data[0];
    return FA_OK;
}

static fa_status read_parts(const fa_view *x, line *l)
{
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "a signal of %s", fa_dtype_name(x->dtype));
    l->parts = x->ndim ? x->dim[x->ndim - 1] : 0;
    if (l->parts < 1 || l->parts > 2) return fa_fail(FA_ERR_SHAPE, "the signal's last axis is neither 1 (real) nor 2 (complex)");
    return FA_OK;
}

static fa_status dft_prepare(fa_op_setup *s)
{
    bool by_input = s->node->opset >= 20, inverse = fa_node_int(s->node, "inverse", 0) != 0, onesided = fa_node_int(s->node, "onesided", 0) != 0;
    FA_TRY(FA_R(fa_op_need)(s, 1, by_input ? 3 : 2, 1));
    const fa_view *x = s->in[0];
    int64_t asked = by_input ? -2 : fa_node_int(s->node, "axis", 1), dim[FA_MAX_DIMS];
    int32_t axis;
    dft *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    FA_TRY(read_parts(x, &p->line));
    if (by_input) FA_TRY(read_int(s, 2, "the axis", &asked));
    FA_TRY(FA_R(fa_op_axis)(asked, x->ndim, &axis));
    if (axis == x->ndim - 1) return fa_fail(FA_ERR_SHAPE, "axis %d is that of real and imaginary part", axis);
    if (inverse && onesided) return fa_fail(FA_ERR_UNSUPPORTED, "the inverse of a one-sided transform");
    p->line.length = x->dim[axis];
    FA_TRY(read_int(s, 1, "the length", &p->line.length));
    if (p->line.length > FA_MAX_ELEMENTS) return fa_fail(FA_ERR_LIMIT, "a transform of %lld elements", (long long)p->line.length);
    p->line.used = p->line.length < x->dim[axis] ? p->line.length : x->dim[axis];
    p->line.bins = onesided ? p->line.length / 2 + 1 : p->line.length;
    p->outer = p->inner = 1;
    for (int32_t d = 0; d < x->ndim - 1; d++) {
        dim[d] = d == axis ? p->line.bins : x->dim[d];
        if (d != axis) *(d < axis ? &p->outer : &p->inner) *= x->dim[d];
    }
    dim[x->ndim - 1] = 2;
    p->signal = x->dim[axis];
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim));
    s->params = p;
    return set_line(s, &p->line, inverse);
}

/* A line's `used` elements lie `step` elements of `parts` numbers apart, its bins `step` pairs; `window` may be NULL. */
static void transform(const line *l, const fa_real *x, const fa_real *window, int64_t step, fa_real *y)
{
    for (int64_t k = 0; k < l->bins; k++) {
        double re = 0, im = 0;
        for (int64_t i = 0, phase = 0; i < l->used; i++, phase = (phase + k) % l->length) {
            const fa_real *v = x + i * step * l->parts;
            double w = window ? (double)window[i] : 1, a = w * (double)v[0], b = l->parts == 2 ? w * (double)v[1] : 0;
            re += a * l->cosine[phase] - b * l->sine[phase];
            im += a * l->sine[phase] + b * l->cosine[phase];
        }
        y[2 * k * step] = (fa_real)(re * l->scale);
        y[2 * k * step + 1] = (fa_real)(im * l->scale);
    }
}

/* Its transpose: `gx` and `gw` (NULL: not wanted) are added to. `x` is read for the window's gradient alone. */
static void transpose(const line *l, const fa_real *x, const fa_real *window, int64_t step, const fa_real *g, fa_real *gx, fa_real *gw)
{
    for (int64_t i = 0; i < l->used; i++) {
        double a = 0, b = 0;
        for (int64_t k = 0, phase = 0; k < l->bins; k++, phase = (phase + i) % l->length) {
            double re = (double)g[2 * k * step], im = (double)g[2 * k * step + 1];
            a += re * l->cosine[phase] + im * l->sine[phase];
            b += im * l->cosine[phase] - re * l->sine[phase];
        }
        const int64_t at = i * step * l->parts;
        const double w = window ? (double)window[i] * l->scale : l->scale;
        if (gx) gx[at] += (fa_real)(w * a);
        if (gx && l->parts == 2) gx[at + 1] += (fa_real)(w * b);
        if (gw) gw[i] += (fa_real)(l->scale * (a * (double)x[at] + (l->parts == 2 ? b * (double)x[at + 1] : 0)));
    }
}

static void dft_forward(const fa_op_call *c)
{
    const dft *p = c->params;
    for (int64_t i = 0; i < p->outer * p->inner; i++) {
        int64_t from = (i / p->inner * p->signal * p->inner + i % p->inner) * p->line.parts, to = (i / p->inner * p->line.bins * p->inner + i % p->inner) * 2;
        transform(&p->line, (const fa_real *)c->in[0]->data + from, NULL, p->inner, (fa_real *)c->out[0]->data + to);
    }
}

static void dft_backward(const fa_op_call *c)
{
    const dft *p = c->params;
    for (int64_t i = 0; i < p->outer * p->inner; i++) {
        int64_t from = (i / p->inner * p->signal * p->inner + i % p->inner) * p->line.parts, to = (i / p->inner * p->line.bins * p->inner + i % p->inner) * 2;
        transpose(&p->line, NULL, NULL, p->inner, (const fa_real *)c->grad_out[0] + to, (fa_real *)c->grad_in[0] + from, NULL);
    }
}

static fa_status stft_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 4, 1));
    const fa_view *x = s->in[0], *window = s->n_in > 2 ? s->in[2] : NULL;
    dft *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    FA_TRY(read_parts(x, &p->line));
    if (x->ndim != 3) return fa_fail(FA_ERR_SHAPE, "the signal has %d dimensions, not 3", x->ndim);
    if (window && (!fa_dtype_is_real(window->dtype) || window->ndim != 1)) return fa_fail(FA_ERR_SHAPE, "the window (input 2) is no list of real numbers");
    p->line.length = window ? window->count : x->dim[1];
    FA_TRY(read_int(s, 1, "frame_step", &p->step));
    FA_TRY(read_int(s, 3, "frame_length", &p->line.length));
    if (window && window->count != p->line.length)
        return fa_fail(FA_ERR_SHAPE, "a window of %lld elements for frames of %lld", (long long)window->count, (long long)p->line.length);
    p->signal = x->dim[1];
    if (p->step < 1 || p->line.length < 1 || p->line.length > p->signal)
        return fa_fail(FA_ERR_SHAPE, "frames of %lld elements every %lld of %lld", (long long)p->line.length, (long long)p->step, (long long)p->signal);
    p->frames = (p->signal - p->line.length) / p->step + 1;
    p->line.used = p->line.length;
    p->line.bins = fa_node_int(s->node, "onesided", 1) ? p->line.length / 2 + 1 : p->line.length;
    p->outer = x->dim[0];
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, 4, (int64_t[]){p->outer, p->frames, p->line.bins, 2}));
    s->params = p;
    return set_line(s, &p->line, false);
}

static void stft_forward(const fa_op_call *c)
{
    const dft *p = c->params;
    const fa_real *window = c->n_in > 2 && c->in[2] ? c->in[2]->data : NULL;
    for (int64_t i = 0; i < p->outer * p->frames; i++) {
        int64_t from = (i / p->frames * p->signal + i % p->frames * p->step) * p->line.parts;
        transform(&p->line, (const fa_real *)c->in[0]->data + from, window, 1, (fa_real *)c->out[0]->data + 2 * i * p->line.bins);
    }
}

static void stft_backward(const fa_op_call *c)
{
    const dft *p = c->params;
    const fa_real *window = c->n_in > 2 && c->in[2] ? c->in[2]->data : NULL;
    fa_real *gx = c->grad_in[0], *gw = c->n_in > 2 ? c->grad_in[2] : NULL;
    for (int64_t i = 0; i < p->outer * p->frames; i++) {
        int64_t from = (i / p->frames * p->signal + i % p->frames * p->step) * p->line.parts;
        transpose(&p->line, fa_real_at(c->in[0]->data, from), window, 1, (const fa_real *)c->grad_out[0] + 2 * i * p->line.bins, gx ? gx + from : NULL, gw);
    }
}

const fa_op FA_R(fa_ops_dft)[] = {
    {"DFT", "", 17, FA_OPSET_ANY, 0, 0, 0, dft_prepare, dft_forward, dft_backward},
    {"STFT", "", 17, FA_OPSET_ANY, 0, 5, 0, stft_prepare, stft_forward, stft_backward},
    {NULL},
};
