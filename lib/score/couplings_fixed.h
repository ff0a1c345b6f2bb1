/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_COUPLINGS_FIXED_H
#define FA_SCORE_COUPLINGS_FIXED_H

#include "kernels/fixed.h"
#include "score/space.h"

/* fa_space_couplings() where the references are in fixed point. The same bits for any x->n and any kernels. */
void fa_couplings_fixed(const fa_space *space, const fa_fixed_kernels *kernels, const fa_rows *x, const fa_rows *r, float *out, int64_t out_ld, void *scratch);

/* Bytes of scratch memory for up to `batch` inputs at a time. */
size_t fa_couplings_fixed_scratch(const fa_space *space, const fa_fixed_kernels *kernels, int64_t batch);

#endif
