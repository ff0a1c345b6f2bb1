/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "backend/tap_gradient.h"
#include "backend/tap_order.h"
#include "backend/tap_rows.h"
#include "base/pool.h"
#include "kernels/conv.h"
#include "kernels/outer.h"
#include "kernels/patches.h"
#include "kernels/winograd.h"

#include <string.h>

/*
 * Taps on fast kernels. P_in' a is a convolution of the layer's input by the columns of P_in, P_out' d a product of each pixel of the gradient; a
 * block is the product of the two over the pixels. Where there are more pixels than outputs, d itself is summed and P_out multiplies the sums. Fully connected layers have a way of their own (tap_rows.c); of convolutions with groups or few channels the whole weight
 * gradient comes cheaper (tap_gradient.c); what is not channels-last goes to the reference.
 */

/* Positions that are projected, or whose patches are gathered, at once. */
#define POSITIONS 256

static bool is_fast(const fa_tap *t, fa_conv_geometry *g)
{
    *g = (fa_conv_geometry){t->c, t->h, t->w, t->out, t->oh, t->ow, 1, t->kh, t->kw, t->stride_h, t->stride_w, t->dilation_h, t->dilation_w, t->pad_top, t->pad_left};
    return !t->lookup && !fa_tap_rows_takes(t) && t->groups == 1 && t->a_c == 1 && t->d_c == 1 && t->a_w == t->c && t->a_h == t->w * t->c && t->a_n == t->h * t->a_h && t->d_w == t->out &&
           t->d_h == t->ow * t->out && t->d_n == t->oh * t->d_h && fa_conv_supported(g);
}

static int64_t in_of(const fa_tap *t)
{
    return t->c * t->kh * t->kw + t->has_bias;
}

/* What takes the moments of taps that are not fast here. */
static const fa_tap_ops *others(const fa_tap *t)
{
    return fa_tap_rows_takes(t) ? &fa_tap_ops_rows : fa_tap_gradient_takes(t) ? &fa_tap_ops_gradient : &fa_tap_ops_reference;
}

/* What takes their blocks: of few channels, the weight gradient is less work than two projections of every row. */
static const fa_tap_ops *others_for(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    const bool gradient = fa_tap_rows_takes(t) && fa_tap_gradient_takes(t) && 1.25 * fa_tap_ops_gradient.flops(t, k_in, k_out) < fa_tap_ops_rows.flops(t, k_in, k_out);
    return gradient ? &fa_tap_ops_gradient : others(t);
}

static bool is_late(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return fa_tap_is_late(t->oh * t->ow, t->out, k_in, k_out);
}

static double products(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    const int64_t positions = t->oh * t->ow;
    return (double)positions * (double)in_of(t) * (double)k_in + fa_tap_products_behind(positions, t->out, k_in, k_out);
}

/* Whether projecting is no more work than the weight gradient and its projection; sums of outer products run somewhat slower than convolutions do. */
static bool projects(const fa_tap *t, int64_t k_in, int64_t k_out, fa_conv_geometry *g)
{
    if (!is_fast(t, g)) return false;
    const double in = (double)in_of(t), out = (double)t->out, positions = (double)(t->oh * t->ow);
    return !fa_tap_gradient_takes(t) || products(t, k_in, k_out) <= 1.5 * positions * in * out + in * (double)k_out * (out + (double)k_in);
}

