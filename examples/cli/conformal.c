/* SPDX-License-Identifier: Apache-2.0 */
#include "conformal.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double conformal_threshold(double *scores, int64_t m, double alpha)
{
    int64_t allowed = (int64_t)floor(alpha * (double)(m + 1) * (1 + 1e-12)); /* 1 + the calibration scores that may reach a flagged one */
    qsort(scores, (size_t)m, sizeof *scores, by_value);
    return allowed < 1 ? NAN : allowed > m ? -INFINITY : scores[m - allowed];
}
