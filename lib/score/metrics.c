/* SPDX-License-Identifier: Apache-2.0 */
#include "score/metrics.h"

#include <math.h>
#include <stdlib.h>

static int descending(const void *a, const void *b)
{
    double x = ((const fa_labelled *)a)->score, y = ((const fa_labelled *)b)->score;
    return (x < y) - (x > y);
}

/* Average precision over the steps of the ranking, ties taken as one step; `positive` is what counts as found, `from_top` where the ranking starts. */
static double average_precision(const fa_labelled *all, int64_t n, int64_t positives, int32_t positive, int from_top)
{
    int64_t found = 0;
    double sum = 0;
    for (int64_t i = 0; i < n;) {
        int64_t before = found;
        double score = all[from_top ? i : n - 1 - i].score;
        for (; i < n && all[from_top ? i : n - 1 - i].score == score; i++) found += all[from_top ? i : n - 1 - i].anomalous == positive;
        sum += (double)(found - before) * ((double)found / (double)i);
    }
    return sum / (double)positives;
}

void fa_metrics_of(fa_labelled *all, int64_t n_clean, int64_t n_anomalous, double acc, double asr, fa_detection_metrics *out)
{
    int64_t n = n_clean + n_anomalous, tp = 0, fp = 0;
    qsort(all, (size_t)n, sizeof *all, descending);
    double pairs = 0;
    bool reached = false;
    /* Above every score: nothing is flagged. */
    out->der_best = 0.5;
    out->best_threshold = INFINITY;
    for (int64_t i = 0; i < n;) {
        double score = all[i].score;
        int64_t new_tp = 0, new_fp = 0;
        for (; i < n && all[i].score == score; i++) {
            if (all[i].anomalous) new_tp++;
            else new_fp++;
        }
        pairs += (double)new_fp * ((double)tp + 0.5 * (double)new_tp);
        tp += new_tp;
        fp += new_fp;
        double tpr = (double)tp / (double)n_anomalous, fpr = (double)fp / (double)n_clean, der = (asr * tpr - acc * fpr + 1) / 2;
        if (!reached && tpr >= 0.95) {
            reached = true;
            out->fpr95 = fpr;
        }
        if (der > out->der_best) {
            out->der_best = der;
            out->best_threshold = score;
        }
    }
    out->auroc = pairs / ((double)n_clean * (double)n_anomalous);
    out->aupr = average_precision(all, n, n_anomalous, 1, 1);
    out->aupr_clean = average_precision(all, n, n_clean, 0, 0);
}
