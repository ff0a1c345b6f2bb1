/* SPDX-License-Identifier: Apache-2.0 */
/* Body of broadcast.c, included once per instruction set with NAME, TARGET, FLOATS, SPLAT_F and, for vectors of which the first n floats exist, MASK, MASK_OF(n),
 * MASK_LOAD(p, mask) (zeros beyond) and MASK_STORE(p, mask, v) defined; undefines them. */

#define vf NAME(vf)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
#define LOAD_F(p) (*(const vf *)(p))
#define STORE_F(p, v) (*(vf *)(p) = (v))

FA_INLINE TARGET vf NAME(apply)(const int op, vf x, vf y)
{
    return op == FA_PAIR_ADD ? x + y : op == FA_PAIR_SUB ? x - y : op == FA_PAIR_MUL ? x * y : x / y;
}

/* One row; what is constant after inlining: op and which operands are one number. */
FA_INLINE TARGET void NAME(pair_row)(const int op, int64_t n, const float *x, const bool x_one, const float *y, const bool y_one, float *z)
{
    const vf x1 = x_one ? SPLAT_F(*x) : SPLAT_F(0.0f), y1 = y_one ? SPLAT_F(*y) : SPLAT_F(0.0f);
    int64_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) STORE_F(z + i, NAME(apply)(op, x_one ? x1 : LOAD_F(x + i), y_one ? y1 : LOAD_F(y + i)));
    if (i == n) return;
    const MASK rest = MASK_OF(n - i);
    MASK_STORE(z + i, rest, NAME(apply)(op, x_one ? x1 : MASK_LOAD(x + i, rest), y_one ? y1 : MASK_LOAD(y + i, rest)));
}

FA_INLINE TARGET void NAME(pair_rows)(const int op, int64_t rows, int64_t n, fa_operand x, fa_operand y, float *z)
{
    for (int64_t r = 0; r < rows; r++, x.data += x.row, y.data += y.row, z += n) {
        if (!y.col) NAME(pair_row)(op, n, x.data, !x.col, y.data, true, z);
        else if (!x.col) NAME(pair_row)(op, n, x.data, true, y.data, false, z);
        else NAME(pair_row)(op, n, x.data, false, y.data, false, z);
    }
}

TARGET static void NAME(pair)(int32_t op, int64_t rows, int64_t n, fa_operand x, fa_operand y, float *z)
{
    switch (op) {
    case FA_PAIR_ADD: NAME(pair_rows)(FA_PAIR_ADD, rows, n, x, y, z); break;
    case FA_PAIR_SUB: NAME(pair_rows)(FA_PAIR_SUB, rows, n, x, y, z); break;
    case FA_PAIR_MUL: NAME(pair_rows)(FA_PAIR_MUL, rows, n, x, y, z); break;
    default: NAME(pair_rows)(FA_PAIR_DIV, rows, n, x, y, z);
    }
}

FA_INLINE TARGET void NAME(product_row)(const bool divide, int64_t n, const float *g, const float *a, const bool one, float *t, const bool add)
{
    const int op = divide ? FA_PAIR_DIV : FA_PAIR_MUL;
    const vf a1 = one ? SPLAT_F(*a) : SPLAT_F(0.0f);
    int64_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) {
        vf v = NAME(apply)(op, LOAD_F(g + i), one ? a1 : LOAD_F(a + i));
        if (add) v += LOAD_F(t + i);
        STORE_F(t + i, v);
    }
    if (i == n) return;
    const MASK rest = MASK_OF(n - i);
    vf v = NAME(apply)(op, MASK_LOAD(g + i, rest), one ? a1 : MASK_LOAD(a + i, rest));
    if (add) v += MASK_LOAD(t + i, rest);
    MASK_STORE(t + i, rest, v);
}

FA_INLINE TARGET void NAME(product_rows)(const bool divide, int64_t rows, int64_t n, const float *g, fa_operand a, float *t, const bool add)
{
    for (int64_t r = 0; r < rows; r++, g += n, a.data += a.row, t += n) {
        if (a.col) NAME(product_row)(divide, n, g, a.data, false, t, add);
        else NAME(product_row)(divide, n, g, a.data, true, t, add);
    }
}

TARGET static void NAME(product)(bool divide, int64_t rows, int64_t n, const float *g, fa_operand a, float *t, bool add)
{
    if (divide && add) NAME(product_rows)(true, rows, n, g, a, t, true);
    else if (divide) NAME(product_rows)(true, rows, n, g, a, t, false);
    else if (add) NAME(product_rows)(false, rows, n, g, a, t, true);
    else NAME(product_rows)(false, rows, n, g, a, t, false);
}

