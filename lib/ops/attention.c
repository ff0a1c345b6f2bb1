/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/attention.h"

#include "ops/walk.h"

#include <math.h>
#include <string.h>

/* The attribute's permutation of ndim axes, or what leaves them alone. */
static fa_status read_perm(const fa_op_setup *s, const char *name, int32_t ndim, int32_t *perm)
{
    int64_t count = 0;
    const int64_t *asked = name ? fa_node_ints(s->node, name, &count) : NULL;
    bool seen[FA_MAX_DIMS] = {false};
    for (int32_t i = 0; i < ndim; i++) {
        perm[i] = i;
        if (!asked) continue;
        if (count != ndim || asked[i] < 0 || asked[i] >= ndim || seen[asked[i]]) return fa_fail(FA_ERR_FORMAT, "'%s' is no permutation of %d axes", name, ndim);
        seen[asked[i]] = true;
        perm[i] = (int32_t)asked[i];
    }
    return FA_OK;
}

/* An operand seen through its permutation, and with axes of 1 in front: dim and step of `axes` + 2 axes. */
static fa_status look(const fa_op_setup *s, int32_t input, const char *perm_name, int32_t ndim, int64_t *dim, int64_t *step)
{
    const fa_view *v = s->in[input];
    const int32_t lead = ndim - v->ndim;
    int64_t stride[FA_MAX_DIMS];
    int32_t perm[FA_MAX_DIMS];
    if (lead < 0) return fa_fail(FA_ERR_SHAPE, "input %d has %d dimensions beside %d", input, v->ndim, ndim);
    FA_TRY(read_perm(s, perm_name, v->ndim, perm));
    FA_R(fa_op_strides)(v, stride);
    for (int32_t i = 0; i < ndim; i++) {
        dim[i] = i < lead ? 1 : v->dim[perm[i - lead]];
        step[i] = i < lead ? 0 : stride[perm[i - lead]];
    }
    return FA_OK;
}

/* Steps of axes that stretch are 0; false for one that does not fit. */
static bool stretch(int32_t axes, const int64_t *want, const int64_t *dim, int64_t *step)
{
    for (int32_t i = 0; i < axes; i++) {
        if (dim[i] == want[i]) continue;
        if (dim[i] != 1) return false;
        step[i] = 0;
    }
    return true;
}

static void set_side(const int64_t *step, int32_t axes, fa_attention_side *side)
{
    memcpy(side->batch, step, (size_t)axes * sizeof *step);
    side->row = step[axes];
    side->col = step[axes + 1];
}

static fa_status set_output(fa_op_setup *s, fa_attention *p)
{
    const int32_t ndim = p->axes + 2;
    int64_t whole[FA_MAX_DIMS], dim[FA_MAX_DIMS], step[FA_MAX_DIMS], seen[FA_MAX_DIMS];
    int32_t perm[FA_MAX_DIMS];
    FA_TRY(read_perm(s, "y_perm", ndim, perm));
    memcpy(whole, p->dim, (size_t)p->axes * sizeof *whole);
    whole[p->axes] = p->t;
    whole[p->axes + 1] = p->e;
    for (int32_t i = 0; i < ndim; i++) dim[i] = whole[perm[i]];
    FA_TRY(FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, ndim, dim));
    FA_R(fa_op_strides)(&s->out[0], step);
    for (int32_t i = 0; i < ndim; i++) seen[perm[i]] = step[i];
    set_side(seen, p->axes, &p->y);
    whole[p->axes + 1] = p->s;
    FA_TRY(FA_R(fa_op_set)(&s->out[1], FA_FLOAT32, ndim, whole));
    FA_R(fa_op_strides)(&s->out[1], step);
    set_side(step, p->axes, &p->weights);
    return FA_OK;
}

