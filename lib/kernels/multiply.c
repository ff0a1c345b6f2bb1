/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/multiply.h"

#include "base/alloc.h"
#include "base/pool.h"
#include "kernels/cpu.h"
#include "kernels/outer.h"
#include "kernels/tile.h"
#include "kernels/turned.h"

#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>

/* Eight rows of `from` become eight columns of a block. */
FA_INLINE FA_AVX2 void turn8(const float *from, int64_t ld, float *to, int64_t width)
{
    __m256 r[8], s[8];
    FA_UNROLL
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(from + i * ld);
    FA_UNROLL
    for (int i = 0; i < 8; i += 2) s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]), s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    FA_UNROLL
    for (int i = 0; i < 8; i += 4) {
        FA_UNROLL
        for (int k = 0; k < 2; k++) {
            r[i + 2 * k] = _mm256_shuffle_ps(s[i + k], s[i + k + 2], 0x44);
            r[i + 2 * k + 1] = _mm256_shuffle_ps(s[i + k], s[i + k + 2], 0xee);
        }
    }
    FA_UNROLL
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

/* `valid` columns of b, which are rows in memory, as a block. */
static FA_AVX2 void pack_turned(const fa_multiply *x, const float *b, int64_t valid, int64_t width, float *to)
{
    for (int64_t j = 0; j < width; j += 8) {
        int64_t p = 0;
        const float *from = b + j * x->b_col;
        if (j + 8 <= valid)
            for (; p + 8 <= x->k; p += 8) turn8(from + p, x->b_col, to + p * width + j, width);
        for (; p < x->k; p++)
            for (int64_t i = 0; i < 8; i++) to[p * width + j + i] = j + i < valid ? from[i * x->b_col + p] : 0.0f;
    }
}

/* Element (k, m) of a block whose rows have `width` numbers goes to (m, k) of one whose rows have to_width; what lies `ahead` is wanted next. */
static FA_AVX2 void turn_block(const float *from, int64_t width, int64_t k, int64_t m, float *to, int64_t to_width, int64_t ahead)
{
    if (k == FA_TILE && m == FA_TILE) {
        for (int64_t i = 0; i < FA_TILE; i++) _mm_prefetch((const char *)(from + ahead + i * FA_TILE), _MM_HINT_T0);
        for (int64_t i = 0; i < FA_TILE; i += 8)
            for (int64_t j = 0; j < FA_TILE; j += 8) turn8(from + i * FA_TILE + j, FA_TILE, to + j * FA_TILE + i, FA_TILE);
        return;
    }
    for (int64_t j = 0; j < m; j++)
        for (int64_t i = 0; i < to_width; i++) to[j * to_width + i] = i < k ? from[i * width + j] : 0.0f;
}

/* Outputs and terms that are turned around at once: FA_MULTIPLY_TURNED bytes. */
#define TURNED_OUT 32
#define TURNED_TERMS 256
#define TURNED_ROWS 280

/* The packed weights are [block of terms][output][16]: 16 x 16 of them at a time become [block of outputs][term][16]. */
static void turn_part(const fa_multiply *x, int64_t j0, int64_t nj, int64_t p0, int64_t np, float *to)
{
    for (int64_t j = 0; j < nj; j += FA_TILE) {
        const int64_t width = fa_tile_width(nj, j), valid = nj - j < width ? nj - j : width;
        for (int64_t p = 0; p < np; p += FA_TILE) {
            const int64_t from_width = fa_tile_width(x->k, p0 + p), terms = np - p < FA_TILE ? np - p : FA_TILE;
            turn_block(x->packed_turned + (p0 + p) * x->n + (j0 + j) * from_width, from_width, valid, terms, to + p * width, width, TURNED_OUT * FA_TILE);
        }
        to += np * width;
    }
}

typedef struct shared {
    const fa_multiply *multiply;
    fa_isa isa;
} shared;

/* All rows by blocks that are turned around, of some of the outputs. */
static void turn_blocks(void *user, int64_t first, int64_t last, int32_t thread)
{
    static const int64_t here = 0;
    const shared *s = user;
    const fa_multiply *x = s->multiply;
    const int64_t blocks = (x->m + TURNED_ROWS - 1) / TURNED_ROWS, end = last * TURNED_OUT < x->n ? last * TURNED_OUT : x->n;
    float *turned = (float *)(void *)((char *)x->scratch + thread * FA_MULTIPLY_TURNED);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t p = 0; p < x->k; p += TURNED_TERMS)
            for (int64_t j = first * TURNED_OUT; j < end; j += TURNED_OUT) { /* each block of terms is read in order, and its part of `a` stays in the second-level cache */
                const int64_t i = b * x->m / blocks, m = (b + 1) * x->m / blocks - i, nj = x->n - j < TURNED_OUT ? x->n - j : TURNED_OUT,
                              np = x->k - p < TURNED_TERMS ? x->k - p : TURNED_TERMS;
                float *c = x->c + i * x->ldc + j;
                turn_part(x, j, nj, p, np, turned);
                const fa_grid rows = {.rows = 1, .cols = m, .in_col = x->lda, .out_col = x->ldc, .taps = 1, .depth = np, .m = nj, .tap = &here, .isa = s->isa};
                fa_grid_run(&rows, &(fa_grid_data){.in = x->a + i * x->lda + p, .w = turned, .bias = x->bias && !p ? x->bias + j : NULL,
                                                   .residual = x->add || p ? c : NULL, .out = c});
            }
}