/* Rows that are added up before their sum is added to the others', and vectors of a row that are summed beside each other. */
#define ROWS 128
#define WIDE 5

/* t[0 ... width) of columns: `vectors` of them, or the first `width` numbers of one. Several are so much of a row that memory is read in its order. */
FA_INLINE TARGET void NAME(columns)(const bool divide, int64_t rows, int64_t n, const float *g, fa_operand a, float *t, const int vectors, int64_t width)
{
    const int op = divide ? FA_PAIR_DIV : FA_PAIR_MUL;
    const bool cut = vectors == 1;
    const MASK held = MASK_OF(cut ? width : FLOATS);
    vf whole[WIDE];
    FA_UNROLL
    for (int k = 0; k < vectors; k++) whole[k] = cut ? MASK_LOAD(t, held) : LOAD_F(t + k * FLOATS);
    for (int64_t r0 = 0; r0 < rows; r0 += ROWS) {
        const int64_t end = r0 + ROWS < rows ? r0 + ROWS : rows;
        vf part[WIDE];
        FA_UNROLL
        for (int k = 0; k < vectors; k++) part[k] = SPLAT_F(0.0f);
        for (int64_t r = r0; r < end; r++) {
            const float *at = a.data + r * a.row, *from = g + r * n;
            FA_UNROLL
            for (int k = 0; k < vectors; k++)
                part[k] += NAME(apply)(op, cut ? MASK_LOAD(from, held) : LOAD_F(from + k * FLOATS), !a.col ? SPLAT_F(*at) : cut ? MASK_LOAD(at, held) : LOAD_F(at + k * FLOATS));
        }
        FA_UNROLL
        for (int k = 0; k < vectors; k++) whole[k] += part[k];
    }
    FA_UNROLL
    for (int k = 0; k < vectors; k++) {
        if (cut) MASK_STORE(t, held, whole[k]);
        else STORE_F(t + k * FLOATS, whole[k]);
    }
}

FA_INLINE TARGET double NAME(along)(const bool divide, int64_t n, const float *g, const float *a, const bool one)
{
    const int op = divide ? FA_PAIR_DIV : FA_PAIR_MUL;
    const vf a1 = one ? SPLAT_F(*a) : SPLAT_F(0.0f);
    double sum = 0;
    for (int64_t i0 = 0; i0 < n; i0 += ROWS * FLOATS) {
        const int64_t end = i0 + ROWS * FLOATS < n ? i0 + ROWS * FLOATS : n;
        vf part = SPLAT_F(0.0f);
        float parts[FLOATS];
        int64_t i = i0;
        for (; i + FLOATS <= end; i += FLOATS) part += NAME(apply)(op, LOAD_F(g + i), one ? a1 : LOAD_F(a + i));
        STORE_F(parts, part);
        for (int k = 0; k < FLOATS; k++) sum += (double)parts[k];
        for (; i < end; i++) sum += (double)(divide ? g[i] / (one ? *a : a[i]) : g[i] * (one ? *a : a[i]));
    }
    return sum;
}

FA_INLINE TARGET void NAME(reduce_rows)(const bool divide, int64_t rows, int64_t n, const float *g, fa_operand a, float *t, int64_t t_row, int64_t t_col)
{
    if (t_col && !t_row) {
        int64_t i = 0;
        for (; i + WIDE * FLOATS <= n; i += WIDE * FLOATS) NAME(columns)(divide, rows, n, g + i, (fa_operand){a.data + i * a.col, a.row, a.col}, t + i, WIDE, 0);
        for (; i < n; i += FLOATS) NAME(columns)(divide, rows, n, g + i, (fa_operand){a.data + i * a.col, a.row, a.col}, t + i, 1, n - i < FLOATS ? n - i : FLOATS);
        return;
    }
    for (int64_t r = 0; r < rows; r++, g += n, a.data += a.row, t += t_row) {
        if (t_col) NAME(product_row)(divide, n, g, a.data, !a.col, t, true);
        else *t += (float)NAME(along)(divide, n, g, a.data, !a.col);
    }
}

TARGET static void NAME(reduce)(bool divide, int64_t rows, int64_t n, const float *g, fa_operand a, float *t, int64_t t_row, int64_t t_col)
{
    if (divide) NAME(reduce_rows)(true, rows, n, g, a, t, t_row, t_col);
    else NAME(reduce_rows)(false, rows, n, g, a, t, t_row, t_col);
}

static const fa_broadcast_kernels NAME(table) = {NAME(pair), NAME(product), NAME(reduce)};

#undef vf
#undef LOAD_F
#undef STORE_F
#undef ROWS
#undef WIDE
#include "kernels/vectors_end.h"