static fa_status read_scale(const fa_op_setup *s, fa_attention *p)
{
    const fa_view *by = s->in[FA_ATTENTION_DIVISOR];
    p->scale = (fa_real)fa_node_float(s->node, "scale", 1);
    p->fill = (fa_real)fa_node_float(s->node, "fill", 0);
    if (!by) return FA_OK;
    if (by->count != 1 || !fa_dtype_is_real(by->dtype)) return fa_fail(FA_ERR_SHAPE, "the divisor of the scale is not one real number");
    if (!by->data) return fa_fail(FA_ERR_UNSUPPORTED, "the divisor of the scale is computed from the data; it must be known beforehand");
    if (fa_node_int(s->node, "multiplies", 0)) p->scale *= *(const fa_real *)by->data;
    else p->scale /= *(const fa_real *)by->data;
    return FA_OK;
}

fa_status FA_R(fa_attention_prepare)(fa_op_setup *s)
{
    static const char *const perm[FA_ATTENTION_DIVISOR] = {"q_perm", "k_perm", "v_perm"};
    if (s->n_in != FA_ATTENTION_INPUTS || s->n_out != 2 || !s->in[FA_ATTENTION_Q] || !s->in[FA_ATTENTION_K] || !s->in[FA_ATTENTION_V])
        return fa_fail(FA_ERR_FORMAT, "%d inputs and %d outputs where 6 and 2 are taken", s->n_in, s->n_out);
    fa_attention *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    int64_t dim[FA_ATTENTION_DIVISOR][FA_MAX_DIMS], step[FA_ATTENTION_DIVISOR][FA_MAX_DIMS];
    int32_t ndim = 2;
    for (int32_t i = 0; i < 3; i++) ndim = s->in[i]->ndim > ndim ? s->in[i]->ndim : ndim;
    p->axes = ndim - 2;
    FA_TRY(read_scale(s, p));
    for (int32_t i = 0; i < FA_ATTENTION_DIVISOR; i++) {
        if (!s->in[i]) continue;
        if (i == FA_ATTENTION_KEEP) p->factors = fa_dtype_is_real(s->in[i]->dtype);
        else if (!fa_dtype_is_real(s->in[i]->dtype)) return fa_fail(FA_ERR_DTYPE, "input %d is %s", i, fa_dtype_name(s->in[i]->dtype));
        FA_TRY(look(s, i, perm[i], ndim, dim[i], step[i]));
    }
    p->t = dim[0][ndim - 2];
    p->d = dim[0][ndim - 1];
    p->s = dim[1][ndim - 1];
    p->e = dim[2][ndim - 1];
    p->heads = 1;
    for (int32_t a = 0; a < p->axes; a++) {
        p->dim[a] = dim[0][a] != 1 ? dim[0][a] : dim[1][a] != 1 ? dim[1][a] : dim[2][a];
        p->heads *= p->dim[a];
    }
    bool fits = dim[1][ndim - 2] == p->d && dim[2][ndim - 2] == p->s;
    int64_t square[FA_MAX_DIMS];
    memcpy(square, p->dim, (size_t)p->axes * sizeof *square);
    square[p->axes] = p->t;
    square[p->axes + 1] = p->s;
    for (int32_t i = 0; i < FA_ATTENTION_DIVISOR && fits; i++) {
        if (!s->in[i]) continue;
        fits = stretch(i < FA_ATTENTION_MASK ? p->axes : ndim, square, dim[i], step[i]);
        set_side(step[i], p->axes, &p->side[i]);
    }
    if (!fits || !p->t || !p->s) return fa_fail(FA_ERR_SHAPE, "queries, keys, values and masks do not fit each other");
    s->params = p;
    s->scratch = ((size_t)(2 * p->s) * sizeof(double) + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
    s->flops = 2.0 * (double)p->heads * (double)p->t * (double)p->s * (double)(p->d + p->e);
    return set_output(s, p);
}

int64_t FA_R(fa_attention_place)(const fa_attention *p, const fa_attention_side *side, int64_t head)
{
    int64_t at = 0;
    for (int32_t a = p->axes - 1; a >= 0; a--) {
        at += head % p->dim[a] * side->batch[a];
        head /= p->dim[a];
    }
    return at;
}

/* Where the operands of one head begin. */
typedef struct head {
    const fa_real *q, *k, *v, *mask, *factor;
    const int64_t *keep;
    int64_t at[FA_ATTENTION_DIVISOR], y, weights;
} head;

static head find(const fa_op_call *call, const fa_attention *p, int64_t index)
{
    head h = {NULL};
    for (int32_t i = 0; i < FA_ATTENTION_DIVISOR; i++)
        if (call->in[i]) h.at[i] = FA_R(fa_attention_place)(p, &p->side[i], index);
    h.q = fa_real_at(call->in[FA_ATTENTION_Q]->data, h.at[FA_ATTENTION_Q]);
    h.k = fa_real_at(call->in[FA_ATTENTION_K]->data, h.at[FA_ATTENTION_K]);
    h.v = fa_real_at(call->in[FA_ATTENTION_V]->data, h.at[FA_ATTENTION_V]);
    if (call->in[FA_ATTENTION_MASK]) h.mask = fa_real_at(call->in[FA_ATTENTION_MASK]->data, h.at[FA_ATTENTION_MASK]);
    if (call->in[FA_ATTENTION_KEEP] && p->factors) h.factor = fa_real_at(call->in[FA_ATTENTION_KEEP]->data, h.at[FA_ATTENTION_KEEP]);
    else if (call->in[FA_ATTENTION_KEEP]) h.keep = (const int64_t *)call->in[FA_ATTENTION_KEEP]->data + h.at[FA_ATTENTION_KEEP];
    h.y = FA_R(fa_attention_place)(p, &p->y, index);
    h.weights = FA_R(fa_attention_place)(p, &p->weights, index);
    return h;
}

static bool keeps(const fa_attention *p, const head *h, int64_t i, int64_t j)
{
    const fa_attention_side *keep = &p->side[FA_ATTENTION_KEEP];
    return !h->keep || h->keep[i * keep->row + j * keep->col];
}

/* What multiplies q k' at (i, j) where it is kept. */
static double scale_at(const fa_attention *p, const head *h, int64_t i, int64_t j)
{
    const fa_attention_side *keep = &p->side[FA_ATTENTION_KEEP];
    return h->factor ? (double)p->scale * (double)h->factor[i * keep->row + j * keep->col] : (double)p->scale;
}

static double dot(const fa_attention *p, const head *h, int64_t i, int64_t j)
{
    const fa_attention_side *q = &p->side[FA_ATTENTION_Q], *k = &p->side[FA_ATTENTION_K];
    double sum = 0;
    for (int64_t c = 0; c < p->d; c++) sum += (double)h->q[i * q->row + c * q->col] * (double)h->k[c * k->row + j * k->col];
    return sum;
}

/* Row i of the weights. */
static void weigh(const fa_attention *p, const head *h, int64_t i, double *row)
{
    const fa_attention_side *mask = &p->side[FA_ATTENTION_MASK];
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < p->s; j++) {
        row[j] = keeps(p, h, i, j) ? scale_at(p, h, i, j) * dot(p, h, i, j) : (double)p->fill;
        if (h->mask) row[j] += (double)h->mask[i * mask->row + j * mask->col];
        top = row[j] > top ? row[j] : top;
    }
    for (int64_t j = 0; j < p->s; j++) sum += row[j] = exp(row[j] - top);
    for (int64_t j = 0; j < p->s; j++) row[j] /= sum;
}

