/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <math.h>
#include <stdlib.h>

/* Charts. Colours come from the page's style sheet through classes, so that they follow its light and dark themes. */

enum { WIDTH = 560, HEIGHT = 260, LEFT = 46, RIGHT = 14, TOP = 30, BOTTOM = 40, MOST_BINS = 40 };

static double x_at(double share)
{
    return LEFT + share * (WIDTH - LEFT - RIGHT);
}

static double y_at(double share)
{
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

/* A step of 1, 2 or 5 times a power of ten that gives about `count` ticks over `range`. */
static double tick_step(double range, double count)
{
    double rough = range / count, base = pow(10, floor(log10(rough))), f = rough / base;
    return base * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
}

static void write_x_axis(FILE *to, double low, double high, const char *title)
{
    double step = tick_step(high - low, 6);
    fprintf(to, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    for (double v = ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step) {
        fprintf(to, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>", x_at((v - low) / (high - low)), HEIGHT - BOTTOM + 16, fabs(v) < step / 1e6 ? 0 : v);
    }
    fprintf(to, "<text class=\"title\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", x_at(0.5), HEIGHT - 6, title);
}

static void write_y_axis(FILE *to, double high, bool percent)
{
    double step = tick_step(high, 4);
    for (double v = 0; v <= high * (1 + 1e-9); v += step) {
        double y = y_at(v / high);
        fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT, y, y);
        fprintf(to, percent ? "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g %%</text>" : "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>",
                LEFT - 6, y + 3.5, percent ? 100 * v : v);
    }
}

/* `share` [bins] of the scores that fall into each bin. */
static void count_bins(const double *score, int64_t n, double low, double high, int bins, double *share)
{
    for (int b = 0; b < bins; b++) share[b] = 0;
    for (int64_t i = 0; i < n; i++) {
        int b = (int)((score[i] - low) / (high - low) * bins);
        share[b < 0 ? 0 : b >= bins ? bins - 1 : b] += 1 / (double)n;
    }
}

static void write_steps(FILE *to, const char *class, const double *share, int bins, double top)
{
    fprintf(to, "<path class=\"%s\" d=\"M%.1f %.1f", class, x_at(0), y_at(0));
    for (int b = 0; b < bins; b++) fprintf(to, "V%.1fH%.1f", y_at(share[b] / top), x_at((b + 1.0) / bins));
    fprintf(to, "V%.1fZ\"/>", y_at(0));
}

void write_histogram(FILE *to, const report_case *c)
{
    const detector *d = &c->detector[DETECTOR_CONE];
    double clean[MOST_BINS], anomalous[MOST_BINS], low = INFINITY, high = -INFINITY, top = 0;
    for (int64_t i = 0; i < c->of_clean.n; i++) {
        low = fmin(low, d->clean[i]);
        high = fmax(high, d->clean[i]);
    }
    for (int64_t i = 0; i < c->of_anomalous.n; i++) {
        low = fmin(low, d->anomalous[i]);
        high = fmax(high, d->anomalous[i]);
    }
    double step = tick_step(fmax(high - low, 1e-6), 8);
    low = floor(low / step) * step;
    high = fmax(ceil(high / step) * step, low + step);
    int64_t fewer = c->of_clean.n < c->of_anomalous.n ? c->of_clean.n : c->of_anomalous.n;
    int bins = (int)fmin(MOST_BINS, 8 + 2 * sqrt((double)fewer));
    count_bins(d->clean, c->of_clean.n, low, high, bins, clean);
    count_bins(d->anomalous, c->of_anomalous.n, low, high, bins, anomalous);
    for (int b = 0; b < bins; b++) top = fmax(top, fmax(clean[b], anomalous[b]));

    fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Distribution of scores of clean and anomalous inputs\">", WIDTH, HEIGHT);
    write_y_axis(to, top, true);
    write_steps(to, "area clean", clean, bins, top);
    write_steps(to, "area odd", anomalous, bins, top);
    write_x_axis(to, low, high, "score (0: fully explained by the references, 1: not at all)");
    if (isfinite(d->threshold) && d->threshold >= low && d->threshold <= high) {
        double x = x_at((d->threshold - low) / (high - low));
        bool left = x > WIDTH * 0.6;
        fprintf(to, "<line class=\"threshold\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", x, x, TOP - 18, HEIGHT - BOTTOM);
        fprintf(to, "<text class=\"label\" x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>", x + (left ? -6 : 6), TOP - 10, left ? "end" : "start", left ? "flagged beyond here &#8594;" : "&#8594; flagged beyond here");
    }
    fputs("</svg>", to);
}

typedef struct point {
    double score;
    int anomalous;
} point;

static int by_descending_score(const void *a, const void *b)
{
    double x = ((const point *)a)->score, y = ((const point *)b)->score;
    return (x < y) - (x > y);
}

/* Equal scores make one step together: a diagonal, which is what ties counted one half look like. */
static void write_curve(FILE *to, const detector *d, int64_t n_clean, int64_t n_anomalous, int which)
{
    int64_t n = n_clean + n_anomalous, false_alarms = 0, caught = 0;
    point *order = malloc((size_t)n * sizeof *order);
    if (!order) return;
    for (int64_t i = 0; i < n_clean; i++) order[i] = (point){d->clean[i], 0};
    for (int64_t i = 0; i < n_anomalous; i++) order[n_clean + i] = (point){d->anomalous[i], 1};
    qsort(order, (size_t)n, sizeof *order, by_descending_score);
    fprintf(to, "<path class=\"curve d%d\" d=\"M%.1f %.1f", which, x_at(0), y_at(0));
    double last_x = x_at(0), last_y = y_at(0);
    for (int64_t i = 0; i < n; i++) {
        caught += order[i].anomalous;
        false_alarms += !order[i].anomalous;
        if (i + 1 < n && order[i + 1].score == order[i].score) continue;
        double x = x_at((double)false_alarms / (double)n_clean), y = y_at((double)caught / (double)n_anomalous);
        if (i + 1 < n && fabs(x - last_x) + fabs(y - last_y) < 0.8) continue; /* less than a pixel */
        fprintf(to, "L%.1f %.1f", x, y);
        last_x = x;
        last_y = y;
    }
    fputs("\"/>", to);
    free(order);
}

void write_roc(FILE *to, const report_case *c)
{
    fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"ROC curves of the detectors\">", WIDTH, HEIGHT);
    write_y_axis(to, 1, true);
    write_x_axis(to, 0, 1, "share of clean inputs flagged");
    fprintf(to, "<line class=\"chance\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", x_at(0), y_at(0), x_at(1), y_at(1));
    for (int k = DETECTORS - 1; k >= 0; k--) {
        if (c->detector[k].clean) write_curve(to, &c->detector[k], c->of_clean.n, c->of_anomalous.n, k);
    }
    fputs("</svg><ul class=\"legend\">", to);
    for (int k = 0; k < DETECTORS; k++) {
        if (!c->detector[k].clean) continue;
        fprintf(to, "<li><svg viewBox=\"0 0 34 8\" aria-hidden=\"true\"><line class=\"curve d%d\" x1=\"0\" x2=\"34\" y1=\"4\" y2=\"4\"/></svg>%s <b>%.3f</b></li>", k, detector_name[k],
                c->detector[k].metrics.auroc);
    }
    fputs("</ul>", to);
}
