/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/array.h"
#include "ops/walk.h"

/* Trilu, EyeLike, Det: operators on matrices, the last two axes. */

typedef struct matrices {
    int64_t n, rows, columns;
} matrices;

static fa_status prepare(fa_op_setup *s, const fa_view *x)
{
    if (x->ndim < 2) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, at least 2 are needed", x->ndim);
    matrices *m = fa_arena_new(s->arena, sizeof *m);
    if (!m) return FA_ERR_MEMORY;
    *m = (matrices){1, x->dim[x->ndim - 2], x->dim[x->ndim - 1]};
    for (int32_t d = 0; d < x->ndim - 2; d++) m->n *= x->dim[d];
    s->params = m;
    return FA_OK;
}

static fa_status trilu_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 2, 1));
    if (s->n_in > 1 && s->in[1]) {
        if (fa_dtype_is_real(s->in[1]->dtype)) return fa_fail(FA_ERR_DTYPE, "the diagonal (input 1) is %s", fa_dtype_name(s->in[1]->dtype));
        FA_TRY(FA_R(fa_op_need_count)(s, 1, 1));
    }
    FA_TRY(prepare(s, s->in[0]));
    return FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, s->in[0]->ndim, s->in[0]->dim);
}

/* Columns [first, end) of row r are kept. */
static void kept(const fa_op_call *c, int64_t r, int64_t *first, int64_t *end)
{
    const matrices *m = c->params;
    int64_t k = c->n_in > 1 && c->in[1] ? *(const int64_t *)c->in[1]->data : 0;
    bool upper = fa_node_int(c->node, "upper", 1) != 0;
    k = k > m->columns ? m->columns : k < -m->rows ? -m->rows : k;
    int64_t at = r + k + !upper;
    at = at < 0 ? 0 : at > m->columns ? m->columns : at;
    *first = upper ? at : 0;
    *end = upper ? m->columns : at;
}

#define TRILU_ROWS(type, to, from, statement)                                                                                                            \
    {                                                                                                                                                    \
        const type *x = from;                                                                                                                            \
        type *y = to;                                                                                                                                    \
        for (int64_t r = 0; r < m->n * m->rows; r++, x += m->columns, y += m->columns) {                                                                 \
            int64_t first, end;                                                                                                                          \
            kept(c, r % m->rows, &first, &end);                                                                                                          \
            for (int64_t j = 0; j < m->columns; j++) statement;                                                                                          \
        }                                                                                                                                                \
    }

static void trilu_forward(const fa_op_call *c)
{
    const matrices *m = c->params;
    if (fa_dtype_is_real(c->in[0]->dtype)) TRILU_ROWS(fa_real, c->out[0]->data, c->in[0]->data, y[j] = j >= first && j < end ? x[j] : 0)
    else TRILU_ROWS(int64_t, c->out[0]->data, c->in[0]->data, y[j] = j >= first && j < end ? x[j] : 0)
}

static void trilu_backward(const fa_op_call *c)
{
    const matrices *m = c->params;
    TRILU_ROWS(fa_real, c->grad_in[0], c->grad_out[0], if (j >= first && j < end) y[j] += x[j])
}

static fa_status eye_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_view *x = s->in[0];
    if (x->ndim != 2) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, not 2", x->ndim);
    FA_TRY(prepare(s, x));
    int64_t dtype = fa_node_int(s->node, "dtype", x->dtype);
    if (dtype < 1 || dtype > INT32_MAX || !fa_dtype_size((int32_t)dtype)) return fa_fail(FA_ERR_UNSUPPORTED, "elements of type %lld", (long long)dtype);
    return FA_R(fa_op_set)(&s->out[0], (int32_t)dtype, x->ndim, x->dim);
}

static void eye_forward(const fa_op_call *c)
{
    const matrices *m = c->params;
    int64_t k = fa_node_int(c->node, "k", 0);
    for (int64_t r = 0, i = 0; r < m->rows; r++)
        for (int64_t j = 0; j < m->columns; j++, i++) {
            bool one = k > -m->rows && k < m->columns && j == r + k;
            if (fa_dtype_is_real(c->out[0]->dtype)) ((fa_real *)c->out[0]->data)[i] = one;
            else ((int64_t *)c->out[0]->data)[i] = one;
        }
}

/* Det, by elimination with pivots in double precision. Scratch holds the matrix. */

static fa_status det_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    FA_TRY(prepare(s, s->in[0]));
    const matrices *m = s->params;
    if (m->rows != m->columns) return fa_fail(FA_ERR_SHAPE, "a matrix of %lld rows and %lld columns has no determinant", (long long)m->rows, (long long)m->columns);
    s->scratch = (size_t)(m->rows * m->rows) * sizeof(double);
    return FA_R(fa_op_set)(&s->out[0], s->in[0]->dtype, s->in[0]->ndim - 2, s->in[0]->dim);
}

static double determinant(double *a, int64_t n)
{
    double det = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < n; i++)
            if (a[i * n + k] * a[i * n + k] > a[pivot * n + k] * a[pivot * n + k]) pivot = i;
        for (int64_t j = k; j < n && pivot != k; j++) {
            double swap = a[k * n + j];
            a[k * n + j] = a[pivot * n + j];
            a[pivot * n + j] = swap;
        }
        det *= pivot == k ? a[k * n + k] : -a[k * n + k];
        if (a[k * n + k] == 0) return 0;
        for (int64_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / a[k * n + k];
            for (int64_t j = k; j < n; j++) a[i * n + j] -= factor * a[k * n + j];
        }
    }
    return det;
}

static void det_forward(const fa_op_call *c)
{
    const matrices *m = c->params;
    const int64_t size = m->rows * m->rows;
    double *a = c->scratch;
    for (int64_t k = 0; k < m->n; k++) {
        for (int64_t i = 0; i < size; i++) a[i] = (double)((const fa_real *)c->in[0]->data)[k * size + i];
        ((fa_real *)c->out[0]->data)[k] = (fa_real)determinant(a, m->rows);
    }
}

/* The gradient is the matrix of cofactors, which exists where the inverse does not. */
static void det_backward(const fa_op_call *c)
{
    const matrices *m = c->params;
    const int64_t n = m->rows;
    double *a = c->scratch;
    for (int64_t at = 0; at < m->n * n * n; at++) {
        int64_t k = at / (n * n), row = at / n % n, column = at % n, fill = 0;
        const fa_real *x = (const fa_real *)c->in[0]->data + k * n * n;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                if (i != row && j != column) a[fill++] = (double)x[i * n + j];
        double cofactor = determinant(a, n - 1) * ((row + column) % 2 ? -1 : 1);
        ((fa_real *)c->grad_in[0])[at] += (fa_real)(cofactor * (double)((const fa_real *)c->grad_out[0])[k]);
    }
}

const fa_op FA_R(fa_ops_matrix)[] = {
    {"Trilu", "", 14, FA_OPSET_ANY, 0, 2, 0, trilu_prepare, trilu_forward, trilu_backward},
    {"EyeLike", "", 9, FA_OPSET_ANY, 0, 0, 0, eye_prepare, eye_forward, NULL},
    {"Det", "", 11, FA_OPSET_ANY, 0, 1, 0, det_prepare, det_forward, det_backward},
    {NULL},
};
