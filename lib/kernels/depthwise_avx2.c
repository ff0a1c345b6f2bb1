/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/tile.h"

#if FA_HAVE_AVX2
#include <immintrin.h>

/* Four positions of a row by 8 `v` channels: a weight is loaded once for the four. */
FA_INLINE FA_AVX2 void body(const fa_grid *g, const fa_grid_data *d, const float *in, int64_t at, int64_t m, const int p, const int v)
{
    __m256 acc[4][2];
    FA_UNROLL
    for (int i = 0; i < p; i++) {
        FA_UNROLL
        for (int k = 0; k < v; k++) acc[i][k] = d->bias ? _mm256_loadu_ps(d->bias + m + 8 * k) : _mm256_setzero_ps();
    }
    const float *w = d->w + m;
    for (int64_t s = 0; s < g->taps; s++, w += g->m) {
        const float *x = in + g->tap[s] + m;
        FA_UNROLL
        for (int k = 0; k < v; k++) {
            const __m256 weight = _mm256_loadu_ps(w + 8 * k);
            FA_UNROLL
            for (int i = 0; i < p; i++) acc[i][k] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i * g->in_col + 8 * k), weight, acc[i][k]);
        }
    }
    FA_UNROLL
    for (int i = 0; i < p; i++) {
        FA_UNROLL
        for (int k = 0; k < v; k++) {
            const int64_t o = at + i * g->out_col + m + 8 * k;
            if (d->residual) acc[i][k] = _mm256_add_ps(acc[i][k], _mm256_loadu_ps(d->residual + o));
            if (d->relu) acc[i][k] = _mm256_max_ps(acc[i][k], _mm256_setzero_ps());
            _mm256_storeu_ps(d->out + o, acc[i][k]);
        }
    }
}

static FA_AVX2 void four(const fa_grid *g, const fa_grid_data *d, const float *in, int64_t at, int64_t m, int v)
{
    if (v == 2)
        body(g, d, in, at, m, 4, 2);
    else
        body(g, d, in, at, m, 4, 1);
}

static FA_AVX2 void one(const fa_grid *g, const fa_grid_data *d, const float *in, int64_t at, int64_t m, int v)
{
    if (v == 2)
        body(g, d, in, at, m, 1, 2);
    else
        body(g, d, in, at, m, 1, 1);
}

static void rest(const fa_grid *g, const fa_grid_data *d, const float *in, int64_t at, int64_t m)
{
    for (; m < g->m; m++) {
        float sum = d->bias ? d->bias[m] : 0.0f;
        for (int64_t s = 0; s < g->taps; s++) sum += in[g->tap[s] + m] * d->w[s * g->m + m];
        if (d->residual) sum += d->residual[at + m];
        d->out[at + m] = d->relu && !(sum > 0) ? 0.0f : sum;
    }
}

void fa_depthwise_avx2(const fa_grid *g, const fa_grid_data *d)
{
    for (int64_t row = 0; row < g->rows; row++) {
        const float *in = d->in + row * g->in_row;
        int64_t at = row * g->out_row, step;
        for (int64_t col = 0; col < g->cols; col += step, in += step * g->in_col, at += step * g->out_col) {
            step = g->cols - col >= 4 ? 4 : 1;
            int64_t m = 0;
            for (int64_t next; (next = m + 8) <= g->m; m = next) {
                const int v = m + 16 <= g->m ? 2 : 1;
                next = m + 8 * v;
                (step == 4 ? four : one)(g, d, in, at, m, v);
            }
            for (int64_t i = 0; i < step && m < g->m; i++) rest(g, d, in + i * g->in_col, at + i * g->out_col, m);
        }
    }
}
#endif
