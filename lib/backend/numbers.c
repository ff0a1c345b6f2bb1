/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/numbers.h"

#include "base/rng.h"

#include <math.h>

static double weight_of(const fa_head_row *row, int64_t k)
{
    return row->weight ? (double)row->weight[k] : 1;
}

/* Sums that a cosine is made of. */
typedef struct sums {
    double zz, oo, zo, weights;
} sums;

static sums sums_of(const fa_head *h, const fa_head_row *row, const float *other)
{
    sums s = {0, 0, 0, 0};
    for (int64_t k = 0; k < h->outputs; k++) {
        const double w = weight_of(row, k), z = (double)row->z[k], o = (double)other[k];
        s.zz += w * z * z;
        s.oo += w * o * o;
        s.zo += w * z * o;
        s.weights += w;
    }
    return s;
}

double fa_numbers_loss(const fa_head *h, const fa_head_row *row)
{
    if (!row->own) return 0;
    const sums s = sums_of(h, row, row->own);
    if (h->loss == FA_LOSS_EMBEDDING) return s.zz > 0 && s.oo > 0 ? fmax(0, 1 - s.zo / (sqrt(s.zz) * sqrt(s.oo))) : 0;
    double square = 0; /* not from the sums, which would cancel */
    for (int64_t k = 0; k < h->outputs; k++) square += weight_of(row, k) * ((double)row->z[k] - (double)row->own[k]) * ((double)row->z[k] - (double)row->own[k]);
    return square / (2 * s.weights);
}

void fa_numbers_loss_gradient(const fa_head *h, const fa_head_row *row, float *gradient)
{
    const float *own = row->own ? row->own : row->z;
    const sums s = sums_of(h, row, own);
    const bool cosine = h->loss == FA_LOSS_EMBEDDING, flat = !(s.zz > 0 && s.oo > 0);
    const double along = flat ? 0 : s.zo / s.zz, scale = flat ? 0 : -1 / (sqrt(s.zz) * sqrt(s.oo));
    for (int64_t k = 0; k < h->outputs; k++) {
        const double z = (double)row->z[k], o = (double)own[k];
        if (cosine) gradient[k] = (float)(scale * weight_of(row, k) * (o - along * z));
        else gradient[k] = (float)(weight_of(row, k) * (z - o) / s.weights);
    }
}

/* A bit of random numbers for each sign; the first is always 1. */
void fa_numbers_direction(const fa_head *h, const fa_head_row *row, float *gradient)
{
    uint32_t bits[4];
    for (int64_t k = 0; k < h->outputs; k++) {
        if (k % 128 == 0) fa_philox(0, (uint64_t)k / 128, 0, bits);
        const bool negative = k && bits[k % 128 / 32] >> (k % 32) & 1;
        gradient[k] = (float)(negative ? -weight_of(row, k) : weight_of(row, k));
    }
    fa_head_normalise(h->outputs, gradient);
}
