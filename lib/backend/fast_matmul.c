/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "kernels/multiply.h"
#include "ops/matmul.h"
#include "ops/product.h"

#include <string.h>

/* MatMul of factors that are both computed, which is what attention does; one by weights has become GemmFast. */

/* Fewer rows than this are multiplied where they lie: packing the other factor would cost as much. */
#define PACKED_FROM 4

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_matmul_prepare)(s));
    const fa_matmul *p = s->params;
    if (p->bf16) return FA_OK; /* by weights, but as images lie: the reference's */
    const size_t forward = fa_multiply_scratch(p->n, p->k), backward = fa_multiply_scratch(p->k, p->n);
    s->scratch = forward > backward ? forward : backward;
    return FA_OK;
}

/* c += a b. */
static void multiply(const fa_op_call *call, fa_multiply x, bool add)
{
    x.add = add;
    x.pool = call->pool;
    x.scratch = call->scratch;
    fa_multiply_run(fa_kernels_isa(), &x);
}

static void forward(const fa_op_call *call)
{
    const fa_matmul *p = call->params;
    if (p->bf16) {
        FA_R(fa_ops_matmul)->forward(call);
        return;
    }
    const float *a = call->in[0]->data, *b = call->in[1]->data;
    float *y = call->out[0]->data;
    if (!p->k && call->out[0]->count) memset(y, 0, (size_t)call->out[0]->count * sizeof *y);
    for (int64_t i = 0, ia, ib; p->k && i < p->batch; i++, y += p->m * p->n) {
        FA_R(fa_matmul_place)(p, i, &ia, &ib);
        if (p->m >= PACKED_FROM) {
            multiply(call, (fa_multiply){.m = p->m, .n = p->n, .k = p->k, .a = a + ia, .lda = p->k, .b = b + ib, .b_row = p->n, .b_col = 1, .c = y, .ldc = p->n}, false);
            continue;
        }
        memset(y, 0, (size_t)(p->m * p->n) * sizeof *y);
        fa_product(p->m, p->n, p->k, 1, fa_matrix_of(a + ia, p->k, false), fa_matrix_of(b + ib, p->n, false), y);
    }
}

static void backward(const fa_op_call *call)
{
    const fa_matmul *p = call->params;
    if (p->bf16) {
        FA_R(fa_ops_matmul)->backward(call);
        return;
    }
    const float *a = call->in[0]->data, *b = call->in[1]->data, *g = call->grad_out[0];
    float *ga = call->grad_in[0], *gb = call->grad_in[1];
    for (int64_t i = 0, ia, ib; g && i < p->batch; i++, g += p->m * p->n) {
        FA_R(fa_matmul_place)(p, i, &ia, &ib);
        if (ga && p->m >= PACKED_FROM)
            multiply(call, (fa_multiply){.m = p->m, .n = p->k, .k = p->n, .a = g, .lda = p->n, .b = b + ib, .b_row = 1, .b_col = p->n, .c = ga + ia, .ldc = p->k}, true);
        else if (ga)
            fa_product(p->m, p->k, p->n, 1, fa_matrix_of(g, p->n, false), fa_matrix_of(b + ib, p->n, true), ga + ia);
        if (gb)
            multiply(call, (fa_multiply){.m = p->k, .n = p->n, .k = p->m, .a = a + ia, .lda = p->k, .a_turned = true, .b = g, .b_row = p->n, .b_col = 1, .c = gb + ib, .ldc = p->n},
                     true);
    }
}

const fa_op fa_fast_ops_matmul[] = {
    {.name = "MatMul", .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = 3, .prepare = prepare, .forward = forward, .backward = backward},
    {0},
};
