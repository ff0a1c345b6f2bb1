/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_CONFORMAL_H
#define FATTR_CLI_CONFORMAL_H

#include <stdint.h>

/*
 * The threshold behind p = (1 + #{calibration scores >= score}) / (1 + m) <= alpha: a score is flagged when it is larger. NaN when m held-out
 * inputs are too few for alpha. `scores` [m] are put in ascending order.
 */
double conformal_threshold(double *scores, int64_t m, double alpha);

#endif
