/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "backend/tap_lookup.h"

#include <string.h>

/* Taps by plain loops, for any layout, stride and number of groups: what the fast kernels are checked against. */

static int64_t group_in(const fa_tap *t)
{
    return t->c / t->groups * t->kh * t->kw + t->has_bias;
}

/* The layer's input at output position (y, x) for group `g`, in the canonical order (channel, kernel row, kernel column), 1 for the bias behind. */
static void gather_patch(const fa_tap *t, int64_t i, int64_t g, int64_t y, int64_t x, float *patch)
{
    int64_t channels = t->c / t->groups;
    for (int64_t c = 0; c < channels; c++) {
        const float *map = t->a + i * t->a_n + (g * channels + c) * t->a_c;
        for (int64_t r = 0; r < t->kh; r++) {
            int64_t row = y * t->stride_h - t->pad_top + r * t->dilation_h;
            for (int64_t s = 0; s < t->kw; s++) {
                int64_t column = x * t->stride_w - t->pad_left + s * t->dilation_w;
                bool inside = row >= 0 && row < t->h && column >= 0 && column < t->w;
                *patch++ = inside ? map[row * t->a_h + column * t->a_w] : 0;
            }
        }
    }
    if (t->has_bias) *patch = 1;
}

static void gather_gradient(const fa_tap *t, int64_t i, int64_t y, int64_t x, float *d)
{
    const float *from = t->d + i * t->d_n + y * t->d_h + x * t->d_w;
    for (int64_t o = 0; o < t->out; o++) d[o] = from[o * t->d_c];
}

static size_t scratch_bytes(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    if (t->lookup) return fa_lookup_scratch(t, k_in, k_out);
    return (size_t)(group_in(t) + t->out + k_in + k_out) * sizeof(float);
}

static size_t moments_scratch(const fa_tap *t)
{
    return scratch_bytes(t, 0, 0);
}

static void add_outer_lower(const float *v, int64_t n, float *m)
{
    for (int64_t r = 0; r < n; r++) {
        if (v[r] == 0) continue;
        for (int64_t c = 0; c <= r; c++) m[r * n + c] += v[r] * v[c];
    }
}

static void moments(const fa_tap *t, float *A, float *G, void *scratch)
{
    if (t->lookup) {
        fa_lookup_moments(t, A, G, scratch);
        return;
    }
    float *patch = scratch, *d = patch + group_in(t);
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t y = 0; y < t->oh; y++)
            for (int64_t x = 0; x < t->ow; x++) {
                if (t->padded && fa_tap_is_silent(t, i, y, x)) continue;
                for (int64_t g = 0; A && g < t->groups; g++) {
                    gather_patch(t, i, g, y, x, patch);
                    add_outer_lower(patch, group_in(t), A);
                }
                if (!G) continue;
                gather_gradient(t, i, y, x, d);
                add_outer_lower(d, t->out, G);
            }
}

static size_t packed_size(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    if (t->lookup) return fa_lookup_packed_size(t, k_in, k_out);
    return (size_t)(group_in(t) * k_in + t->out * k_out) * sizeof(float);
}

static void pack(const fa_tap *t, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed)
{
    if (t->lookup) {
        fa_lookup_pack(t, p_in, k_in, p_out, k_out, packed);
        return;
    }
    float *to = packed;
    memcpy(to, p_in, (size_t)(group_in(t) * k_in) * sizeof *to);
    memcpy(to + group_in(t) * k_in, p_out, (size_t)(t->out * k_out) * sizeof *to);
}

/* u = P' v for P [n, k]. */
static void project(const float *p, int64_t n, int64_t k, const float *v, float *u)
{
    memset(u, 0, (size_t)k * sizeof *u);
    for (int64_t r = 0; r < n; r++) {
        if (v[r] == 0) continue;
        for (int64_t j = 0; j < k; j++) u[j] += v[r] * p[r * k + j];
    }
}

static void blocks(const fa_tap *t, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch)
{
    if (t->lookup) {
        fa_lookup_blocks(t, packed, k_in, k_out, block, stride, scratch);
        return;
    }
    const float *p_in = packed, *p_out = p_in + group_in(t) * k_in;
    float *patch = scratch, *d = patch + group_in(t), *u = d + t->out, *v = u + k_in;
    int64_t outs = t->out / t->groups;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t y = 0; y < t->oh; y++)
            for (int64_t x = 0; x < t->ow; x++) {
                gather_gradient(t, i, y, x, d);
                for (int64_t g = 0; g < t->groups; g++) {
                    project(p_out + g * outs * k_out, outs, k_out, d + g * outs, v);
                    gather_patch(t, i, g, y, x, patch);
                    project(p_in, group_in(t), k_in, patch, u);
                    float *to = block + i * stride;
                    for (int64_t r = 0; r < k_in; r++)
                        for (int64_t c = 0; c < k_out; c++) to[r * k_out + c] += u[r] * v[c];
                }
            }
}

static double flops(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    if (t->lookup) return fa_lookup_flops(t, k_in, k_out);
    double positions = (double)(t->oh * t->ow);
    return 2 * positions * ((double)(t->groups * group_in(t) * k_in) + (double)(t->out * k_out) + (double)(t->groups * k_in * k_out));
}

const fa_tap_ops fa_tap_ops_reference = {scratch_bytes, moments_scratch, moments, packed_size, pack, blocks, flops};
