/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/tap_gradient.h"
#include "kernels/conv.h"
#include "kernels/outer.h"
#include "kernels/patches.h"
#include "kernels/weights.h"

#include <string.h>

/*
 * Taps of convolutions with groups, depthwise ones above all, or few channels, on channels-last images. The whole weight gradient of an input, W [in, out] with the outputs of
 * all groups beside each other, then costs less than projections at every position would: a block is P_in' W P_out.
 */

/* Patches that are gathered at once. */
#define PATCHES 256

static fa_conv_geometry geometry_of(const fa_tap *t)
{
    return (fa_conv_geometry){t->c, t->h, t->w, t->out, t->oh, t->ow, t->groups, t->kh, t->kw, t->stride_h, t->stride_w, t->dilation_h, t->dilation_w, t->pad_top, t->pad_left};
}

bool fa_tap_gradient_takes(const fa_tap *t)
{
    const fa_conv_geometry g = geometry_of(t);
    return (t->groups > 1 || t->oh * t->ow > 1) && t->a_c == 1 && t->d_c == 1 && t->a_w == t->c && t->a_h == t->w * t->c && t->a_n == t->h * t->a_h && t->d_w == t->out &&
           t->d_h == t->ow * t->out && t->d_n == t->oh * t->d_h && fa_conv_supported(&g);
}

static int64_t in_of(const fa_tap *t)
{
    return t->c / t->groups * t->kh * t->kw + t->has_bias;
}

static size_t align(size_t n)
{
    return (n + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static size_t floats(int64_t n)
{
    return align((size_t)n * sizeof(float));
}

/* Rows of W times P_out. */
static fa_conv_geometry side_out(const fa_tap *t, int64_t k_out)
{
    return (fa_conv_geometry){t->out, 1, 1, k_out, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
}

/* Offsets of the parts of packed projections. */
typedef struct packing {
    fa_conv_geometry out;
    size_t p_out, p_in, whole;
} packing;

static packing lay_out(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    packing p = {.out = side_out(t, k_out)};
    p.p_out = align(fa_conv_bytes(&p.out, FA_CONV_FORWARD));
    p.p_in = p.p_out + floats((int64_t)fa_conv_packed_floats(&p.out, FA_CONV_FORWARD));
    p.whole = p.p_in + floats(in_of(t) * k_in);
    return p;
}

static size_t scratch_bytes(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    const fa_conv_geometry g = geometry_of(t);
    (void)k_in;
    return align(fa_weights_scratch(&g, 1)) + floats(in_of(t) * t->out) + floats(in_of(t) * k_out);
}

static size_t moments_scratch(const fa_tap *t)
{
    return floats(PATCHES * in_of(t));
}

static size_t packed_size(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return lay_out(t, k_in, k_out).whole;
}

static void pack(const fa_tap *t, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed)
{
    const packing p = lay_out(t, k_in, k_out);
    char *to = packed;
    fa_conv_place(to, fa_kernels_isa(), &p.out, FA_CONV_FORWARD);
    fa_conv_pack(&p.out, FA_CONV_FORWARD, p_out, 1, k_out, k_out, (float *)(void *)(to + p.p_out));
    memcpy(to + p.p_in, p_in, (size_t)(in_of(t) * k_in) * sizeof *p_in);
}

static void blocks(const fa_tap *t, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch)
{
    const fa_conv_geometry g = geometry_of(t);
    const packing p = lay_out(t, k_in, k_out);
    const fa_isa isa = fa_kernels_isa();
    const char *from = packed;
    const int64_t in = in_of(t), kernel = t->kh * t->kw;
    float *w = (float *)(void *)((char *)scratch + align(fa_weights_scratch(&g, 1))), *rows = (float *)(void *)((char *)w + floats(in * t->out));
    for (int64_t i = 0; i < t->n; i++) {
        const float *d = t->d + i * t->d_n;
        memset(w, 0, (size_t)(in * t->out) * sizeof *w);
        fa_weights_run(isa, &g, &(fa_weights_data){.n = 1, .in = t->a + i * t->a_n, .d = d, .stride_out = 1, .stride_in = kernel * t->out, .stride_position = t->out,
                                                   .gradient = w, .scratch = scratch, .bias = t->has_bias ? w + (in - 1) * t->out : NULL});
        fa_conv_run((const fa_conv *)(const void *)from, &(fa_conv_data){.n = in, .in = w, .packed = (const float *)(const void *)(from + p.p_out), .out = rows});
        fa_outer_run(isa, &(fa_outer){in, k_in, k_out, (const float *)(const void *)(from + p.p_in), rows, k_in, k_out, block + i * stride, k_out});
    }
}

/* The patches of all groups under output position (y, x) as rows of `in`, in the canonical order (channel, kernel row, kernel column), 1 for the bias behind. */
static void gather(const fa_tap *t, const float *image, int64_t y, int64_t x, int64_t first, int64_t end, float *to)
{
    const int64_t channels = t->c / t->groups, kernel = t->kh * t->kw, in = in_of(t);
    for (int64_t r = 0; r < t->kh; r++)
        for (int64_t s = 0; s < t->kw; s++) {
            const int64_t row = y * t->stride_h - t->pad_top + r * t->dilation_h, column = x * t->stride_w - t->pad_left + s * t->dilation_w;
            const bool inside = row >= 0 && row < t->h && column >= 0 && column < t->w;
            const float *from = inside ? image + row * t->a_h + column * t->a_w + first * channels : NULL;
            for (int64_t g = 0; g < end - first; g++)
                for (int64_t c = 0; c < channels; c++) to[g * in + c * kernel + r * t->kw + s] = inside ? from[g * channels + c] : 0;
        }
    for (int64_t g = 0; t->has_bias && g < end - first; g++) to[(g + 1) * in - 1] = 1;
}

static void moments(const fa_tap *t, float *A, float *G, void *scratch)
{
    const fa_isa isa = fa_kernels_isa();
    const int64_t in = in_of(t);
    if (G) fa_outer_symmetric(isa, t->n * t->oh * t->ow, t->out, t->d, t->out, G, t->out);
    if (!A) return;
    const fa_conv_geometry geometry = geometry_of(t);
    if (t->groups == t->c && fa_patches_may(&geometry)) { /* of one channel the two orders of a patch are one */
        fa_patches_moments(isa, &geometry, t->n, t->a, t->has_bias, A, in, scratch);
        return;
    }
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t y = 0; y < t->oh; y++)
            for (int64_t x = 0; x < t->ow; x++)
                for (int64_t g = 0, end; g < t->groups; g = end) {
                    end = g + PATCHES < t->groups ? g + PATCHES : t->groups;
                    gather(t, t->a + i * t->a_n, y, x, g, end, scratch);
                    fa_outer_symmetric(isa, end - g, in, scratch, in, A, in);
                }
}

static double flops(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    const double in = (double)in_of(t), out = (double)t->out;
    return 2 * in * (out * (double)(t->oh * t->ow) + out * (double)k_out + (double)(k_in * k_out));
}

const fa_tap_ops fa_tap_ops_gradient = {scratch_bytes, moments_scratch, moments, packed_size, pack, blocks, flops};
