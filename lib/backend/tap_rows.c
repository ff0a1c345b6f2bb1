/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/tap_rows.h"
#include "backend/rewrite.h"
#include "backend/tap_order.h"
#include "kernels/multiply.h"
#include "kernels/outer.h"

#include <string.h>

/*
 * Taps of layers that multiply rows, [n, t, c] or [t, n, c] or [n, c]: with the rows of an input as X [t, in] and D [t, out], a block is (X P_in)' (D P_out), or ((X P_in)' D) P_out where
 * there are many more rows than outputs, and the second moments are sums of X'X and D'D over all inputs.
 */

/* Rows that are gathered, or projected, at once. */
#define ROWS 256

bool fa_tap_rows_takes(const fa_tap *t)
{
    return !t->lookup && t->groups == 1 && t->a_c == 1 && t->d_c == 1 && t->kh == 1 && t->kw == 1 && t->stride_h == 1 && t->stride_w == 1 && t->oh == t->h && t->ow == t->w &&
           t->pad_top == 0 && t->pad_left == 0;
}

/* One of a layer's sides: rows of `width` numbers, at n * step_n + h * step_h + w * step_w. */
typedef struct side {
    const float *data;
    int64_t width, step_n, step_h, step_w;
} side;

static side input_side(const fa_tap *t)
{
    return (side){t->a, t->c, t->a_n, t->a_h, t->a_w};
}

static side output_side(const fa_tap *t)
{
    return (side){t->d, t->out, t->d_n, t->d_h, t->d_w};
}

static int64_t positions(const fa_tap *t)
{
    return t->h * t->w;
}

/* True when the rows of one input, or those of all inputs one after the other, are evenly spaced. */
static bool is_even(const fa_tap *t, const side *s, int64_t *step)
{
    *step = t->w > 1 ? s->step_w : s->step_h;
    return t->w == 1 || t->h == 1 || s->step_h == t->w * s->step_w;
}

static bool is_dense(const fa_tap *t, const side *s)
{
    int64_t step;
    return positions(t) == 1 || (is_even(t, s, &step) && s->step_n == positions(t) * step);
}

/* Inputs whose rows are projected together. */
static int64_t group_of(const fa_tap *t)
{
    const side a = input_side(t), d = output_side(t);
    const int64_t n = is_dense(t, &a) && is_dense(t, &d) ? (ROWS + positions(t) - 1) / positions(t) : 1;
    return n < t->n ? n : t->n;
}

static int64_t ld_of(int64_t n)
{
    return n % 64 ? n : n + 16; /* rows a power of two apart would share cache sets */
}

