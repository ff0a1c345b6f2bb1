/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>

/*
 * NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: -weight[t] log p[t] at each place of scores [n, classes, ...], t the place's label. The
 * first takes log-probabilities as input 0, the second makes them from scores and gives them as output 1. `mean` divides by the labels' weights.
 * A label equal to ignore_index counts for nothing; any other that is no class gives NaN and takes no gradient.
 */
enum { MEAN, SUM, NONE };

typedef struct loss {
    int64_t n, classes, inner;
    int32_t reduction;
    bool softmax, ignores;
    int64_t ignored;
} loss;

static fa_status prepare(fa_op_setup *s, bool softmax)
{
    static const char *const reductions[] = {"mean", "sum", "none"};
    int32_t reduction;
    FA_TRY(FA_R(fa_op_need)(s, 2, 3, softmax ? 2 : 1));
    const fa_view *x = s->in[0], *label = s->in[1], *weight = s->n_in > 2 ? s->in[2] : NULL;
    if (!fa_dtype_is_real(x->dtype) || (weight && !fa_dtype_is_real(weight->dtype)))
        return fa_fail(FA_ERR_DTYPE, "scores of %s with weights of %s", fa_dtype_name(x->dtype), weight ? fa_dtype_name(weight->dtype) : "float32");
    if (fa_dtype_is_real(label->dtype)) return fa_fail(FA_ERR_DTYPE, "labels (input 1) are %s", fa_dtype_name(label->dtype));
    bool fits = x->ndim >= 2 && label->ndim == x->ndim - 1 && x->dim[0] == label->dim[0];
    for (int32_t d = 1; fits && d < label->ndim; d++) fits = label->dim[d] == x->dim[d + 1];
    if (!fits) {
        char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "labels of shape %s for scores of shape %s", fa_shape_text(label->ndim, label->dim, a, sizeof a),
                       fa_shape_text(x->ndim, x->dim, b, sizeof b));
    }
    if (weight) FA_TRY(FA_R(fa_op_need_count)(s, 2, x->dim[1]));
    loss *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    FA_TRY(FA_R(fa_op_choice)(s, "reduction", "mean", reductions, 3, &reduction));
    *p = (loss){.n = x->dim[0], .classes = x->dim[1], .inner = 1, .reduction = reduction, .softmax = softmax};
    for (int32_t d = 2; d < x->ndim; d++) p->inner *= x->dim[d];
    p->ignores = fa_node_attr(s->node, "ignore_index") != NULL;
    p->ignored = fa_node_int(s->node, "ignore_index", 0);
    s->params = p;
    if (s->n_out > 1) FA_TRY(FA_R(fa_op_set)(&s->out[1], x->dtype, x->ndim, x->dim));
    if (p->reduction == NONE) return FA_R(fa_op_set)(&s->out[0], x->dtype, label->ndim, label->dim);
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 0, NULL);
}

static fa_status likelihood_prepare(fa_op_setup *s)
{
    return prepare(s, false);
}

static fa_status entropy_prepare(fa_op_setup *s)
{
    return prepare(s, true);
}

/* What is taken from the scores to make them log-probabilities; `x` is the place's first class. */
static double normaliser(const loss *p, const fa_real *x)
{
    double top = -INFINITY, sum = 0;
    if (!p->softmax) return 0;
    for (int64_t k = 0; k < p->classes; k++) top = (double)x[k * p->inner] > top ? (double)x[k * p->inner] : top;
    for (int64_t k = 0; k < p->classes; k++) sum += exp((double)x[k * p->inner] - top);
    return top + log(sum);
}

/* One place: its label as an index into the scores (-1: no class), the label's weight and -log p. */
typedef struct term {
    int64_t label, at;
    double weight, value, normaliser;
} term;

