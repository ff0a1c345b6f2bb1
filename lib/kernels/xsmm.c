/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/tile.h"

#include <immintrin.h>
#include <libxsmm.h>
#include <pthread.h>

/* libxsmm makes its kernels for exact sizes: runs of `step` positions, what is left of a row, and single ones. */
#define STEPS 3

typedef struct fa_xsmm_grid {
    int64_t step[STEPS];                             /* descending; the last is 1; 0: not there */
    libxsmm_smmfunction_reducebatch_offs full[STEPS]; /* FA_TILE outputs */
    libxsmm_smmfunction_reducebatch_offs last[STEPS]; /* outputs of the last, narrower block; NULL when there is none */
    unsigned long long *in, *w;                      /* [taps] offsets in bytes; `w` for full blocks */
    unsigned long long *w_last;
} fa_xsmm_grid;

/* Opens the lock file that libxsmm keeps in /tmp and registers its exit handler, so not before it is needed. */
static void start(void)
{
    libxsmm_init();
}

static libxsmm_smmfunction_reducebatch_offs dispatch(const fa_grid *g, int64_t m, int64_t n)
{
    if (g->depth > INT32_MAX || g->in_col > INT32_MAX || g->out_col > INT32_MAX) return NULL;
    const int lda = (int)fa_tile_width(m, 0), ldb = (int)(g->in_col < g->depth ? g->depth : g->in_col), ldc = (int)g->out_col;
    const float one = 1.0f;
    const int flags = LIBXSMM_GEMM_FLAG_NONE, prefetch = LIBXSMM_PREFETCH_NONE;
    if (n > 1 && g->in_col < g->depth) return NULL;
    return libxsmm_smmdispatch_reducebatch_offs((int)m, (int)n, (int)g->depth, &lda, &ldb, &ldc, &one, &one, &flags, &prefetch);
}

size_t fa_xsmm_grid_bytes(int64_t taps)
{
    return sizeof(fa_xsmm_grid) + 3 * (size_t)taps * sizeof(unsigned long long);
}

const fa_xsmm_grid *fa_xsmm_grid_place(void *memory, const fa_grid *g)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    fa_xsmm_grid *x = memory;
    const size_t taps = (size_t)g->taps;
    x->in = (unsigned long long *)(void *)(x + 1);
    x->w = x->in + taps;
    x->w_last = x->w + taps;
    const int64_t last = g->m % FA_TILE, width = fa_tile_width(last, 0);
    for (size_t t = 0; t < taps; t++) {
        x->in[t] = (unsigned long long)g->tap[t] * sizeof(float);
        x->w[t] = (unsigned long long)((int64_t)t * g->depth * FA_TILE) * sizeof(float);
        x->w_last[t] = (unsigned long long)((int64_t)t * g->depth * width) * sizeof(float);
    }
    /* Rows of one position are a matrix product whose height is known when it runs. */
    const int64_t run = g->cols > 1 ? g->cols : 24;
    x->step[0] = run < 28 ? run : 28;
    x->step[1] = run % x->step[0];
    x->step[2] = 1;
    for (int i = 0; i < STEPS; i++) {
        if (!x->step[i]) continue;
        if (g->m >= FA_TILE && !(x->full[i] = dispatch(g, FA_TILE, x->step[i]))) return NULL;
        if (last && !(x->last[i] = dispatch(g, last, x->step[i]))) return NULL;
    }
    return x;
}

/* libxsmm's kernels add to what is there and know no activation: bias and residual go before, ReLU and mask behind. Beside 16 or 32 channels in that is a fifth of the time
 * unless whole blocks are moved as two vectors. */
