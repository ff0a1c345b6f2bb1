/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/eigen.h"

#include "base/error.h"
#include "kernels/normal.h"
#include "sketch/eigen_dense.h"

#include <float.h>
#include <math.h>
#include <string.h>

/*
 * Block Lanczos with full reorthogonalisation and thick restarts. The block has at least k columns, so that an eigenvalue of any multiplicity
 * is found as often as it counts among the k. Vectors live in panels of 16 columns, [n, 16] each. The matrix is read as floats (its sums were
 * made of floats), everything else is double.
 */
#define WIDTH 16
#define DENSE 160        /* up to this size, and up to three blocks, all eigenpairs are computed instead */
#define TOLERANCE 1e-9   /* of a residual |A v - value v|, in units of the largest eigenvalue */
#define MOST_PRODUCTS 120 /* products of the matrix with a block, before what was reached has to do */

typedef struct lanczos {
    const fa_dot_kernels *kernels;
    int64_t n, ld;
    int64_t block; /* panels in a block */
    int64_t most;  /* panels in the basis */
    int64_t keep;  /* panels that a restart keeps */
    int64_t count; /* panels of the basis that are in use */
    float *a;      /* [n, ld] */
    double *v;     /* [most + block] panels: the basis, then the block to come */
    double *x;     /* [keep] panels */
    double *t;     /* [m, m], m = 16 most: the matrix in the basis */
    double *work;  /* [m, m] */
    double *y;     /* [m, m] rows: its eigenvectors */
    double *theta; /* [m] */
    double *scratch; /* [3 m] */
    int64_t *order; /* [m] */
    double *rest;  /* [16 block, 16 block] inner products of the residual block */
    float *random; /* [n] */
    uint64_t seed, stream;
} lanczos;

static int64_t panels(int64_t k)
{
    return (k + WIDTH - 1) / WIDTH;
}

static bool is_dense(int64_t n, int64_t k)
{
    return n <= DENSE || n < 3 * WIDTH * panels(k);
}

static void shape(int64_t n, int64_t k, lanczos *z)
{
    z->n = n;
    z->ld = n % 256 ? n : n + 16; /* rows a power of two apart would share cache sets */
    z->block = panels(k);
    z->most = z->block * 3 > z->block + 4 ? z->block * 3 : z->block + 4;
    if (z->most > n / WIDTH - z->block) z->most = n / WIDTH - z->block; /* there must be room for the block behind the basis */
    z->keep = z->block + (z->most - 2 * z->block) / 3;
}

static double *panel(const lanczos *z, int64_t p)
{
    return z->v + p * z->n * WIDTH;
}

static void fill_random(lanczos *z, double *p, int64_t column)
{
    fa_normal(z->seed, z->stream++, 0, z->n, z->random);
    for (int64_t i = 0; i < z->n; i++) p[i * WIDTH + column] = z->random[i];
}

/* w -= u (u' w) */
static void project_out(const lanczos *z, const double *u, double *w)
{
    double h[WIDTH * WIDTH];
    z->kernels->gram16(z->n, u, w, h);
    for (int i = 0; i < WIDTH * WIDTH; i++) h[i] = -h[i];
    z->kernels->mix16(z->n, u, h, w);
}

/* Gram-Schmidt within a panel. Columns shorter than `least` are replaced by random ones. Returns the smallest length a column was left with. */
static double orthonormalise_panel(lanczos *z, double *w, double least)
{
    double shortest = INFINITY;
    for (int c = 0; c < WIDTH; c++) {
        double s[WIDTH] = {0};
        for (int64_t i = 0; i < z->n; i++)
            for (int j = 0; j < WIDTH; j++) s[j] += w[i * WIDTH + c] * w[i * WIDTH + j];
        double norm = sqrt(s[c]);
        if (norm < shortest) shortest = norm;
        if (!(norm > least)) {
            /* At the length it will have about; what it has of the others is taken out when it is seen again. */
            fill_random(z, w, c);
            for (int64_t i = 0; i < z->n; i++) w[i * WIDTH + c] /= sqrt((double)z->n);
            continue;
        }
        double scale = 1 / norm;
        for (int j = 0; j < WIDTH; j++) s[j] = j > c ? s[j] * scale : 0;
        for (int64_t i = 0; i < z->n; i++) {
            double t = w[i * WIDTH + c] * scale;
            for (int j = 0; j < WIDTH; j++) w[i * WIDTH + j] -= t * s[j];
            w[i * WIDTH + c] = t;
        }
    }
    return shortest;
}

/* Makes the block behind the basis orthonormal, and orthogonal to the basis. A column that was nearly in the span of the others is mostly rounding
 * after the first time: hence again, until none is cut short any more. */
