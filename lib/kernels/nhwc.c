/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/nhwc.h"

#include "kernels/cpu.h"

#include <math.h>
#include <string.h>

/* Plain loops over channels, which the compiler turns into vectors of the CPUs these are used on. */
#if FA_HAVE_AVX2
#define VECTORS FA_AVX2
#else
#define VECTORS
#endif

static const float *tap_at(const fa_pool2d *p, const float *x, int64_t oy, int64_t ox, int64_t ky, int64_t kx)
{
    return x + ((oy * p->stride_h - p->pad_top + ky * p->dilation_h) * p->w + ox * p->stride_w - p->pad_left + kx * p->dilation_w) * p->c;
}

#define EACH_OUTPUT(p)                                                                                                                                   \
    for (int64_t oy = 0; oy < (p)->oh; oy++)                                                                                                             \
        for (int64_t ox = 0; ox < (p)->ow; ox++)
#define EACH_TAP(p)                                                                                                                                      \
    for (int64_t ky = (p)->row_first[oy]; ky < (p)->row_end[oy]; ky++)                                                                                   \
        for (int64_t kx = (p)->col_first[ox]; kx < (p)->col_end[ox]; kx++)

VECTORS void fa_pool_max(const fa_pool2d *p, int64_t n, const float *x, float *y)
{
    const int64_t channels = p->c;
    for (int64_t i = 0; i < n; i++, x += p->h * p->w * channels)
        EACH_OUTPUT(p)
        {
            for (int64_t c = 0; c < channels; c++) y[c] = -INFINITY;
            EACH_TAP(p)
            {
                const float *from = tap_at(p, x, oy, ox, ky, kx);
                for (int64_t c = 0; c < channels; c++) y[c] = from[c] > y[c] ? from[c] : y[c];
            }
            y += channels;
        }
}

/* Channels that a window's largest elements are looked up for at once. */
#define SPAN 64

static VECTORS void max_gradient_span(const fa_pool2d *p, const float *x, const float *g, float *grad_x, int64_t oy, int64_t ox, int64_t first, int64_t n)
{
    float best[SPAN];
    int32_t at[SPAN];
    for (int64_t c = 0; c < n; c++) {
        best[c] = -INFINITY;
        at[c] = -1;
    }
    EACH_TAP(p)
    {
        const float *from = tap_at(p, x, oy, ox, ky, kx) + first;
        const int32_t tap = (int32_t)((ky - p->row_first[oy]) * (p->col_end[ox] - p->col_first[ox]) + kx - p->col_first[ox]);
        for (int64_t c = 0; c < n; c++) {
            const bool larger = from[c] > best[c] || at[c] < 0;
            best[c] = larger ? from[c] : best[c];
            at[c] = larger ? tap : at[c];
        }
    }
    const int64_t columns = p->col_end[ox] - p->col_first[ox];
    const float *origin = tap_at(p, x, oy, ox, p->row_first[oy], p->col_first[ox]);
    float *to = grad_x + (origin - x) + first;
    for (int64_t c = 0; c < n; c++)
        if (at[c] >= 0) to[(at[c] / columns * p->dilation_h * p->w + at[c] % columns * p->dilation_w) * p->c + c] += g[first + c];
}

void fa_pool_max_gradient(const fa_pool2d *p, int64_t n, const float *x, const float *grad_y, float *grad_x)
{
    const int64_t image = p->h * p->w * p->c;
    for (int64_t i = 0; i < n; i++, x += image, grad_x += image)
        EACH_OUTPUT(p)
        {
            if (p->row_first[oy] < p->row_end[oy] && p->col_first[ox] < p->col_end[ox])
                for (int64_t c = 0; c < p->c; c += SPAN) max_gradient_span(p, x, grad_y, grad_x, oy, ox, c, p->c - c < SPAN ? p->c - c : SPAN);
            grad_y += p->c;
        }
}

VECTORS void fa_pool_average(const fa_pool2d *p, int64_t n, const float *x, float *y)
{
    const int64_t channels = p->c;
    for (int64_t i = 0; i < n; i++, x += p->h * p->w * channels)
        EACH_OUTPUT(p)
        {
            const float share = p->row_share[oy] * p->col_share[ox];
            memset(y, 0, (size_t)channels * sizeof *y);
            EACH_TAP(p)
            {
                const float *from = tap_at(p, x, oy, ox, ky, kx);
                for (int64_t c = 0; c < channels; c++) y[c] += from[c];
            }
            for (int64_t c = 0; c < channels; c++) y[c] *= share;
            y += channels;
        }
}

VECTORS void fa_pool_average_gradient(const fa_pool2d *p, int64_t n, const float *grad_y, float *grad_x)
{
    const int64_t channels = p->c;
    for (int64_t i = 0; i < n; i++, grad_x += p->h * p->w * channels)
        EACH_OUTPUT(p)
        {
            const float share = p->row_share[oy] * p->col_share[ox];
            EACH_TAP(p)
            {
                float *to = grad_x + (tap_at(p, grad_x, oy, ox, ky, kx) - grad_x);
                for (int64_t c = 0; c < channels; c++) to[c] += grad_y[c] * share;
            }
            grad_y += channels;
        }
}