/* Whether a row goes by itself hangs on the row, and on whether there are more, not on what is beside it nor on how many they are: threads that share a batch have the same bits. */
static bool goes_alone(const fa_multiply *x, int64_t i)
{
    return x->m == 1 || fa_turned_is_sparse(x, i);
}

static void run_turned(fa_isa isa, const fa_multiply *x)
{
    for (int64_t i = 0, end; i < x->m; i = end) {
        end = i + 1;
        if (goes_alone(x, i)) {
            fa_turned_row(x, i);
            continue;
        }
        while (end < x->m && !goes_alone(x, end)) end++;
        fa_multiply some = *x;
        some.m = end - i;
        some.a += i * x->lda;
        some.c += i * x->ldc;
        fa_pool_share(x->pool, (x->n + TURNED_OUT - 1) / TURNED_OUT, 2.0 * (double)some.m * (double)x->n * (double)x->k, turn_blocks, &(shared){&some, isa});
    }
}

static FA_AVX2 void pack_rows(const fa_multiply *x, const float *b, int64_t valid, int64_t width, float *to)
{
    if (valid == FA_TILE)
        for (int64_t p = 0; p < x->k; p++, b += x->b_row, to += FA_TILE) {
            _mm256_storeu_ps(to, _mm256_loadu_ps(b));
            _mm256_storeu_ps(to + 8, _mm256_loadu_ps(b + 8));
        }
    else
        for (int64_t p = 0; p < x->k; p++, b += x->b_row, to += width)
            for (int64_t i = 0; i < width; i++) to[i] = i < valid ? b[i] : 0.0f;
}

#endif

typedef struct packing {
    const fa_multiply *multiply;
    float *to;
} packing;

/* The blocks that fa_grid multiplies by. */
static void pack_blocks(void *user, int64_t first, int64_t end, int32_t thread)
{
    (void)thread;
#if FA_HAVE_AVX2
    const packing *p = user;
    const fa_multiply *x = p->multiply;
    for (int64_t j = first * FA_TILE; j < x->n && j < end * FA_TILE; j += FA_TILE) {
        const int64_t width = fa_tile_width(x->n, j), valid = x->n - j < width ? x->n - j : width;
        if (x->b_col == 1) pack_rows(x, x->b + j, valid, width, p->to + j * x->k);
        else pack_turned(x, x->b + j * x->b_col, valid, width, p->to + j * x->k);
    }
#else
    (void)user, (void)first, (void)end;
#endif
}

/* What an element costs that is moved: about the time of so many multiplications. */
#define MOVED 32.0

void fa_multiply_pack(const fa_multiply *x, float *to)
{
    fa_pool_share(x->pool, (x->n + FA_TILE - 1) / FA_TILE, MOVED * (double)x->n * (double)x->k, pack_blocks, &(packing){x, to});
}

void fa_multiply_turn(const float *from, int64_t width, int64_t rows, int64_t columns, float *to, int64_t to_width)
{
#if FA_HAVE_AVX2
    if (fa_cpu_avx2()) {
        turn_block(from, width, rows, columns, to, to_width, 0);
        return;
    }
#endif
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < to_width; i++) to[j * to_width + i] = i < rows ? from[i * width + j] : 0.0f;
}

size_t fa_multiply_scratch(int64_t n, int64_t k)
{
    return ((size_t)(fa_tile_round(n) * k) * sizeof(float) + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static void plain(const fa_multiply *x)
{
    const int64_t a_row = x->a_turned ? 1 : x->lda, a_col = x->a_turned ? x->lda : 1;
    for (int64_t i = 0; i < x->m; i++)
        for (int64_t j = 0; j < x->n; j++) {
            double sum = (x->add ? (double)x->c[i * x->ldc + j] : 0) + (x->bias ? (double)x->bias[j] : 0);
            for (int64_t p = 0; p < x->k; p++) sum += (double)x->a[i * a_row + p * a_col] * (double)x->b[p * x->b_row + j * x->b_col];
            x->c[i * x->ldc + j] = (float)sum;
        }
}

void fa_multiply_run(fa_isa isa, const fa_multiply *x)
{
    if (x->a_turned && isa != FA_ISA_NONE) { /* a sum of outer products, of what lies together in both */
        for (int64_t i = 0; !x->add && i < x->m; i++) memset(x->c + i * x->ldc, 0, (size_t)x->n * sizeof *x->c);
        fa_outer_grid_run(isa, &(fa_outer_grid){.images = 1, .rows = 1, .cols = x->k, .ni = x->m, .nj = x->n, .x = x->a, .y = x->b, .x_col = x->lda, .y_col = x->b_row,
                                                .c = x->c, .ldc = x->ldc, .pool = x->pool});
        return;
    }
#if FA_HAVE_AVX2
    if (isa != FA_ISA_NONE) {
        static const int64_t here = 0;
        if (x->packed_turned) {
            run_turned(isa, x);
            return;
        }
        const fa_grid rows = {.rows = 1, .cols = x->m, .in_col = x->lda, .out_col = x->ldc, .taps = 1, .depth = x->k, .m = x->n, .tap = &here, .isa = isa};
        if (!x->packed) fa_multiply_pack(x, x->scratch);
        fa_grid_share(x->pool, &rows, &(fa_grid_data){.in = x->a, .w = x->packed ? x->packed : x->scratch, .bias = x->bias, .residual = x->add ? x->c : NULL, .out = x->c});
        return;
    }
#endif
    plain(x);
}