static void forward(const fa_op_call *call)
{
    const fa_attention *p = call->params;
    const fa_attention_side *v = &p->side[FA_ATTENTION_V];
    double *row = call->scratch;
    for (int64_t n = 0; n < p->heads; n++) {
        const head h = find(call, p, n);
        fa_real *y = call->out[0] ? (fa_real *)call->out[0]->data + h.y : NULL, *weights = call->out[1] ? (fa_real *)call->out[1]->data + h.weights : NULL;
        for (int64_t i = 0; i < p->t; i++) {
            weigh(p, &h, i, row);
            for (int64_t j = 0; weights && j < p->s; j++) weights[i * p->weights.row + j] = (fa_real)row[j];
            for (int64_t c = 0; y && c < p->e; c++) {
                double value = 0;
                for (int64_t j = 0; j < p->s; j++) value += row[j] * (double)h.v[j * v->row + c * v->col];
                y[i * p->y.row + c * p->y.col] = (fa_real)value;
            }
        }
    }
}

/* With w the weights and g the gradient at y: dw = g v' (and what comes at the weights), dz = w (dw - <w, dw>) at the sums, dq = scale dz k, dk = scale dz' q,
 * dv = w' g; at a factor scale q k' dz. */
static void backward(const fa_op_call *call)
{
    const fa_attention *p = call->params;
    const fa_attention_side *q = &p->side[FA_ATTENTION_Q], *k = &p->side[FA_ATTENTION_K], *v = &p->side[FA_ATTENTION_V], *mask = &p->side[FA_ATTENTION_MASK],
                            *keep = &p->side[FA_ATTENTION_KEEP];
    fa_real *const *to = (fa_real *const *)call->grad_in;
    double *w = call->scratch, *dz = w + p->s;
    for (int64_t n = 0; n < p->heads; n++) {
        const head h = find(call, p, n);
        for (int64_t i = 0; i < p->t; i++) {
            const fa_real *g = fa_real_at(call->grad_out[0], h.y + i * p->y.row), *g_weights = fa_real_at(call->grad_out[1], h.weights + i * p->weights.row);
            double mean = 0;
            weigh(p, &h, i, w);
            for (int64_t j = 0; j < p->s; j++) {
                dz[j] = g_weights ? (double)g_weights[j] : 0;
                for (int64_t c = 0; g && c < p->e; c++) dz[j] += (double)g[c * p->y.col] * (double)h.v[j * v->row + c * v->col];
                mean += dz[j] * w[j];
            }
            for (int64_t j = 0; j < p->s; j++) {
                dz[j] = w[j] * (dz[j] - mean);
                if (to[FA_ATTENTION_MASK]) to[FA_ATTENTION_MASK][h.at[FA_ATTENTION_MASK] + i * mask->row + j * mask->col] += (fa_real)dz[j];
                if (to[FA_ATTENTION_KEEP]) to[FA_ATTENTION_KEEP][h.at[FA_ATTENTION_KEEP] + i * keep->row + j * keep->col] += (fa_real)((double)p->scale * dot(p, &h, i, j) * dz[j]);
                const double at = keeps(p, &h, i, j) ? scale_at(p, &h, i, j) * dz[j] : 0;
                for (int64_t c = 0; c < p->d; c++) {
                    if (to[FA_ATTENTION_Q]) to[FA_ATTENTION_Q][h.at[FA_ATTENTION_Q] + i * q->row + c * q->col] += (fa_real)(at * (double)h.k[c * k->row + j * k->col]);
                    if (to[FA_ATTENTION_K]) to[FA_ATTENTION_K][h.at[FA_ATTENTION_K] + c * k->row + j * k->col] += (fa_real)(at * (double)h.q[i * q->row + c * q->col]);
                }
                for (int64_t c = 0; to[FA_ATTENTION_V] && g && c < p->e; c++)
                    to[FA_ATTENTION_V][h.at[FA_ATTENTION_V] + j * v->row + c * v->col] += (fa_real)(w[j] * (double)g[c * p->y.col]);
            }
        }
    }
}

const fa_op FA_R(fa_ops_attention)[] = {
    {.name = "Attention", .domain = "fattr", .since = 1, .until = FA_OPSET_ANY,
     .back_in = 1u << FA_ATTENTION_Q | 1u << FA_ATTENTION_K | 1u << FA_ATTENTION_V | 1u << FA_ATTENTION_MASK | 1u << FA_ATTENTION_KEEP,
     .prepare = FA_R(fa_attention_prepare),
     .forward = forward, .backward = backward},
    {0},
};
