/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * Gather, GatherElements, GatherND: all copy runs of elements from places that int64 indices name. Indices known beforehand are checked then; a
 * computed index outside its axis gives NaN (0 among integers) and takes no gradient.
 */

typedef struct picks {
    int64_t outer, n, picked, inner;           /* Gather: input [outer, n, inner], output [outer, picked, inner] */
    int64_t batch, depth;                      /* GatherND: `batch` times `picked` tuples of `depth` indices name runs of `inner` */
    int64_t dim[FA_MAX_DIMS], stride[FA_MAX_DIMS];
    int32_t axis;
} picks;

/* Index as a place on an axis of n, or -1. */
static int64_t place(int64_t index, int64_t n)
{
    if (index < 0) index += n;
    return index >= 0 && index < n ? index : -1;
}

static fa_status check_indices(const fa_view *indices)
{
    if (fa_dtype_is_real(indices->dtype) || indices->dtype == FA_BOOL) return fa_fail(FA_ERR_DTYPE, "indices (input 1) are %s", fa_dtype_name(indices->dtype));
    return FA_OK;
}

static fa_status check_index(int64_t index, int64_t n, int32_t axis)
{
    if (place(index, n) >= 0) return FA_OK;
    return fa_fail(FA_ERR_SHAPE, "index %lld of axis %d with %lld elements", (long long)index, axis, (long long)n);
}

/* One run from place `from` (-1: from nowhere) to place `to`; backward the other way. */
static void copy_run(int32_t dtype, void *to, const void *from, int64_t at, int64_t place_from, int64_t n)
{
    if (place_from >= 0 && n) {
        const size_t size = fa_op_size(dtype);
        memcpy((char *)to + (size_t)at * size, (const char *)from + (size_t)place_from * size, (size_t)n * size);
    } else if (fa_dtype_is_real(dtype)) {
        for (int64_t i = 0; i < n; i++) ((fa_real *)to)[at + i] = NAN;
    } else {
        for (int64_t i = 0; i < n; i++) ((int64_t *)to)[at + i] = 0;
    }
}

static void add_run(fa_real *t, const fa_real *g, int64_t at, int64_t place_from, int64_t n)
{
    for (int64_t i = 0; place_from >= 0 && i < n; i++) t[place_from + i] += g[at + i];
}

static fa_status prepare(fa_op_setup *s, picks **out)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    FA_TRY(check_indices(s->in[1]));
    picks *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    s->params = *out = p;
    return FA_OK;
}

/* Gather */

static fa_status gather_prepare(fa_op_setup *s)
{
    picks *p;
    FA_TRY(prepare(s, &p));
    const fa_view *x = s->in[0], *index = s->in[1];
    int64_t dim[2 * FA_MAX_DIMS];
    int32_t ndim = 0;
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 0), x->ndim, &p->axis));
    *p = (picks){.outer = 1, .n = x->dim[p->axis], .picked = index->count, .inner = 1, .axis = p->axis};
    for (int32_t d = 0; d < p->axis; d++) p->outer *= dim[ndim++] = x->dim[d];
    for (int32_t d = 0; d < index->ndim; d++) dim[ndim++] = index->dim[d];
    for (int32_t d = p->axis + 1; d < x->ndim; d++) p->inner *= dim[ndim++] = x->dim[d];
    if (index->data)
        for (int64_t i = 0; i < index->count; i++) FA_TRY(check_index(((const int64_t *)index->data)[i], p->n, p->axis));
    return FA_R(fa_op_set)(&s->out[0], x->dtype, ndim, dim);
}

#define EACH_GATHER(statement)                                                                                                                           \
    {                                                                                                                                                    \
        const picks *p = c->params;                                                                                                                      \
        const int64_t *index = c->in[1]->data, n = p->inner;                                                                                             \
        for (int64_t o = 0, to = 0; o < p->outer; o++) {                                                                                                 \
            for (int64_t k = 0; k < p->picked; k++, to += n) {                                                                                           \
                const int64_t at = place(index[k], p->n), from = at < 0 ? -1 : (o * p->n + at) * n;                                                      \
                statement;                                                                                                                               \
            }                                                                                                                                            \
        }                                                                                                                                                \
    }

static void gather_forward(const fa_op_call *c)
{
    EACH_GATHER(copy_run(c->in[0]->dtype, c->out[0]->data, c->in[0]->data, to, from, n))
}

static void gather_backward(const fa_op_call *c)
{
    EACH_GATHER(add_run(c->grad_in[0], c->grad_out[0], to, from, n))
}

/* GatherElements: the output has the shape of the indices; element by element the index replaces the place on the axis. */

static fa_status elements_prepare(fa_op_setup *s)
{
    picks *p;
    FA_TRY(prepare(s, &p));
    const fa_view *x = s->in[0], *index = s->in[1];
    FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 0), x->ndim, &p->axis));
    FA_R(fa_op_strides)(x, p->stride);
    bool fits = index->ndim == x->ndim;
    for (int32_t d = 0; d < x->ndim && fits; d++) fits = d == p->axis || index->dim[d] <= x->dim[d];
    if (!fits) {
        char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "indices of shape %s do not fit an input of shape %s", fa_shape_text(index->ndim, index->dim, a, sizeof a),
                       fa_shape_text(x->ndim, x->dim, b, sizeof b));
    }
    p->n = x->dim[p->axis];
    if (index->data)
        for (int64_t i = 0; i < index->count; i++) FA_TRY(check_index(((const int64_t *)index->data)[i], p->n, p->axis));
    return FA_R(fa_op_set)(&s->out[0], x->dtype, index->ndim, index->dim);
}

