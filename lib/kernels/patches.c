/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/patches.h"

#include "kernels/cpu.h"
#include "kernels/outer.h"

#include <string.h>

/* Sums over the rows of `length` numbers at the positions of images: of the products with the rows of y, or of themselves where y is NULL. */
typedef struct dots {
    int64_t images, rows, cols, length;
    const float *x, *y;
    int64_t image, row, col; /* strides of both */
} dots;

#if FA_HAVE_AVX2
#include <immintrin.h>

#include "kernels/vectors_avx2.h"
#include "kernels/patches_body.h"

#include "kernels/vectors_avx512.h"
#include "kernels/patches_body.h"
#endif

static float plain(const dots *d)
{
    double sum = 0;
    for (int64_t image = 0; image < d->images; image++)
        for (int64_t row = 0; row < d->rows; row++)
            for (int64_t col = 0; col < d->cols; col++) {
                const int64_t at = image * d->image + row * d->row + col * d->col;
                for (int64_t i = 0; i < d->length; i++) sum += (double)d->x[at + i] * (d->y ? (double)d->y[at + i] : 1);
            }
    return (float)sum;
}

static float dot(fa_isa isa, const dots *from)
{
    dots d = *from;
    if (d.col == d.length) d.length *= d.cols, d.cols = 1;
#if FA_HAVE_AVX2
    if (isa == FA_ISA_AVX512) return dots_avx512(&d);
    if (isa != FA_ISA_NONE) return dots_avx2(&d);
#endif
    (void)isa;
    return plain(&d);
}

/* A kernel of more rows or columns cuts images into too many pieces. */
#define WIDEST 16

bool fa_patches_may(const fa_conv_geometry *g)
{
    return g->kh <= WIDEST && g->kw <= WIDEST && (g->stride_h == 1 || g->groups > 1) && (g->stride_w == 1 || g->groups > 1);
}

size_t fa_patches_scratch(const fa_conv_geometry *g)
{
    const int64_t c = g->c / g->groups;
    return (size_t)(c * c) * sizeof(float);
}

/* One direction of a convolution. */
typedef struct axis {
    int64_t size, out, kernel, stride, dilation, pad;
} axis;

/* Pixels from `first` on, `count` of them a stride apart: the places of `members`, a bit each, and no other of their phase see all of these. */
typedef struct span {
    int64_t first, count;
    uint32_t members;
} span;

static int64_t above(int64_t a, int64_t stride) /* a / stride rounded up, 0 below */
{
    return a > 0 ? (a + stride - 1) / stride : 0;
}

/*
 * Place d sees pixel p * stride + d * dilation - pad at output position p. Places of one phase, d = phase (mod stride), see the grid u = p + d / stride * dilation; what they see
 * together with the place `distance` behind is cut where one of them begins or ends. Returns the number of spans.
 */
static int cut(const axis *a, int64_t distance, int64_t phase, span to[2 * WIDEST])
{
    const int64_t origin = phase * a->dilation - a->pad, shift = distance * a->dilation, low = shift < 0 ? -shift : 0, high = a->size - (shift > 0 ? shift : 0);
    const int64_t first = above(low - origin, a->stride), end = above(high - origin, a->stride);
    int64_t edge[2 * WIDEST + 2];
    int edges = 0, spans = 0;
    if (end <= first) return 0;
    for (int64_t d = phase; d < a->kernel; d += a->stride)
        for (int e = 0; e < 2; e++) {
            int64_t at = d / a->stride * a->dilation + e * a->out;
            int k = edges++;
            if (d + distance < 0 || d + distance >= a->kernel) at = end;
            at = at < first ? first : at > end ? end : at;
            for (; k > 0 && edge[k - 1] > at; k--) edge[k] = edge[k - 1];
            edge[k] = at;
        }
    for (int k = 0; k + 1 < edges; k++) {
        span s = {edge[k] * a->stride + origin, edge[k + 1] - edge[k], 0};
        for (int64_t d = phase; d < a->kernel; d += a->stride) {
            const int64_t begin = d / a->stride * a->dilation;
            if (d + distance >= 0 && d + distance < a->kernel && begin <= edge[k] && begin + a->out >= edge[k + 1]) s.members |= 1u << d;
        }
        if (s.count > 0 && s.members) to[spans++] = s;
    }
    return spans;
}

typedef struct summing {
    fa_isa isa;
    const fa_conv_geometry *g;
    int64_t n;
    const float *images;
    float *m;
    int64_t ld;
    bool one;
    float *scratch;
} summing;