void fa_upsample(const fa_upsampling *u, const float *x, float *y)
{
    const size_t pixel = (size_t)u->c * sizeof *y;
    const int64_t row = u->columns * u->right * u->c;
    for (int64_t r = 0; r < u->rows; r++, y += u->down * row) {
        float *to = y;
        for (int64_t i = 0; i < u->columns; i++, x += u->c)
            for (int64_t k = 0; k < u->right; k++, to += u->c) memcpy(to, x, pixel);
        for (int64_t k = 1; k < u->down; k++) memcpy(y + k * row, y, (size_t)row * sizeof *y);
    }
}

VECTORS void fa_upsample_gradient(const fa_upsampling *u, const float *grad_y, float *grad_x, bool add)
{
    const int64_t row = u->columns * u->right * u->c, channels = u->c;
    for (int64_t r = 0; r < u->rows; r++, grad_y += u->down * row)
        for (int64_t i = 0; i < u->columns; i++, grad_x += channels) {
            const float *block = grad_y + i * u->right * channels;
            if (!add) memset(grad_x, 0, (size_t)channels * sizeof *grad_x);
            for (int64_t k = 0; k < u->down; k++)
                for (int64_t j = 0; j < u->right; j++) {
                    const float *from = block + k * row + j * channels;
                    for (int64_t c = 0; c < channels; c++) grad_x[c] += from[c];
                }
        }
}

void fa_pad_rows(const fa_padding *p, const float *in, int64_t first, int64_t end, float *to)
{
    const size_t row = (size_t)p->row, left = (size_t)p->left, whole = (size_t)p->padded_row;
    for (int64_t y = first - p->top; y < end - p->top; y++) {
        float *at = to + (size_t)(y + p->top) * whole;
        if (y < 0 || y >= p->h) {
            memset(at, 0, whole * sizeof *to);
            continue;
        }
        memset(at, 0, left * sizeof *to);
        memcpy(at + left, in + y * p->row, row * sizeof *to);
        memset(at + left + row, 0, (whole - left - row) * sizeof *to);
    }
}

void fa_pad_image(const fa_padding *p, const float *in, float *to)
{
    fa_pad_rows(p, in, 0, p->padded_h, to);
}

/* Squares of this side are read and written within the first-level cache. */
#define SQUARE 16

static VECTORS void square(int64_t r, int64_t c, const float *from, int64_t from_step, float *to, int64_t to_step, bool add)
{
    for (int64_t j = 0; j < c; j++)
        for (int64_t i = 0; i < r; i++) to[j * to_step + i] = from[i * from_step + j] + (add ? to[j * to_step + i] : 0.0f);
}

/* Three rows, the colours of a picture. */
static VECTORS void three_rows(int64_t columns, const float *from, float *to)
{
    const float *r = from, *g = from + columns, *b = g + columns;
    int64_t i = 0;
#if FA_HAVE_AVX2
    typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
    for (; i + 8 <= columns; i += 8, to += 24) {
        const eight x = *(const eight *)(r + i), y = *(const eight *)(g + i), z = *(const eight *)(b + i);
        /* x0 y0 . x1 y1 . x2 y2 | . x3 y3 . x4 y4 . x5 | y5 . x6 y6 . x7 y7 . */
        const eight p = __builtin_shufflevector(x, y, 0, 8, 0, 1, 9, 1, 2, 10), q = __builtin_shufflevector(x, y, 3, 3, 11, 4, 4, 12, 5, 5),
                    s = __builtin_shufflevector(x, y, 13, 6, 6, 14, 7, 7, 15, 15);
        *(eight *)to = __builtin_shufflevector(p, z, 0, 1, 8, 3, 4, 9, 6, 7);
        *(eight *)(to + 8) = __builtin_shufflevector(q, z, 10, 1, 2, 11, 4, 5, 12, 7);
        *(eight *)(to + 16) = __builtin_shufflevector(s, z, 0, 13, 2, 3, 14, 5, 6, 15);
    }
#endif
    for (; i < columns; i++, to += 3) to[0] = r[i], to[1] = g[i], to[2] = b[i];
}

void fa_transpose(int64_t n, int64_t rows, int64_t columns, const float *from, float *to, bool add)
{
    for (int64_t k = 0; k < n; k++, from += rows * columns, to += rows * columns) {
        if (rows == 3 && !add) {
            three_rows(columns, from, to);
            continue;
        }
        for (int64_t i = 0; i < rows; i += SQUARE)
            for (int64_t j = 0; j < columns; j += SQUARE)
                square(rows - i < SQUARE ? rows - i : SQUARE, columns - j < SQUARE ? columns - j : SQUARE, from + i * columns + j, columns, to + j * rows + i,
                       rows, add);
    }
}

VECTORS void fa_copy_or_add(int64_t n, const float *from, float *to, bool add)
{
    if (!add)
        memcpy(to, from, (size_t)n * sizeof *to);
    else
        for (int64_t i = 0; i < n; i++) to[i] += from[i];
}

VECTORS void fa_relu_gradient(int64_t n, const float *y, const float *grad_y, float *grad_x, bool add)
{
    if (add)
        for (int64_t i = 0; i < n; i++) grad_x[i] += y[i] > 0 ? grad_y[i] : 0.0f;
    else
        for (int64_t i = 0; i < n; i++) grad_x[i] = y[i] > 0 ? grad_y[i] : 0.0f;
}