static FA_AVX2 void begin_block(const fa_grid *g, const float *bias, const float *residual, float *out, int64_t n)
{
    const __m256 b0 = bias ? _mm256_loadu_ps(bias) : _mm256_setzero_ps(), b1 = bias ? _mm256_loadu_ps(bias + 8) : _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i++, out += g->out_col) {
        __m256 x0 = b0, x1 = b1;
        if (residual) {
            x0 = _mm256_add_ps(_mm256_loadu_ps(residual), b0);
            x1 = _mm256_add_ps(_mm256_loadu_ps(residual + 8), b1);
            residual += g->out_col;
        }
        _mm256_storeu_ps(out, x0);
        _mm256_storeu_ps(out + 8, x1);
    }
}

static FA_AVX2 void finish_block(const fa_grid *g, bool relu, const float *mask, float *out, int64_t n)
{
    const __m256 zero = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i++, out += g->out_col) {
        __m256 x0 = _mm256_loadu_ps(out), x1 = _mm256_loadu_ps(out + 8);
        if (relu) {
            x0 = _mm256_max_ps(x0, zero);
            x1 = _mm256_max_ps(x1, zero);
        }
        if (mask) {
            x0 = _mm256_and_ps(x0, _mm256_cmp_ps(_mm256_loadu_ps(mask), zero, _CMP_GT_OQ));
            x1 = _mm256_and_ps(x1, _mm256_cmp_ps(_mm256_loadu_ps(mask + 8), zero, _CMP_GT_OQ));
            mask += g->out_col;
        }
        _mm256_storeu_ps(out, x0);
        _mm256_storeu_ps(out + 8, x1);
    }
}

static void begin(const fa_grid *g, const fa_grid_data *d, float *out, int64_t at, int64_t n, int64_t m0, int64_t m)
{
    if (d->residual == d->out && !d->bias) return;
    const float *bias = d->bias ? d->bias + m0 : NULL, *residual = d->residual ? d->residual + at + m0 : NULL;
    if (m == FA_TILE) {
        begin_block(g, bias, residual, out, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < m; k++) out[i * g->out_col + k] = (residual ? residual[i * g->out_col + k] : 0.0f) + (bias ? bias[k] : 0.0f);
}

static void finish(const fa_grid *g, const fa_grid_data *d, float *out, int64_t at, int64_t n, int64_t m0, int64_t m)
{
    const float *mask = d->mask ? d->mask + at + m0 : NULL;
    if (!d->relu && !mask) return;
    if (m == FA_TILE) {
        finish_block(g, d->relu, mask, out, n);
        return;
    }
    for (int64_t i = 0; i < n; i++, out += g->out_col)
        for (int64_t k = 0; k < m; k++)
            if ((d->relu && !(out[k] > 0)) || (mask && !(mask[i * g->out_col + k] > 0))) out[k] = 0.0f;
}

void fa_xsmm_grid_run(const fa_grid *g, const fa_grid_data *d)
{
    const fa_xsmm_grid *x = g->xsmm;
    const unsigned long long taps = (unsigned long long)g->taps;
    const bool flat = g->in_row == g->cols * g->in_col && g->out_row == g->cols * g->out_col;
    const int64_t rows = flat ? 1 : g->rows, cols = flat ? g->rows * g->cols : g->cols;
    const float *w = d->w;
    for (int64_t m0 = 0; m0 < g->m; m0 += FA_TILE) {
        const int64_t m = g->m - m0 < FA_TILE ? g->m - m0 : FA_TILE;
        for (int64_t row = 0; row < rows; row++) {
            const float *in = d->in + row * g->in_row;
            int64_t at = row * g->out_row, n;
            for (int64_t left = cols; left; left -= n, in += n * g->in_col, at += n * g->out_col) {
                int k = 0;
                while (!x->step[k] || x->step[k] > left) k++;
                n = x->step[k];
                float *out = d->out + at + m0;
                begin(g, d, out, at, n, m0, m);
                (m == FA_TILE ? x->full : x->last)[k](w, in, out, &taps, m == FA_TILE ? x->w : x->w_last, x->in);
                finish(g, d, out, at, n, m0, m);
            }
        }
        w += g->taps * g->depth * fa_tile_width(g->m, m0);
    }
}
