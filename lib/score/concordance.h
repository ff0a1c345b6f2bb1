/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_CONCORDANCE_H
#define FA_SCORE_CONCORDANCE_H

#include "score/space.h"

/*
 * Lin's concordance of loss traces (Lin, Biometrics 45(1), 1989), the mean over chains of 2 cov / (var_x + var_r + (mean_x - mean_r)^2 + 1e-8), as arXiv 2604.18970
 * couples them. Rows are traces centred chain by chain at unit length; mean and (population) standard deviation [n, n_layer] are those of the traces.
 */
typedef struct fa_trace_rows {
    fa_rows rows;
    const float *mean, *deviation;
} fa_trace_rows;

/* out[i * out_ld + j]. `scratch`: fa_space_scratch() bytes. */
void fa_concordance(const fa_space *space, const fa_dot_kernels *kernels, const fa_trace_rows *x, const fa_trace_rows *r, float *out, int64_t out_ld, float *scratch);

#endif
