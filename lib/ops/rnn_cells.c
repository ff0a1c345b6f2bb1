/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/product.h"
#include "ops/rnn.h"
#include "ops/walk.h"

#include <math.h>
#include <string.h>

enum { RELU, TANH, SIGMOID, AFFINE, LEAKY_RELU, THRESHOLDED_RELU, SCALED_TANH, HARD_SIGMOID, ELU, SOFTSIGN, SOFTPLUS };

int32_t FA_R(fa_rnn_activation_find)(const char *name, fa_rnn_activation *out)
{
    static const struct {
        const char *name;
        int32_t numbers; /* how many of alpha and beta it takes */
        double alpha, beta;
    } known[] = {{"Relu"}, {"Tanh"}, {"Sigmoid"}, {"Affine", 2, 1, 0}, {"LeakyRelu", 1, 0.01}, {"ThresholdedRelu", 1, 1}, {"ScaledTanh", 2, 1, 1},
                 {"HardSigmoid", 2, 0.2, 0.5}, {"Elu", 1, 1}, {"Softsign"}, {"Softplus"}};
    for (int32_t i = 0; i < (int32_t)(sizeof known / sizeof known[0]); i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        *out = (fa_rnn_activation){i, known[i].alpha, known[i].beta};
        return known[i].numbers;
    }
    return -1;
}

static fa_real activate(const fa_rnn_cell *cell, int32_t which, fa_real v)
{
    const fa_rnn_activation *f = &cell->f[which];
    double x = (double)v, a = f->alpha, b = f->beta;
    x = x > cell->clip ? cell->clip : x < -cell->clip ? -cell->clip : x;
    switch (f->kind) {
    case RELU: return (fa_real)(x < 0 ? 0 : x);
    case TANH: return FA_MATH(tanh)((fa_real)x);
    case SIGMOID: return 1 / (1 + FA_MATH(exp)((fa_real)-x));
    case AFFINE: return (fa_real)(a * x + b);
    case LEAKY_RELU: return (fa_real)(x < 0 ? a * x : x);
    case THRESHOLDED_RELU: return (fa_real)(x <= a ? 0 : x);
    case SCALED_TANH: return (fa_real)(a * tanh(b * x));
    case HARD_SIGMOID: return (fa_real)(a * x + b < 0 ? 0 : a * x + b > 1 ? 1 : a * x + b);
    case ELU: return (fa_real)(x < 0 ? a * expm1(x) : x);
    case SOFTSIGN: return (fa_real)(x / (1 + fabs(x)));
    default: return (fa_real)(log1p(exp(-fabs(x))) + (x > 0 ? x : 0));
    }
}

static fa_real slope(const fa_rnn_cell *cell, int32_t which, fa_real v)
{
    const fa_rnn_activation *f = &cell->f[which];
    double x = (double)v, a = f->alpha, b = f->beta, y;
    if (x > cell->clip || x < -cell->clip) return 0;
    switch (f->kind) {
    case RELU: return x > 0;
    case TANH: y = tanh(x); return (fa_real)(1 - y * y);
    case SIGMOID: y = 1 / (1 + exp(-x)); return (fa_real)(y * (1 - y));
    case AFFINE: return (fa_real)a;
    case LEAKY_RELU: return (fa_real)(x < 0 ? a : 1);
    case THRESHOLDED_RELU: return x > a;
    case SCALED_TANH: y = tanh(b * x); return (fa_real)(a * b * (1 - y * y));
    case HARD_SIGMOID: return (fa_real)(a * x + b > 0 && a * x + b < 1 ? a : 0);
    case ELU: return (fa_real)(x < 0 ? a * exp(x) : 1);
    case SOFTSIGN: return (fa_real)(1 / ((1 + fabs(x)) * (1 + fabs(x))));
    default: return (fa_real)(1 / (1 + exp(-x)));
    }
}

