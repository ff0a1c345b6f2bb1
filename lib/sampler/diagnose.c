/* SPDX-License-Identifier: Apache-2.0 */
#include "sampler/diagnose.h"

#include "sampler/chain.h"
#include "sampler/mixing.h"

#include <math.h>
#include <stdlib.h>

#define RHAT_MOST 1.1
#define DRIFT_MOST 1.5 /* standard deviations; 3 sigma of 32 independent draws */
#define ESS_LEAST 20
#define LOSS_RISE_CHAIN 1 /* nats */
#define LOSS_RISE_GAUSSIAN 5

typedef struct work {
    int64_t n, draws; /* n: references looked at */
    const int64_t *offset;
    int32_t n_chain;
    double *ess, *rhat, *drift; /* [n] */
    float *centred;             /* [moved, draws] of those that moved: each chain on its own mean, the whole at unit length */
    int64_t moved;
} work;

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

/* The squared length of `row`, filled with x centred chain by chain; 0 when it stood still. */
static double centre(const work *w, const float *x, float *row)
{
    double square = 0, mean = 0;
    for (int32_t c = 0; c < w->n_chain; c++) {
        const int64_t first = w->offset[c], end = w->offset[c + 1];
        double sum = 0;
        for (int64_t t = first; t < end; t++) sum += x[t];
        mean += sum;
        sum /= (double)(end - first);
        for (int64_t t = first; t < end; t++) {
            row[t] = (float)(x[t] - sum);
            square += (double)row[t] * row[t];
        }
    }
    mean /= (double)w->draws;
    /* False for what is not finite, too. */
    return sqrt(square / (double)w->draws) > FA_MIXING_STILL * fabs(mean) && isfinite(square) ? square : 0;
}

static void reference(work *w, int64_t i, const float *x)
{
    float *row = w->centred + w->moved * w->draws;
    const double square = centre(w, x, row);
    w->ess[i] = 0;
    w->rhat[i] = 1;
    if (!(square > 0)) return;
    for (int32_t c = 0; c < w->n_chain; c++) w->ess[i] += fa_mixing_ess(row + w->offset[c], w->offset[c + 1] - w->offset[c]);
    w->rhat[i] = fa_mixing_split_rhat(x, w->offset, w->n_chain);
    for (int64_t t = 0; t < w->draws; t++) row[t] = (float)(row[t] / sqrt(square));
    w->moved++;
}

/* Largest over chains of the median over references. */
static double drift_of(const work *w)
{
    double most = 0;
    for (int32_t c = 0; c < w->n_chain; c++) {
        const int64_t first = w->offset[c], length = w->offset[c + 1] - first;
        for (int64_t i = 0; i < w->n; i++) w->drift[i] = i < w->moved ? fa_mixing_drift(w->centred + i * w->draws + first, length) : 0;
        const double m = median(w->drift, w->n);
        if (m > most) most = m;
    }
    return most;
}

static double deviation_of_couplings(const work *w)
{
    double count = 0, mean = 0, square = 0;
    for (int64_t i = 0; i < w->moved; i++)
        for (int64_t j = 0; j < i; j++) {
            const double coupling = fa_mixing_product(w->centred + i * w->draws, w->centred + j * w->draws, w->draws), step = coupling - mean;
            mean += step / ++count;
            square += step * (coupling - mean);
        }
    return count > 0 ? sqrt(square / count) : 0;
}

static int64_t looked_at(int64_t n)
{
    return n < FA_DIAGNOSE_REFERENCES ? n : FA_DIAGNOSE_REFERENCES;
}

size_t fa_diagnose_bytes(int64_t n, int64_t draws)
{
    return (size_t)looked_at(n) * (3 * sizeof(double) + (size_t)draws * sizeof(float));
}

fa_status fa_diagnose(fa_context *context, const float *trace, int64_t n, int64_t stride, const int64_t *offset, int32_t n_chain, fa_diagnosis *out)
{
    const int64_t draws = offset[n_chain];
    work w = {.n = looked_at(n), .draws = draws, .offset = offset, .n_chain = n_chain};
    w.ess = fa_new_uncleared(context, fa_diagnose_bytes(n, draws));
    if (!w.ess) return FA_ERR_MEMORY;
    w.rhat = w.ess + w.n;
    w.drift = w.rhat + w.n;
    w.centred = (float *)(w.drift + w.n);
    for (int64_t i = 0; i < w.n; i++) reference(&w, i, trace + i * n / w.n * stride);
    fa_diagnosis d = {.ess = median(w.ess, w.n), .split_rhat = median(w.rhat, w.n), .drift = drift_of(&w), .shortest = draws};
    d.ess_min = w.ess[0]; /* sorted by now */
    d.split_rhat_max = w.rhat[w.n - 1];
    d.signal = deviation_of_couplings(&w) * sqrt(d.ess);
    d.moved = (double)w.moved / (double)w.n;
    for (int32_t c = 0; c < n_chain; c++)
        if (offset[c + 1] - offset[c] < d.shortest) d.shortest = offset[c + 1] - offset[c];
    fa_delete(context, w.ess);
    *out = d;
    return FA_OK;
}

const char *fa_diagnosis_verdict(const fa_diagnosis *d, int32_t kind, double loss_before, double loss_after)
{
    const bool chains = kind != FA_SAMPLER_GAUSSIAN;
    if (!(loss_after <= loss_before + (chains ? LOSS_RISE_CHAIN : LOSS_RISE_GAUSSIAN))) return "draws left the basin: raise gamma";
    if (d->shortest < FA_MIXING_LEAST) return "too few draws to tell: raise draws";
    if (d->moved < 0.5) return chains ? "nothing moved: lower gamma or raise step_size" : "nothing moved: lower gamma";
    if (chains && (d->split_rhat > RHAT_MOST || d->drift > DRIFT_MOST)) return "chains have not mixed: raise burn_in or step_size";
    /* Couplings that differ by less than their sampling error are the same complaint. */
    if (d->ess >= ESS_LEAST && !(d->signal > 0 && d->signal < 1)) return "fine";
    return chains ? "too few effective draws: raise draws or thinning" : "too few effective draws: raise draws";
}
