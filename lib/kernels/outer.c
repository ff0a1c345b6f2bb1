/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/outer.h"

#include "kernels/blis.h"
#include "kernels/cpu.h"

#if FA_HAVE_AVX2
#include <immintrin.h>

#define ROWS 6

/* `r` rows by 16 (v = 2), 8 (v = 1) or the first lanes of `mask` (v = 0) columns. */
FA_INLINE FA_AVX2 void body(const fa_outer *o, int64_t i0, int64_t j0, const int r, const int v, __m256i mask)
{
    __m256 acc[ROWS][2];
    const float *x = o->x + i0, *y = o->y + j0;
    const int vectors = v > 1 ? 2 : 1;
    FA_UNROLL
    for (int i = 0; i < r; i++) {
        FA_UNROLL
        for (int k = 0; k < vectors; k++) acc[i][k] = _mm256_setzero_ps();
    }
    for (int64_t p = 0; p < o->n; p++, x += o->ldx, y += o->ldy) {
        const __m256 y0 = v ? _mm256_loadu_ps(y) : _mm256_maskload_ps(y, mask), y1 = _mm256_loadu_ps(v > 1 ? y + 8 : y);
        FA_UNROLL
        for (int i = 0; i < r; i++) {
            const __m256 b = _mm256_broadcast_ss(x + i);
            acc[i][0] = _mm256_fmadd_ps(b, y0, acc[i][0]);
            if (v > 1) acc[i][1] = _mm256_fmadd_ps(b, y1, acc[i][1]);
        }
    }
    FA_UNROLL
    for (int i = 0; i < r; i++) {
        float *c = o->c + (i0 + i) * o->ldc + j0;
        if (!v) {
            _mm256_maskstore_ps(c, mask, _mm256_add_ps(acc[i][0], _mm256_maskload_ps(c, mask)));
            continue;
        }
        _mm256_storeu_ps(c, _mm256_add_ps(acc[i][0], _mm256_loadu_ps(c)));
        if (v > 1) _mm256_storeu_ps(c + 8, _mm256_add_ps(acc[i][1], _mm256_loadu_ps(c + 8)));
    }
}

#define OUTER(r, v)                                                                                                                                      \
    static FA_AVX2 void outer_##r##_##v(const fa_outer *o, int64_t i0, int64_t j0, const int32_t *mask)                                                  \
    {                                                                                                                                                    \
        body(o, i0, j0, r, v, _mm256_loadu_si256((const __m256i *)(const void *)mask));                                                                  \
    }
#define OUTERS(r) OUTER(r, 0) OUTER(r, 1) OUTER(r, 2)
OUTERS(1)
OUTERS(2)
OUTERS(3)
OUTERS(4)
OUTERS(5)
OUTERS(6)

typedef void (*outer_fn)(const fa_outer *o, int64_t i0, int64_t j0, const int32_t *mask);
#define ENTRY(r) {outer_##r##_0, outer_##r##_1, outer_##r##_2}
static const outer_fn outers[ROWS + 1][3] = {{NULL}, ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6)};

/* Masks of 0 to 8 lanes: lanes [8 - n, 16 - n). */
static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

/* Columns [j0, nj) of rows [i0, i0 + r). */
static void band(const fa_outer *o, int64_t i0, int64_t r, int64_t j0, int64_t nj)
{
    for (int64_t j = j0, step; j < nj; j += step) {
        const int64_t left = nj - j;
        const int v = left >= 16 ? 2 : left >= 8 ? 1 : 0;
        step = v ? 8 * v : left;
        outers[r][v](o, i0, j, lanes + (v ? 0 : 8 - left));
    }
}

static int64_t rows_now(int64_t left)
{
    return left >= 2 * ROWS || left == ROWS ? ROWS : left > ROWS ? (left + 1) / 2 : left;
}
#endif

static void plain(const fa_outer *o)
{
    for (int64_t i = 0; i < o->ni; i++)
        for (int64_t j = 0; j < o->nj; j++) {
            double sum = 0;
            for (int64_t p = 0; p < o->n; p++) sum += (double)o->x[p * o->ldx + i] * o->y[p * o->ldy + j];
            o->c[i * o->ldc + j] += (float)sum;
        }
}

void fa_outer_run(fa_isa isa, const fa_outer *o)
{
#if FA_HAVE_AVX2
    if (isa != FA_ISA_NONE) {
        for (int64_t i = 0, r; i < o->ni; i += r) {
            r = rows_now(o->ni - i);
            band(o, i, r, 0, o->nj);
        }
        return;
    }
#endif
    (void)isa;
    plain(o);
}

/* From here on BLIS, which packs what it multiplies, is the faster one. */
#define PACKED_FROM 192

/* Rows of x taken together: their part of two panels stays in the first-level cache. */
#define SPAN 256

void fa_outer_symmetric(fa_isa isa, int64_t n, int64_t k, const float *x, int64_t ldx, float *c, int64_t ldc)
{
#if FA_HAVE_BLIS
    if (isa != FA_ISA_NONE && k >= PACKED_FROM) {
        fa_blis_symmetric(n, k, x, ldx, c, ldc);
        return;
    }
#endif
    for (int64_t p = 0; p < n; p += SPAN) {
        fa_outer o = {n - p < SPAN ? n - p : SPAN, k, k, x + p * ldx, x + p * ldx, ldx, ldx, c, ldc};
#if FA_HAVE_AVX2
        if (isa != FA_ISA_NONE) {
            for (int64_t j = 0; j < k; j += 16)
                for (int64_t i = j, r; i < k; i += r) {
                    r = rows_now(k - i);
                    band(&o, i, r, j, j + 16 < k ? j + 16 : k);
                }
            continue;
        }
#endif
        for (int64_t i = 0; i < k; i++) {
            fa_outer row = o;
            row.x += i;
            row.ni = 1;
            row.nj = i + 1;
            row.c += i * ldc;
            plain(&row);
        }
    }
    (void)isa;
}
