/* SPDX-License-Identifier: Apache-2.0 */
/* Body of fixed.c, included once per instruction set with NAME, LABEL, TARGET, FLOATS (32-bit elements of a vector), ROWS (that `few` takes), REFERENCES (of a tile), SPLAT_I, SPLAT_F,
 * DOT (words of two: adds the products of both), SUM4 (of four vectors, a plain_i of their sums), PAIRS_OF (words from twice FLOATS 8-bit integers) NEAREST (float to integer) and MAX_I defined;
 * undefines them. Rounding happens to floats alone, in the same operations everywhere, none of them fused. */

#define vf NAME(vf)
#define vi NAME(vi)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));

#define LOAD_I(p) (*(const vi *)(const void *)(p))
#define LOAD_F(p) (*(const vf *)(p))

#define FEW NAME(few_rows)
#define WHOLE NAME(few)
#define ELEMENT int16_t
#define WORDS(p) LOAD_I(p)
#include "kernels/fixed_few.h"

#define FEW NAME(few_rows_i8)
#define WHOLE NAME(few_i8)
#define ELEMENT int8_t
#define WORDS(p) PAIRS_OF(p)
#include "kernels/fixed_few.h"

/* `v` vectors of inputs: a constant after inlining. What the next tile reads is as long as this one's rows: a line of it is fetched for every word. */
TARGET FA_INLINE void NAME(tile)(const fa_fixed_tile *t, const int v)
{
    const int64_t stride = t->stride, width = v * FLOATS;
    const int32_t *word = t->word;
    const char *ahead = (const char *)(t->reference + REFERENCES * stride);
    memset(t->out, 0, (size_t)(REFERENCES * width) * sizeof *t->out);
    for (int32_t p = 0; p < t->pieces; p++) {
        vi s[REFERENCES][2];
        FA_UNROLL
        for (int k = 0; k < REFERENCES; k++) s[k][0] = s[k][1] = (vi){0};
        const int64_t end = t->offset[p + 1];
        for (int64_t i = t->offset[p]; i < end; i += 2, word += width) {
            const int16_t *row[] = {t->reference + i, t->reference + 3 * stride + i, t->reference + 6 * stride + i, t->reference + 9 * stride + i, t->reference + 12 * stride + i};
            const vi x0 = LOAD_I(word), x1 = LOAD_I(word + (v > 1 ? FLOATS : 0));
            __builtin_prefetch(ahead + 32 * i);
            FA_UNROLL
            for (int k = 0; k < REFERENCES; k++) {
                int32_t both;
                memcpy(&both, row[k / 3] + k % 3 * stride, sizeof both);
                const vi r = SPLAT_I(both);
                s[k][0] = DOT(s[k][0], x0, r);
                if (v > 1) s[k][1] = DOT(s[k][1], x1, r);
            }
        }
        FA_UNROLL
        for (int k = 0; k < REFERENCES; k++) {
            const vf plain = SPLAT_F(t->reference_plain[k * t->pieces + p]), unit = SPLAT_F(t->reference_unit[k * t->pieces + p]);
            FA_UNROLL
            for (int e = 0; e < v; e++) {
                vf *to = (vf *)(t->out + k * width + e * FLOATS);
                const vf weight = LOAD_F(t->plain + p * width + e * FLOATS) * plain + LOAD_F(t->unit + p * width + e * FLOATS) * unit;
                *to += weight * __builtin_convertvector(s[k][e], vf);
            }
        }
    }
}

TARGET static void NAME(tile_1)(const fa_fixed_tile *t)
{
    NAME(tile)(t, 1);
}

TARGET static void NAME(tile_2)(const fa_fixed_tile *t)
{
    NAME(tile)(t, 2);
}

TARGET static void NAME(many)(const fa_fixed_tile *t, int columns)
{
    if (columns > FLOATS) NAME(tile_2)(t);
    else NAME(tile_1)(t);
}

TARGET static void NAME(write)(int64_t n, const float *x, float scale, int16_t *to)
{
    const vf by = SPLAT_F(scale);
    int64_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) {
        const vi v = NEAREST(LOAD_F(x + i) * by);
        for (int e = 0; e < FLOATS; e++) to[i + e] = (int16_t)v[e];
    }
    if (i < n) {
        float rest[FLOATS] = {0};
        memcpy(rest, x + i, (size_t)(n - i) * sizeof *rest);
        const vi v = NEAREST(LOAD_F(rest) * by);
        for (int e = 0; i < n; e++) to[i++] = (int16_t)v[e];
    }
    for (; i % FA_FIXED_UNIT; i++) to[i] = 0;
}

TARGET static void NAME(widen)(int64_t n, const int8_t *x, int16_t *to)
{
    for (int64_t i = 0; i < n; i += 2 * FLOATS) *(vi *)(void *)(to + i) = PAIRS_OF(x + i);
}

/* Sixteen sums whatever the vectors, so that scales have the same bits everywhere. */
TARGET static float NAME(scale)(int64_t n, const float *x, float most)
{
    vf s[16 / FLOATS] = {{0}};
    vi m[16 / FLOATS] = {{0}}; /* sizes compare as integers */
    float rest[16] = {0}, sum[16], size[16];
    const int64_t whole = n / 16 * 16;
    memcpy(rest, x + whole, (size_t)(n - whole) * sizeof *rest);
    for (int64_t i = 0; i <= whole; i += 16) {
        const float *from = i < whole ? x + i : rest;
        FA_UNROLL
        for (int k = 0; k < 16 / FLOATS; k++) {
            const vf v = LOAD_F(from + k * FLOATS);
            s[k] += v * v;
            m[k] = MAX_I(m[k], (vi)v & 0x7fffffff);
        }
    }
    memcpy(sum, s, sizeof sum);
    memcpy(size, m, sizeof size);
    return scale_for(n, sum, size, most);
}

/* A square of 16 words at a time, which stays in the first-level cache. */
TARGET static void NAME(turn)(int64_t rows, int64_t words, const int32_t *from, int32_t *to)
{
    for (int64_t j = 0; j < words; j += 16)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t e = 0; e < 16; e++) to[(j + e) * rows + i] = from[i * words + j + e];
}

static const fa_fixed_kernels NAME(table) = {
    .name = LABEL,
    .rows = ROWS,
    .references = REFERENCES,
    .columns = 2 * FLOATS,
    .few = NAME(few),
    .few_i8 = NAME(few_i8),
    .many = NAME(many),
    .write = NAME(write),
    .widen = NAME(widen),
    .scale = NAME(scale),
    .turn = NAME(turn),
};

#undef vf
#undef vi
#undef LOAD_I
#undef LOAD_F
#undef NAME
#undef LABEL
#undef TARGET
#undef FLOATS
#undef ROWS
#undef REFERENCES
#undef SPLAT_I
#undef SPLAT_F
#undef DOT
#undef SUM4
#undef PAIRS_OF
#undef NEAREST
#undef MAX_I
