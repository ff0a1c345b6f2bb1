/* SPDX-License-Identifier: Apache-2.0 */
#include "sampler/mixing.h"

#include <math.h>

static double mean_of(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

/* In a fixed order that the compiler can vectorise. */
double fa_mixing_product(const float *x, const float *y, int64_t n)
{
    double s[8] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int e = 0; e < 8; e++) s[e] += (double)x[i + e] * y[i + e];
    for (; i < n; i++) rest += (double)x[i] * y[i];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])) + rest;
}

double fa_mixing_ess(const float *x, int64_t n)
{
    const double c0 = fa_mixing_product(x, x, n);
    if (n < FA_MIXING_LEAST || !(c0 > 0)) return 0;
    const int64_t last = n - 1 < FA_MIXING_LAG ? n - 1 : FA_MIXING_LAG;
    /* Sums of neighbouring autocorrelations are positive and fall for a reversible chain: noise begins where they do not. */
    double time = -1, smallest = INFINITY;
    for (int64_t lag = 0; lag + 1 <= last; lag += 2) {
        const double pair = (fa_mixing_product(x, x + lag, n - lag) + fa_mixing_product(x, x + lag + 1, n - lag - 1)) / c0;
        if (!(pair > 0)) break;
        if (pair < smallest) smallest = pair;
        time += 2 * smallest;
    }
    return time > 1 ? (double)n / time : (double)n;
}

double fa_mixing_split_rhat(const float *trace, const int64_t *offset, int32_t n_chain)
{
    double sequences = 0, length = 0, within = 0, mean = 0, between = 0;
    for (int32_t c = 0; c < n_chain; c++) {
        const int64_t n = offset[c + 1] - offset[c], half = n / 2;
        if (n < FA_MIXING_LEAST) continue;
        for (int second = 0; second < 2; second++) {
            const float *x = trace + (second ? offset[c + 1] - half : offset[c]);
            const double m = mean_of(x, half), step = m - mean;
            double square = 0;
            for (int64_t i = 0; i < half; i++) square += ((double)x[i] - m) * ((double)x[i] - m);
            sequences++;
            length += (double)half;
            within += square / (double)(half - 1);
            mean += step / sequences; /* Welford: the means differ by little */
            between += step * (m - mean);
        }
    }
    if (!(within > 0)) return between > 0 ? FA_MIXING_RHAT : 1;
    length /= sequences;
    const double rhat = sqrt((length - 1) / length + between / (sequences - 1) / (within / sequences));
    return rhat < FA_MIXING_RHAT ? rhat : FA_MIXING_RHAT;
}

double fa_mixing_drift(const float *x, int64_t n)
{
    const double c0 = fa_mixing_product(x, x, n);
    if (n < FA_MIXING_LEAST || !(c0 > 0)) return 0;
    const int64_t quarter = n / 4;
    return fabs(mean_of(x + n - quarter, quarter) - mean_of(x, quarter)) / sqrt(c0 / (double)n);
}
