/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/host.h"

/* Whole weight gradients in the place of taps. `a` holds W [out, in] of each input, `a_h` apart from row to row. Plain loops: a host that wants speed gives taps. */

static size_t scratch_bytes(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    (void)t;
    (void)k_out;
    return (size_t)k_in * sizeof(float);
}

static size_t moments_scratch(const fa_tap *t)
{
    (void)t;
    return 0;
}

static float dot(const float *x, const float *y, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* A: W'W. G: W W', where rows of different groups are of different inputs and have nothing to do with one another. */
static void moments(const fa_tap *t, float *A, float *G, void *scratch)
{
    const int64_t in = t->a_h, per_group = t->out / t->groups;
    (void)scratch;
    for (int64_t i = 0; i < t->n; i++) {
        const float *w = t->a + i * t->a_n;
        for (int64_t o = 0; A && o < t->out; o++)
            for (int64_t r = 0; r < in; r++) {
                const float of_row = w[o * in + r];
                if (of_row == 0) continue;
                for (int64_t c = 0; c <= r; c++) A[r * in + c] += of_row * w[o * in + c];
            }
        for (int64_t o = 0; G && o < t->out; o++)
            for (int64_t q = o / per_group * per_group; q <= o; q++) G[o * t->out + q] += dot(w + o * in, w + q * in, in);
    }
}

static void blocks(const fa_tap *t, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch)
{
    const int64_t in = t->a_h;
    const float *p_in = packed, *p_out = p_in + in * k_in;
    float *u = scratch;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t o = 0; o < t->out; o++) {
            const float *w = t->a + i * t->a_n + o * in;
            for (int64_t r = 0; r < k_in; r++) u[r] = 0;
            for (int64_t j = 0; j < in; j++)
                for (int64_t r = 0; w[j] != 0 && r < k_in; r++) u[r] += w[j] * p_in[j * k_in + r];
            for (int64_t r = 0; r < k_in; r++)
                for (int64_t c = 0; c < k_out; c++) block[i * stride + r * k_out + c] += u[r] * p_out[o * k_out + c];
        }
}

static double flops(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return 2 * (double)t->out * (double)k_in * (double)(t->a_h + k_out);
}

/* Packed as the reference packs: both projections as they are. */
static size_t packed_size(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return fa_tap_ops_reference.packed_size(t, k_in, k_out);
}

static void pack(const fa_tap *t, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed)
{
    fa_tap_ops_reference.pack(t, p_in, k_in, p_out, k_out, packed);
}

const fa_tap_ops fa_tap_ops_whole = {scratch_bytes, moments_scratch, moments, packed_size, pack, blocks, flops};