static void orthonormalise(lanczos *z, double least)
{
    for (int again = 0; again < 5; again++) {
        double shortest = INFINITY;
        for (int64_t q = 0; q < z->block; q++) {
            double *w = panel(z, z->count + q);
            for (int64_t p = again ? 0 : z->count; p < z->count + q; p++) project_out(z, panel(z, p), w);
            shortest = fmin(shortest, orthonormalise_panel(z, w, again ? 1e-6 : least));
        }
        if (again && shortest > 0.7) return;
    }
}

/* Takes the block behind the basis into it; leaves behind it the matrix times the block, less what lies in the basis. */
static void expand(lanczos *z)
{
    int64_t first = z->count, m = WIDTH * z->most;
    z->count += z->block;
    for (int64_t q = 0; q < z->block; q++) {
        double *w = panel(z, z->count + q);
        z->kernels->panel16(z->n, z->n, z->a, z->ld, panel(z, first + q), w);
        for (int64_t p = 0; p < z->count; p++) {
            double h[WIDTH * WIDTH];
            z->kernels->gram16(z->n, panel(z, p), w, h);
            for (int i = 0; i < WIDTH; i++)
                for (int j = 0; j < WIDTH; j++) {
                    int64_t row = WIDTH * p + i, column = WIDTH * (first + q) + j;
                    z->t[row * m + column] = z->t[column * m + row] = h[i * WIDTH + j];
                    h[i * WIDTH + j] = -h[i * WIDTH + j];
                }
            z->kernels->mix16(z->n, panel(z, p), h, w);
        }
    }
}

/* Eigenpairs of the matrix in the basis; the largest residual of the first k, in units of the largest value. */
static fa_status rayleigh_ritz(lanczos *z, int64_t k, double *residual)
{
    int64_t m = WIDTH * z->count, ld = WIDTH * z->most, b = WIDTH * z->block;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++) z->work[i * m + j] = (z->t[i * ld + j] + z->t[j * ld + i]) / 2;
    FA_TRY(fa_eigen_dense(m, z->work, z->theta, z->y, z->scratch));
    fa_eigen_order(z->theta, m, m, z->order);
    for (int64_t p = 0; p < z->block; p++)
        for (int64_t q = 0; q < z->block; q++) {
            double h[WIDTH * WIDTH];
            z->kernels->gram16(z->n, panel(z, z->count + p), panel(z, z->count + q), h);
            for (int i = 0; i < WIDTH; i++) memcpy(z->rest + (WIDTH * p + i) * b + WIDTH * q, h + i * WIDTH, sizeof(double) * WIDTH);
        }
    double worst = 0;
    for (int64_t r = 0; r < k; r++) {
        const double *last = z->y + z->order[r] * m + m - b;
        double s = 0;
        for (int64_t i = 0; i < b; i++) {
            double t = 0;
            for (int64_t j = 0; j < b; j++) t += z->rest[i * b + j] * last[j];
            s += last[i] * t;
        }
        worst = fmax(worst, s);
    }
    double top = z->theta[z->order[0]];
    *residual = top > 0 ? sqrt(worst) / top : 0;
    return FA_OK;
}

/* x = the first 16 * n_panel Ritz vectors. */
static void ritz_vectors(const lanczos *z, int64_t n_panel)
{
    int64_t m = WIDTH * z->count;
    memset(z->x, 0, (size_t)(n_panel * z->n * WIDTH) * sizeof *z->x);
    for (int64_t r = 0; r < n_panel; r++)
        for (int64_t p = 0; p < z->count; p++) {
            double h[WIDTH * WIDTH];
            for (int i = 0; i < WIDTH; i++)
                for (int j = 0; j < WIDTH; j++) h[i * WIDTH + j] = z->y[z->order[WIDTH * r + j] * m + WIDTH * p + i];
            z->kernels->mix16(z->n, panel(z, p), h, z->x + r * z->n * WIDTH);
        }
}

/* Shrinks the basis to its best Ritz vectors; the block behind it moves up. */
static void restart(lanczos *z)
{
    int64_t m = WIDTH * z->most;
    ritz_vectors(z, z->keep);
    memcpy(z->v, z->x, (size_t)(z->keep * z->n * WIDTH) * sizeof *z->v);
    memmove(panel(z, z->keep), panel(z, z->count), (size_t)(z->block * z->n * WIDTH) * sizeof *z->v);
    z->count = z->keep;
    memset(z->t, 0, (size_t)(m * m) * sizeof *z->t);
    for (int64_t i = 0; i < WIDTH * z->keep; i++) z->t[i * m + i] = z->theta[z->order[i]];
}

