/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/tap_lookup.h"

#include "backend/rewrite.h"

#include <string.h>

/* A lookup's sides: of the index, `rows` of them, and of the gradient, `columns` and maybe the bias of the product that has the table for weights. */

static int64_t in_of(const fa_tap *t)
{
    return t->turned ? t->out + t->has_bias : t->c;
}

static int64_t out_of(const fa_tap *t)
{
    return t->turned ? t->c : t->out;
}

size_t fa_lookup_scratch(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return (size_t)(t->out + (t->turned ? k_in : k_out)) * sizeof(float);
}

/* The row that is looked up at position (y, x) of input i, -1 for one that is not there, and the gradient at what was found. */
static int64_t look(const fa_tap *t, int64_t i, int64_t y, int64_t x, float *d)
{
    int64_t row = t->index[i * t->a_n + y * t->a_h + x * t->a_w];
    const float *from = t->d + i * t->d_n + y * t->d_h + x * t->d_w;
    for (int64_t o = 0; o < t->out; o++) d[o] = from[o * t->d_c];
    if (row < 0) row += t->c;
    return row >= 0 && row < t->c ? row : -1;
}

void fa_lookup_moments(const fa_tap *t, float *A, float *G, void *scratch)
{
    float *d = scratch, *of_index = t->turned ? G : A, *of_gradient = t->turned ? A : G;
    const int64_t n = t->turned ? in_of(t) : t->out;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t y = 0; y < t->oh; y++)
            for (int64_t x = 0; x < t->ow; x++) {
                const int64_t row = look(t, i, y, x, d);
                if (t->padded && fa_tap_is_silent(t, i, y, x)) continue;
                if (of_index && row >= 0) of_index[row * t->c + row] += 1;
                for (int64_t r = 0; of_gradient && r < t->out; r++)
                    for (int64_t c = 0; d[r] != 0 && c <= r; c++) of_gradient[r * n + c] += d[r] * d[c];
            }
}

size_t fa_lookup_packed_size(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return (size_t)(in_of(t) * k_in + out_of(t) * k_out) * sizeof(float);
}

void fa_lookup_pack(const fa_tap *t, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed)
{
    float *to = packed;
    memcpy(to, p_in, (size_t)(in_of(t) * k_in) * sizeof *to);
    memcpy(to + in_of(t) * k_in, p_out, (size_t)(out_of(t) * k_out) * sizeof *to);
}

void fa_lookup_blocks(const fa_tap *t, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch)
{
    const float *p_in = packed, *p_out = p_in + in_of(t) * k_in;
    const float *of_index = t->turned ? p_out : p_in, *of_gradient = t->turned ? p_in : p_out;
    const int64_t k_index = t->turned ? k_out : k_in, k_gradient = t->turned ? k_in : k_out;
    float *d = scratch, *v = d + t->out;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t y = 0; y < t->oh; y++)
            for (int64_t x = 0; x < t->ow; x++) {
                const int64_t row = look(t, i, y, x, d);
                if (row < 0) continue;
                memset(v, 0, (size_t)k_gradient * sizeof *v);
                for (int64_t o = 0; o < t->out; o++)
                    for (int64_t c = 0; d[o] != 0 && c < k_gradient; c++) v[c] += d[o] * of_gradient[o * k_gradient + c];
                const float *u = of_index + row * k_index;
                const float *left = t->turned ? v : u, *right = t->turned ? u : v;
                float *to = block + i * stride;
                for (int64_t r = 0; r < k_in; r++)
                    for (int64_t c = 0; c < k_out; c++) to[r * k_out + c] += left[r] * right[c];
            }
}

double fa_lookup_flops(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return 2 * (double)(t->oh * t->ow) * ((double)(t->out * (t->turned ? k_in : k_out)) + (double)(k_in * k_out));
}
