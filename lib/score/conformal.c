/* SPDX-License-Identifier: Apache-2.0 */
#include "score/conformal.h"

#include <math.h>

double fa_conformal_p(const double *calibration, int64_t m, double score)
{
    if (m < 1) return NAN;
    int64_t low = 0, high = m; /* calibration[0 .. low) < score <= calibration[high .. m) */
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (calibration[middle] >= score) high = middle;
        else low = middle + 1;
    }
    return (double)(1 + m - low) / (double)(1 + m);
}

static void sift(double *a, int64_t i, int64_t n)
{
    double v = a[i];
    for (int64_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && a[child + 1] > a[child]) child++;
        if (!(a[child] > v)) break;
        a[i] = a[child];
        i = child;
    }
    a[i] = v;
}

void fa_sort_scores(double *a, int64_t n)
{
    for (int64_t i = n / 2 - 1; i >= 0; i--) sift(a, i, n);
    for (int64_t end = n - 1; end > 0; end--) {
        double top = a[0];
        a[0] = a[end];
        a[end] = top;
        sift(a, 0, end);
    }
}
