/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/multihead.h"

#include "ops/walk.h"

#include <math.h>
#include <string.h>

/* Attention of the default domain, plain loops: every query's scores are worked out anew for the backward pass. */
enum {
    Q = FA_MULTIHEAD_Q, K = FA_MULTIHEAD_K, V = FA_MULTIHEAD_V, MASK = FA_MULTIHEAD_MASK, PAST_K = FA_MULTIHEAD_PAST_K, PAST_V = FA_MULTIHEAD_PAST_V,
    LENGTHS = FA_MULTIHEAD_LENGTHS, Y = FA_MULTIHEAD_Y, PRESENT_K = FA_MULTIHEAD_PRESENT_K, PRESENT_V = FA_MULTIHEAD_PRESENT_V, SCORES = FA_MULTIHEAD_SCORES
};
enum { RAW, MASKED, CAPPED, WEIGHTS }; /* qk_matmul_output_mode */

static fa_multihead_side of_heads(bool four, int64_t heads, int64_t places, int64_t size)
{
    if (four) return (fa_multihead_side){heads * places * size, places * size, size};
    return (fa_multihead_side){heads * places * size, size, heads * size};
}

static fa_status misfit(const fa_op_setup *s, int32_t input, const char *what)
{
    char text[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_SHAPE, "input %d of shape %s: %s", input, fa_shape_text(s->in[input]->ndim, s->in[input]->dim, text, sizeof text), what);
}

static const fa_view *given(const fa_op_setup *s, int32_t input)
{
    return input < s->n_in ? s->in[input] : NULL;
}

static fa_status read_heads(const fa_op_setup *s, fa_multihead *p)
{
    const fa_view *q = s->in[Q], *k = s->in[K], *v = s->in[V];
    const bool four = q->ndim == 4;
    if ((q->ndim != 3 && !four) || k->ndim != q->ndim || v->ndim != q->ndim) return misfit(s, Q, "queries, keys and values have three or four dimensions, all the same number");
    p->heads = four ? q->dim[1] : fa_node_int(s->node, "q_num_heads", 0);
    p->kv_heads = four ? k->dim[1] : fa_node_int(s->node, "kv_num_heads", 0);
    if (p->heads < 1 || p->kv_heads < 1 || p->heads % p->kv_heads) return fa_fail(FA_ERR_SHAPE, "%lld heads of queries over %lld of keys", (long long)p->heads, (long long)p->kv_heads);
    if (!four && (q->dim[2] % p->heads || k->dim[2] % p->kv_heads || v->dim[2] % p->kv_heads)) return misfit(s, Q, "its rows, or those of keys or values, are no whole heads");
    p->n = q->dim[0];
    p->t = q->dim[four ? 2 : 1];
    p->s = k->dim[four ? 2 : 1];
    p->d = four ? q->dim[3] : q->dim[2] / p->heads;
    p->e = four ? v->dim[3] : v->dim[2] / p->kv_heads;
    if (k->dim[0] != p->n || (four ? k->dim[3] : k->dim[2] / p->kv_heads) != p->d) return misfit(s, K, "keys do not fit the queries");
    if (v->dim[0] != p->n || v->dim[four ? 2 : 1] != p->s || (four && v->dim[1] != p->kv_heads)) return misfit(s, V, "values do not fit the keys");
    p->q = of_heads(four, p->heads, p->t, p->d);
    p->k = of_heads(four, p->kv_heads, p->s, p->d);
    p->v = of_heads(four, p->kv_heads, p->s, p->e);
    p->y = of_heads(four, p->heads, p->t, p->e);
    return FA_OK;
}

static fa_status read_past(const fa_op_setup *s, fa_multihead *p)
{
    const fa_view *keys = given(s, PAST_K), *values = given(s, PAST_V);
    if (!keys && !values) return FA_OK;
    if (!keys || !values) return fa_fail(FA_ERR_FORMAT, "past keys and past values come together");
    p->past = keys->ndim == 4 ? keys->dim[2] : 0;
    const int64_t size[] = {p->d, p->e};
    for (int32_t i = 0; i < 2; i++) {
        const fa_view *v = s->in[PAST_K + i];
        if (v->ndim != 4 || v->dim[0] != p->n || v->dim[1] != p->kv_heads || v->dim[2] != p->past || v->dim[3] != size[i]) return misfit(s, PAST_K + i, "the past does not fit");
    }
    p->s += p->past;
    return FA_OK;
}