static size_t align(size_t n)
{
    return (n + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static size_t floats(int64_t n)
{
    return align((size_t)n * sizeof(float));
}

/* Inputs of a batch that are projected together. */
static int64_t group_of(const fa_tap *t)
{
    const int64_t positions = t->oh * t->ow, n = (POSITIONS + positions - 1) / positions;
    return n < t->n ? n : t->n;
}

static int64_t ld_of(int64_t n)
{
    return n % 64 ? n : n + 16; /* rows a power of two apart would share cache sets */
}

static bool permutes(const fa_tap *t)
{
    return t->kh * t->kw > 1;
}

/* The projections as convolutions: of the input by P_in, of the gradient by P_out. */
static fa_conv_geometry side_in(const fa_conv_geometry *g, int64_t k_in)
{
    fa_conv_geometry s = *g;
    s.out = k_in;
    s.winograd = fa_conv_should_filter(&s);
    return s;
}

static fa_conv_geometry side_out(const fa_conv_geometry *g, int64_t k_out)
{
    return (fa_conv_geometry){g->out, 1, 1, k_out, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
}

/* Offsets of the parts of packed projections: the two kernels and their weights. */
typedef struct packing {
    fa_conv_geometry in, out;
    size_t kernel_in, kernel_out, p_in, bias, p_out, whole;
} packing;

static packing lay_out(const fa_conv_geometry *g, int64_t k_in, int64_t k_out)
{
    packing p = {.in = side_in(g, k_in), .out = side_out(g, k_out)};
    p.kernel_out = p.kernel_in + align(fa_conv_bytes(&p.in, FA_CONV_FORWARD));
    p.p_in = p.kernel_out + align(fa_conv_bytes(&p.out, FA_CONV_FORWARD));
    p.bias = p.p_in + floats((int64_t)fa_conv_packed_floats(&p.in, FA_CONV_FORWARD));
    p.p_out = p.bias + floats(k_in);
    p.whole = p.p_out + floats((int64_t)fa_conv_packed_floats(&p.out, FA_CONV_FORWARD));
    return p;
}

/* What the projection of the input takes beside it; a scratch image holds at most this many rows and columns. */
static size_t in_scratch(const fa_tap *t, const fa_conv_geometry *side)
{
    if (side->winograd) return align((size_t)fa_pool_threads(t->pool) * fa_winograd_scratch(t->c));
    const int64_t reach_h = (t->oh - 1) * t->stride_h + (t->kh - 1) * t->dilation_h + 1, reach_w = (t->ow - 1) * t->stride_w + (t->kw - 1) * t->dilation_w + 1;
    const int64_t h = t->h + t->pad_top, w = t->w + t->pad_left;
    return floats((reach_h > h ? reach_h : h) * (reach_w > w ? reach_w : w) * t->c);
}

static size_t scratch_bytes(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    fa_conv_geometry g;
    if (!projects(t, k_in, k_out, &g)) return others_for(t, k_in, k_out)->scratch(t, k_in, k_out);
    const int64_t positions = group_of(t) * t->oh * t->ow;
    const fa_conv_geometry side = side_in(&g, k_in);
    return in_scratch(t, &side) + floats(positions * k_in) + floats(is_late(t, k_in, k_out) ? k_in * t->out : positions * k_out);
}

/* Whether second moments of the input come without gathering patches; silent positions have to be looked at one by one. */
static bool by_shifts(const fa_tap *t, const fa_conv_geometry *g)
{
    return permutes(t) && !t->padded && fa_patches_may(g);
}

/* What summing patches takes beside the sums. */
static size_t patches_bytes(const fa_tap *t, const fa_conv_geometry *g)
{
    return by_shifts(t, g) ? align(fa_patches_scratch(g)) : floats(POSITIONS * ld_of(in_of(t)));
}

static size_t moments_scratch(const fa_tap *t)
{
    fa_conv_geometry g;
    if (!is_fast(t, &g)) return others(t)->moments_scratch(t);
    const int64_t in = in_of(t);
    return patches_bytes(t, &g) + (permutes(t) ? floats(in * in) : 0);
}

static size_t packed_size(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    fa_conv_geometry g;
    return projects(t, k_in, k_out, &g) ? lay_out(&g, k_in, k_out).whole : others_for(t, k_in, k_out)->packed_size(t, k_in, k_out);
}

static void pack(const fa_tap *t, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed)
{
    fa_conv_geometry g;
    if (!projects(t, k_in, k_out, &g)) {
        others_for(t, k_in, k_out)->pack(t, p_in, k_in, p_out, k_out, packed);
        return;
    }
    const packing p = lay_out(&g, k_in, k_out);
    const fa_isa isa = fa_kernels_isa();
    char *to = packed;
    const int64_t kernel = t->kh * t->kw;
    fa_conv_place(to + p.kernel_in, isa, &p.in, FA_CONV_FORWARD);
    fa_conv_place(to + p.kernel_out, isa, &p.out, FA_CONV_FORWARD);
    fa_conv_pack(&p.in, FA_CONV_FORWARD, p_in, 1, kernel * k_in, k_in, (float *)(void *)(to + p.p_in));
    fa_conv_pack(&p.out, FA_CONV_FORWARD, p_out, 1, k_out, k_out, (float *)(void *)(to + p.p_out));
    if (t->has_bias) memcpy(to + p.bias, p_in + t->c * kernel * k_in, (size_t)k_in * sizeof(float));
}

static void blocks(const fa_tap *t, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch)
{
    fa_conv_geometry g;
    if (!projects(t, k_in, k_out, &g)) {
        others_for(t, k_in, k_out)->blocks(t, packed, k_in, k_out, block, stride, scratch);
        return;
    }
    const packing p = lay_out(&g, k_in, k_out);
    const char *from = packed;
    const bool late = is_late(t, k_in, k_out);
    const int64_t positions = t->oh * t->ow, group = group_of(t);
    float *u = (float *)(void *)((char *)scratch + in_scratch(t, &p.in)), *v = (float *)(void *)((char *)u + floats(group * positions * k_in));
    fa_conv_data out = {.packed = (const float *)(const void *)(from + p.p_out), .pool = t->pool};
    const fa_conv *kernel_in = (const fa_conv *)(const void *)(from + p.kernel_in), *kernel_out = (const fa_conv *)(const void *)(from + p.kernel_out);
    for (int64_t i = 0; i < t->n; i += group) {
        const int64_t n = t->n - i < group ? t->n - i : group;
        const float *d = t->d + i * t->d_n;
        fa_conv_run(kernel_in, &(fa_conv_data){
                                   .n = n,
                                   .in = t->a + i * t->a_n,
                                   .packed = (const float *)(const void *)(from + p.p_in),
                                   .bias = t->has_bias ? (const float *)(const void *)(from + p.bias) : NULL,
                                   .out = u,
                                   .scratch = scratch,
                                   .pool = t->pool,
                               });
        if (!late) {
            out.n = n * positions, out.in = d, out.out = v;
            fa_conv_run(kernel_out, &out);
        }
        for (int64_t k = 0; k < n; k++) {
            float *to = block + (i + k) * stride;
            if (!late) {
                fa_outer_run(fa_kernels_isa(), &(fa_outer){positions, k_in, k_out, u + k * positions * k_in, v + k * positions * k_out, k_in, k_out, to, k_out, t->pool});
                continue;
            }
            memset(v, 0, (size_t)(k_in * t->out) * sizeof *v);
            fa_outer_run(fa_kernels_isa(), &(fa_outer){positions, k_in, t->out, u + k * positions * k_in, d + k * t->d_n, k_in, t->out, v, t->out, t->pool});
            out.n = k_in, out.in = v, out.residual = out.out = to;
            fa_conv_run(kernel_out, &out);
        }
    }
}

/* The patch under one output position, in the order (kernel row, kernel column, channel), 1 for the bias behind. */
static void gather(const fa_tap *t, const float *image, int64_t y, int64_t x, float *to)
{
    const size_t pixel = (size_t)t->c * sizeof *to;
    for (int64_t r = 0; r < t->kh; r++) {
        const int64_t row = y * t->stride_h - t->pad_top + r * t->dilation_h;
        for (int64_t s = 0; s < t->kw; s++, to += t->c) {
            const int64_t column = x * t->stride_w - t->pad_left + s * t->dilation_w;
            if (row >= 0 && row < t->h && column >= 0 && column < t->w)
                memcpy(to, image + row * t->a_h + column * t->a_w, pixel);
            else
                memset(to, 0, pixel);
        }
    }
    if (t->has_bias) *to = 1;
}

/* Side of the squares by which a matrix is turned around. */
#define SQUARE 16

/* Copies blocks [c, c] below the diagonal, turned around, to where they belong above it, as far as channels of rows do not come before those of columns. */
static void mirror(int64_t kernel, int64_t c, float *m, int64_t ld)
{
    for (int64_t above = 0; above < kernel; above++)
        for (int64_t below = above + 1; below < kernel; below++)
            for (int64_t i0 = 0; i0 < c; i0 += SQUARE)
                for (int64_t j0 = 0; j0 <= i0; j0 += SQUARE)
                    for (int64_t i = i0; i < c && i < i0 + SQUARE; i++)
                        for (int64_t j = j0; j < c && j < j0 + SQUARE; j++) m[(above * c + i) * ld + below * c + j] = m[(below * c + j) * ld + above * c + i];
}

/* Moments of patches in the order (kernel row, kernel column, channel) to the canonical one, (channel, kernel row, kernel column). */
static void add_permuted(const fa_tap *t, float *from, int64_t in, float *A)
{
    const int64_t kernel = t->kh * t->kw, c = t->c;
    mirror(kernel, c, from, in);
    for (int64_t r = 0; r < in; r++) {
        const bool bias = r == c * kernel;
        const float *row = from + (bias ? r : r % kernel * c + r / kernel) * in;
        float *to = A + r * in;
        for (int64_t channel = 0; channel * kernel <= r && channel < c; channel++)
            for (int64_t k = 0; k < kernel && channel * kernel + k <= r; k++) to[channel * kernel + k] += row[k * c + channel];
        if (bias) to[r] += row[r];
    }
}

static void gathered_moments(const fa_tap *t, fa_isa isa, float *rows, float *sum)
{
    const int64_t positions = t->oh * t->ow, total = t->n * positions, in = in_of(t), ld = ld_of(in);
    for (int64_t p = 0; p < total;) {
        int64_t n = 0;
        for (; p < total && n < POSITIONS; p++) {
            const int64_t i = p / positions, y = p % positions / t->ow, x = p % t->ow;
            if (!t->padded || !fa_tap_is_silent(t, i, y, x)) gather(t, t->a + i * t->a_n, y, x, rows + n++ * ld);
        }
        if (n) fa_outer_symmetric(isa, n, in, rows, ld, sum, in);
    }
}

static void moments(const fa_tap *t, float *A, float *G, void *scratch)
{
    fa_conv_geometry g;
    if (!is_fast(t, &g)) {
        others(t)->moments(t, A, G, scratch);
        return;
    }
    const fa_isa isa = fa_kernels_isa();
    const int64_t total = t->n * t->oh * t->ow, in = in_of(t);
    if (G) fa_outer_symmetric(isa, total, t->out, t->d, t->out, G, t->out);
    if (!A) return;
    float *sum = permutes(t) ? (float *)(void *)((char *)scratch + patches_bytes(t, &g)) : A;
    if (sum != A) memset(sum, 0, (size_t)(in * in) * sizeof *sum);
    if (by_shifts(t, &g)) fa_patches_moments(isa, &g, t->n, t->a, t->has_bias, sum, in, scratch);
    else gathered_moments(t, isa, scratch, sum);
    if (sum != A) add_permuted(t, sum, in, A);
}

static double flops(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    fa_conv_geometry g;
    return projects(t, k_in, k_out, &g) ? 2 * products(t, k_in, k_out) : others_for(t, k_in, k_out)->flops(t, k_in, k_out);
}

const fa_tap_ops fa_tap_ops_fast = {scratch_bytes, moments_scratch, moments, packed_size, pack, blocks, flops};
