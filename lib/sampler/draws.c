/* SPDX-License-Identifier: Apache-2.0 */
#include "sampler/draws.h"

#include "base/half.h"
#include "kernels/normal.h"
#include "sampler/chain.h"

#include <float.h>
#include <math.h>

size_t fa_draw_bytes(const fa_draw_layout *l, int32_t storage)
{
    const size_t n = (size_t)l->n_weight;
    switch (storage) {
    case FA_DRAWS_F32: return 4 * n;
    case FA_DRAWS_BF16: return (2 * n + 3) / 4 * 4;
    case FA_DRAWS_INT8: return 4 * (size_t)l->n_row + (n + 3) / 4 * 4;
    default: return 0;
    }
}

static inline float finite_or_zero(float x)
{
    return fabsf(x) <= FLT_MAX ? x : 0;
}

static void encode_row(int64_t n, const float *trained, const float *weights, float *scale, int8_t *out)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++) {
        const float size = fabsf(finite_or_zero(weights[i] - trained[i]));
        most = size > most ? size : most;
    }
    *scale = most / 127;
    /* A scale among the subnormal numbers has few digits: its quotients may pass 127. */
    for (int64_t i = 0; i < n; i++) {
        const float q = *scale > 0 ? rintf(finite_or_zero(weights[i] - trained[i]) / *scale) : 0;
        out[i] = (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
    }
}

static void decode_row(int64_t n, const float *restrict trained, float scale, const int8_t *restrict in, float *restrict weights)
{
    for (int64_t i = 0; i < n; i++) weights[i] = trained[i] + finite_or_zero((float)in[i] * scale);
}

static void encode_int8(const fa_draw_layout *l, const float *trained, const float *weights, void *draw)
{
    float *scale = draw;
    int8_t *out = (int8_t *)(scale + l->n_row), *end = (int8_t *)draw + fa_draw_bytes(l, FA_DRAWS_INT8);
    for (int32_t p = 0; p < l->n_parameter; p++)
        for (int64_t r = 0, n = l->row_length[p]; r < l->rows[p]; r++, trained += n, weights += n, out += n) encode_row(n, trained, weights, scale++, out);
    while (out < end) *out++ = 0;
}

static void decode_int8(const fa_draw_layout *l, const float *trained, const void *draw, float *weights)
{
    const float *scale = draw;
    const int8_t *in = (const int8_t *)(scale + l->n_row);
    for (int32_t p = 0; p < l->n_parameter; p++)
        for (int64_t r = 0, n = l->row_length[p]; r < l->rows[p]; r++, trained += n, weights += n, in += n) decode_row(n, trained, *scale++, in, weights);
}

void fa_draw_encode(const fa_draw_layout *l, int32_t storage, const float *trained, const float *weights, void *draw)
{
    const int64_t n = l->n_weight;
    if (storage == FA_DRAWS_INT8) {
        encode_int8(l, trained, weights, draw);
    } else if (storage == FA_DRAWS_BF16) {
        uint16_t *out = draw;
        for (int64_t i = 0; i < n; i++) out[i] = fa_bfloat16_from_float(finite_or_zero(weights[i] - trained[i]));
        if (n % 2) out[n] = 0;
    } else {
        float *out = draw;
        for (int64_t i = 0; i < n; i++) out[i] = finite_or_zero(weights[i] - trained[i]);
    }
}

static void decode_bf16(int64_t n, const float *restrict trained, const uint16_t *restrict in, float *restrict weights)
{
    for (int64_t i = 0; i < n; i++) weights[i] = trained[i] + finite_or_zero(fa_float_from_bfloat16(in[i]));
}

static void decode_f32(int64_t n, const float *restrict trained, const float *restrict in, float *restrict weights)
{
    for (int64_t i = 0; i < n; i++) weights[i] = trained[i] + finite_or_zero(in[i]);
}

void fa_draw_decode(const fa_draw_layout *l, int32_t storage, const float *trained, const void *draw, float *weights)
{
    if (storage == FA_DRAWS_INT8) decode_int8(l, trained, draw, weights);
    else if (storage == FA_DRAWS_BF16) decode_bf16(l->n_weight, trained, draw, weights);
    else decode_f32(l->n_weight, trained, draw, weights);
}

void fa_draw_replay(const float *restrict trained, int64_t n_weight, uint64_t seed, uint64_t chain, int64_t t, float deviation, float *restrict weights)
{
    fa_normal(fa_sampler_key(seed, chain, FA_SAMPLER_REPLAY), (uint64_t)t, 0, n_weight, weights);
    for (int64_t i = 0; i < n_weight; i++) weights[i] = trained[i] + deviation * weights[i];
}
