/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/product.h"
#include "ops/walk.h"

typedef struct gemm {
    int64_t m, n, k;
    fa_real alpha, beta;
    bool trans_a, trans_b, bf16;
    int64_t c_row, c_col; /* strides of C over the output, 0 where it is broadcast */
} gemm;

static fa_status gemm_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 3, 1));
    const fa_view *a = s->in[0], *b = s->in[1], *c = s->n_in > 2 ? s->in[2] : NULL;
    char left[FA_SHAPE_TEXT], right[FA_SHAPE_TEXT];
    if (!fa_dtype_is_real(a->dtype) || !fa_dtype_is_real(b->dtype) || (c && !fa_dtype_is_real(c->dtype)))
        return fa_fail(FA_ERR_DTYPE, "Gemm of %s is not supported", fa_dtype_name(a->dtype));
    if (a->ndim != 2 || b->ndim != 2)
        return fa_fail(FA_ERR_SHAPE, "factors %s and %s are not both matrices", fa_shape_text(a->ndim, a->dim, left, sizeof left),
                       fa_shape_text(b->ndim, b->dim, right, sizeof right));
    gemm *g = fa_arena_new(s->arena, sizeof *g);
    if (!g) return FA_ERR_MEMORY;
    g->trans_a = fa_node_int(s->node, "transA", 0) != 0;
    g->trans_b = fa_node_int(s->node, "transB", 0) != 0;
    g->alpha = (fa_real)fa_node_float(s->node, "alpha", 1);
    g->beta = (fa_real)fa_node_float(s->node, "beta", 1);
    g->m = a->dim[g->trans_a];
    g->k = a->dim[!g->trans_a];
    g->n = b->dim[!g->trans_b];
    if (b->dim[g->trans_b] != g->k)
        return fa_fail(FA_ERR_SHAPE, "factors %s%s and %s%s do not fit", fa_shape_text(2, a->dim, left, sizeof left), g->trans_a ? "'" : "",
                       fa_shape_text(2, b->dim, right, sizeof right), g->trans_b ? "'" : "");
    if (c) {
        int64_t columns = c->ndim > 0 ? c->dim[c->ndim - 1] : 1, rows = c->ndim > 1 ? c->dim[c->ndim - 2] : 1;
        if (c->ndim > 2 || (columns != 1 && columns != g->n) || (rows != 1 && rows != g->m))
            return fa_fail(FA_ERR_SHAPE, "C has shape %s, which does not broadcast to [%lld, %lld]", fa_shape_text(c->ndim, c->dim, left, sizeof left),
                           (long long)g->m, (long long)g->n);
        g->c_col = columns != 1;
        g->c_row = rows != 1 ? columns : 0;
    }
    int64_t dim[] = {g->m, g->n};
    FA_TRY(FA_R(fa_op_set)(&s->out[0], a->dtype, 2, dim));
    g->bf16 = s->node->bf16;
    s->scratch = fa_factor_scratch(g->bf16, b->count, a->count, s->out[0].count);
    s->params = g;
    s->flops = 2.0 * (double)g->m * (double)g->n * (double)g->k;
    return FA_OK;
}

/* Where a rounded input or gradient goes, behind the rounded weights. */
static fa_real *beside_weights(const fa_op_call *call, const gemm *g)
{
    return g->bf16 ? (fa_real *)call->scratch + g->k * g->n : NULL;
}

static fa_matrix factor_a(const fa_op_call *call, const gemm *g)
{
    const fa_real *a = fa_factor(g->bf16, g->m * g->k, call->in[0]->data, beside_weights(call, g));
    return fa_matrix_of(a, g->trans_a ? g->m : g->k, g->trans_a);
}

static fa_matrix factor_b(const fa_op_call *call, const gemm *g)
{
    const fa_real *b = fa_factor(g->bf16, g->k * g->n, call->in[1]->data, call->scratch);
    return fa_matrix_of(b, g->trans_b ? g->k : g->n, g->trans_b);
}

static void gemm_forward(const fa_op_call *call)
{
    const gemm *g = call->params;
    const fa_real *c = call->n_in > 2 && call->in[2] ? call->in[2]->data : NULL;
    fa_real *y = call->out[0]->data;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) y[i * g->n + j] = c ? g->beta * c[i * g->c_row + j * g->c_col] : 0;
    fa_product(g->m, g->n, g->k, g->alpha, factor_a(call, g), factor_b(call, g), y);
}

static void gemm_backward(const fa_op_call *call)
{
    const gemm *g = call->params;
    const fa_real *grad = call->grad_out[0];
    if (!grad) return;
    if (call->grad_in[0]) {
        fa_matrix b = factor_b(call, g), d = fa_matrix_of(fa_factor(g->bf16, g->m * g->n, grad, beside_weights(call, g)), g->n, false), dt = fa_matrix_transpose(d);
        if (g->trans_a) fa_product(g->k, g->m, g->n, g->alpha, b, dt, call->grad_in[0]);
        else fa_product(g->m, g->k, g->n, g->alpha, d, fa_matrix_transpose(b), call->grad_in[0]);
    }
    if (call->grad_in[1]) {
        fa_matrix a = fa_matrix_of(call->in[0]->data, g->trans_a ? g->m : g->k, g->trans_a), d = fa_matrix_of(grad, g->n, false), dt = fa_matrix_transpose(d);
        if (g->trans_b) fa_product(g->n, g->k, g->m, g->alpha, dt, a, call->grad_in[1]);
        else fa_product(g->k, g->n, g->m, g->alpha, fa_matrix_transpose(a), d, call->grad_in[1]);
    }
    fa_real *gc = call->n_in > 2 ? call->grad_in[2] : NULL;
    if (!gc) return;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) gc[i * g->c_row + j * g->c_col] += g->beta * grad[i * g->n + j];
}

const fa_op FA_R(fa_ops_gemm)[] = {
    {.name = "Gemm", .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = 3, .prepare = gemm_prepare, .forward = gemm_forward,
     .backward = gemm_backward},
    {0},
};
