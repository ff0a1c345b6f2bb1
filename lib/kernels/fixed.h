/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_FIXED_H
#define FA_KERNELS_FIXED_H

#include <stdint.h>

/*
 * Inner products of rows in fixed point: pieces of 16-bit integers, one after the other, whose products are summed in 32 bits. Those that scale() scales overflow in no sum, so every sum is exact, in
 * any order: a coupling has the same bits whatever it is computed together with, and on every instruction set.
 */
#define FA_FIXED_UNIT 32 /* elements: pieces begin at multiples of it, with zeros up to the next */
#define FA_FIXED_ROWS 4
#define FA_FIXED_FEW 12  /* inputs that are multiplied sooner in rows than in columns */

/* Inputs in columns with references in rows. A word is two elements that follow each other. */
typedef struct fa_fixed_tile {
    const int16_t *reference; /* [references] rows `stride` apart */
    int64_t stride;
    const float *reference_plain, *reference_unit; /* [references, pieces] */
    const int32_t *word;                           /* [words of a row, inputs] */
    const float *plain, *unit;                     /* [pieces, inputs] */
    const int64_t *offset;                         /* [pieces + 1] */
    int32_t pieces;
    float *out; /* [references, inputs]: sum over pieces of (plain reference_plain + unit reference_unit) times the inner product */
} fa_fixed_tile;

static inline int64_t fa_fixed_round(int64_t length)
{
    return (length + FA_FIXED_UNIT - 1) / FA_FIXED_UNIT * FA_FIXED_UNIT;
}

typedef struct fa_fixed_kernels {
    const char *name;
    int rows;       /* 1 to FA_FIXED_ROWS: as many as `few` takes */
    int references; /* of a tile */
    int columns;    /* `many` takes so many inputs, or half as many */
    /* out[i * out_ld + q] = sum over pieces p of weight[4 (n p + i) + q] * <one[i], four[q]> over the piece's elements, for n of 1 to `rows`. */
    void (*few)(int n, const int16_t *const *one, const int16_t *const four[4], const int64_t *offset, int32_t pieces, const float *weight, float *out, int64_t out_ld);
    void (*few_i8)(int n, const int16_t *const *one, const int8_t *const four[4], const int64_t *offset, int32_t pieces, const float *weight, float *out, int64_t out_ld);
    void (*many)(const fa_fixed_tile *tile, int columns);
    /* to [n] = x scale, to nearest, ties to even, and zeros up to a multiple of FA_FIXED_UNIT. */
    void (*write)(int64_t n, const float *x, float scale, int16_t *to);
    void (*widen)(int64_t n, const int8_t *x, int16_t *to); /* n a multiple of FA_FIXED_UNIT */
    /* What a piece is multiplied by, so that its greatest element becomes no more than `most`, and its length when rounded no more than the square root of 2^31, which bounds every sum of products
     * of two pieces (Cauchy and Schwarz). 1 for zeros. */
    float (*scale)(int64_t n, const float *x, float most);
    void (*turn)(int64_t rows, int64_t words, const int32_t *from, int32_t *to); /* to [words, rows]: the transpose of from [rows, words], both multiples of 16, or `columns` or half of them in rows */
} fa_fixed_kernels;

/* `kernels`: FA_KERNELS_REFERENCE or FA_KERNELS_FAST. Never NULL; they differ in speed alone. */
const fa_fixed_kernels *fa_fixed_kernels_for(int32_t kernels);

#endif
