/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SAMPLER_MIXING_H
#define FA_SAMPLER_MIXING_H

#include <stdint.h>

/* What one loss trace says of its chains, on the plain losses. Chains of fewer than FA_MIXING_LEAST draws say nothing. All results are finite. */

#define FA_MIXING_LEAST 4    /* draws: two in each half of a chain */
#define FA_MIXING_LAG 1000   /* autocorrelations further apart than that count as 0 */
#define FA_MIXING_RHAT 1000  /* the largest split R-hat: chains that stand still, apart from each other */
#define FA_MIXING_STILL 1e-5 /* standard deviation over |mean| below which a trace moved by no more than the rounding errors of a network in fp32 */

/* Effective number of draws of one chain, 0 ... n: n over the integrated autocorrelation time, which sums Geyer's initial monotone sequence (Statistical
 * Science 7, 1992). `centred` [n]: losses minus their mean. 0 when the chain stood still or is too short. */
double fa_mixing_ess(const float *centred, int64_t n);

/* Potential scale reduction of the halves of all chains, >= 0 (Vehtari et al., Bayesian Analysis 16, 2021, eq. 1 to 4; chains of unequal lengths count by their
 * average length; of an odd number of draws the middle one is left out). trace [offset[n_chain]]: chain c is draws offset[c] ... offset[c + 1] - 1.
 * 1 when there is nothing to compare. */
double fa_mixing_split_rhat(const float *trace, const int64_t *offset, int32_t n_chain);

/* |mean of the last quarter - mean of the first| / standard deviation, 0 ... 2 sqrt(2), of one chain; 0 when it stood still or is too short. */
double fa_mixing_drift(const float *centred, int64_t n);

/* Sum of x[i] y[i]. */
double fa_mixing_product(const float *x, const float *y, int64_t n);

#endif
