/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SAMPLER_DIAGNOSE_H
#define FA_SAMPLER_DIAGNOSE_H

#include "base/alloc.h"

#include <fattr/trace.h>

/* Whether chains have mixed and draws say enough, from the references' loss traces (mixing.h). A reference whose loss stood still (mixing.h) in every chain,
 * or is not finite, counts with ess 0, split R-hat 1 and drift 0. All figures are finite. */

#define FA_DIAGNOSE_REFERENCES 256 /* at most as many are looked at, evenly spaced */

/* Losses of n references (> 0): row i begins at trace[i * stride], chain c is its draws offset[c] ... offset[c + 1] - 1, from offset[0] = 0 to offset[n_chain] <= stride. */
fa_status fa_diagnose(fa_context *context, const float *trace, int64_t n, int64_t stride, const int64_t *offset, int32_t n_chain, fa_diagnosis *out);
size_t fa_diagnose_bytes(int64_t n, int64_t draws);

/* The verdict in words with the option to change: static text. loss_before and loss_after: mean loss of the references at the trained weights and over the
 * draws; "left the basin" when it rose by more than 1 for a chain, the probability of the right
 * answer by a factor e down, or 5 for gaussian draws, which are no walk that could get lost: they were found to say most at a rise of 1 to 3 (docs/method.md). */
const char *fa_diagnosis_verdict(const fa_diagnosis *diagnosis, int32_t sampler_kind, double loss_before, double loss_after);

#endif
