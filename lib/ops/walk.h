/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_WALK_H
#define FA_OPS_WALK_H

#include "ops/ops.h"

/*
 * Walking several tensors at once, each with strides of its own: broadcasting (step 0), transposing, slicing (negative steps), repeating and
 * reducing are all walks. The innermost dimension is left to the caller as a row, so that its loop can be tight.
 *
 * Made by setting operands, ndim, dim, step and start, then fa_walk_pack(), which drops dimensions of 1 and joins those that every operand
 * passes through in one stride.
 */
#define FA_WALK_OPERANDS 4
#define FA_WALK_DIMS (2 * FA_MAX_DIMS)

typedef struct fa_walk {
    int32_t ndim, operands; /* ndim >= 1 once packed */
    int64_t dim[FA_WALK_DIMS];
    int64_t step[FA_WALK_OPERANDS][FA_WALK_DIMS]; /* in elements */
    int64_t start[FA_WALK_OPERANDS];
    bool empty; /* from here on: set by fa_walk_pack() */
    int64_t row;                        /* elements of a row */
    int64_t row_step[FA_WALK_OPERANDS]; /* along a row */
} fa_walk;

typedef struct fa_walk_place {
    int64_t at[FA_WALK_OPERANDS]; /* where the row starts */
    int64_t index[FA_WALK_DIMS];
} fa_walk_place;

static inline void fa_walk_pack(fa_walk *w)
{
    int32_t n = 0;
    w->empty = false;
    for (int32_t d = 0; d < w->ndim; d++) {
        if (w->dim[d] == 0) w->empty = true;
        if (w->dim[d] == 1) continue;
        bool join = n > 0;
        for (int32_t k = 0; k < w->operands && join; k++) join = w->step[k][n - 1] == w->step[k][d] * w->dim[d];
        if (!join) n++;
        w->dim[n - 1] = join ? w->dim[n - 1] * w->dim[d] : w->dim[d];
        for (int32_t k = 0; k < w->operands; k++) w->step[k][n - 1] = w->step[k][d];
    }
    if (n == 0) {
        n = 1;
        w->dim[0] = 1;
        for (int32_t k = 0; k < w->operands; k++) w->step[k][0] = 1;
    }
    w->ndim = n;
    w->row = w->dim[n - 1];
    for (int32_t k = 0; k < w->operands; k++) w->row_step[k] = w->step[k][n - 1];
}

static inline bool fa_walk_first(const fa_walk *w, fa_walk_place *p)
{
    for (int32_t k = 0; k < w->operands; k++) p->at[k] = w->start[k];
    for (int32_t d = 0; d < w->ndim; d++) p->index[d] = 0;
    return !w->empty;
}

static inline bool fa_walk_next(const fa_walk *w, fa_walk_place *p)
{
    for (int32_t d = w->ndim - 2; d >= 0; d--) {
        for (int32_t k = 0; k < w->operands; k++) p->at[k] += w->step[k][d];
        if (++p->index[d] < w->dim[d]) return true;
        for (int32_t k = 0; k < w->operands; k++) p->at[k] -= w->step[k][d] * w->dim[d];
        p->index[d] = 0;
    }
    return false;
}

#define FA_WALK_ROWS(w, p) for (bool more_ = fa_walk_first(w, &(p)); more_; more_ = fa_walk_next(w, &(p)))

/* `data` moved on by `at` fa_real elements; NULL stays NULL, for contents that a backward has not asked for. */
static inline const fa_real *fa_real_at(const void *data, int64_t at)
{
    return data ? (const fa_real *)data + at : NULL;
}

/* Operand `k` of a walk over `ndim` dimensions: a dense tensor stretched as NumPy does (its last dimension the walk's last). */
void FA_R(fa_walk_stretch)(fa_walk *w, int32_t k, int32_t ndim, const int64_t *dim);

/* With two operands: to[at 0] = from[at 1] for elements of a type; and for reals to[at 0] += from[at 1]. */
void FA_R(fa_walk_copy)(const fa_walk *w, int32_t dtype, void *to, const void *from);
void FA_R(fa_walk_add)(const fa_walk *w, fa_real *to, const fa_real *from);

/* The same operands the other way round. */
fa_walk FA_R(fa_walk_swap)(const fa_walk *w);

/* A function of <math.h> in the precision of fa_real: FA_MATH(exp)(x). */
#define FA_MATH(name) _Generic((fa_real)0, float: name##f, double: name)

/* Bytes of an element in storage. */
static inline size_t fa_op_size(int32_t dtype)
{
    return fa_dtype_is_real(dtype) ? sizeof(fa_real) : sizeof(int64_t);
}

/* The shape that NumPy broadcasting gives; FA_ERR_SHAPE names both. `dim` and `ndim` are the result so far and are widened. */
fa_status FA_R(fa_op_broadcast)(int32_t *ndim, int64_t *dim, const fa_view *v);

/* Prepares an operator of two inputs with broadcasting, by the attributes `broadcast` and `axis` before operator set 7: a walk over output, input 0
 * and input 1 as `params`, and the output's shape. Both inputs are real, or neither. */
fa_status FA_R(fa_op_pair)(fa_op_setup *s, int32_t dtype);

/* dtype and shape of an output; FA_ERR_LIMIT when too large. */
fa_status FA_R(fa_op_set)(fa_view *out, int32_t dtype, int32_t ndim, const int64_t *dim);

/* `v` as it is stored in an integer type: wrapped to its width. */
int64_t FA_R(fa_op_wrap)(int64_t v, int32_t dtype);

/* Copies or adds a gradient of n elements that passes an operator unchanged. */
void FA_R(fa_op_pass)(int64_t n, fa_real *to, const fa_real *from, bool add);

#endif
