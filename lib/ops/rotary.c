/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * RotaryEmbedding (Su et al., arXiv 2104.09864): the first elements of every head are turned in pairs by angles that depend on the place in the sequence, whose cosines and sines are
 * given: for each input and place, or as tables that position ids look up. A computed id outside the table gives NaN and takes no gradient.
 */
typedef struct rotary {
    int64_t n, heads, length, size, half;  /* size of a head; half: pairs in it */
    int64_t step_n, step_head, step_place; /* of the input */
    bool by_id;
    int64_t rows, width;                   /* of the tables, with position ids, and of a row of them, at least `half` */
    int64_t apart, next;                   /* from one of a pair to the other, and to the next pair */
} rotary;

static fa_status check_tables(fa_op_setup *s, rotary *p)
{
    const fa_view *cosines = s->in[1], *sines = s->in[2], *ids = s->n_in > 3 ? s->in[3] : NULL;
    const int32_t ndim = ids ? 2 : 3;
    bool fits = cosines->ndim == ndim && sines->ndim == ndim && cosines->dim[ndim - 1] >= p->half;
    for (int32_t d = 0; d < ndim && fits; d++) fits = cosines->dim[d] == sines->dim[d];
    if (fits && !ids) fits = cosines->dim[0] == p->n && cosines->dim[1] == p->length;
    if (fits && ids) fits = ids->ndim == 2 && ids->dim[0] == p->n && ids->dim[1] == p->length;
    if (!fits) {
        char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "cosines of shape %s%s for %lld pairs at inputs of shape %s", fa_shape_text(cosines->ndim, cosines->dim, a, sizeof a), ids ? " by position ids" : "",
                       (long long)p->half, fa_shape_text(s->in[0]->ndim, s->in[0]->dim, b, sizeof b));
    }
    p->by_id = ids != NULL;
    p->width = cosines->dim[ndim - 1];
    if (!ids) return FA_OK;
    if (fa_dtype_is_real(ids->dtype)) return fa_fail(FA_ERR_DTYPE, "position ids (input 3) are %s", fa_dtype_name(ids->dtype));
    p->rows = cosines->dim[0];
    for (int64_t i = 0; ids->data && i < ids->count; i++) {
        const int64_t id = ((const int64_t *)ids->data)[i];
        if (id < 0 || id >= p->rows) return fa_fail(FA_ERR_SHAPE, "position id %lld of %lld places", (long long)id, (long long)p->rows);
    }
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 4, 1));
    const fa_view *x = s->in[0];
    const int64_t heads = fa_node_int(s->node, "num_heads", 0), turned = fa_node_int(s->node, "rotary_embedding_dim", 0);
    for (int32_t i = 0; i < 3; i++)
        if (!fa_dtype_is_real(s->in[i]->dtype)) return fa_fail(FA_ERR_DTYPE, "input %d is %s", i, fa_dtype_name(s->in[i]->dtype));
    if ((x->ndim != 3 && x->ndim != 4) || (x->ndim == 3 && (heads < 1 || x->dim[2] % heads)))
        return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, and %lld heads are said to be in it", x->ndim, (long long)heads);
    rotary *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    const bool four = x->ndim == 4;
    *p = (rotary){.n = x->dim[0], .heads = four ? x->dim[1] : heads, .length = x->dim[four ? 2 : 1], .size = four ? x->dim[3] : x->dim[2] / heads};
    p->step_place = four ? p->size : p->heads * p->size;
    p->step_head = four ? p->length * p->size : p->size;
    p->step_n = p->heads * p->length * p->size;
    if (turned < 0 || turned > p->size || (turned ? turned : p->size) % 2)
        return fa_fail(FA_ERR_SHAPE, "%lld elements of a head of %lld are turned in pairs", (long long)(turned ? turned : p->size), (long long)p->size);
    p->half = (turned ? turned : p->size) / 2;
    const bool interleaved = fa_node_int(s->node, "interleaved", 0) != 0;
    p->apart = interleaved ? 1 : p->half;
    p->next = interleaved ? 2 : 1;
    FA_TRY(check_tables(s, p));
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, x->dim);
}

/* Where the angles of place `t` of input `n` begin in the tables, or -1. */
static int64_t angles(const rotary *p, const fa_op_call *c, int64_t n, int64_t t)
{
    if (!p->by_id) return (n * p->length + t) * p->width;
    const int64_t id = ((const int64_t *)c->in[3]->data)[n * p->length + t];
    return id >= 0 && id < p->rows ? id * p->width : -1;
}

/* `statement` for the head that begins at `at`, whose angles begin at `angle`. */
#define EACH_HEAD(statement)                                                                                                                             \
    for (int64_t n = 0; n < p->n; n++)                                                                                                                   \
        for (int64_t t = 0; t < p->length; t++) {                                                                                                        \
            const int64_t angle = angles(p, c, n, t);                                                                                                    \
            for (int64_t h = 0; h < p->heads; h++) {                                                                                                     \
                const int64_t at = n * p->step_n + h * p->step_head + t * p->step_place;                                                                 \
                statement;                                                                                                                               \
            }                                                                                                                                            \
        }

static void forward(const fa_op_call *c)
{
    const rotary *p = c->params;
    const fa_real *x = c->in[0]->data, *cosines = c->in[1]->data, *sines = c->in[2]->data;
    fa_real *y = c->out[0]->data;
    EACH_HEAD({
        memcpy(y + at, x + at, (size_t)p->size * sizeof *y);
        for (int64_t j = 0; j < p->half; j++) {
            const int64_t a = at + j * p->next;
            const int64_t b = a + p->apart;
            const double cosine = angle < 0 ? (double)NAN : (double)cosines[angle + j];
            const double sine = angle < 0 ? (double)NAN : (double)sines[angle + j];
            y[a] = (fa_real)(cosine * (double)x[a] - sine * (double)x[b]);
            y[b] = (fa_real)(sine * (double)x[a] + cosine * (double)x[b]);
        }
    })
}

static void backward(const fa_op_call *c)
{
    const rotary *p = c->params;
    const fa_real *x = c->in[0]->data, *cosines = c->in[1]->data, *sines = c->in[2]->data, *g = c->grad_out[0];
    fa_real *gx = c->grad_in[0], *gc = c->grad_in[1], *gs = c->grad_in[2];
    EACH_HEAD({
        for (int64_t j = 2 * p->half; gx && j < p->size; j++) gx[at + j] += g[at + j];
        for (int64_t j = 0; angle >= 0 && j < p->half; j++) {
            const int64_t a = at + j * p->next;
            const int64_t b = a + p->apart;
            if (gx) gx[a] += cosines[angle + j] * g[a] + sines[angle + j] * g[b];
            if (gx) gx[b] += cosines[angle + j] * g[b] - sines[angle + j] * g[a];
            if (gc) gc[angle + j] += x[a] * g[a] + x[b] * g[b];
            if (gs) gs[angle + j] += x[a] * g[b] - x[b] * g[a];
        }
    })
}

const fa_op FA_R(fa_ops_rotary)[] = {
    {"RotaryEmbedding", "", 23, FA_OPSET_ANY, 0, 15, 0, prepare, forward, backward},
    {NULL},
};
