/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/turned.h"

#include "kernels/cpu.h"
#include "kernels/tile.h"

#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>

/* Numbers that are summed beside each other. */
#define BESIDE 8

/* Blocks of terms that are gone through for all numbers before the next. */
#define BLOCKS 2048

/* A row is sparse when it meets at most one in so many blocks. */
#define SPARSE 8

/* Sixteen terms of a row, zeros beyond its end, and their block. */
typedef struct terms {
    const float *a, *w;
    int64_t width;
    bool zero;
} terms;

FA_INLINE FA_AVX2 bool zeros(const float *x)
{
    const __m256 zero = _mm256_setzero_ps();
    return _mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), zero, _CMP_EQ_OQ), _mm256_cmp_ps(_mm256_loadu_ps(x + 8), zero, _CMP_EQ_OQ))) == 0xff;
}

/* `rest`: room for the last terms. */
FA_INLINE FA_AVX2 terms terms_at(const fa_multiply *x, const float *a, int64_t k, float rest[FA_TILE])
{
    terms t = {a + k, x->packed_turned + k * x->n, fa_tile_width(x->k, k), false};
    if (k + FA_TILE > x->k) {
        memset(rest, 0, FA_TILE * sizeof *rest);
        memcpy(rest, t.a, (size_t)(x->k - k) * sizeof *rest);
        t.a = rest;
    }
    t.zero = zeros(t.a);
    return t;
}

/* The sums of eight vectors, one beside the other. */
FA_INLINE FA_AVX2 __m256 sums(const __m256 v[BESIDE])
{
    const __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3])), high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}

/* The blocks that do not meet zeros alone: which of the BLOCKS from term `first` on, and how many. */
typedef struct met {
    int64_t first;
    int n;
    int16_t block[BLOCKS];
} met;

static FA_AVX2 void find_met(const fa_multiply *x, const float *a, int64_t first, met *m)
{
    float rest[FA_TILE];
    m->first = first;
    m->n = 0;
    for (int16_t b = 0; b < BLOCKS && first + b * FA_TILE < x->k; b++)
        if (!terms_at(x, a, first + b * FA_TILE, rest).zero) m->block[m->n++] = b;
}

/* Numbers j ... j + n - 1 of a row; n: a constant, BESIDE or 1. */
FA_INLINE FA_AVX2 void numbers(const fa_multiply *x, const float *a, const met *m, int64_t j, const int n, float out[BESIDE])
{
    __m256 acc[BESIDE];
    float rest[FA_TILE];
    FA_UNROLL
    for (int i = 0; i < BESIDE; i++) acc[i] = _mm256_setzero_ps();
    for (int b = 0; b < m->n; b++) {
        const terms t = terms_at(x, a, m->first + m->block[b] * FA_TILE, rest);
        const float *w = t.w + j * t.width;
        const __m256 a0 = _mm256_loadu_ps(t.a), a1 = _mm256_loadu_ps(t.a + 8);
        FA_UNROLL
        for (int i = 0; i < n; i++) {
            _mm_prefetch((const char *)(w + (i + BESIDE) * t.width), _MM_HINT_T0); /* of the next numbers, which is a whole row away */
            acc[i] = _mm256_fmadd_ps(a0, _mm256_loadu_ps(w + i * t.width), acc[i]);
            if (t.width == FA_TILE) acc[i] = _mm256_fmadd_ps(a1, _mm256_loadu_ps(w + i * t.width + 8), acc[i]);
        }
    }
    _mm256_storeu_ps(out, sums(acc));
}

static FA_AVX2 void eight(const fa_multiply *x, const float *a, const met *m, int64_t j, float out[BESIDE])
{
    numbers(x, a, m, j, BESIDE, out);
}

static FA_AVX2 void one(const fa_multiply *x, const float *a, const met *m, int64_t j, float out[BESIDE])
{
    numbers(x, a, m, j, 1, out);
}

FA_AVX2 void fa_turned_row(const fa_multiply *x, int64_t i)
{
    const float *a = x->a + i * x->lda;
    float *c = x->c + i * x->ldc, sum[BESIDE];
    met m;
    for (int64_t first = 0; first < x->k; first += BLOCKS * FA_TILE) {
        const bool add = x->add || first, bias = x->bias && !first;
        find_met(x, a, first, &m);
        for (int64_t j = 0, n; j < x->n; j += n) {
            n = x->n - j < BESIDE ? 1 : BESIDE;
            (n > 1 ? eight : one)(x, a, &m, j, sum);
            for (int64_t k = 0; k < n; k++) c[j + k] = sum[k] + (bias ? x->bias[j + k] : 0.0f) + (add ? c[j + k] : 0.0f);
        }
    }
}

FA_AVX2 bool fa_turned_is_sparse(const fa_multiply *x, int64_t i)
{
    float rest[FA_TILE];
    int64_t count = 0, blocks = (x->k + FA_TILE - 1) / FA_TILE;
    for (int64_t k = 0; k < x->k && count * SPARSE <= blocks; k += FA_TILE) count += !terms_at(x, x->a + i * x->lda, k, rest).zero;
    return count * SPARSE <= blocks;
}
#endif
