/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/attention_head.h"

#include "base/alloc.h"
#include "kernels/kernels.h"
#include "kernels/multiply.h"
#include "kernels/rowwise.h"

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t fa_head_packed(int64_t s, int64_t d, int64_t e)
{
    return most(most(fa_multiply_scratch(s, d), fa_multiply_scratch(d, s)), most(fa_multiply_scratch(s, e), fa_multiply_scratch(e, s)));
}

size_t fa_head_square(int64_t t, int64_t s)
{
    return ((size_t)(t * s) * sizeof(float) + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static void multiply(const fa_head *h, fa_multiply x)
{
    x.scratch = h->packed;
    x.pool = h->pool;
    fa_multiply_run(fa_kernels_isa(), &x);
}

/* Rows of scores that threads share. */
typedef struct rows {
    const fa_head *head;
    float scale;
    const float *mask, *weights;
    int64_t mask_step;
    float *z;
} rows;

#define ROW_COST 150.0 /* of an element */

static void some_softmax(void *user, int64_t first, int64_t end, int32_t thread)
{
    const rows *r = user;
    float *z = r->z + first * r->head->s;
    (void)thread;
    fa_rowwise_for(fa_kernels_isa())->softmax(end - first, r->head->s, r->scale, r->mask ? r->mask + first * r->mask_step : NULL, r->mask_step, z, z);
}

static void some_softmax_gradient(void *user, int64_t first, int64_t end, int32_t thread)
{
    const rows *r = user;
    float *z = r->z + first * r->head->s;
    (void)thread;
    fa_rowwise_for(fa_kernels_isa())->softmax_gradient(end - first, r->head->s, r->scale, r->weights + first * r->head->s, z, z, false);
}

void fa_head_softmax(const fa_head *h, float scale, const float *mask, int64_t mask_step, float *scores)
{
    fa_pool_share(h->pool, h->t, ROW_COST * (double)h->t * (double)h->s, some_softmax, &(rows){.head = h, .scale = scale, .mask = mask, .mask_step = mask_step, .z = scores});
}

void fa_head_softmax_gradient(const fa_head *h, float scale, const float *weights, float *z)
{
    fa_pool_share(h->pool, h->t, ROW_COST / 4 * (double)h->t * (double)h->s, some_softmax_gradient, &(rows){.head = h, .scale = scale, .weights = weights, .z = z});
}

void fa_head_scores(const fa_head *h, float *scores)
{
    multiply(h, (fa_multiply){.m = h->t, .n = h->s, .k = h->d, .a = h->q, .lda = h->q_row, .b = h->k, .b_row = h->k_row, .b_col = h->k_col, .c = scores, .ldc = h->s});
}

void fa_head_output(const fa_head *h, const float *weights, float *y)
{
    multiply(h, (fa_multiply){.m = h->t, .n = h->e, .k = h->s, .a = weights, .lda = h->s, .b = h->v, .b_row = h->v_row, .b_col = 1, .c = y, .ldc = h->y_row});
}

void fa_head_values_gradient(const fa_head *h, const float *weights, const float *g, float *gv)
{
    multiply(h, (fa_multiply){.m = h->s, .n = h->e, .k = h->t, .a = weights, .lda = h->s, .a_turned = true, .b = g, .b_row = h->y_row, .b_col = 1, .c = gv, .ldc = h->v_row, .add = true});
}

void fa_head_weights_gradient(const fa_head *h, const float *g, float *z)
{
    multiply(h, (fa_multiply){.m = h->t, .n = h->s, .k = h->e, .a = g, .lda = h->y_row, .b = h->v, .b_row = 1, .b_col = h->v_row, .c = z, .ldc = h->s});
}

void fa_head_factors_gradient(const fa_head *h, const float *z, float *gq, float *gk)
{
    if (gq)
        multiply(h, (fa_multiply){.m = h->t, .n = h->d, .k = h->s, .a = z, .lda = h->s, .b = h->k, .b_row = h->k_col, .b_col = h->k_row, .c = gq, .ldc = h->q_row, .add = true});
    if (gk && h->k_row == 1)
        multiply(h, (fa_multiply){.m = h->s, .n = h->d, .k = h->t, .a = z, .lda = h->s, .a_turned = true, .b = h->q, .b_row = h->q_row, .b_col = 1, .c = gk, .ldc = h->k_col, .add = true});
    else if (gk)
        multiply(h, (fa_multiply){.m = h->d, .n = h->s, .k = h->t, .a = h->q, .lda = h->q_row, .a_turned = true, .b = z, .b_row = h->s, .b_col = 1, .c = gk, .ldc = h->k_row, .add = true});
}
