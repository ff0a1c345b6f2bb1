/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/*
 * ScatterElements (Scatter before operator set 11) and ScatterND: input 0 with updates (input 2) put, or combined, at the places that indices
 * (input 1) name. Updates come in order: of two put at one place the later stays. Indices known beforehand are checked then; an update whose
 * computed index lies outside its axis is left out.
 */
enum { PUT, ADD, MUL, MAX, MIN };

typedef struct scatter {
    int32_t reduction;
    int64_t depth, inner; /* ScatterND: tuples of `depth` indices name runs of `inner`; ScatterElements: depth 0 */
    int64_t dim[FA_MAX_DIMS], stride[FA_MAX_DIMS]; /* of the input */
    int32_t axis, ndim;
} scatter;

static fa_status does_not_fit(const fa_op_setup *s)
{
    char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT], c[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_SHAPE, "indices of shape %s and updates of shape %s do not fit an input of shape %s",
                   fa_shape_text(s->in[1]->ndim, s->in[1]->dim, a, sizeof a), fa_shape_text(s->in[2]->ndim, s->in[2]->dim, b, sizeof b),
                   fa_shape_text(s->in[0]->ndim, s->in[0]->dim, c, sizeof c));
}

static fa_status prepare(fa_op_setup *s, scatter **out)
{
    static const char *const reductions[] = {"none", "add", "mul", "max", "min"};
    const int32_t opset = s->node->opset;
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    const fa_view *x = s->in[0], *index = s->in[1], *update = s->in[2];
    if (fa_dtype_is_real(index->dtype) || index->dtype == FA_BOOL) return fa_fail(FA_ERR_DTYPE, "indices (input 1) are %s", fa_dtype_name(index->dtype));
    if (fa_dtype_is_real(x->dtype) != fa_dtype_is_real(update->dtype))
        return fa_fail(FA_ERR_DTYPE, "updates of %s to an input of %s", fa_dtype_name(update->dtype), fa_dtype_name(x->dtype));
    scatter *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    if (opset >= 16) FA_TRY(FA_R(fa_op_choice)(s, "reduction", "none", reductions, opset < 18 ? 3 : 5, &p->reduction));
    FA_R(fa_op_strides)(x, p->stride);
    memcpy(p->dim, x->dim, sizeof p->dim);
    p->ndim = x->ndim;
    p->inner = 1;
    s->params = *out = p;
    s->scratch = 2 * (size_t)x->count * sizeof(double);
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

static fa_status check_index(int64_t index, const scatter *p, int32_t axis)
{
    if (index >= -p->dim[axis] && index < p->dim[axis]) return FA_OK;
    return fa_fail(FA_ERR_SHAPE, "index %lld of axis %d with %lld elements", (long long)index, axis, (long long)p->dim[axis]);
}

static fa_status elements_prepare(fa_op_setup *s)
{
    scatter *p;
    FA_TRY(prepare(s, &p));
    const fa_view *x = s->in[0], *index = s->in[1];
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 0), x->ndim, &p->axis));
    bool fits = index->ndim == x->ndim && s->in[2]->ndim == index->ndim;
    for (int32_t d = 0; d < x->ndim && fits; d++) fits = index->dim[d] == s->in[2]->dim[d] && (d == p->axis || index->dim[d] <= x->dim[d]);
    if (!fits) return does_not_fit(s);
    for (int64_t i = 0; index->data && i < index->count; i++) FA_TRY(check_index(((const int64_t *)index->data)[i], p, p->axis));
    return FA_OK;
}

static fa_status nd_prepare(fa_op_setup *s)
{
    scatter *p;
    FA_TRY(prepare(s, &p));
    const fa_view *x = s->in[0], *index = s->in[1], *update = s->in[2];
    p->depth = index->ndim ? index->dim[index->ndim - 1] : 0;
    bool fits = p->depth >= 1 && p->depth <= x->ndim && update->ndim == index->ndim - 1 + x->ndim - (int32_t)p->depth;
    for (int32_t d = 0; d < update->ndim && fits; d++)
        fits = update->dim[d] == (d < index->ndim - 1 ? index->dim[d] : x->dim[(int32_t)p->depth + d - index->ndim + 1]);
    if (!fits) return does_not_fit(s);
    for (int32_t d = (int32_t)p->depth; d < x->ndim; d++) p->inner *= x->dim[d];
    for (int64_t i = 0; index->data && i < index->count; i++) FA_TRY(check_index(((const int64_t *)index->data)[i], p, (int32_t)(i % p->depth)));
    return FA_OK;
}

/* Where update `u` goes, or -1. */
static int64_t place(const fa_op_call *c, int64_t u)
{
    const scatter *p = c->params;
    const int64_t *index = c->in[1]->data;
    int64_t at = p->depth ? u % p->inner : 0, rest = u;
    for (int32_t d = 0; d < p->depth; d++) {
        int64_t i = index[u / p->inner * p->depth + d];
        if (i < 0) i += p->dim[d];
        if (i < 0 || i >= p->dim[d]) return -1;
        at += i * p->stride[d];
    }
    for (int32_t d = p->ndim - 1; d >= 0 && !p->depth; d--) {
        int64_t i = rest % c->in[1]->dim[d];
        rest /= c->in[1]->dim[d];
        if (d == p->axis) i = index[u] < 0 ? index[u] + p->dim[d] : index[u];
        if (i < 0 || i >= p->dim[d]) return -1;
        at += i * p->stride[d];
    }
    return at;
}