/* Adds the recurrence of gates [first, end) on a state, and its bias, to `to` (which begins at gate `first`). */
static void recur(const fa_rnn_cell *cell, int64_t first, int64_t end, const fa_real *h, fa_real *to)
{
    const int64_t n = cell->hidden;
    for (int64_t r = first * n; r < end * n; r++) to[r - first * n] += fa_dot(n, cell->recurrence + r * n, h) + (cell->bias ? cell->bias[r] : 0);
}

/* The way back: from the gradient at that recurrence to the state and to the matrix. */
static void recur_back(const fa_rnn_cell *cell, int64_t first, int64_t end, const fa_real *h, const fa_rnn_gradient *g, fa_real *gh)
{
    const int64_t n = cell->hidden;
    for (int64_t r = first * n; r < end * n; r++) {
        fa_axpy(n, g->linear[r], cell->recurrence + r * n, gh);
        if (g->recurrence) fa_axpy(n, g->linear[r], h, g->recurrence + r * n);
    }
}

static void simple_forward(const fa_rnn_cell *cell, const fa_rnn_step *s)
{
    recur(cell, 0, 1, s->h0, s->pre);
    for (int64_t i = 0; i < cell->hidden; i++) s->h1[i] = s->gate[i] = activate(cell, 0, s->pre[i]);
}

static void simple_backward(const fa_rnn_cell *cell, const fa_rnn_step *s, const fa_rnn_gradient *g)
{
    for (int64_t i = 0; i < cell->hidden; i++) {
        g->pre[i] = g->linear[i] = g->h1[i] * slope(cell, 0, s->pre[i]);
        g->h0[i] = 0;
    }
    recur_back(cell, 0, 1, s->h0, g, g->h0);
}

/* GRU: gates z, r, h; h1 = (1 - z) h + z h0. The last gate sees the recurrence on r h0, or r times the recurrence on h0. h1 is lent for r h0. */
static void gru_forward(const fa_rnn_cell *cell, const fa_rnn_step *s)
{
    const int64_t n = cell->hidden;
    fa_real *z = s->gate, *r = z + n, *h = r + n;
    recur(cell, 0, 2, s->h0, s->pre);
    for (int64_t i = 0; i < 2 * n; i++) s->gate[i] = activate(cell, 0, s->pre[i]);
    if (cell->linear_before_reset) {
        for (int64_t i = 0; i < n; i++) s->linear[i] = 0;
        recur(cell, 2, 3, s->h0, s->linear);
        for (int64_t i = 0; i < n; i++) s->pre[2 * n + i] += r[i] * s->linear[i];
    } else {
        for (int64_t i = 0; i < n; i++) s->h1[i] = r[i] * s->h0[i];
        recur(cell, 2, 3, s->h1, s->pre + 2 * n);
    }
    for (int64_t i = 0; i < n; i++) {
        h[i] = activate(cell, 1, s->pre[2 * n + i]);
        s->h1[i] = (1 - z[i]) * h[i] + z[i] * s->h0[i];
    }
}

static void gru_backward(const fa_rnn_cell *cell, const fa_rnn_step *s, const fa_rnn_gradient *g)
{
    const int64_t n = cell->hidden;
    const fa_real *z = s->gate, *r = z + n, *h = r + n;
    fa_real *gr = g->pre + n, *state = g->c0; /* a GRU has no c: room for r h0 and the gradient at it */
    for (int64_t i = 0; i < n; i++) {
        g->pre[i] = g->linear[i] = g->h1[i] * (s->h0[i] - h[i]) * slope(cell, 0, s->pre[i]);
        g->pre[2 * n + i] = g->h1[i] * (1 - z[i]) * slope(cell, 1, s->pre[2 * n + i]);
        g->linear[2 * n + i] = g->pre[2 * n + i] * (cell->linear_before_reset ? r[i] : 1);
        g->h0[i] = g->h1[i] * z[i];
    }
    if (cell->linear_before_reset) {
        recur_back(cell, 2, 3, s->h0, g, g->h0);
        for (int64_t i = 0; i < n; i++) gr[i] = g->pre[2 * n + i] * s->linear[i];
    } else {
        for (int64_t i = 0; i < n; i++) {
            state[i] = r[i] * s->h0[i];
            gr[i] = 0;
        }
        recur_back(cell, 2, 3, state, g, gr);
        for (int64_t i = 0; i < n; i++) {
            g->h0[i] += gr[i] * r[i];
            gr[i] *= s->h0[i];
        }
    }
    for (int64_t i = 0; i < n; i++) gr[i] = g->linear[n + i] = gr[i] * slope(cell, 0, s->pre[n + i]);
    recur_back(cell, 0, 2, s->h0, g, g->h0);
}

