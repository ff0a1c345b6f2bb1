/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_DOT_H
#define FA_KERNELS_DOT_H

#include <stdint.h>

/*
 * The inner loops of scoring and of the eigensolver: inner products, sums of scaled rows, factor updates. One table per instruction set, chosen
 * when the program runs; nothing here needs alignment. Each pair of vectors is summed in the same order whatever it is computed together with, so a result
 * depends on neither batch nor tiling.
 */
#define FA_DOT_ROWS 6

typedef struct fa_dot_kernels {
    const char *name;
    int rows; /* 1 to FA_DOT_ROWS: as many as `weighted` takes at once with all sums in registers */
    /* out[i * out_ld + q] += sum over layers l of weight[4 (n l + i) + q] * <one[i], four[q]> over the elements offset[l] ... offset[l + 1] - 1, in fp32, for n of 1 to `rows`.
     * What two more rows have there is fetched, for a call to come. Layers are added one by one: calls for some of them after the other give the bits of one call for all. */
    void (*weighted)(int n, const float *const *one, const float *const four[4], const float *const ahead[2], const int64_t *offset, int32_t n_layer, const float *weight, float *out, int64_t out_ld);
    /* The sum of squares, in double, where that of no float under- or overflows, and x = a x. The same bits by every instruction set. */
    double (*squares)(int64_t n, const float *x);
    void (*scale)(int64_t n, double a, float *x);
    /* y [n] = sum over j < m of x[j] a[j * ld ...], n a multiple of 16. */
    void (*combine)(int64_t n, int64_t m, const float *a, int64_t ld, const float *x, float *y);
    /* y [n] -= sum over j < m of x[j] a[row[j] * ld ...]. */
    void (*subtract)(int64_t n, int64_t m, const float *a, int64_t ld, const int64_t *row, const float *x, float *y);
    /* A step of conjugate gradients among what is held (1) or not (0): weight += a direction, residual -= a held product. Returns the residual's square. n a multiple of 16. */
    float (*conjugate)(int64_t n, float a, const float *held, const float *direction, const float *product, float *weight, float *residual);
    /* y += a[0] x[0] + ... + a[3] x[3] */
    void (*add4)(int64_t n, const float a[4], const float *const x[4], float *y);
    /* A pass of greedy coordinate descent: g += a[0] row[0] + ... + a[3] row[3]; then at[q] = the index j = q (mod 4) whose coming step
     * |max(0, w[j] + g[j] * scale) - w[j]| is largest (to about 3 digits), -1 when there is none above 0. */
    void (*descend4)(int64_t n, const float a[4], const float *const row[4], float *g, const float *w, float scale, int64_t at[4]);
    /* Four columns of a left-looking Cholesky step: column c of `out` [4, n] loses the sum over k < depth of rows[k * ld + i] * pivot[k * ld + c]. */
    void (*columns4)(int64_t n, int64_t depth, const double *rows, const double *pivot, int64_t ld, double *out, int64_t out_ld);
    /* out[i, 0..15] = sum over j of a[i * ld + j] * x[j, 0..15], for n rows of `a` and m of `x`. */
    void (*panel16)(int64_t n, int64_t m, const float *a, int64_t ld, const double *x, double *out);
    /* out[16, 16] = a' b of two panels [n, 16]. */
    void (*gram16)(int64_t n, const double *a, const double *b, double *out);
    /* out [n, 16] += a [n, 16] h [16, 16]. */
    void (*mix16)(int64_t n, const double *a, const double *h, double *out);
} fa_dot_kernels;

/* `kernels`: FA_KERNELS_REFERENCE or FA_KERNELS_FAST. Never NULL. */
const fa_dot_kernels *fa_dot_kernels_for(int32_t kernels);

#endif
