/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/bf16.h"

#include "base/half.h"
#include "kernels/cpu.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <string.h>

float fa_bf16_pair(float first, float second)
{
    uint32_t low, high;
    const float a = fa_bfloat16_nearest(first), b = fa_bfloat16_nearest(second);
    memcpy(&low, &a, sizeof low);
    memcpy(&high, &b, sizeof high);
    return fa_float_from_bits(low >> 16 | (high & 0xffff0000u));
}

int64_t fa_bf16_pixel(int64_t form, int64_t channels)
{
    return form == FA_BF16_PAIRS ? (channels + 1) / 2 : channels;
}

#if FA_HAVE_AVX2
#include <immintrin.h>

#define BF16 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")))

/* n floats as (n + 1) / 2 words. */
static BF16 void pair_up(int64_t n, const float *in, float *to)
{
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) _mm512_storeu_si512(to + i / 2, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(in + i + 16), _mm512_loadu_ps(in + i)));
    for (; i < n; i += 16) {
        const int64_t left = n - i < 16 ? n - i : 16;
        const __m256i words = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), in + i));
        _mm256_mask_storeu_epi32(to + i / 2, (__mmask8)((1u << (left + 1) / 2) - 1), words);
    }
}

#endif

void fa_bf16_write(int64_t form, int64_t pixels, int64_t channels, const float *in, float *to)
{
#if FA_HAVE_AVX2
    if (form == FA_BF16_PAIRS) {
        const bool joins = channels % 2 == 0;
        for (int64_t p = 0; p < (joins ? 1 : pixels); p++) pair_up(joins ? pixels * channels : channels, in + p * channels, to + p * fa_bf16_pixel(form, channels));
        return;
    }
#endif
    (void)form;
    for (int64_t i = 0; i < pixels * channels; i++) to[i] = fa_bfloat16_nearest(in[i]);
}

void fa_bf16_pad_image(int64_t form, const fa_bf16_padding *p, const float *in, float *to)
{
    const int64_t words = fa_bf16_pixel(form, p->channels), row = p->padded_w * words, right = (p->padded_w - p->left - p->w) * words;
    for (int64_t y = 0; y < p->padded_h; y++, to += row) {
        if (y < p->top || y >= p->top + p->h) {
            memset(to, 0, (size_t)row * sizeof *to);
            continue;
        }
        memset(to, 0, (size_t)(p->left * words) * sizeof *to);
        fa_bf16_write(form, p->w, p->channels, in, to + p->left * words);
        memset(to + row - right, 0, (size_t)right * sizeof *to);
        in += p->w * p->channels;
    }
}
