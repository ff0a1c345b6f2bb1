/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/conv_private.h"

#include "base/pool.h"
#include "kernels/bf16.h"
#include "kernels/bf16_rows.h"
#include "kernels/cpu.h"
#include "kernels/nhwc.h"

#include <string.h>

/* Numbers that stay in the first-level cache from their sums to the slope that multiplies them. */
#define PIECE 8192

/* What an element costs that is moved, or multiplied by a slope: about the time of so many multiplications. */
#define MOVED 32.0

/* Positions of a single tap, one after the other: in pieces, each of which is finished while it is close at hand. */
typedef struct pieces {
    const fa_grid *all;
    const fa_grid_data *data;
    const fa_slope *slope;
    int64_t step;
} pieces;

static void some_pieces(void *user, int64_t first, int64_t end, int32_t thread)
{
    const pieces *p = user;
    const fa_grid_data *d = p->data;
    const int64_t total = p->all->rows * p->all->cols;
    (void)thread;
    for (int64_t i = first * p->step; i < total && i < end * p->step; i += p->step) {
        fa_grid g = *p->all;
        fa_grid_data part = *d;
        g.rows = 1;
        g.cols = total - i < p->step ? total - i : p->step;
        part.in += i * g.in_col;
        part.out += i * g.out_col;
        if (d->residual) part.residual += i * g.out_col;
        fa_grid_run(&g, &part);
        fa_slope_apply(p->slope, i * g.out_col, g.cols * g.out_col, part.out);
    }
}

static void run_pieces(fa_pool *pool, const fa_grid *g, const fa_grid_data *d, const fa_slope *slope)
{
    const int64_t total = g->rows * g->cols, tiles = PIECE / (14 * g->m), step = 14 * (tiles ? tiles : 1);
    fa_pool_share(pool, (total + step - 1) / step, (double)total * (double)g->m * (2.0 * (double)g->depth + MOVED), some_pieces, &(pieces){g, d, slope, step});
}

static bool has_pieces(const fa_conv *c)
{
    const fa_grid *g = &c->phase[0].grid;
    return c->flat && c->groups == 1 && g->taps == 1 && g->in_row == g->cols * g->in_col && g->out_row == g->cols * g->out_col && g->out_col == g->m;
}

/* Slopes that a depthwise kernel takes in its registers. */
static bool depthwise_multiplies(const fa_conv *c, const fa_conv_data *d)
{
    return c->vectors && d->slope.n_step == 1 && (d->slope.step->function == FA_STEP_RELU || d->slope.step->function == FA_STEP_HARD_SWISH);
}

/* Brings the outputs that no kernel element reaches to what they are to be, where that is nothing or what they were; false where the phases have to. */
static bool fill_gaps(const fa_conv *c, const fa_conv_data *d, float *out)
{
    if (!c->gaps || d->bias || d->outputs) return false;
    if (d->residual == d->out) return !d->relu && !d->slope.n_step;
    if (d->residual) return false;
    memset(out, 0, (size_t)(c->out_h * c->out_w * c->out_pixel) * sizeof *out);
    return true;
}

/* What threads share of one image, or of all of them where they are flat. */
typedef struct part {
    const fa_conv *c;
    const fa_conv_data *d;
    const float *in, *image; /* as the grids read it, and as it is given */
    int64_t out;             /* where its outputs begin */
    bool filled;             /* what no kernel element reaches is done */
} part;

/* Rows of the image within its padding, as the grids read it. */
static void copy_rows(void *user, int64_t first, int64_t end, int32_t thread)
{
    const part *p = user;
    const fa_conv *c = p->c;
    const fa_padding padding = {c->in_h, c->in_w * c->in_pixel, c->top, c->left * c->in_pixel, c->padded_h, c->padded_w * c->in_pixel};
    (void)thread;
    fa_pad_rows(&padding, p->image, first, end, p->d->scratch);
}

static void copy_image(const part *p)
{
    const fa_conv *c = p->c;
    if (c->bf16) {
        const fa_bf16_padding padding = {c->in_h, c->in_w, c->top, c->left, c->padded_h, c->padded_w, c->channels};
        fa_bf16_pad_image(c->bf16, &padding, p->image, p->d->scratch);
        return;
    }
    fa_pool_share(p->d->pool, c->padded_h, MOVED * (double)(c->padded_h * c->padded_w * c->in_pixel), copy_rows, (void *)(uintptr_t)p);
}

#if FA_HAVE_AVX2
typedef struct depthwise_rows {
    const part *part;
    const fa_conv_phase *phase;
} depthwise_rows;

static void some_depthwise_rows(void *user, int64_t first, int64_t end, int32_t thread)
{
    const depthwise_rows *r = user;
    const fa_conv *c = r->part->c;
    const fa_conv_data *d = r->part->d;
    fa_depthwise rows = r->phase->depthwise;
    const bool within = depthwise_multiplies(c, d);
    const int64_t out = r->part->out + r->phase->out + first * rows.out_row;
    (void)thread;
    rows.y.first += first * rows.y.step;
    rows.y.out = end - first;
    fa_depthwise_run(c->isa, &rows, &(fa_depthwise_data){r->part->in, d->packed + r->phase->w, d->bias, d->residual ? d->residual + out : NULL, d->out + out, d->relu,
                                                         within ? d->slope.before + out : NULL, within ? d->slope.step->function : 0});
}