static fa_status read_mask(const fa_op_setup *s, fa_multihead *p)
{
    const fa_view *mask = given(s, MASK), *lengths = given(s, LENGTHS);
    const int64_t want[] = {p->n, p->heads, p->t, p->s};
    if (lengths && (fa_dtype_is_real(lengths->dtype) || lengths->count != p->n)) return misfit(s, LENGTHS, "an integer for each input is taken");
    p->mask_width = p->s;
    if (!mask) return FA_OK;
    int64_t stride[FA_MAX_DIMS];
    FA_R(fa_op_strides)(mask, stride);
    if (mask->ndim > 4 || mask->ndim < 1) return misfit(s, MASK, "a mask has one to four dimensions");
    for (int32_t i = 0; i < mask->ndim; i++) {
        const int32_t axis = 4 - mask->ndim + i;
        const bool whole = mask->dim[i] == want[axis], ends = axis == 3 && s->node->opset >= 24 && mask->dim[i] < want[axis];
        if (!whole && !ends && mask->dim[i] != 1) return misfit(s, MASK, "the mask does not fit queries and keys");
        if (ends) p->mask_width = mask->dim[i];
        p->mask_step[axis] = whole || ends ? stride[i] : 0;
    }
    p->real_mask = fa_dtype_is_real(mask->dtype);
    return FA_OK;
}

fa_status FA_R(fa_multihead_prepare)(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, s->node->opset < 24 ? LENGTHS : FA_MULTIHEAD_INPUTS, FA_MULTIHEAD_OUTPUTS));
    for (int32_t i = 0; i < LENGTHS; i++)
        if (i != MASK && given(s, i) && !fa_dtype_is_real(s->in[i]->dtype)) return fa_fail(FA_ERR_DTYPE, "input %d is %s", i, fa_dtype_name(s->in[i]->dtype));
    fa_multihead *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    FA_TRY(read_heads(s, p));
    FA_TRY(read_past(s, p));
    FA_TRY(read_mask(s, p));
    p->scale = fa_node_attr(s->node, "scale") ? (double)fa_node_float(s->node, "scale", 1) : 1 / sqrt((double)p->d);
    p->softcap = (double)fa_node_float(s->node, "softcap", 0);
    p->causal = fa_node_int(s->node, "is_causal", 0) != 0;
    p->mode = fa_node_int(s->node, "qk_matmul_output_mode", RAW);
    if (p->mode < RAW || p->mode > WEIGHTS || p->softcap < 0) return fa_fail(FA_ERR_FORMAT, "qk_matmul_output_mode %lld, softcap %g", (long long)p->mode, p->softcap);
    s->params = p;
    s->scratch = ((size_t)(4 * p->s + 1) * sizeof(double) + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
    s->flops = 2.0 * (double)p->n * (double)p->heads * (double)p->t * (double)p->s * (double)(p->d + p->e);
    const int32_t dtype = s->in[Q]->dtype;
    const bool four = s->in[Q]->ndim == 4;
    FA_TRY(FA_R(fa_op_set)(&s->out[Y], dtype, four ? 4 : 3, four ? (int64_t[]){p->n, p->heads, p->t, p->e} : (int64_t[]){p->n, p->t, p->heads * p->e, 0}));
    if (s->n_out > PRESENT_K) FA_TRY(FA_R(fa_op_set)(&s->out[PRESENT_K], dtype, 4, (int64_t[]){p->n, p->kv_heads, p->s, p->d}));
    if (s->n_out > PRESENT_V) FA_TRY(FA_R(fa_op_set)(&s->out[PRESENT_V], dtype, 4, (int64_t[]){p->n, p->kv_heads, p->s, p->e}));
    return s->n_out > SCORES ? FA_R(fa_op_set)(&s->out[SCORES], dtype, 4, (int64_t[]){p->n, p->heads, p->t, p->s}) : FA_OK;
}

/* A query: which, and what it works with. */
typedef struct query {
    int64_t n, head, i, kv_head, at; /* at: of its scores */
    double *raw, *masked, *weight, *slope; /* [s]; scale q k', that and the mask (-inf: takes no part), the softmax, the gradient there */
} query;

static const void *contents(const fa_op_call *c, int32_t input)
{
    return input < c->n_in && c->in[input] ? c->in[input]->data : NULL;
}

/* The input that holds row j of keys (`input` K) or values (V), and where it begins there. */
static int32_t holder(const fa_multihead *p, int32_t input, int64_t j)
{
    return j < p->past ? PAST_K + input - K : input;
}