static term term_at(const loss *p, const fa_op_call *call, int64_t place)
{
    const fa_real *x = call->in[0]->data, *weight = call->n_in > 2 && call->in[2] ? call->in[2]->data : NULL;
    int64_t label = ((const int64_t *)call->in[1]->data)[place], first = place / p->inner * p->classes * p->inner + place % p->inner;
    term t = {.label = label, .at = -1, .normaliser = normaliser(p, x + first)};
    if (p->ignores && label == p->ignored) return t;
    bool exists = label >= 0 && label < p->classes;
    t.at = exists ? first + label * p->inner : -1;
    t.weight = !exists ? (double)NAN : weight ? (double)weight[label] : 1;
    t.value = exists ? t.normaliser - (double)x[t.at] : (double)NAN;
    return t;
}

static void forward(const fa_op_call *call)
{
    const loss *p = call->params;
    const fa_real *x = call->in[0]->data;
    fa_real *out = call->out[0] ? call->out[0]->data : NULL, *logs = call->n_out > 1 && call->out[1] ? call->out[1]->data : NULL;
    double sum = 0, weights = 0;
    for (int64_t place = 0; place < p->n * p->inner; place++) {
        term t = term_at(p, call, place);
        int64_t first = place / p->inner * p->classes * p->inner + place % p->inner;
        sum += t.weight * t.value;
        weights += t.weight;
        if (out && p->reduction == NONE) out[place] = (fa_real)(t.weight * t.value);
        for (int64_t k = 0; logs && k < p->classes; k++) logs[first + k * p->inner] = (fa_real)((double)x[first + k * p->inner] - t.normaliser);
    }
    if (out && p->reduction != NONE) out[0] = (fa_real)(p->reduction == MEAN ? sum / weights : sum);
}

/* The gradient of one place's row of scores: `share` through its loss, and what comes through the log-probabilities. */
static void row_backward(const loss *p, const fa_op_call *call, int64_t first, const term *t, double share, const fa_real *g_logs, fa_real *gx)
{
    const fa_real *x = call->in[0]->data;
    if (t->at >= 0) gx[t->at] -= (fa_real)share;
    if (!p->softmax) return;
    double sum = t->at >= 0 ? share : 0; /* each class takes its probability's part of it */
    for (int64_t k = 0; g_logs && k < p->classes; k++) sum -= (double)g_logs[first + k * p->inner];
    for (int64_t k = 0; k < p->classes; k++) {
        int64_t at = first + k * p->inner;
        gx[at] += (fa_real)(sum * exp((double)x[at] - t->normaliser) + (g_logs ? (double)g_logs[at] : 0));
    }
}

static void backward(const fa_op_call *call)
{
    const loss *p = call->params;
    const fa_real *g = call->grad_out[0], *g_logs = call->n_out > 1 ? call->grad_out[1] : NULL;
    fa_real *gx = call->grad_in[0], *gw = call->n_in > 2 ? call->grad_in[2] : NULL;
    double sum = 0, weights = p->reduction == MEAN ? 0 : 1;
    for (int64_t place = 0; p->reduction == MEAN && place < p->n * p->inner; place++) {
        term t = term_at(p, call, place);
        if (t.at < 0) continue;
        sum += t.weight * t.value;
        weights += t.weight;
    }
    for (int64_t place = 0; place < p->n * p->inner; place++) {
        term t = term_at(p, call, place);
        double share = g ? (double)g[p->reduction == NONE ? place : 0] / weights : 0;
        if (gx) row_backward(p, call, place / p->inner * p->classes * p->inner + place % p->inner, &t, share * t.weight, g_logs, gx);
        if (gw && t.at >= 0) gw[t.label] += (fa_real)(share * (t.value - (p->reduction == MEAN ? sum / weights : 0)));
    }
}

const fa_op FA_R(fa_ops_loss)[] = {
    {"NegativeLogLikelihoodLoss", "", 12, FA_OPSET_ANY, 0, 7, 0, likelihood_prepare, forward, backward},
    {"SoftmaxCrossEntropyLoss", "", 12, FA_OPSET_ANY, 0, 7, 0, entropy_prepare, forward, backward},
    {NULL},
};
