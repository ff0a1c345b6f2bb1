/* SPDX-License-Identifier: Apache-2.0 */
#include "mahalanobis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Numbers the groups from 0 in the order they appear. */
static int32_t number_groups(const int64_t *group, int64_t n, int32_t *number)
{
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t j = 0;
        while (group[j] != group[i]) j++;
        number[i] = j < i ? number[j] : count++;
    }
    return count;
}

static int factorise(double *a, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        double *row = a + j * n, d = row[j];
        for (int64_t k = 0; k < j; k++) d -= row[k] * row[k];
        if (!(d > 0)) return -1;
        row[j] = sqrt(d);
        for (int64_t i = j + 1; i < n; i++) {
            double *below = a + i * n, v = below[j];
            for (int64_t k = 0; k < j; k++) v -= below[k] * row[k];
            below[j] = v / row[j];
        }
    }
    return 0;
}

static void whiten(const double *factor, int64_t n, double *v)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++) v[i] -= factor[i * n + k] * v[k];
        v[i] /= factor[i * n + i];
    }
}

static int fit(mahalanobis *m, const float *x, const int32_t *number, int64_t n)
{
    int64_t w = m->width, *count = calloc((size_t)m->classes, sizeof *count);
    if (!count) return -1;
    for (int64_t i = 0; i < n; i++) {
        count[number[i]]++;
        for (int64_t k = 0; k < w; k++) m->means[number[i] * w + k] += (double)x[i * w + k];
    }
    for (int32_t c = 0; c < m->classes; c++) {
        for (int64_t k = 0; k < w; k++) m->means[c * w + k] /= (double)count[c];
    }
    free(count);
    double trace = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < w; k++) m->room[k] = (double)x[i * w + k] - m->means[number[i] * w + k];
        for (int64_t a = 0; a < w; a++) {
            for (int64_t b = 0; b <= a; b++) m->factor[a * w + b] += m->room[a] * m->room[b] / (double)n;
        }
    }
    for (int64_t k = 0; k < w; k++) trace += m->factor[k * w + k];
    for (int64_t k = 0; k < w; k++) m->factor[k * w + k] += 1e-3 * trace / (double)w;
    if (factorise(m->factor, w)) return -1;
    for (int32_t c = 0; c < m->classes; c++) whiten(m->factor, w, m->means + c * w);
    return 0;
}

int mahalanobis_fit(const float *x, const int64_t *group, int64_t n, int64_t width, mahalanobis *out)
{
    mahalanobis m = {.width = width};
    int32_t *number = calloc((size_t)n + 1, sizeof *number);
    int failed = !number || n < 2 || width < 1;
    if (!failed) {
        m.classes = number_groups(group, n, number);
        m.factor = calloc((size_t)width, (size_t)width * sizeof *m.factor);
        m.means = calloc((size_t)m.classes, (size_t)width * sizeof *m.means);
        m.room = calloc((size_t)width, sizeof *m.room);
        failed = !m.factor || !m.means || !m.room || fit(&m, x, number, n);
    }
    free(number);
    if (failed) mahalanobis_destroy(&m);
    else *out = m;
    return failed ? -1 : 0;
}

double mahalanobis_distance(const mahalanobis *m, const float *x)
{
    double nearest = INFINITY;
    for (int64_t k = 0; k < m->width; k++) m->room[k] = (double)x[k];
    whiten(m->factor, m->width, m->room);
    for (int32_t c = 0; c < m->classes; c++) {
        double sum = 0;
        for (int64_t k = 0; k < m->width; k++) sum += (m->room[k] - m->means[c * m->width + k]) * (m->room[k] - m->means[c * m->width + k]);
        if (sum < nearest) nearest = sum;
    }
    return nearest;
}

void mahalanobis_destroy(mahalanobis *m)
{
    free(m->factor);
    free(m->means);
    free(m->room);
    memset(m, 0, sizeof *m);
}
