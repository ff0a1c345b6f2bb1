/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/turned.h"

#include "kernels/cpu.h"
#include "kernels/tile.h"

#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>

/* Numbers whose sums end beside each other. */
#define BESIDE 8

/* Numbers whose partial sums, a tile of each, lie in the scratch memory, and blocks of terms that are added to them at a time: each is read from its beginning to its end, as memory is
 * read fastest. */
#define NUMBERS (FA_MULTIPLY_TURNED / (int64_t)(FA_TILE * sizeof(float)))
#define TOGETHER 4

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

/* Partial sums of numbers j ... j + n - 1: of `count` met blocks from the `from`-th on, a constant; those of the first begin them. */
FA_INLINE FA_AVX2 void add_blocks(const fa_multiply *x, const float *a, const met *m, int from, const int count, int64_t j, int64_t n)
{
    float rest[TOGETHER][FA_TILE], *acc = x->scratch;
    __m256 low[TOGETHER], high[TOGETHER];
    const float *w[TOGETHER];
    int64_t width[TOGETHER];
    FA_UNROLL
    for (int b = 0; b < count; b++) {
        const terms t = terms_at(x, a, m->first + m->block[from + b] * FA_TILE, rest[b]);
        low[b] = _mm256_loadu_ps(t.a);
        high[b] = t.width == FA_TILE ? _mm256_loadu_ps(t.a + 8) : _mm256_setzero_ps();
        w[b] = t.w + j * t.width;
        width[b] = t.width;
    }
    for (int64_t i = 0; i < n; i++, acc += FA_TILE) {
        __m256 s0 = from ? _mm256_loadu_ps(acc) : _mm256_setzero_ps(), s1 = from ? _mm256_loadu_ps(acc + 8) : _mm256_setzero_ps();
        FA_UNROLL
        for (int b = 0; b < count; b++) {
            s0 = _mm256_fmadd_ps(low[b], _mm256_loadu_ps(w[b]), s0);
            if (width[b] == FA_TILE) s1 = _mm256_fmadd_ps(high[b], _mm256_loadu_ps(w[b] + 8), s1);
            w[b] += width[b];
        }
        _mm256_storeu_ps(acc, s0);
        _mm256_storeu_ps(acc + 8, s1);
    }
}

static FA_AVX2 void add_four(const fa_multiply *x, const float *a, const met *m, int from, int64_t j, int64_t n)
{
    add_blocks(x, a, m, from, TOGETHER, j, n);
}

static FA_AVX2 void add_one(const fa_multiply *x, const float *a, const met *m, int from, int64_t j, int64_t n)
{
    add_blocks(x, a, m, from, 1, j, n);
}

/* Numbers j ... j + n - 1 of a row, at most NUMBERS, of the blocks that were met. */
static FA_AVX2 void numbers(const fa_multiply *x, const float *a, const met *m, int64_t j, int64_t n, const float *bias, bool add, float *c)
{
    for (int from = 0, count; from < m->n; from += count) {
        count = m->n - from < TOGETHER ? 1 : TOGETHER;
        (count > 1 ? add_four : add_one)(x, a, m, from, j, n);
    }
    for (int64_t i = 0; i < n; i += BESIDE) {
        __m256 v[BESIDE];
        float sum[BESIDE];
        FA_UNROLL
        for (int k = 0; k < BESIDE; k++) {
            const float *acc = (const float *)x->scratch + (i + k < n ? i + k : i) * FA_TILE;
            v[k] = m->n ? _mm256_add_ps(_mm256_loadu_ps(acc), _mm256_loadu_ps(acc + 8)) : _mm256_setzero_ps();
        }
        _mm256_storeu_ps(sum, sums(v));
        for (int64_t k = i; k < n && k < i + BESIDE; k++) c[j + k] = sum[k - i] + (bias ? bias[j + k] : 0.0f) + (add ? c[j + k] : 0.0f);
    }
}

FA_AVX2 void fa_turned_row(const fa_multiply *x, int64_t i)
{
    const float *a = x->a + i * x->lda;
    met m;
    for (int64_t first = 0; first < x->k; first += BLOCKS * FA_TILE) {
        find_met(x, a, first, &m);
        for (int64_t j = 0; j < x->n; j += NUMBERS) numbers(x, a, &m, j, x->n - j < NUMBERS ? x->n - j : NUMBERS, first ? NULL : x->bias, x->add || first, x->c + i * x->ldc);
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