/* LSTM: gates i, o, f, c; c1 = f c0 + i c, h1 = o tanh(c1). Peepholes let i and f see c0, and o see c1. With input_forget f = 1 - i. */
static void lstm_forward(const fa_rnn_cell *cell, const fa_rnn_step *s)
{
    const int64_t n = cell->hidden;
    const fa_real *p = cell->peephole;
    fa_real *in = s->gate, *out = in + n, *forget = out + n, *c = forget + n;
    recur(cell, 0, 4, s->h0, s->pre);
    for (int64_t i = 0; i < n; i++) {
        if (p) {
            s->pre[i] += p[i] * s->c0[i];
            s->pre[2 * n + i] += p[2 * n + i] * s->c0[i];
        }
        in[i] = activate(cell, 0, s->pre[i]);
        forget[i] = cell->input_forget ? 1 - in[i] : activate(cell, 0, s->pre[2 * n + i]);
        c[i] = activate(cell, 1, s->pre[3 * n + i]);
        s->c1[i] = forget[i] * s->c0[i] + in[i] * c[i];
        if (p) s->pre[n + i] += p[n + i] * s->c1[i];
        out[i] = activate(cell, 0, s->pre[n + i]);
        s->h1[i] = out[i] * activate(cell, 2, s->c1[i]);
    }
}

static void lstm_backward(const fa_rnn_cell *cell, const fa_rnn_step *s, const fa_rnn_gradient *g)
{
    const int64_t n = cell->hidden;
    const fa_real *p = cell->peephole, *in = s->gate, *out = in + n, *forget = out + n, *c = forget + n;
    for (int64_t i = 0; i < n; i++) {
        fa_real go = g->h1[i] * activate(cell, 2, s->c1[i]) * slope(cell, 0, s->pre[n + i]);
        fa_real gc = g->c1[i] + g->h1[i] * out[i] * slope(cell, 2, s->c1[i]) + (p ? go * p[n + i] : 0);
        fa_real gi = gc * (cell->input_forget ? c[i] - s->c0[i] : c[i]) * slope(cell, 0, s->pre[i]);
        fa_real gf = cell->input_forget ? 0 : gc * s->c0[i] * slope(cell, 0, s->pre[2 * n + i]);
        g->pre[i] = gi;
        g->pre[n + i] = go;
        g->pre[2 * n + i] = gf;
        g->pre[3 * n + i] = gc * in[i] * slope(cell, 1, s->pre[3 * n + i]);
        g->c0[i] = gc * forget[i] + (p ? gi * p[i] + gf * p[2 * n + i] : 0);
        g->h0[i] = 0;
        if (!g->peephole) continue;
        g->peephole[i] += gi * s->c0[i];
        g->peephole[n + i] += go * s->c1[i];
        g->peephole[2 * n + i] += gf * s->c0[i];
    }
    memcpy(g->linear, g->pre, (size_t)(4 * n) * sizeof *g->linear);
    recur_back(cell, 0, 4, s->h0, g, g->h0);
}

void FA_R(fa_rnn_forward)(const fa_rnn_cell *cell, const fa_rnn_step *step)
{
    if (cell->kind == FA_RNN) simple_forward(cell, step);
    else if (cell->kind == FA_GRU) gru_forward(cell, step);
    else lstm_forward(cell, step);
}

void FA_R(fa_rnn_backward)(const fa_rnn_cell *cell, const fa_rnn_step *step, const fa_rnn_gradient *g)
{
    if (cell->kind == FA_RNN) simple_backward(cell, step, g);
    else if (cell->kind == FA_GRU) gru_backward(cell, step, g);
    else lstm_backward(cell, step, g);
}
