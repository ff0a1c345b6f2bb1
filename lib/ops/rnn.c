/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/rnn.h"

#include "ops/product.h"
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * RNN, GRU, LSTM (ONNX's equations; the cells are in rnn_cells.c). Every sequence of every direction goes by itself: forward through its steps,
 * and in backward forward once more, keeping each step, and then back.
 */
enum { X, W, R, B, LENGTHS, H0, C0, P };

typedef struct rnn {
    fa_rnn_cell cell[2]; /* of each direction, without its weights */
    int64_t steps, batch, inputs, directions;
    bool batch_first, reversed; /* reversed: the first direction runs backwards */
} rnn;

static fa_status read_activations(const fa_op_setup *s, rnn *p, int32_t each, const char *const *defaults)
{
    const fa_attr *names = fa_node_attr(s->node, "activations"), *alpha = fa_node_attr(s->node, "activation_alpha"), *beta = fa_node_attr(s->node, "activation_beta");
    if (names && (names->kind != FA_ATTR_STRINGS || names->count != each * p->directions))
        return fa_fail(FA_ERR_FORMAT, "activations are not %lld names", (long long)(each * p->directions));
    int64_t n_alpha = 0, n_beta = 0; /* how many of each are taken: only the activations that have them do */
    for (int32_t i = 0; i < each * p->directions; i++) {
        fa_rnn_activation *f = &p->cell[i / each].f[i % each];
        const char *name = names ? names->strings[i] : defaults[i % each];
        int32_t takes = FA_R(fa_rnn_activation_find)(name, f);
        if (takes < 0) return fa_fail(FA_ERR_UNSUPPORTED, "activation '%.40s'", name);
        if (takes > 0 && alpha && alpha->kind == FA_ATTR_FLOATS && n_alpha < alpha->count) f->alpha = (double)alpha->floats[n_alpha++];
        if (takes > 1 && beta && beta->kind == FA_ATTR_FLOATS && n_beta < beta->count) f->beta = (double)beta->floats[n_beta++];
    }
    return FA_OK;
}

static fa_status check_shape(const fa_op_setup *s, int32_t input, int64_t a, int64_t b, int64_t c)
{
    const fa_view *v = input < s->n_in ? s->in[input] : NULL;
    const int64_t want[] = {a, b, c};
    int32_t ndim = c < 0 ? 2 : 3;
    if (!v) return FA_OK;
    bool same = v->ndim == ndim;
    for (int32_t d = 0; d < ndim && same; d++) same = v->dim[d] == want[d];
    if (same) return FA_OK;
    char have[FA_SHAPE_TEXT], text[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_SHAPE, "input %d has shape %s, not %s", input, fa_shape_text(v->ndim, v->dim, have, sizeof have), fa_shape_text(ndim, want, text, sizeof text));
}

static fa_status read_sizes(fa_op_setup *s, rnn *p, int64_t gates)
{
    const fa_view *x = s->in[X], *r = s->in[R];
    const char *direction = fa_node_string(s->node, "direction", "forward");
    p->directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    p->reversed = strcmp(direction, "reverse") == 0;
    if (p->directions == 1 && !p->reversed && strcmp(direction, "forward") != 0) return fa_fail(FA_ERR_FORMAT, "direction is '%.40s'", direction);
    if (x->ndim != 3 || r->ndim != 3) return fa_fail(FA_ERR_SHAPE, "inputs 0 and 2 have %d and %d dimensions, not 3", x->ndim, r->ndim);
    p->batch_first = s->node->opset >= 14 && fa_node_int(s->node, "layout", 0) != 0;
    p->steps = x->dim[p->batch_first];
    p->batch = x->dim[!p->batch_first];
    p->inputs = x->dim[2];
    int64_t hidden = r->dim[2], asked = fa_node_int(s->node, "hidden_size", hidden), first = p->batch_first ? p->batch : p->directions;
    if (asked != hidden) return fa_fail(FA_ERR_SHAPE, "hidden_size is %lld, the recurrence (input 2) has %lld", (long long)asked, (long long)hidden);
    FA_TRY(check_shape(s, W, p->directions, gates * hidden, p->inputs));
    FA_TRY(check_shape(s, R, p->directions, gates * hidden, hidden));
    FA_TRY(check_shape(s, B, p->directions, 2 * gates * hidden, -1));
    for (int32_t i = H0; i <= C0; i++) FA_TRY(check_shape(s, i, first, p->batch_first ? p->directions : p->batch, hidden));
    FA_TRY(check_shape(s, P, p->directions, 3 * hidden, -1));
    if (s->n_in > LENGTHS && s->in[LENGTHS]) FA_TRY(FA_R(fa_op_need_count)(s, LENGTHS, p->batch));
    for (int32_t d = 0; d < 2; d++) p->cell[d].hidden = hidden;
    return FA_OK;
}

static fa_status set_outputs(fa_op_setup *s, const rnn *p)
{
    int64_t hidden = p->cell[0].hidden;
    int64_t all[] = {p->steps, p->directions, p->batch, hidden}, batch[] = {p->batch, p->steps, p->directions, hidden};
    int64_t last[] = {p->directions, p->batch, hidden}, last_batch[] = {p->batch, p->directions, hidden};
    FA_TRY(FA_R(fa_op_set)(&s->out[0], s->in[X]->dtype, 4, p->batch_first ? batch : all));
    for (int32_t i = 1; i < s->n_out; i++) FA_TRY(FA_R(fa_op_set)(&s->out[i], s->in[X]->dtype, 3, p->batch_first ? last_batch : last));
    return FA_OK;
}

/* Memory of one sequence, and of its way back. */
typedef struct trace {
    fa_real *pre, *gate, *linear, *h, *c; /* of each step; h and c also before the first */
    fa_real *g_pre, *g_linear, *gh[2], *gc[2];
} trace;

static int64_t kept_steps(const rnn *p)
{
    return p->batch ? p->steps : 0;
}

static size_t trace_count(const rnn *p)
{
    int64_t n = p->cell[0].hidden, all = p->cell[0].gates * n;
    return (size_t)(kept_steps(p) * (2 * all + 3 * n) + 2 * all + 6 * n);
}

static trace lay_out(const rnn *p, fa_real *at)
{
    int64_t n = p->cell[0].hidden, all = p->cell[0].gates * n, steps = kept_steps(p);
    trace t = {.pre = at, .gate = at + steps * all};
    t.linear = t.gate + steps * all;
    t.h = t.linear + steps * n;
    t.c = t.h + (steps + 1) * n;
    t.g_pre = t.c + (steps + 1) * n;
    t.g_linear = t.g_pre + all;
    for (int32_t i = 0; i < 2; i++) {
        t.gh[i] = t.g_linear + all + 2 * i * n;
        t.gc[i] = t.gh[i] + n;
    }
    return t;
}

static fa_status prepare(fa_op_setup *s, fa_rnn_kind kind, int64_t gates, int32_t each, const char *const *defaults)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, kind == FA_LSTM ? 8 : 6, kind == FA_LSTM ? 3 : 2));
    for (int32_t i = 0; i < s->n_in; i++)
        if (s->in[i] && fa_dtype_is_real(s->in[i]->dtype) != (i != LENGTHS)) return fa_fail(FA_ERR_DTYPE, "input %d is %s", i, fa_dtype_name(s->in[i]->dtype));
    rnn *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    s->params = p;
    FA_TRY(read_sizes(s, p, gates));
    FA_TRY(read_activations(s, p, each, defaults));
    double clip = (double)fa_node_float(s->node, "clip", 0);
    for (int32_t d = 0; d < 2; d++) {
        p->cell[d].kind = kind;
        p->cell[d].gates = gates;
        p->cell[d].clip = clip > 0 ? clip : (double)INFINITY;
        p->cell[d].linear_before_reset = fa_node_int(s->node, "linear_before_reset", 0) != 0;
        p->cell[d].input_forget = fa_node_int(s->node, "input_forget", 0) != 0;
    }
    FA_TRY(set_outputs(s, p));
    s->scratch = trace_count(p) * sizeof(fa_real);
    s->flops = 2.0 * (double)(p->steps * p->batch * p->directions) * (double)(gates * p->cell[0].hidden) * (double)(p->inputs + p->cell[0].hidden);
    return FA_OK;
}

