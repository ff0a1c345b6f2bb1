/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/* Transpose, and DepthToSpace and SpaceToDepth, which are transpositions between two reshapes. */

/* The walk that takes the input, seen as `dim`, to the axes' order `perm`. */
static fa_status reorder(fa_op_setup *s, int32_t ndim, const int64_t *dim, const int32_t *perm)
{
    fa_walk *w = fa_arena_new(s->arena, sizeof *w);
    if (!w) return FA_ERR_MEMORY;
    int64_t stride[FA_MAX_DIMS], step = 1;
    for (int32_t d = ndim - 1; d >= 0; step *= dim[d--]) stride[d] = step;
    w->operands = 2;
    w->ndim = ndim;
    for (int32_t d = 0; d < ndim; d++) {
        w->dim[d] = dim[perm[d]];
        w->step[1][d] = stride[perm[d]];
    }
    FA_R(fa_walk_stretch)(w, 0, ndim, w->dim);
    fa_walk_pack(w);
    s->params = w;
    return FA_OK;
}

static fa_status transpose_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_view *x = s->in[0];
    int64_t n, dim[FA_MAX_DIMS];
    int32_t perm[FA_MAX_DIMS];
    const int64_t *asked = fa_node_ints(s->node, "perm", &n);
    bool seen[FA_MAX_DIMS] = {false};
    if (asked && n != x->ndim) return fa_fail(FA_ERR_SHAPE, "attribute 'perm' has %lld axes for %d dimensions", (long long)n, x->ndim);
    for (int32_t d = 0; d < x->ndim; d++) {
        perm[d] = x->ndim - 1 - d;
        if (asked) FA_TRY(FA_R(fa_op_axis)(asked[d], x->ndim, &perm[d]));
        if (seen[perm[d]]) return fa_fail(FA_ERR_FORMAT, "attribute 'perm' names axis %d twice", perm[d]);
        seen[perm[d]] = true;
        dim[d] = x->dim[perm[d]];
    }
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim));
    return reorder(s, x->ndim, x->dim, perm);
}

static fa_status block_size(fa_op_setup *s, int64_t *b)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    *b = fa_node_int(s->node, "blocksize", 0);
    if (s->in[0]->ndim != 4) return fa_fail(FA_ERR_SHAPE, "%d dimensions where 4 are taken", s->in[0]->ndim);
    if (*b < 1 || *b > 65536) return fa_fail(FA_ERR_FORMAT, "attribute 'blocksize' is %lld", (long long)*b);
    return FA_OK;
}

static fa_status to_space_prepare(fa_op_setup *s)
{
    static const int32_t depth_first[] = {0, 3, 4, 1, 5, 2}, column_first[] = {0, 1, 4, 2, 5, 3};
    int64_t b;
    FA_TRY(block_size(s, &b));
    const int64_t *x = s->in[0]->dim, c = x[1] / (b * b);
    const char *mode = fa_node_string(s->node, "mode", "DCR");
    bool crd = strcmp(mode, "CRD") == 0;
    if (!crd && strcmp(mode, "DCR") != 0) return fa_fail(FA_ERR_FORMAT, "attribute 'mode' is '%s', not DCR or CRD", mode);
    if (x[1] % (b * b)) return fa_fail(FA_ERR_SHAPE, "%lld channels are no multiple of %lld blocks", (long long)x[1], (long long)(b * b));
    FA_TRY(FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, 4, (int64_t[]){x[0], c, x[2] * b, x[3] * b}));
    if (crd) return reorder(s, 6, (int64_t[]){x[0], c, b, b, x[2], x[3]}, column_first);
    return reorder(s, 6, (int64_t[]){x[0], b, b, c, x[2], x[3]}, depth_first);
}

static fa_status to_depth_prepare(fa_op_setup *s)
{
    static const int32_t perm[] = {0, 3, 5, 1, 2, 4};
    int64_t b;
    FA_TRY(block_size(s, &b));
    const int64_t *x = s->in[0]->dim;
    if (x[2] % b || x[3] % b) return fa_fail(FA_ERR_SHAPE, "%lld x %lld are no multiples of %lld", (long long)x[2], (long long)x[3], (long long)b);
    if (x[1] > FA_MAX_ELEMENTS / (b * b)) return fa_fail(FA_ERR_LIMIT, "%lld channels of blocks of %lld", (long long)x[1], (long long)(b * b));
    FA_TRY(FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, 4, (int64_t[]){x[0], x[1] * b * b, x[2] / b, x[3] / b}));
    return reorder(s, 6, (int64_t[]){x[0], x[1], x[2] / b, b, x[3] / b, b}, perm);
}

static void forward(const fa_op_call *c)
{
    FA_R(fa_walk_copy)(c->params, c->in[0]->dtype, c->out[0]->data, c->in[0]->data);
}

static void backward(const fa_op_call *c)
{
    fa_walk w = FA_R(fa_walk_swap)(c->params);
    if (c->accumulate[0]) FA_R(fa_walk_add)(&w, c->grad_in[0], c->grad_out[0]);
    else FA_R(fa_walk_copy)(&w, c->in[0]->dtype, c->grad_in[0], c->grad_out[0]);
}

#define MOVE(name, prepare) {name, "", 1, FA_OPSET_ANY, FA_OP_OVERWRITES, 0, 0, prepare, forward, backward}

const fa_op FA_R(fa_ops_transpose)[] = {
    MOVE("Transpose", transpose_prepare),
    MOVE("DepthToSpace", to_space_prepare),
    MOVE("SpaceToDepth", to_depth_prepare),
    {NULL},
};