#define EACH_ELEMENT(statement)                                                                                                                          \
    {                                                                                                                                                    \
        const picks *p = c->params;                                                                                                                      \
        const fa_view *index = c->in[1];                                                                                                                 \
        int64_t at[FA_MAX_DIMS] = {0};                                                                                                                   \
        for (int64_t to = 0; to < index->count; to++) {                                                                                                  \
            const int64_t chosen = place(((const int64_t *)index->data)[to], p->n);                                                                      \
            int64_t from = 0;                                                                                                                            \
            for (int32_t d = 0; d < index->ndim; d++) from += (d == p->axis ? chosen : at[d]) * p->stride[d];                                            \
            if (chosen < 0) from = -1;                                                                                                                   \
            statement;                                                                                                                                   \
            for (int32_t d = index->ndim - 1; d >= 0 && ++at[d] == index->dim[d]; d--) at[d] = 0;                                                        \
        }                                                                                                                                                \
    }

static void elements_forward(const fa_op_call *c)
{
    EACH_ELEMENT(copy_run(c->in[0]->dtype, c->out[0]->data, c->in[0]->data, to, from, 1))
}

static void elements_backward(const fa_op_call *c)
{
    EACH_ELEMENT(add_run(c->grad_in[0], c->grad_out[0], to, from, 1))
}

/* GatherND */

static fa_status nd_prepare(fa_op_setup *s)
{
    picks *p;
    FA_TRY(prepare(s, &p));
    const fa_view *x = s->in[0], *index = s->in[1];
    const int64_t batch = fa_node_int(s->node, "batch_dims", 0);
    const int64_t depth = index->ndim ? index->dim[index->ndim - 1] : 0;
    int64_t dim[2 * FA_MAX_DIMS];
    int32_t ndim = 0;
    bool fits = batch >= 0 && batch < index->ndim && batch < x->ndim && depth >= 1 && depth <= x->ndim - batch;
    for (int32_t d = 0; fits && d < batch; d++) fits = x->dim[d] == index->dim[d];
    if (!fits) {
        char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "indices of shape %s do not fit an input of shape %s", fa_shape_text(index->ndim, index->dim, a, sizeof a),
                       fa_shape_text(x->ndim, x->dim, b, sizeof b));
    }
    int64_t stride[FA_MAX_DIMS];
    FA_R(fa_op_strides)(x, stride);
    *p = (picks){.batch = 1, .picked = 1, .inner = 1, .depth = depth, .n = 1};
    for (int32_t d = 0; d < batch; d++) p->batch *= dim[ndim++] = x->dim[d];
    for (int32_t d = (int32_t)batch; d < index->ndim - 1; d++) p->picked *= dim[ndim++] = index->dim[d];
    for (int32_t d = (int32_t)batch; d < x->ndim; d++) {
        p->n *= x->dim[d]; /* elements of a batch */
        if (d < batch + depth) {
            p->dim[d - batch] = x->dim[d];
            p->stride[d - batch] = stride[d];
        } else {
            p->inner *= dim[ndim++] = x->dim[d];
        }
    }
    if (index->data)
        for (int64_t i = 0; i < index->count; i++)
            FA_TRY(check_index(((const int64_t *)index->data)[i], p->dim[i % depth], (int32_t)(batch + i % depth)));
    return FA_R(fa_op_set)(&s->out[0], x->dtype, ndim, dim);
}

#define EACH_TUPLE(statement)                                                                                                                            \
    {                                                                                                                                                    \
        const picks *p = c->params;                                                                                                                      \
        const int64_t *index = c->in[1]->data, n = p->inner;                                                                                             \
        for (int64_t b = 0, to = 0; b < p->batch; b++) {                                                                                                 \
            for (int64_t k = 0; k < p->picked; k++, to += n, index += p->depth) {                                                                        \
                int64_t from = b * p->n;                                                                                                                 \
                for (int64_t d = 0; d < p->depth && from >= 0; d++) {                                                                                    \
                    int64_t at = place(index[d], p->dim[d]);                                                                                             \
                    from = at < 0 ? -1 : from + at * p->stride[d];                                                                                       \
                }                                                                                                                                        \
                statement;                                                                                                                               \
            }                                                                                                                                            \
        }                                                                                                                                                \
    }

static void nd_forward(const fa_op_call *c)
{
    EACH_TUPLE(copy_run(c->in[0]->dtype, c->out[0]->data, c->in[0]->data, to, from, n))
}

static void nd_backward(const fa_op_call *c)
{
    EACH_TUPLE(add_run(c->grad_in[0], c->grad_out[0], to, from, n))
}

const fa_op FA_R(fa_ops_gather)[] = {
    {"Gather", "", 1, FA_OPSET_ANY, 0, 2, 0, gather_prepare, gather_forward, gather_backward},
    {"GatherElements", "", 11, FA_OPSET_ANY, 0, 2, 0, elements_prepare, elements_forward, elements_backward},
    {"GatherND", "", 11, FA_OPSET_ANY, 0, 2, 0, nd_prepare, nd_forward, nd_backward},
    {NULL},
};