static void add(float *to, int64_t ld, const float *from, int64_t rows, int64_t width)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < width; k++) to[r * ld + k] += from[r * width + k];
}

/* Adds `from` to the blocks of all pairs that see the piece, or, `one`, to the last row of these places. */
static void share(const summing *s, const span *row, const span *col, int64_t behind_y, int64_t behind_x, bool one, const float *from)
{
    const int64_t c = s->g->c / s->g->groups, kw = s->g->kw, places = s->g->kh * kw;
    for (int64_t y = 0; y < s->g->kh; y++)
        for (int64_t x = 0; x < kw && row->members >> y & 1; x++) {
            if (!(col->members >> x & 1)) continue;
            const int64_t place = y * kw + x, other = place + behind_y * kw + behind_x;
            add(s->m + (one ? places : place) * c * s->ld + other * c, s->ld, from, one ? 1 : c, c);
        }
}

static void piece(const summing *s, const span *row, const span *col, int64_t behind_y, int64_t behind_x)
{
    static const float unit = 1;
    const fa_conv_geometry *g = s->g;
    const int64_t c = g->c / g->groups, line = g->w * g->c, image = g->h * line, behind = (behind_y * g->dilation_h * g->w + behind_x * g->dilation_w) * g->c;
    const bool same = behind_y == 0 && behind_x == 0;
    const float *x = s->images + row->first * line + col->first * g->c;
    if (c == 1) {
        dots d = {s->n, row->count, col->count, g->groups, x, x + behind, image, g->stride_h * line, g->stride_w * g->c};
        const float sum = dot(s->isa, &d);
        share(s, row, col, behind_y, behind_x, false, &sum);
        if (!s->one || !same) return;
        d.y = NULL;
        const float whole = dot(s->isa, &d);
        share(s, row, col, 0, 0, true, &whole);
        return;
    }
    fa_outer_grid grid = {.images = s->n, .rows = row->count, .cols = col->count, .ni = c, .nj = c, .x_image = image, .x_row = g->stride_h * line, .x_col = g->stride_w * g->c,
                          .y_image = image, .y_row = g->stride_h * line, .y_col = g->stride_w * g->c, .c = s->scratch, .ldc = c};
    memset(s->scratch, 0, (size_t)(c * c) * sizeof *s->scratch);
    for (int64_t k = 0; k < g->groups; k++) {
        grid.x = x + k * c, grid.y = grid.x + behind;
        if (same) fa_outer_grid_triangle(s->isa, &grid);
        else fa_outer_grid_run(s->isa, &grid);
    }
    share(s, row, col, behind_y, behind_x, false, s->scratch);
    if (!s->one || !same) return;
    memset(s->scratch, 0, (size_t)c * sizeof *s->scratch);
    grid.ni = 1, grid.x = &unit, grid.x_image = grid.x_row = grid.x_col = 0;
    for (int64_t k = 0; k < g->groups; k++) {
        grid.y = x + k * c;
        fa_outer_grid_run(s->isa, &grid);
    }
    share(s, row, col, 0, 0, true, s->scratch);
}

void fa_patches_moments(fa_isa isa, const fa_conv_geometry *g, int64_t n, const float *images, bool one, float *m, int64_t ld, float *scratch)
{
    const summing s = {isa, g, n, images, m, ld, one, scratch};
    const axis down = {g->h, g->oh, g->kh, g->stride_h, g->dilation_h, g->pad_top}, across = {g->w, g->ow, g->kw, g->stride_w, g->dilation_w, g->pad_left};
    span rows[2 * WIDEST], cols[2 * WIDEST];
    /* Blocks on and below the diagonal: the other place is the same or comes before. */
    for (int64_t y = 1 - g->kh; y <= 0; y++)
        for (int64_t phase_y = 0; phase_y < g->stride_h && phase_y < g->kh; phase_y++) {
            const int n_row = cut(&down, y, phase_y, rows);
            for (int64_t x = 1 - g->kw; x < (y < 0 ? g->kw : 1); x++)
                for (int64_t phase_x = 0; phase_x < g->stride_w && phase_x < g->kw; phase_x++) {
                    const int n_col = cut(&across, x, phase_x, cols);
                    for (int r = 0; r < n_row; r++)
                        for (int k = 0; k < n_col; k++) piece(&s, rows + r, cols + k, y, x);
                }
        }
    if (one) {
        const int64_t last = g->kh * g->kw * (g->c / g->groups);
        m[last * ld + last] += (float)(n * g->groups * g->oh * g->ow);
    }
}
