/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

/* DequantizeLinear: (x - zero point) scale, of the whole tensor, of each element of an axis or of each block of such elements. On weights it is folded at plan time. */

typedef struct steps {
    int64_t n, inner;      /* element i has scale i / inner % n */
    int64_t block, blocks; /* unless 0: elements of the axis that share a scale, and how many such blocks it has; every place beside the axis has its own */
} steps;

static fa_status read_blocks(const fa_op_setup *s, int64_t block, steps *p)
{
    const fa_view *x = s->in[0], *scale = s->in[1];
    int64_t outer;
    int32_t axis;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 1), x->ndim, &axis));
    FA_R(fa_op_around)(x, axis, &outer, &p->n, &p->inner);
    p->block = block;
    p->blocks = block > 0 ? (p->n + block - 1) / block : 0;
    bool fits = block > 0 && block <= INT32_MAX && scale->ndim == x->ndim;
    for (int32_t d = 0; d < x->ndim && fits; d++) fits = scale->dim[d] == (d == axis ? p->blocks : x->dim[d]);
    if (fits) return FA_OK;
    char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_SHAPE, "scales of shape %s for blocks of %lld in %s along axis %d", fa_shape_text(scale->ndim, scale->dim, a, sizeof a), (long long)block,
                   fa_shape_text(x->ndim, x->dim, b, sizeof b), axis);
}

static int64_t scale_of(const steps *p, int64_t i)
{
    const int64_t place = i / p->inner % p->n;
    return p->block ? (i / p->inner / p->n * p->blocks + place / p->block) * p->inner + i % p->inner : place;
}

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 3, 1));
    const fa_view *x = s->in[0], *scale = s->in[1], *zero = s->n_in > 2 ? s->in[2] : NULL;
    if (fa_dtype_is_real(x->dtype) || !fa_dtype_is_real(scale->dtype) || (zero && zero->dtype != x->dtype))
        return fa_fail(FA_ERR_DTYPE, "elements of %s with a scale of %s and a zero point of %s", fa_dtype_name(x->dtype), fa_dtype_name(scale->dtype),
                       fa_dtype_name(zero ? zero->dtype : x->dtype));
    const int64_t block = fa_node_int(s->node, "block_size", 0);
    steps *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (steps){.n = 1, .inner = 1};
    if (block) FA_TRY(read_blocks(s, block, p));
    else if (scale->ndim == 1 && scale->count != 1) {
        int64_t outer;
        int32_t axis;
        FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 1), x->ndim, &axis));
        FA_R(fa_op_around)(x, axis, &outer, &p->n, &p->inner);
    }
    const int64_t count = block ? scale->count : p->n;
    FA_TRY(FA_R(fa_op_need_count)(s, 1, count));
    if (zero) FA_TRY(FA_R(fa_op_need_count)(s, 2, count));
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], scale->dtype, x->ndim, x->dim);
}

static double level(const fa_op_call *c, int64_t i, int64_t k)
{
    const int64_t *zero = c->n_in > 2 && c->in[2] ? c->in[2]->data : NULL;
    return (double)((const int64_t *)c->in[0]->data)[i] - (zero ? (double)zero[k] : 0);
}

static void forward(const fa_op_call *c)
{
    const steps *p = c->params;
    const fa_real *scale = c->in[1]->data;
    for (int64_t i = 0; i < c->out[0]->count; i++) {
        int64_t k = scale_of(p, i);
        ((fa_real *)c->out[0]->data)[i] = (fa_real)(level(c, i, k) * (double)scale[k]);
    }
}

static void backward(const fa_op_call *c)
{
    const steps *p = c->params;
    fa_real *t = c->grad_in[1];
    for (int64_t i = 0; t && i < c->out[0]->count; i++) {
        int64_t k = scale_of(p, i);
        t[k] += (fa_real)((double)((const fa_real *)c->grad_out[0])[i] * level(c, i, k));
    }
}

const fa_op FA_R(fa_ops_dequantize)[] = {
    {"DequantizeLinear", "", 10, FA_OPSET_ANY, 0, 5, 0, prepare, forward, backward},
    {NULL},
};