static int64_t place(const fa_multihead *p, const query *q, int32_t input, int64_t j)
{
    const fa_multihead_side *at = input == K ? &p->k : &p->v;
    if (j < p->past) return ((q->n * p->kv_heads + q->kv_head) * p->past + j) * (input == K ? p->d : p->e);
    return q->n * at->n + q->kv_head * at->head + (j - p->past) * at->place;
}

static const fa_real *contents_of(const fa_multihead *p, const fa_op_call *c, const query *q, int32_t input, int64_t j)
{
    return (const fa_real *)contents(c, holder(p, input, j)) + place(p, q, input, j);
}

static fa_real *gradient_of(const fa_multihead *p, const fa_op_call *c, const query *q, int32_t input, int64_t j)
{
    fa_real *to = c->grad_in[holder(p, input, j)];
    return to ? to + place(p, q, input, j) : NULL;
}

static int64_t mask_at(const fa_multihead *p, const query *q, int64_t j)
{
    return q->n * p->mask_step[0] + q->head * p->mask_step[1] + q->i * p->mask_step[2] + j * p->mask_step[3];
}

/* What is added to a score; -inf: the key takes no part. */
static double bias(const fa_multihead *p, const fa_op_call *c, const query *q, int64_t j)
{
    const void *mask = contents(c, MASK);
    const int64_t *lengths = contents(c, LENGTHS);
    const int64_t first = lengths && !p->past ? lengths[q->n] - p->t : p->past; /* of the queries' places */
    if ((p->causal && j > q->i + first) || (lengths && j >= lengths[q->n]) || j >= p->mask_width) return -INFINITY;
    if (!mask) return 0;
    if (p->real_mask) return (double)((const fa_real *)mask)[mask_at(p, q, j)];
    return ((const int64_t *)mask)[mask_at(p, q, j)] ? 0 : -INFINITY;
}

static double capped(const fa_multihead *p, double x)
{
    return p->softcap > 0 && x > -INFINITY ? p->softcap * tanh(x / p->softcap) : x;
}

static const fa_real *queries(const fa_multihead *p, const fa_op_call *c, const query *q)
{
    return (const fa_real *)c->in[Q]->data + q->n * p->q.n + q->head * p->q.head + q->i * p->q.place;
}

static query look(const fa_multihead *p, const fa_op_call *c, int64_t n, int64_t head, int64_t i)
{
    query q = {n, head, i, head / (p->heads / p->kv_heads), ((n * p->heads + head) * p->t + i) * p->s, c->scratch, NULL, NULL, NULL};
    const fa_real *x = queries(p, c, &q);
    double top = -INFINITY, sum = 0;
    q.masked = q.raw + p->s;
    q.weight = q.masked + p->s;
    q.slope = q.weight + p->s;
    for (int64_t j = 0; j < p->s; j++) {
        const fa_real *k = contents_of(p, c, &q, K, j);
        double dot = 0;
        for (int64_t a = 0; a < p->d; a++) dot += (double)x[a] * (double)k[a];
        q.raw[j] = p->scale * dot;
        q.masked[j] = q.raw[j] + bias(p, c, &q, j);
        top = fmax(top, q.weight[j] = capped(p, q.masked[j]));
    }
    for (int64_t j = 0; j < p->s; j++) sum += q.weight[j] = top > -INFINITY ? exp(q.weight[j] - top) : 0;
    for (int64_t j = 0; j < p->s && sum > 0; j++) q.weight[j] /= sum;
    return q;
}

#define EACH_QUERY(p)                                                                                                                                    \
    for (int64_t n = 0; n < (p)->n; n++)                                                                                                                 \
        for (int64_t head = 0; head < (p)->heads; head++)                                                                                                \
            for (int64_t i = 0; i < (p)->t; i++)

static fa_real *output(const fa_op_call *c, int32_t i)
{
    return i < c->n_out && c->out[i] ? c->out[i]->data : NULL;
}

/* Every row of the keys or values, past and new, against the present ones. */
#define EACH_PRESENT(p, q)                                                                                                                               \
    for (query q = {0}; q.n < (p)->n; q.n++)                                                                                                             \
        for (q.kv_head = 0; q.kv_head < (p)->kv_heads; q.kv_head++)                                                                                      \
            for (int64_t j = 0; j < (p)->s; j++)

