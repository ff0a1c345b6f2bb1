/* SPDX-License-Identifier: Apache-2.0 */
#include "score/cholesky.h"

#include <math.h>
#include <string.h>

#define ROWS 32    /* rows that go through a block of columns together, so that both stay in cache */
#define CHUNK 1024 /* length of an fp32 sum before it is added up in double */
#define LEAST_RIDGE 1e-5
#define LEAST_PIVOT 1e-6 /* rounding can leave no less than this of a ridge of LEAST_RIDGE */

static const float ones[4 * FA_DOT_ROWS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

double fa_ridge_used(double ridge)
{
    return ridge > LEAST_RIDGE ? ridge : LEAST_RIDGE;
}

/* dot[4 r + q] = <x + r n, four[q]> over the elements first ... end - 1, for `rows` rows. */
static void dots(const fa_dot_kernels *k, int rows, const float *x, int64_t n, const float *const four[4], int64_t first, int64_t end, double *dot)
{
    const float *one[FA_DOT_ROWS];
    for (int r = 0; r < rows; r++) one[r] = x + r * n;
    for (int q = 0; q < 4 * rows; q++) dot[q] = 0;
    for (int64_t i = first; i < end; i += CHUNK) {
        int64_t offset[2] = {i, end - i < CHUNK ? end : i + CHUNK};
        float part[4 * FA_DOT_ROWS] = {0};
        k->weighted(rows, one, four, four, offset, 1, ones, part, 4);
        for (int q = 0; q < 4 * rows; q++) dot[q] += part[q];
    }
}

/* Rows first ... first + 3, the last one again where there are fewer. */
static void four_rows(const float *a, int64_t n, int64_t first, const float *four[4])
{
    for (int64_t q = 0; q < 4; q++) four[q] = a + (first + q < n ? first + q : n - 1) * n;
}

/* Columns j ... j + 3 of row i, whose inner products with the rows of the same numbers, as far as those columns, are s. */
static void finish_row(const float *gram, int64_t n, double ridge, int64_t i, int64_t j, const double *s, float *l)
{
    for (int64_t q = 0; q < 4 && j + q <= i; q++) {
        double v = gram[i * n + j + q] - s[q];
        for (int64_t p = 0; p < q; p++) v -= (double)l[i * n + j + p] * l[(j + q) * n + j + p];
        if (i == j + q) {
            v += ridge;
            l[i * n + i] = (float)sqrt(v > LEAST_PIVOT ? v : LEAST_PIVOT);
        } else {
            l[i * n + j + q] = (float)(v / l[(j + q) * n + j + q]);
        }
    }
}

void fa_cholesky(const fa_dot_kernels *k, const float *gram, int64_t n, double ridge, float *l)
{
    ridge = fa_ridge_used(ridge);
    for (int64_t i0 = 0; i0 < n; i0 += ROWS) {
        int64_t i1 = n - i0 < ROWS ? n : i0 + ROWS;
        for (int64_t j = 0; j < i1; j += 4) {
            const float *four[4];
            four_rows(l, n, j, four);
            for (int64_t i = i0 > j ? i0 : j; i < i1; i += k->rows) {
                int rows = i1 - i < k->rows ? (int)(i1 - i) : k->rows;
                double s[4 * FA_DOT_ROWS];
                dots(k, rows, l + i * n, n, four, 0, j, s);
                for (int r = 0; r < rows; r++) finish_row(gram, n, ridge, i + r, j, s + 4 * r, l);
            }
        }
    }
    for (int64_t i = 0; i < n; i++) memset(l + i * n + i + 1, 0, (size_t)(n - i - 1) * sizeof *l);
}

void fa_cholesky_solve(const fa_dot_kernels *k, const float *l, int64_t n, const float *b, int64_t first, float *x)
{
    first = first / 4 * 4;
    if (x != b) memcpy(x, b, (size_t)n * sizeof *x);
    for (int64_t i = first; i < n; i += 4) {
        const float *four[4];
        double s[4];
        four_rows(l, n, i, four);
        dots(k, 1, x, n, four, first, i, s);
        for (int64_t q = 0; q < 4 && i + q < n; q++) {
            double v = x[i + q] - s[q];
            for (int64_t p = 0; p < q; p++) v -= (double)four[q][i + p] * x[i + p];
            x[i + q] = (float)(v / four[q][i + q]);
        }
    }
    for (int64_t i = (n - 1) / 4 * 4; i >= 0; i -= 4) {
        const float *four[4];
        float a[4] = {0, 0, 0, 0};
        four_rows(l, n, i, four);
        for (int64_t q = n - i < 4 ? n - i - 1 : 3; q >= 0; q--) {
            double v = x[i + q];
            for (int64_t p = q + 1; p < 4 && i + p < n; p++) v -= (double)four[p][i + q] * x[i + p];
            x[i + q] = (float)(v / four[q][i + q]);
            a[q] = -x[i + q];
        }
        k->add4(i, a, four, x);
    }
}
