/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/eigen_dense.h"

#include "base/error.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MOST_SWEEPS 80 /* per eigenvalue; two are usual */

static double dot(const double *x, const double *y, int64_t n)
{
    double s[4] = {0, 0, 0, 0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int e = 0; e < 4; e++) s[e] += x[i + e] * y[i + e];
    for (; i < n; i++) s[0] += x[i] * y[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* To tridiagonal form by Householder reflections I - v v' (|v|^2 = 2), both triangles kept so that every inner loop runs along a row. Reflection c is left
 * in row c of `a` from column c + 1 on. */
static void tridiagonalise(int64_t n, double *a, double *diagonal, double *off, double *w)
{
    for (int64_t c = 0; c + 2 < n; c++) {
        double *v = a + c * n, alpha = v[c + 1], largest = 0;
        for (int64_t i = c + 1; i < n; i++) largest = fmax(largest, fabs(v[i]));
        diagonal[c] = v[c];
        double norm = 0;
        if (largest > 0) {
            for (int64_t i = c + 1; i < n; i++) norm += (v[i] / largest) * (v[i] / largest);
            norm = largest * sqrt(norm);
        }
        off[c] = alpha > 0 ? -norm : norm;
        if (!(norm > 0)) {
            memset(v + c + 1, 0, (size_t)(n - c - 1) * sizeof *v);
            continue;
        }
        /* v = (x + sign(alpha) |x| e) at length sqrt 2 */
        double scale = 1 / (sqrt(norm) * sqrt(norm + fabs(alpha)));
        v[c + 1] -= off[c];
        for (int64_t i = c + 1; i < n; i++) v[i] *= scale;
        memset(w + c + 1, 0, (size_t)(n - c - 1) * sizeof *w);
        for (int64_t i = c + 1; i < n; i++) {
            const double *row = a + i * n;
            double s = v[i];
            for (int64_t j = c + 1; j < n; j++) w[j] += s * row[j];
        }
        double half = dot(v + c + 1, w + c + 1, n - c - 1) / 2;
        for (int64_t j = c + 1; j < n; j++) w[j] -= half * v[j];
        for (int64_t i = c + 1; i < n; i++) {
            double *row = a + i * n, s = v[i], t = w[i];
            for (int64_t j = c + 1; j < n; j++) row[j] -= s * w[j] + t * v[j];
        }
    }
    for (int64_t c = n > 1 ? n - 2 : 0; c < n; c++) {
        diagonal[c] = a[c * n + c];
        off[c] = c + 1 < n ? a[c * n + c + 1] : 0;
    }
}

/* Row i of q = column i of the product of the reflections. */
static void accumulate(int64_t n, const double *a, double *q)
{
    memset(q, 0, (size_t)(n * n) * sizeof *q);
    for (int64_t i = 0; i < n; i++) q[i * n + i] = 1;
    for (int64_t c = n - 3; c >= 0; c--) {
        const double *v = a + c * n;
        for (int64_t i = c + 1; i < n; i++) {
            double s = dot(q + i * n + c + 1, v + c + 1, n - c - 1);
            for (int64_t j = c + 1; j < n; j++) q[i * n + j] -= s * v[j];
        }
    }
}

/* Implicit QL steps (Wilkinson's shift) on the tridiagonal matrix; the same rotations on the rows of z. */
static fa_status ql(int64_t n, double *d, double *e, double *z)
{
    double norm = 0;
    for (int64_t i = 0; i < n; i++) norm = fmax(norm, fabs(d[i]) + fabs(e[i]));
    for (int64_t l = 0; l < n; l++) {
        for (int sweep = 0;; sweep++) {
            int64_t end = l;
            while (end + 1 < n && fabs(e[end]) > DBL_EPSILON * (fabs(d[end]) + fabs(d[end + 1])) && fabs(e[end]) > 1e-18 * norm) end++;
            if (end == l) break;
            if (sweep == MOST_SWEEPS) return fa_fail(FA_ERR_INTERNAL, "eigenvalue %lld of %lld does not converge", (long long)l, (long long)n);
            double g = (d[l + 1] - d[l]) / (2 * e[l]);
            g = d[end] - d[l] + e[l] / (g + copysign(hypot(g, 1), g));
            double s = 1, c = 1, p = 0;
            int64_t i = end - 1;
            for (; i >= l; i--) {
                double f = s * e[i], b = c * e[i], r = hypot(f, g);
                e[i + 1] = r;
                if (r == 0) {
                    d[i + 1] -= p;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                r = (d[i] - g) * s + 2 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                double *restrict low = z + i * n, *restrict high = low + n;
                for (int64_t k = 0; k < n; k++) {
                    double t = high[k];
                    high[k] = s * low[k] + c * t;
                    low[k] = c * low[k] - s * t;
                }
            }
            if (i < l) {
                d[l] -= p;
                e[l] = g;
            }
            e[end] = 0;
        }
    }
    return FA_OK;
}

fa_status fa_eigen_dense(int64_t n, double *a, double *values, double *vectors, double *scratch)
{
    tridiagonalise(n, a, values, scratch, scratch + n);
    accumulate(n, a, vectors);
    return ql(n, values, scratch, vectors);
}

void fa_eigen_order(const double *values, int64_t n, int64_t k, int64_t *order)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i < k ? i : k;
        while (at > 0 && values[i] > values[order[at - 1]]) {
            if (at < k) order[at] = order[at - 1];
            at--;
        }
        if (at < k) order[at] = i;
    }
}
