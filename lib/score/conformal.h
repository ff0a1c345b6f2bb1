/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_CONFORMAL_H
#define FA_SCORE_CONFORMAL_H

#include <stdint.h>

/* (1 + #{calibration >= score}) / (1 + m) for m ascending calibration scores; NaN for m = 0. A NaN score counts as larger than every other. */
double fa_conformal_p(const double *calibration, int64_t m, double score);

/* Ascending order, in place, without recursion or memory. */
void fa_sort_scores(double *score, int64_t n);

#endif
