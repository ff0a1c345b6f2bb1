/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_NHWC_H
#define FA_KERNELS_NHWC_H

#include <stdbool.h>
#include <stdint.h>

/* What else channels-last networks are made of. For CPUs on which fa_kernels_available(). */

/* A pool over windows of [h, w, c]. The taps of output row y that lie inside the image are [row_first[y], row_end[y]); columns likewise. */
typedef struct fa_pool2d {
    int64_t c, h, w, oh, ow;
    int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    const int64_t *row_first, *row_end, *col_first, *col_end;
    const float *row_share, *col_share; /* average: 1 / number of taps that count */
} fa_pool2d;

void fa_pool_max(const fa_pool2d *pool, int64_t n, const float *x, float *y);
/* Adds the gradient at `y` to the first largest element of each window. */
void fa_pool_max_gradient(const fa_pool2d *pool, int64_t n, const float *x, const float *grad_y, float *grad_x);
void fa_pool_average(const fa_pool2d *pool, int64_t n, const float *x, float *y);
void fa_pool_average_gradient(const fa_pool2d *pool, int64_t n, const float *grad_y, float *grad_x);

/* Images of which every pixel is repeated `right` times along its row and `down` times along its column. */
typedef struct fa_upsampling {
    int64_t rows, columns, c; /* rows: of all images */
    int64_t down, right;
} fa_upsampling;

void fa_upsample(const fa_upsampling *upsampling, const float *x, float *y);
/* grad_x = the sums of grad_y over what each pixel became, or += with `add`. */
void fa_upsample_gradient(const fa_upsampling *upsampling, const float *grad_y, float *grad_x, bool add);

/* An image of h rows of `row` floats within a larger one of padded_h rows of padded_row, from row `top` and float `left` on; zeros around it. On any CPU. */
typedef struct fa_padding {
    int64_t h, row, top, left, padded_h, padded_row;
} fa_padding;

void fa_pad_image(const fa_padding *padding, const float *in, float *to);
/* The same of rows first ... end - 1 of the larger one alone. */
void fa_pad_rows(const fa_padding *padding, const float *in, int64_t first, int64_t end, float *to);

/* n matrices: to [columns, rows] = transpose of from [rows, columns], or += with `add`. */
void fa_transpose(int64_t n, int64_t rows, int64_t columns, const float *from, float *to, bool add);

/* to = from, or += with `add`. */
void fa_copy_or_add(int64_t n, const float *from, float *to, bool add);

/* The gradient through a Relu whose output is y: grad_x = grad_y where y > 0, else 0; += with `add`. */
void fa_relu_gradient(int64_t n, const float *y, const float *grad_y, float *grad_x, bool add);

#endif