/* Depthwise kernels reach less than half of the rate of others. */
static void run_depthwise(const part *p, const fa_conv_phase *f)
{
    const fa_depthwise *d = &f->depthwise;
    fa_pool_share(p->d->pool, d->y.out, 4.0 * (double)(d->y.out * d->x.out * d->channels) * (double)(d->y.taps * d->x.taps + 2), some_depthwise_rows, &(depthwise_rows){p, f});
}
#endif

static void run_phase(const part *p, const fa_conv_phase *f, int64_t group, fa_pool *pool)
{
    const fa_conv *c = p->c;
    const fa_conv_data *d = p->d;
    const int64_t out = p->out + f->out + group * c->out_c + d->first, m = d->outputs ? d->outputs : c->out_c;
    const float *mask = fa_slope_mask(&d->slope);
    fa_grid grid = f->grid;
    if (c->flat) grid.rows *= d->n;
    grid.m = m;
    const fa_grid_data data = {
        .in = p->in + group * c->in_c,
        .w = d->packed + group * c->group_floats + (d->outputs ? f->w / fa_tile_round(c->out_c) * fa_tile_round(m) : f->w),
        .bias = d->bias ? d->bias + group * c->out_c + d->first : NULL,
        .residual = d->residual ? d->residual + out : NULL,
        .mask = mask ? mask + out : NULL,
        .out = d->out + out,
        .relu = d->relu,
    };
    if (d->slope.n_step && !mask && has_pieces(c)) run_pieces(pool, &grid, &data, &d->slope);
    else fa_grid_share(pool, &grid, &data);
}

static void some_groups(void *user, int64_t first, int64_t end, int32_t thread)
{
    const part *p = user;
    (void)thread;
    for (int64_t group = first; group < end; group++)
        for (int32_t k = 0; k < p->c->n_phase; k++)
            if (!p->filled || p->c->phase[k].grid.taps) run_phase(p, &p->c->phase[k], group, NULL);
}

/* One image, or all of them where they are flat; `image`: the number of the first. */
static void run_image(const fa_conv *c, const fa_conv_data *d, int64_t image)
{
    part p = {.c = c, .d = d, .image = d->in + image * c->in_h * c->in_w * c->channels, .out = image * c->out_h * c->out_w * c->out_pixel};
    p.in = c->copies ? d->scratch : p.image;
    if (c->copies) copy_image(&p);
    p.filled = fill_gaps(c, d, d->out + p.out);
    if (c->groups > 1) {
        fa_pool_share(d->pool, c->groups, c->flops, some_groups, &p);
        return;
    }
    for (int32_t k = 0; k < c->n_phase; k++) {
        const fa_conv_phase *f = &c->phase[k];
        if (p.filled && !f->grid.taps) continue;
#if FA_HAVE_AVX2
        if (c->vectors) {
            run_depthwise(&p, f);
            continue;
        }
#endif
        run_phase(&p, f, 0, d->pool);
    }
}

/* Numbers of the output that a slope multiplies together: whole vectors. */
#define SLOPED 1024

typedef struct sloped {
    const fa_conv_data *d;
    int64_t at, n;
} sloped;

static void some_slopes(void *user, int64_t first, int64_t end, int32_t thread)
{
    const sloped *s = user;
    const int64_t at = first * SLOPED, last = end * SLOPED < s->n ? end * SLOPED : s->n;
    (void)thread;
    fa_slope_apply(&s->d->slope, s->at + at, last - at, s->d->out + s->at + at);
}

static void apply_slope(const fa_conv_data *d, int64_t at, int64_t n)
{
    if (d->slope.n_step) fa_pool_share(d->pool, (n + SLOPED - 1) / SLOPED, MOVED * (double)n, some_slopes, &(sloped){d, at, n});
}

/* Minimal filtering of some of the outputs. */
static void filter_some(const fa_conv *c, const fa_conv_data *d)
{
    fa_conv_data some = *d;
    fa_winograd w = c->winograd;
    w.out_pixel = w.out_c;
    w.out_c = d->outputs;
    some.out += d->first;
    if (d->bias) some.bias += d->first;
    if (d->residual) some.residual += d->first;
    fa_winograd_run(&w, &some);
}

void fa_conv_run(const fa_conv *c, const fa_conv_data *d)
{
    if (c->rows) {
        const fa_bf16_rows rows = {&c->phase[0].grid, c->bf16, c->channels, c->out_pixel};
        fa_bf16_rows_run(&rows, d->n * c->in_h * c->in_w, d);
        return;
    }
    const int64_t image = c->out_h * c->out_w * c->out_pixel, step = c->filters || c->flat ? d->n : 1;
    for (int64_t i = 0; i < d->n; i += step) {
        if (c->filters && d->outputs) filter_some(c, d);
        else if (c->filters) fa_winograd_run(&c->winograd, d);
        else run_image(c, d, i);
        if (!fa_slope_mask(&d->slope) && (c->filters || (!has_pieces(c) && !depthwise_multiplies(c, d)))) apply_slope(d, i * image, step * image);
    }
}
