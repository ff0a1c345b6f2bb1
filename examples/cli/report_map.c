/* SPDX-License-Identifier: Apache-2.0 */
#include "report_mechanisms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A map of fingerprints: t-SNE (van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008), exact and from a fixed start, so that
 * the same inputs give the same map. */

enum { STEPS = 500, EARLY = 120, NEIGHBOURS = 30 };

/* p [n, n]: row i the chances of i's neighbours, with a width at which there are about NEIGHBOURS of them. */
static void neighbour_chances(const float *x, int64_t n, int64_t length, double *p)
{
    double wanted = log(fmin(NEIGHBOURS, (double)(n - 1) / 3 + 1));
    for (int64_t i = 0; i < n; i++) {
        double *row = p + i * n, beta = 1, low = 0, high = INFINITY;
        for (int64_t j = 0; j < n; j++) {
            double dot = 0;
            for (int64_t k = 0; k < length; k++) dot += (double)x[i * length + k] * x[j * length + k];
            row[j] = fmax(0, 2 - 2 * dot); /* squared distance of unit vectors */
        }
        for (int step = 0; step < 50; step++) {
            double sum = 1e-300, mean = 0;
            for (int64_t j = 0; j < n; j++) {
                if (j == i) continue;
                double v = exp(-beta * row[j]);
                sum += v;
                mean += v * row[j];
            }
            double entropy = log(sum) + beta * mean / sum;
            if (fabs(entropy - wanted) < 1e-4) break;
            if (entropy > wanted) low = beta;
            else high = beta;
            beta = isinf(high) ? 2 * beta : (low + high) / 2;
        }
        double sum = 1e-300;
        for (int64_t j = 0; j < n; j++) {
            row[j] = j == i ? 0 : exp(-beta * row[j]);
            sum += row[j];
        }
        for (int64_t j = 0; j < n; j++) row[j] /= sum;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) p[i * n + j] = p[j * n + i] = (p[i * n + j] + p[j * n + i]) / (2 * (double)n);
}

/* A start that depends on content alone: two projections onto fixed directions of pseudo-random signs. */
static void start(const float *x, int64_t n, int64_t length, double (*y)[2])
{
    for (int64_t i = 0; i < n; i++) {
        y[i][0] = y[i][1] = 0;
        for (int64_t k = 0; k < length; k++) {
            uint64_t z = (uint64_t)(k + 1) * 0x9E3779B97F4A7C15u;
            z = (z ^ (z >> 31)) * 0xBF58476D1CE4E5B9u;
            y[i][0] += z >> 63 ? (double)x[i * length + k] : (double)-x[i * length + k];
            y[i][1] += z >> 62 & 1 ? (double)x[i * length + k] : (double)-x[i * length + k];
        }
        y[i][0] *= 1e-4;
        y[i][1] *= 1e-4;
    }
}

static void descend(const double *p, int64_t n, double (*y)[2], double (*speed)[2], double (*gain)[2], double *q)
{
    double rate = fmax((double)n / 12, 10);
    for (int step = 0; step < STEPS; step++) {
        double exaggeration = step < EARLY ? 12 : 1, momentum = step < EARLY ? 0.5 : 0.8, sum = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) {
                double a = y[i][0] - y[j][0], b = y[i][1] - y[j][1];
                q[i * n + j] = 1 / (1 + a * a + b * b);
                sum += 2 * q[i * n + j];
            }
        for (int64_t i = 0; i < n; i++) {
            double g[2] = {0, 0};
            for (int64_t j = 0; j < n; j++) {
                if (j == i) continue;
                double near = j < i ? q[i * n + j] : q[j * n + i], pull = (exaggeration * p[i * n + j] - near / sum) * near;
                g[0] += 4 * pull * (y[i][0] - y[j][0]);
                g[1] += 4 * pull * (y[i][1] - y[j][1]);
            }
            for (int d = 0; d < 2; d++) {
                gain[i][d] = fmax(0.01, (g[d] > 0) != (speed[i][d] > 0) ? gain[i][d] + 0.2 : gain[i][d] * 0.8);
                speed[i][d] = momentum * speed[i][d] - rate * gain[i][d] * g[d];
            }
        }
        for (int64_t i = 0; i < n; i++)
            for (int d = 0; d < 2; d++) y[i][d] += speed[i][d];
    }
}

bool map_layout(const float *x, int64_t n, int64_t length, double (*place)[2])
{
    size_t cells = (size_t)n * (size_t)n;
    double *p = calloc(cells + 1, sizeof *p), *q = calloc(cells + 1, sizeof *q);
    double (*speed)[2] = calloc((size_t)n + 1, sizeof *speed), (*gain)[2] = calloc((size_t)n + 1, sizeof *gain);
    bool fits = p && q && speed && gain;
    if (fits && n > 0) {
        for (int64_t i = 0; i < n; i++) gain[i][0] = gain[i][1] = 1;
        neighbour_chances(x, n, length, p);
        start(x, n, length, place);
        if (n > 2) descend(p, n, place, speed, gain, q);
        for (int d = 0; d < 2; d++) {
            double low = INFINITY, high = -INFINITY;
            for (int64_t i = 0; i < n; i++) {
                low = fmin(low, place[i][d]);
                high = fmax(high, place[i][d]);
            }
            for (int64_t i = 0; i < n; i++) place[i][d] = high > low ? (place[i][d] - low) / (high - low) : 0.5;
        }
    }
    free(p);
    free(q);
    free(speed);
    free(gain);
    return fits;
}

/* ---- the drawing */

enum { WIDTH = 620, HEIGHT = 460, MARGIN = 16 };

void write_map(FILE *to, const report_mechanisms *m)
{
    fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Map of flagged inputs by their fingerprints\">", WIDTH, HEIGHT);
    /* Those that stand alone first, so that the groups lie on top. */
    for (int layer = 0; layer < 2; layer++)
        for (int64_t i = 0; i < m->points; i++) {
            int64_t g = m->point_group[i];
            if ((g < m->shown) != (layer == 1)) continue;
            double x = MARGIN + m->place[i][0] * (WIDTH - 2 * MARGIN), y = MARGIN + m->place[i][1] * (HEIGHT - 2 * MARGIN);
            if (layer) fprintf(to, "<circle class=\"point g%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.4\"/>", (int)(g % MECHANISM_COLOURS), x, y);
            else fprintf(to, "<circle class=\"point alone\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", x, y);
        }
    for (int64_t g = 0; g < m->shown; g++) {
        /* At the member nearest to the middle of its group: inside it, whatever its shape. */
        double x = 0, y = 0, n = 0, best = INFINITY;
        int64_t at = -1;
        for (int64_t i = 0; i < m->points; i++) {
            if (m->point_group[i] != g) continue;
            x += m->place[i][0];
            y += m->place[i][1];
            n++;
        }
        for (int64_t i = 0; i < m->points; i++) {
            double d = m->point_group[i] == g ? hypot(m->place[i][0] - x / n, m->place[i][1] - y / n) : INFINITY;
            if (d >= best) continue;
            best = d;
            at = i;
        }
        if (at < 0) continue;
        fprintf(to, "<text class=\"group\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%lld</text>", MARGIN + m->place[at][0] * (WIDTH - 2 * MARGIN),
                MARGIN + m->place[at][1] * (HEIGHT - 2 * MARGIN) + 6, (long long)g);
    }
    fputs("</svg>", to);
}