static fa_status iterate(lanczos *z, int64_t k, double *values, double *vectors)
{
    for (int64_t q = 0; q < z->block; q++)
        for (int c = 0; c < WIDTH; c++) fill_random(z, panel(z, q), c);
    orthonormalise(z, 0);
    for (int64_t products = 0;;) {
        expand(z);
        products++;
        bool full = z->count + z->block > z->most;
        if (full) {
            double residual;
            FA_TRY(rayleigh_ritz(z, k, &residual));
            if (residual <= TOLERANCE || products >= MOST_PRODUCTS) break;
        }
        orthonormalise(z, 1e-13 * (full ? z->theta[z->order[0]] : z->t[0]));
        if (full) restart(z);
    }
    ritz_vectors(z, z->block);
    for (int64_t r = 0; r < k; r++) {
        values[r] = fmax(z->theta[z->order[r]], 0);
        const double *x = z->x + r / WIDTH * z->n * WIDTH + r % WIDTH;
        for (int64_t i = 0; i < z->n; i++) vectors[i * k + r] = x[i * WIDTH];
    }
    return FA_OK;
}

/* One allocation, cut up. `base` NULL: only counts. */
static size_t lay_out(lanczos *z, char *base)
{
    size_t n = (size_t)z->n, m = (size_t)(WIDTH * z->most), b = (size_t)(WIDTH * z->block), wide = n * WIDTH, at = 0;
    struct part {
        void *place; /* of the pointer, whatever it points to */
        size_t bytes;
    } part[] = {
        {&z->a, n * (size_t)z->ld * sizeof(float)},
        {&z->v, (size_t)(z->most + z->block) * wide * sizeof(double)},
        {&z->x, (size_t)z->keep * wide * sizeof(double)},
        {&z->t, m * m * sizeof(double)},
        {&z->work, m * m * sizeof(double)},
        {&z->y, m * m * sizeof(double)},
        {&z->theta, m * sizeof(double)},
        {&z->scratch, 3 * m * sizeof(double)},
        {&z->order, m * sizeof(int64_t)},
        {&z->rest, b * b * sizeof(double)},
        {&z->random, n * sizeof(float)},
    };
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        if (base) {
            void *p = base + at;
            memcpy(part[i].place, &p, sizeof p);
        }
        at += (part[i].bytes + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
    }
    return at;
}

static size_t dense_doubles(int64_t n)
{
    return (size_t)(2 * n * n + 5 * n);
}

uint64_t fa_eigen_bytes(int64_t n, int64_t k)
{
    if (is_dense(n, k)) return dense_doubles(n) * sizeof(double) + FA_ALIGN;
    lanczos z = {.n = 0};
    shape(n, k, &z);
    return lay_out(&z, NULL) + FA_ALIGN;
}

static fa_status dense(fa_context *context, const double *lower, int64_t n, int64_t k, double scale, double *values, double *vectors)
{
    double *a = fa_new_array(context, dense_doubles(n), sizeof *a);
    if (!a) return FA_ERR_MEMORY;
    double *y = a + n * n, *theta = y + n * n, *scratch = theta + n;
    int64_t *order = (int64_t *)(void *)(scratch + 3 * n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = lower[i * (i + 1) / 2 + j] * scale;
    fa_status status = fa_eigen_dense(n, a, theta, y, scratch);
    if (status == FA_OK) {
        fa_eigen_order(theta, n, k, order);
        for (int64_t r = 0; r < k; r++) {
            values[r] = fmax(theta[order[r]], 0) / scale;
            for (int64_t i = 0; i < n; i++) vectors[i * k + r] = y[order[r] * n + i];
        }
    }
    fa_delete(context, a);
    return status;
}

fa_status fa_eigen_top(fa_context *context, const fa_dot_kernels *kernels, const double *lower, int64_t n, int64_t k, uint64_t seed, double *values,
                       double *vectors)
{
    double largest = 0, check = 0;
    for (int64_t i = 0; i < n * (n + 1) / 2; i++) {
        largest = fmax(largest, fabs(lower[i]));
        check += 0 * lower[i];
    }
    if (check != 0) return fa_fail(FA_ERR_NOT_FINITE, "a matrix of second moments is not finite");
    /* By a power of two, so that it is exact; then nothing that follows comes near the ends of the range. */
    double scale = largest > 0 ? ldexp(1, -ilogb(largest)) : 1;
    if (is_dense(n, k) || largest == 0) return dense(context, lower, n, k, scale, values, vectors);
    lanczos z = {.kernels = kernels, .seed = seed};
    shape(n, k, &z);
    char *memory = fa_new_uncleared(context, lay_out(&z, NULL));
    if (!memory) return FA_ERR_MEMORY;
    lay_out(&z, memory);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) z.a[i * z.ld + j] = z.a[j * z.ld + i] = (float)(lower[i * (i + 1) / 2 + j] * scale);
    memset(z.t, 0, (size_t)(WIDTH * z.most * WIDTH * z.most) * sizeof *z.t);
    fa_status status = iterate(&z, k, values, vectors);
    for (int64_t r = 0; status == FA_OK && r < k; r++) values[r] /= scale;
    fa_delete(context, memory);
    return status;
}