static fa_real join(int32_t how, fa_real x, fa_real y)
{
    switch (how) {
    case ADD: return x + y;
    case MUL: return x * y;
    case MAX: return x > y || x != x ? x : y;
    case MIN: return x < y || x != x ? x : y;
    default: return y;
    }
}

static int64_t join_ints(int32_t how, int64_t x, int64_t y)
{
    switch (how) {
    case ADD: return (int64_t)((uint64_t)x + (uint64_t)y);
    case MUL: return (int64_t)((uint64_t)x * (uint64_t)y);
    case MAX: return x > y ? x : y;
    case MIN: return x < y ? x : y;
    default: return y;
    }
}

static void forward(const fa_op_call *c)
{
    const scatter *p = c->params;
    const fa_view *y = c->out[0];
    if (y->count) memcpy(y->data, c->in[0]->data, (size_t)y->count * fa_op_size(y->dtype));
    for (int64_t u = 0; u < c->in[2]->count; u++) {
        int64_t at = place(c, u);
        if (at < 0) continue;
        if (fa_dtype_is_real(y->dtype)) {
            fa_real *to = (fa_real *)y->data + at;
            *to = join(p->reduction, *to, ((const fa_real *)c->in[2]->data)[u]);
        } else {
            int64_t *to = (int64_t *)y->data + at;
            *to = FA_R(fa_op_wrap)(join_ints(p->reduction, *to, ((const int64_t *)c->in[2]->data)[u]), y->dtype);
        }
    }
}

/* What one operand `v` at place `at` has counted into the scratch, and its share of the gradient afterwards. */
typedef struct tally {
    int32_t reduction;
    double *product, *zeros;  /* MUL: of the operands that are not 0, and how many are; MAX, MIN: `zeros` counts those that equal the result */
    const fa_real *result;
} tally;

static void count(const tally *t, int64_t at, double v)
{
    if (t->reduction == MUL) {
        if (v != 0) t->product[at] *= v;
        else t->zeros[at]++;
    } else {
        t->zeros[at] += v == (double)t->result[at];
    }
}

static double slope(const tally *t, int64_t at, double v)
{
    if (t->reduction == ADD) return 1;
    if (t->reduction != MUL) return v == (double)t->result[at] ? 1 / t->zeros[at] : 0; /* equal shares */
    if (t->zeros[at] == 0) return t->product[at] / v;
    return t->zeros[at] == 1 && v == 0 ? t->product[at] : 0;
}

static void reduced_backward(const fa_op_call *c, const tally *t)
{
    const fa_real *x = c->in[0]->data, *update = c->in[2]->data, *g = c->grad_out[0];
    fa_real *gx = c->grad_in[0], *gu = c->grad_in[2];
    for (int64_t i = 0; i < c->in[0]->count; i++) {
        t->product[i] = 1;
        t->zeros[i] = 0;
        if (t->reduction != ADD) count(t, i, (double)x[i]);
    }
    for (int64_t u = 0; t->reduction != ADD && u < c->in[2]->count; u++) {
        int64_t at = place(c, u);
        if (at >= 0) count(t, at, (double)update[u]);
    }
    for (int64_t i = 0; gx && i < c->in[0]->count; i++) gx[i] += (fa_real)((double)g[i] * slope(t, i, (double)x[i]));
    for (int64_t u = 0; gu && u < c->in[2]->count; u++) {
        int64_t at = place(c, u);
        if (at >= 0) gu[u] += (fa_real)((double)g[at] * slope(t, at, (double)update[u]));
    }
}

static void backward(const fa_op_call *c)
{
    const scatter *p = c->params;
    const fa_real *g = c->grad_out[0];
    fa_real *gx = c->grad_in[0], *gu = c->grad_in[2];
    if (p->reduction != PUT) {
        tally t = {p->reduction, c->scratch, (double *)c->scratch + c->in[0]->count, c->out[0]->data};
        reduced_backward(c, &t);
        return;
    }
    bool *taken = c->scratch; /* from the last update back: the first to come to a place is the one that stays */
    for (int64_t i = 0; i < c->in[0]->count; i++) taken[i] = false;
    for (int64_t u = c->in[2]->count - 1; u >= 0; u--) {
        int64_t at = place(c, u);
        if (at < 0 || taken[at]) continue;
        taken[at] = true;
        if (gu) gu[u] += g[at];
    }
    for (int64_t i = 0; gx && i < c->in[0]->count; i++) gx[i] += taken[i] ? 0 : g[i];
}

#define SCATTER(name, since, until, prepare_) {name, "", since, until, 0, 7, 1, prepare_, forward, backward}

const fa_op FA_R(fa_ops_scatter)[] = {
    SCATTER("Scatter", 9, FA_OPSET_ANY, elements_prepare),
    SCATTER("ScatterElements", 11, FA_OPSET_ANY, elements_prepare),
    SCATTER("ScatterND", 11, FA_OPSET_ANY, nd_prepare),
    {NULL},
};