static size_t floats(int64_t n)
{
    return ((size_t)n * sizeof(float) + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static bool is_late(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return fa_tap_is_late(positions(t), t->out, k_in, k_out);
}

/* Projections that have been packed: offsets in bytes. */
typedef struct packing {
    size_t in, bias, out, whole;
} packing;

static packing lay_out(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    packing p = {.bias = fa_multiply_scratch(k_in, t->c)};
    p.out = p.bias + floats(k_in);
    p.whole = p.out + fa_multiply_scratch(k_out, t->out);
    return p;
}

static size_t packed_size(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return lay_out(t, k_in, k_out).whole;
}

static float *within(const void *memory, size_t offset)
{
    return (float *)(uintptr_t)((const char *)memory + offset);
}

static void pack(const fa_tap *t, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed)
{
    const packing p = lay_out(t, k_in, k_out);
    fa_multiply_pack(&(fa_multiply){.n = k_in, .k = t->c, .b = p_in, .b_row = k_in, .b_col = 1}, within(packed, p.in));
    fa_multiply_pack(&(fa_multiply){.n = k_out, .k = t->out, .b = p_out, .b_row = k_out, .b_col = 1}, within(packed, p.out));
    if (t->has_bias) memcpy(within(packed, p.bias), p_in + t->c * k_in, (size_t)k_in * sizeof(float));
}

static size_t scratch_bytes(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    const int64_t rows = group_of(t) * positions(t);
    return floats(rows * k_in) + floats(is_late(t, k_in, k_out) ? k_in * t->out : rows * k_out);
}

static size_t moments_scratch(const fa_tap *t)
{
    const int64_t in = ld_of(t->c + t->has_bias), out = ld_of(t->out);
    return floats(ROWS * (in > out ? in : out));
}

/* to [inputs * positions, k] = the rows of inputs i ... i + n - 1 times a packed matrix. */
static void project(const fa_tap *t, const side *s, int64_t i, int64_t n, const float *packed, const float *bias, int64_t k, float *to)
{
    int64_t step;
    const bool even = is_even(t, s, &step);
    const float *from = s->data + i * s->step_n;
    if (n > 1 && positions(t) == 1) step = s->step_n;
    fa_multiply x = {.m = even ? n * positions(t) : t->w, .n = k, .k = s->width, .a = from, .lda = even ? step : s->step_w, .bias = bias, .packed = packed, .c = to, .ldc = k, .pool = t->pool};
    for (int64_t y = 0; y < (even ? 1 : t->h); y++, x.a += s->step_h, x.c += t->w * k) fa_multiply_run(fa_kernels_isa(), &x);
}

/* Adds to block [k_in, k_out] the projected sums of the rows of u [rows, k_in] times input i's rows of D, [k_in, out] in `sums`. */
static void sum_late(const fa_tap *t, int64_t i, int64_t k_in, int64_t k_out, const float *u, const float *packed, float *sums, float *block)
{
    memset(sums, 0, (size_t)(k_in * t->out) * sizeof *sums);
    fa_outer_grid_run(fa_kernels_isa(), &(fa_outer_grid){.images = 1, .rows = t->h, .cols = t->w, .ni = k_in, .nj = t->out, .x = u, .x_row = t->w * k_in, .x_col = k_in, .y = t->d + i * t->d_n,
                                                         .y_row = t->d_h, .y_col = t->d_w, .c = sums, .ldc = t->out, .pool = t->pool});
    fa_multiply_run(fa_kernels_isa(), &(fa_multiply){.m = k_in, .n = k_out, .k = t->out, .a = sums, .lda = t->out, .packed = packed, .c = block, .ldc = k_out, .add = true, .pool = t->pool});
}

static void blocks(const fa_tap *t, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch)
{
    const packing p = lay_out(t, k_in, k_out);
    const int64_t group = group_of(t), rows = positions(t);
    const side a = input_side(t), d = output_side(t);
    const bool late = is_late(t, k_in, k_out);
    float *u = scratch, *v = within(scratch, floats(group * rows * k_in));
    for (int64_t i = 0, n; i < t->n; i += n) {
        n = t->n - i < group ? t->n - i : group;
        project(t, &a, i, n, within(packed, p.in), t->has_bias ? within(packed, p.bias) : NULL, k_in, u);
        if (!late) project(t, &d, i, n, within(packed, p.out), NULL, k_out, v);
        for (int64_t k = 0; k < n; k++) {
            float *to = block + (i + k) * stride;
            const float *x = u + k * rows * k_in;
            if (late) sum_late(t, i + k, k_in, k_out, x, within(packed, p.out), v, to);
            else fa_outer_run(fa_kernels_isa(), &(fa_outer){rows, k_in, k_out, x, v + k * rows * k_out, k_in, k_out, to, k_out, t->pool});
        }
    }
}

/* Adds the lower triangle of the sum of x x' over all rows, with 1 behind each where `one`. */
static void add_moments(const fa_tap *t, const side *s, bool one, float *m, float *gathered)
{
    const int64_t n = s->width + one, ld = ld_of(n), total = t->n * positions(t);
    for (int64_t p = 0; p < total;) {
        int64_t rows = 0;
        for (; p < total && rows < ROWS; p++) {
            const int64_t i = p / positions(t), y = p % positions(t) / t->w, x = p % t->w;
            float *to = gathered + rows * ld;
            if (t->padded && fa_tap_is_silent(t, i, y, x)) continue;
            memcpy(to, s->data + i * s->step_n + y * s->step_h + x * s->step_w, (size_t)s->width * sizeof *to);
            if (one) to[s->width] = 1;
            rows++;
        }
        if (rows) fa_outer_symmetric(fa_kernels_isa(), rows, n, gathered, ld, m, n);
    }
}

static void moments(const fa_tap *t, float *A, float *G, void *scratch)
{
    const side a = input_side(t), d = output_side(t);
    if (A) add_moments(t, &a, t->has_bias, A, scratch);
    if (G) add_moments(t, &d, false, G, scratch);
}

static double flops(const fa_tap *t, int64_t k_in, int64_t k_out)
{
    return 2 * ((double)positions(t) * (double)(t->c + t->has_bias) * (double)k_in + fa_tap_products_behind(positions(t), t->out, k_in, k_out));
}

const fa_tap_ops fa_tap_ops_rows = {scratch_bytes, moments_scratch, moments, packed_size, pack, blocks, flops};
