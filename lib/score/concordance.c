/* SPDX-License-Identifier: Apache-2.0 */
#include "score/concordance.h"

#include <math.h>

#define EPSILON 1e-8f

/* What the inner product of two unit blocks counts for in the concordance of a chain. */
static float chain_weight(float mean_x, float deviation_x, float mean_r, float deviation_r)
{
    float apart = mean_x - mean_r;
    return 2 * deviation_x * deviation_r / (deviation_x * deviation_x + deviation_r * deviation_r + apart * apart + EPSILON);
}

void fa_concordance(const fa_space *s, const fa_dot_kernels *k, const fa_trace_rows *x, const fa_trace_rows *r, float *out, int64_t out_ld, float *scratch)
{
    int32_t chains = s->n_layer;
    int64_t length = s->offset[chains];
    float *weight = scratch;
    for (int64_t j = 0; j < r->rows.n; j += 4) {
        int n = r->rows.n - j < 4 ? (int)(r->rows.n - j) : 4;
        for (int64_t i = 0; i < x->rows.n; i++) {
            const float *four[4];
            const float *one = x->rows.block + i * length;
            float c[4] = {0, 0, 0, 0};
            for (int q = 0; q < 4; q++) {
                int64_t row = j + (q < n ? q : 0);
                four[q] = r->rows.block + row * length;
                for (int32_t l = 0; l < chains; l++)
                    weight[4 * l + q] = chain_weight(x->mean[i * chains + l], x->deviation[i * chains + l], r->mean[row * chains + l], r->deviation[row * chains + l]) / (float)chains;
            }
            k->weighted(1, &one, four, four, s->offset, chains, weight, c, 4);
            for (int q = 0; q < n; q++) out[i * out_ld + j + q] = fminf(fmaxf(c[q], -1), 1);
        }
    }
}
