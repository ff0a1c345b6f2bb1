/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/loss.h"

#include <math.h>
#include <stdbool.h>

void fa_loss_row(const float *z, int64_t classes, int64_t target, int32_t kind, fa_loss *out, float *gradient)
{
    int64_t best = 0;
    for (int64_t k = 1; k < classes; k++)
        if (z[k] > z[best]) best = k;
    int64_t y = target < 0 ? best : target;
    double sum = 0, top = -INFINITY;
    for (int64_t k = 0; k < classes; k++) {
        sum += exp((double)z[k] - (double)z[best]);
        if (k != y && (double)z[k] > top) top = (double)z[k];
    }
    double others = 0; /* sum_{k != y} exp(z_k - top) */
    for (int64_t k = 0; k < classes; k++)
        if (k != y) others += exp((double)z[k] - top);
    double lead = top + log(others) - (double)z[y]; /* log sum_{k != y} exp(z_k - z_y) */
    *out = (fa_loss){best, 1 / sum, lead > 0 ? lead + log1p(exp(-lead)) : log1p(exp(lead))};
    if (!gradient) return;
    bool margin = kind == FA_LOSS_MARGIN;
    double squares = 1, even = 1 / (double)(classes - 1);
    for (int64_t k = 0; k < classes; k++)
        if (k != y) squares += margin ? even * even : exp(2 * ((double)z[k] - top)) / (others * others);
    double scale = 1 / sqrt(squares);
    for (int64_t k = 0; k < classes; k++) gradient[k] = (float)(scale * (k == y ? -1 : margin ? even : exp((double)z[k] - top) / others));
}

/* 1 less the target's probability is added up from the others', which keeps its digits on a confident input. */
void fa_loss_gradient(const float *z, int64_t classes, int64_t y, float *gradient)
{
    double top = (double)z[0], sum = 0, others = 0;
    for (int64_t k = 1; k < classes; k++) top = (double)z[k] > top ? (double)z[k] : top;
    for (int64_t k = 0; k < classes; k++) sum += exp((double)z[k] - top);
    for (int64_t k = 0; k < classes; k++) {
        const double p = exp((double)z[k] - top) / sum;
        if (k != y) others += p;
        gradient[k] = (float)p;
    }
    gradient[y] = (float)-others;
}
