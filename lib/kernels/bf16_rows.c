/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/bf16_rows.h"

#include "kernels/bf16.h"

/* Rounded rows stay in the second-level cache while they are multiplied, as far as they can; no fewer than make weights worth reading. */
#define WORDS 320000
#define LEAST 28
#define MOST 280

static int64_t rows_at_once(int64_t form, int64_t channels)
{
    const int64_t n = WORDS / fa_bf16_pixel(form, channels);
    return n > MOST ? MOST : n < LEAST ? LEAST : n;
}

size_t fa_bf16_rows_scratch(int64_t form, int64_t channels)
{
    return (size_t)(rows_at_once(form, channels) * fa_bf16_pixel(form, channels)) * sizeof(float);
}

/* The `total` rows from `first` on. */
static void dense_rows(const fa_bf16_rows *r, const fa_conv_data *d, int64_t first, int64_t total)
{
    const int64_t most = rows_at_once(r->form, r->channels), blocks = (total + most - 1) / most;
    const float *mask = fa_slope_mask(&d->slope);
    fa_grid grid = *r->grid;
    grid.rows = 1;
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t i = first + b * total / blocks, at = i * r->out;
        grid.cols = first + (b + 1) * total / blocks - i;
        fa_bf16_write(r->form, grid.cols, r->channels, d->in + i * r->channels, d->scratch);
        fa_grid_share(d->pool, &grid, &(fa_grid_data){
                               .in = d->scratch,
                               .w = d->packed,
                               .bias = d->bias,
                               .residual = d->residual ? d->residual + at : NULL,
                               .mask = mask ? mask + at : NULL,
                               .out = d->out + at,
                               .relu = d->relu,
                           });
        if (!mask) fa_slope_apply(&d->slope, at, grid.cols * r->out, d->out + at);
    }
}

/* Rows of zeros, whose sums are what is added to them. */
static void empty_rows(const fa_bf16_rows *r, const fa_conv_data *d, int64_t first, int64_t total)
{
    const int64_t at = first * r->out, n = total * r->out;
    const float *mask = fa_slope_mask(&d->slope);
    float *out = d->out + at;
    for (int64_t k = 0; k < n; k++) {
        const float sum = d->residual ? d->residual[at + k] : 0.0f;
        out[k] = mask && !(mask[at + k] > 0) ? 0.0f : sum;
    }
    if (!mask) fa_slope_apply(&d->slope, at, n, out);
}

/* How many rows from `i` on are zeros, before the first that is not. */
static int64_t zero_rows(const fa_bf16_rows *r, const float *in, int64_t i, int64_t total)
{
    int64_t end = i;
    for (; end < total; end++)
        for (int64_t k = 0; k < r->channels; k++)
            if (in[end * r->channels + k] != 0) return end - i;
    return end - i;
}

/* Enough rows of zeros beside each other are not multiplied: a loss at one token leaves them nearly all. */
#define EMPTY_LEAST 16

void fa_bf16_rows_run(const fa_bf16_rows *r, int64_t total, const fa_conv_data *d)
{
    const bool skips = !d->bias && !d->relu;
    int64_t dense = 0, zeros;
    for (int64_t i = 0; skips && i < total; i += zeros + 1) {
        zeros = zero_rows(r, d->in, i, total);
        if (zeros < EMPTY_LEAST) continue;
        dense_rows(r, d, dense, i - dense);
        empty_rows(r, d, i, zeros);
        dense = i + zeros;
    }
    dense_rows(r, d, dense, total - dense);
}
