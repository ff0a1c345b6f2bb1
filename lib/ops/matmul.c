/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/matmul.h"
#include "ops/product.h"
#include "ops/walk.h"

#include <string.h>

/* Batched matrix product with NumPy's rules: a 1-d left factor is a row, a 1-d right factor a column, and leading dimensions broadcast. */

/* Steps over the batch axes of a factor whose own batch dimensions are dim[0 .. own). */
static void batch_steps(const fa_matmul *p, const int64_t *dim, int32_t own, int64_t *step)
{
    int64_t matrices = 1;
    for (int32_t i = 1; i <= own; i++) {
        step[p->axes - i] = dim[own - i] == 1 ? 0 : matrices;
        matrices *= dim[own - i];
    }
}

static fa_status mismatch(const fa_view *a, const fa_view *b)
{
    char left[FA_SHAPE_TEXT], right[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_SHAPE, "factors %s and %s do not fit", fa_shape_text(a->ndim, a->dim, left, sizeof left),
                   fa_shape_text(b->ndim, b->dim, right, sizeof right));
}

fa_status FA_R(fa_matmul_prepare)(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *a = s->in[0], *b = s->in[1];
    if (!fa_dtype_is_real(a->dtype) || !fa_dtype_is_real(b->dtype))
        return fa_fail(FA_ERR_DTYPE, "MatMul of %s and %s is not supported", fa_dtype_name(a->dtype), fa_dtype_name(b->dtype));
    if (a->ndim < 1 || b->ndim < 1) return mismatch(a, b);
    fa_matmul *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    int32_t own_a = a->ndim > 2 ? a->ndim - 2 : 0, own_b = b->ndim > 2 ? b->ndim - 2 : 0;
    p->m = a->ndim > 1 ? a->dim[a->ndim - 2] : 1;
    p->k = a->dim[a->ndim - 1];
    p->n = b->ndim > 1 ? b->dim[b->ndim - 1] : 1;
    if (b->dim[b->ndim > 1 ? b->ndim - 2 : 0] != p->k) return mismatch(a, b);
    p->axes = own_a > own_b ? own_a : own_b;
    int64_t dim[FA_MAX_DIMS];
    int32_t ndim = p->axes;
    for (int32_t i = 1; i <= p->axes; i++) {
        int64_t da = i <= own_a ? a->dim[own_a - i] : 1, db = i <= own_b ? b->dim[own_b - i] : 1;
        if (da != db && da != 1 && db != 1) return mismatch(a, b);
        dim[p->axes - i] = p->dim[p->axes - i] = da == 1 ? db : da;
    }
    batch_steps(p, a->dim, own_a, p->step_a);
    batch_steps(p, b->dim, own_b, p->step_b);
    if (a->ndim > 1) dim[ndim++] = p->m;
    if (b->ndim > 1) dim[ndim++] = p->n;
    FA_TRY(FA_R(fa_op_set)(&s->out[0], a->dtype, ndim, dim));
    p->batch = s->out[0].count != 0;
    for (int32_t i = 0; i < p->axes; i++) p->batch *= p->dim[i];
    if (!own_b && p->m && a->ndim > 1) { /* one right factor for all: one tall product */
        p->m *= p->batch;
        p->batch = 1;
        p->axes = 0;
    }
    p->bf16 = s->node->bf16;
    s->scratch = fa_factor_scratch(p->bf16, b->count, a->count, s->out[0].count);
    s->params = p;
    s->flops = 2.0 * (double)p->batch * (double)p->m * (double)p->n * (double)p->k;
    return FA_OK;
}

void FA_R(fa_matmul_place)(const fa_matmul *p, int64_t i, int64_t *a, int64_t *b)
{
    *a = *b = 0;
    for (int32_t axis = p->axes - 1; axis >= 0; axis--) {
        int64_t at = i % p->dim[axis];
        i /= p->dim[axis];
        *a += at * p->step_a[axis] * p->m * p->k;
        *b += at * p->step_b[axis] * p->k * p->n;
    }
}

static void matmul_forward(const fa_op_call *call)
{
    const fa_matmul *p = call->params;
    fa_real *y = call->out[0]->data, *scratch = call->scratch;
    const int64_t weights = call->in[1]->count;
    const fa_real *b = fa_factor(p->bf16, weights, call->in[1]->data, scratch), *a = fa_factor(p->bf16, call->in[0]->count, call->in[0]->data, p->bf16 ? scratch + weights : NULL);
    if (call->out[0]->count) memset(y, 0, (size_t)call->out[0]->count * sizeof *y);
    for (int64_t i = 0, ia, ib; i < p->batch; i++) {
        FA_R(fa_matmul_place)(p, i, &ia, &ib);
        fa_product(p->m, p->n, p->k, 1, fa_matrix_of(a + ia, p->k, false), fa_matrix_of(b + ib, p->n, false), y + i * p->m * p->n);
    }
}

static void matmul_backward(const fa_op_call *call)
{
    const fa_matmul *p = call->params;
    const fa_real *a = call->in[0]->data, *b = call->in[1]->data, *g = call->grad_out[0];
    fa_real *ga = call->grad_in[0], *gb = call->grad_in[1], *scratch = call->scratch;
    if (!g) return;
    const bool rounds = p->bf16 && ga;
    const int64_t weights = call->in[1]->count;
    const fa_real *factor = fa_factor(rounds, weights, b, scratch), *left = fa_factor(rounds, call->out[0]->count, g, rounds ? scratch + weights : NULL);
    for (int64_t i = 0, ia, ib; i < p->batch; i++) {
        const int64_t at = i * p->m * p->n;
        FA_R(fa_matmul_place)(p, i, &ia, &ib);
        if (ga) fa_product(p->m, p->k, p->n, 1, fa_matrix_of(left + at, p->n, false), fa_matrix_of(factor + ib, p->n, true), ga + ia);
        if (gb) fa_product(p->k, p->n, p->m, 1, fa_matrix_of(a + ia, p->k, true), fa_matrix_of(g + at, p->n, false), gb + ib);
    }
}

const fa_op FA_R(fa_ops_matmul)[] = {
    {.name = "MatMul", .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = 3, .prepare = FA_R(fa_matmul_prepare), .forward = matmul_forward,
     .backward = matmul_backward},
    {0},
};