static fa_status rnn_prepare(fa_op_setup *s)
{
    static const char *const defaults[] = {"Tanh"};
    return prepare(s, FA_RNN, 1, 1, defaults);
}

static fa_status gru_prepare(fa_op_setup *s)
{
    static const char *const defaults[] = {"Sigmoid", "Tanh"};
    return prepare(s, FA_GRU, 3, 2, defaults);
}

static fa_status lstm_prepare(fa_op_setup *s)
{
    static const char *const defaults[] = {"Sigmoid", "Tanh", "Tanh"};
    return prepare(s, FA_LSTM, 4, 3, defaults);
}

/* One sequence: which direction, which of the batch, how long. */
typedef struct sequence {
    const rnn *p;
    fa_rnn_cell cell;
    int64_t direction, n, length;
    bool reversed;
} sequence;

static const fa_real *input(const fa_op_call *call, int32_t i, int64_t at)
{
    return i < call->n_in && call->in[i] ? fa_real_at(call->in[i]->data, at) : NULL;
}

static fa_real *moved(fa_real *data, int64_t at)
{
    return data ? data + at : NULL;
}

static fa_real *grad_in(const fa_op_call *call, int32_t i, int64_t at)
{
    return i < call->n_in ? moved(call->grad_in[i], at) : NULL;
}