static void forward(const fa_op_call *c)
{
    const fa_multihead *p = c->params;
    fa_real *y = output(c, Y), *scores = output(c, SCORES);
    for (int32_t values = 0; values < 2; values++) {
        const int64_t size = values ? p->e : p->d;
        fa_real *present = output(c, PRESENT_K + values);
        if (!present) continue;
        EACH_PRESENT(p, q) {
            memcpy(present, contents_of(p, c, &q, K + values, j), (size_t)size * sizeof *present);
            present += size;
        }
    }
    EACH_QUERY(p) {
        const query q = look(p, c, n, head, i);
        for (int64_t j = 0; scores && j < p->s; j++)
            scores[q.at + j] = (fa_real)(p->mode == RAW ? q.raw[j] : p->mode == MASKED ? q.masked[j] : p->mode == CAPPED ? capped(p, q.masked[j]) : q.weight[j]);
        for (int64_t a = 0; y && a < p->e; a++) {
            double sum = 0;
            for (int64_t j = 0; j < p->s; j++) sum += q.weight[j] * (double)contents_of(p, c, &q, V, j)[a];
            y[n * p->y.n + head * p->y.head + i * p->y.place + a] = (fa_real)sum;
        }
    }
}

/* The gradient at the raw scores into q->slope; what belongs to values and mask is added on the way. */
static void go_back(const fa_multihead *p, const fa_op_call *c, const query *q)
{
    const fa_real *g = c->grad_out[Y] ? (const fa_real *)c->grad_out[Y] + q->n * p->y.n + q->head * p->y.head + q->i * p->y.place : NULL;
    const fa_real *scores = SCORES < c->n_out && c->grad_out[SCORES] ? (const fa_real *)c->grad_out[SCORES] + q->at : NULL;
    fa_real *to_mask = MASK < c->n_in ? c->grad_in[MASK] : NULL;
    double mean = 0;
    for (int64_t j = 0; j < p->s; j++) {
        const fa_real *v = contents_of(p, c, q, V, j);
        fa_real *to = g ? gradient_of(p, c, q, V, j) : NULL;
        q->slope[j] = scores && p->mode == WEIGHTS ? (double)scores[j] : 0;
        for (int64_t a = 0; g && a < p->e; a++) q->slope[j] += (double)g[a] * (double)v[a];
        for (int64_t a = 0; to && a < p->e; a++) to[a] += (fa_real)(q->weight[j] * (double)g[a]);
        mean += q->slope[j] * q->weight[j];
    }
    for (int64_t j = 0; j < p->s; j++) {
        const bool sees = q->masked[j] > -INFINITY;
        const double bend = p->softcap > 0 && sees ? tanh(q->masked[j] / p->softcap) : 0;
        double at = q->weight[j] * (q->slope[j] - mean);
        if (scores && p->mode == CAPPED && sees) at += (double)scores[j];
        at *= 1 - bend * bend;
        if (scores && p->mode == MASKED && sees) at += (double)scores[j];
        if (to_mask && p->real_mask && j < p->mask_width) to_mask[mask_at(p, q, j)] += (fa_real)at;
        q->slope[j] = at + (scores && p->mode == RAW ? (double)scores[j] : 0);
    }
}

static void backward(const fa_op_call *c)
{
    const fa_multihead *p = c->params;
    for (int32_t values = 0; values < 2; values++) {
        const int64_t size = values ? p->e : p->d;
        const fa_real *g = PRESENT_K + values < c->n_out ? c->grad_out[PRESENT_K + values] : NULL;
        if (!g) continue;
        EACH_PRESENT(p, q) {
            fa_real *to = gradient_of(p, c, &q, K + values, j);
            for (int64_t a = 0; to && a < size; a++) to[a] += g[a];
            g += size;
        }
    }
    EACH_QUERY(p) {
        const query q = look(p, c, n, head, i);
        const fa_real *x = queries(p, c, &q);
        fa_real *gx = c->grad_in[Q] ? (fa_real *)c->grad_in[Q] + n * p->q.n + head * p->q.head + i * p->q.place : NULL;
        go_back(p, c, &q);
        for (int64_t j = 0; j < p->s; j++) {
            const fa_real *k = contents_of(p, c, &q, K, j);
            fa_real *gk = gradient_of(p, c, &q, K, j);
            for (int64_t a = 0; gx && a < p->d; a++) gx[a] += (fa_real)(p->scale * q.slope[j] * (double)k[a]);
            for (int64_t a = 0; gk && a < p->d; a++) gk[a] += (fa_real)(p->scale * q.slope[j] * (double)x[a]);
        }
    }
}

const fa_op FA_R(fa_ops_multihead)[] = {
    {"Attention", "", 23, FA_OPSET_ANY, 0, 1u << Q | 1u << K | 1u << V | 1u << MASK | 1u << PAST_K | 1u << PAST_V | 1u << LENGTHS, 0, FA_R(fa_multihead_prepare), forward, backward},
    {NULL},
};
