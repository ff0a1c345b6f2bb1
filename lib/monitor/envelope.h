/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_MONITOR_ENVELOPE_H
#define FA_MONITOR_ENVELOPE_H

#include "base/alloc.h"

/*
 * Conformal p-values k / (m + 1) from one calibration set are valid on average over calibration sets; given the set, the chance of p <= k / (m + 1) is the
 * k-th smallest of m uniform numbers, U_k. The envelope b has U_k <= b_k for all k at once with a chance of at least 1 - a over calibration sets. Given
 * such a set, b_k in place of k / (m + 1) is valid for each input independently (calibration-conditional p-values: Bates, Candes, Lei, Romano, Sesia,
 * "Testing for outliers with conformal p-values", 2023). At a grid of ranks, each 1.15 times the one before, by Chernoff's bound for the
 * binomial distribution and the union bound over the grid; a rank between two has the bound of the next.
 */
typedef struct fa_envelope {
    int64_t m;
    int32_t n;
    int64_t *rank; /* [n] ascending, the last one m */
    double *bound; /* [n] */
} fa_envelope;

/* rank and bound are the caller's to free with fa_delete(), on failure too. */
fa_status fa_envelope_make(fa_context *context, int64_t m, double a, fa_envelope *out);

/* What a p-value counts for; 1 beyond rank m. */
double fa_envelope_of(const fa_envelope *envelope, double p);

#endif