static sequence begin(const fa_op_call *call, int64_t index)
{
    const rnn *p = call->params;
    sequence q = {.p = p, .direction = index / p->batch, .n = index % p->batch, .length = p->steps};
    q.cell = p->cell[q.direction];
    q.reversed = q.direction == 1 || p->reversed;
    int64_t rows = q.cell.gates * q.cell.hidden;
    q.cell.recurrence = input(call, R, q.direction * rows * q.cell.hidden);
    q.cell.bias = input(call, B, (2 * q.direction + 1) * rows);
    q.cell.peephole = input(call, P, q.direction * 3 * q.cell.hidden);
    if (call->n_in > LENGTHS && call->in[LENGTHS]) {
        int64_t length = ((const int64_t *)call->in[LENGTHS]->data)[q.n];
        q.length = length < 0 ? 0 : length > p->steps ? p->steps : length;
    }
    return q;
}

/* Where step `k` of the sequence lies among input 0's elements, output 0's, and a state among those of all sequences. */
static int64_t time_of(const sequence *q, int64_t k)
{
    return q->reversed ? q->length - 1 - k : k;
}

static int64_t x_at(const sequence *q, int64_t k)
{
    const rnn *p = q->p;
    int64_t t = time_of(q, k);
    return (p->batch_first ? q->n * p->steps + t : t * p->batch + q->n) * p->inputs;
}

static int64_t y_at(const sequence *q, int64_t k)
{
    const rnn *p = q->p;
    int64_t t = time_of(q, k);
    return (p->batch_first ? (q->n * p->steps + t) * p->directions + q->direction : (t * p->directions + q->direction) * p->batch + q->n) * q->cell.hidden;
}

static int64_t state_at(const sequence *q)
{
    const rnn *p = q->p;
    return (p->batch_first ? q->n * p->directions + q->direction : q->direction * p->batch + q->n) * q->cell.hidden;
}

static fa_rnn_step step_at(const sequence *q, const trace *t, int64_t k)
{
    int64_t n = q->cell.hidden, all = q->cell.gates * n;
    return (fa_rnn_step){t->h + k * n, t->c + k * n, t->pre + k * all, t->gate + k * all, t->linear + k * n, t->h + (k + 1) * n, t->c + (k + 1) * n};
}

static void set_state(fa_real *to, const fa_real *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = from ? from[i] : 0;
}

static void run_sequence(const fa_op_call *call, const sequence *q, const trace *t)
{
    int64_t n = q->cell.hidden, all = q->cell.gates * n, inputs = q->p->inputs;
    const fa_real *w = input(call, W, q->direction * all * inputs), *bias = input(call, B, 2 * q->direction * all);
    set_state(t->h, input(call, H0, state_at(q)), n);
    set_state(t->c, input(call, C0, state_at(q)), n);
    for (int64_t k = 0; k < q->length; k++) {
        fa_rnn_step s = step_at(q, t, k);
        const fa_real *x = input(call, X, x_at(q, k));
        for (int64_t r = 0; r < all; r++) s.pre[r] = fa_dot(inputs, w + r * inputs, x) + (bias ? bias[r] : 0);
        FA_R(fa_rnn_forward)(&q->cell, &s);
    }
}

static void forward(const fa_op_call *call)
{
    const rnn *p = call->params;
    trace t = lay_out(p, call->scratch);
    const fa_view *y = call->out[0];
    if (y && y->data && y->count) memset(y->data, 0, (size_t)y->count * sizeof(fa_real)); /* behind a sequence's end */
    for (int64_t index = 0; index < p->directions * p->batch; index++) {
        sequence q = begin(call, index);
        int64_t n = q.cell.hidden;
        run_sequence(call, &q, &t);
        for (int64_t k = 0; y && y->data && k < q.length; k++) set_state((fa_real *)y->data + y_at(&q, k), t.h + (k + 1) * n, n);
        for (int32_t i = 1; i < call->n_out; i++)
            if (call->out[i] && call->out[i]->data) set_state((fa_real *)call->out[i]->data + state_at(&q), (i == 1 ? t.h : t.c) + q.length * n, n);
    }
}

/* From the gradient at what the gates' activations see to the input, its weights and the biases. */
static void input_backward(const fa_op_call *call, const sequence *q, const trace *t, int64_t k)
{
    int64_t all = q->cell.gates * q->cell.hidden, inputs = q->p->inputs;
    const fa_real *w = input(call, W, q->direction * all * inputs), *x = input(call, X, x_at(q, k));
    fa_real *gx = grad_in(call, X, x_at(q, k)), *gw = grad_in(call, W, q->direction * all * inputs), *gb = grad_in(call, B, 2 * q->direction * all);
    for (int64_t r = 0; r < all; r++) {
        if (gx) fa_axpy(inputs, t->g_pre[r], w + r * inputs, gx);
        if (gw) fa_axpy(inputs, t->g_pre[r], x, gw + r * inputs);
        if (!gb) continue;
        gb[r] += t->g_pre[r];
        gb[all + r] += t->g_linear[r];
    }
}

static void sequence_backward(const fa_op_call *call, const sequence *q, const trace *t)
{
    int64_t n = q->cell.hidden, all = q->cell.gates * n;
    const fa_real *gy = call->grad_out[0];
    const fa_real *gh = call->n_out > 1 ? call->grad_out[1] : NULL, *gc = call->n_out > 2 ? call->grad_out[2] : NULL;
    int32_t now = 0;
    set_state(t->gh[0], gh ? gh + state_at(q) : NULL, n);
    set_state(t->gc[0], gc ? gc + state_at(q) : NULL, n);
    for (int64_t k = q->length - 1; k >= 0; k--, now = !now) {
        fa_rnn_step s = step_at(q, t, k);
        fa_rnn_gradient g = {.h1 = t->gh[now], .c1 = t->gc[now], .h0 = t->gh[!now], .c0 = t->gc[!now], .pre = t->g_pre, .linear = t->g_linear,
                             .recurrence = grad_in(call, R, q->direction * all * n), .peephole = grad_in(call, P, q->direction * 3 * n)};
        if (gy) fa_axpy(n, 1, gy + y_at(q, k), g.h1);
        FA_R(fa_rnn_backward)(&q->cell, &s, &g);
        input_backward(call, q, t, k);
    }
    fa_real *g_h0 = grad_in(call, H0, state_at(q)), *g_c0 = grad_in(call, C0, state_at(q));
    if (g_h0) fa_axpy(n, 1, t->gh[now], g_h0);
    if (g_c0) fa_axpy(n, 1, t->gc[now], g_c0);
}

static void backward(const fa_op_call *call)
{
    const rnn *p = call->params;
    trace t = lay_out(p, call->scratch);
    for (int64_t index = 0; index < p->directions * p->batch; index++) {
        sequence q = begin(call, index);
        run_sequence(call, &q, &t);
        sequence_backward(call, &q, &t);
    }
}

const fa_op FA_R(fa_ops_rnn)[] = {
    {"RNN", "", 1, FA_OPSET_ANY, 0, 0xff, 0, rnn_prepare, forward, backward},
    {"GRU", "", 1, FA_OPSET_ANY, 0, 0xff, 0, gru_prepare, forward, backward},
    {"LSTM", "", 1, FA_OPSET_ANY, 0, 0xff, 0, lstm_prepare, forward, backward},
    {NULL},
};
