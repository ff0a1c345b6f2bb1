/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/conv_private.h"

#include "base/half.h"
#include "kernels/bf16.h"
#include "kernels/bf16_rows.h"
#include "kernels/cpu.h"
#include "kernels/nhwc.h"

#include <string.h>

/*
 * Along one axis, the outputs of a convolution fall into phases: the positions first, first + step, ... whose sums run over the same kernel
 * elements at the same distances in the input. Forward there is one phase; a data-gradient has one per residue of the stride, which is what spares
 * multiplying by the zeros of a dilated gradient.
 */
typedef struct axis {
    int64_t phases;      /* of the output: 1 or the stride */
    int64_t step;        /* between outputs of a phase */
    int64_t in_step;     /* between the inputs of neighbouring outputs of a phase */
    int64_t in, out;     /* extents */
    int64_t k, stride, dilation, pad;
    bool gradient;
} axis;

static axis axis_of(const fa_conv_geometry *g, fa_conv_direction direction, bool vertical)
{
    axis a = {.gradient = direction == FA_CONV_DATA_GRADIENT};
    a.k = vertical ? g->kh : g->kw;
    a.stride = vertical ? g->stride_h : g->stride_w;
    a.dilation = vertical ? g->dilation_h : g->dilation_w;
    a.pad = vertical ? g->pad_top : g->pad_left;
    a.in = a.gradient ? vertical ? g->oh : g->ow : vertical ? g->h : g->w;
    a.out = a.gradient ? vertical ? g->h : g->w : vertical ? g->oh : g->ow;
    a.phases = a.gradient ? a.stride : 1;
    a.step = a.phases;
    a.in_step = a.gradient ? 1 : a.stride;
    return a;
}

/* Distance from in_step * i to the input that kernel element `k` multiplies for output i of the phase; false when it multiplies none. */
static bool tap_of(const axis *a, int64_t phase, int64_t k, int64_t *offset)
{
    if (!a->gradient) {
        *offset = k * a->dilation - a->pad;
        return true;
    }
    const int64_t at = phase + a->pad - k * a->dilation;
    *offset = at / a->stride;
    return at % a->stride == 0;
}

/*
 * Weights are packed by what the kernel elements of a phase have in common, the remainder of their dilated place by the stride, so that the padding, which may hang on the size
 * of the image, has no part in it. The phase whose weights are number `i`:
 */
static int64_t phase_of(const axis *a, int64_t i)
{
    return a->gradient ? ((i - a->pad) % a->stride + a->stride) % a->stride : 0;
}

static int64_t phase_count(const axis *a, int64_t phase)
{
    return a->out > phase ? (a->out - phase + a->step - 1) / a->step : 0;
}

/* Kernel element that comes `i`-th when ordered by its input: backwards in a gradient. */
static int64_t ordered(const axis *a, int64_t i)
{
    return a->gradient ? a->k - 1 - i : i;
}

/* Inputs [lowest, highest] that any output reads; beyond [0, in) they are padding. */
static void reach(const axis *a, int64_t *lowest, int64_t *highest)
{
    *lowest = 0;
    *highest = -1;
    bool any = false;
    for (int64_t phase = 0; phase < a->phases; phase++)
        for (int64_t k = 0, at; k < a->k; k++) {
            const int64_t count = phase_count(a, phase);
            if (!count || !tap_of(a, phase, k, &at)) continue;
            const int64_t last = at + (count - 1) * a->in_step;
            if (!any || at < *lowest) *lowest = at;
            if (!any || last > *highest) *highest = last;
            any = true;
        }
}

static bool axis_supported(int64_t in, int64_t out, int64_t k, int64_t stride, int64_t dilation, int64_t pad)
{
    if (in <= 0 || out <= 0 || in > INT32_MAX || out > INT32_MAX || k <= 0 || k > 1024 || stride <= 0 || stride > 8 || dilation <= 0 || dilation > 1024)
        return false;
    return pad >= 0 && pad < 1024 && (out - 1) * stride + (k - 1) * dilation - pad < in + 1024;
}

bool fa_conv_supported(const fa_conv_geometry *g)
{
    const int64_t most = INT64_C(1) << 30;
    return axis_supported(g->h, g->oh, g->kh, g->stride_h, g->dilation_h, g->pad_top) &&
           axis_supported(g->w, g->ow, g->kw, g->stride_w, g->dilation_w, g->pad_left) && g->kh * g->kw <= 1024 && g->groups > 0 && g->c > 0 && g->out > 0 &&
           g->c <= most && g->out <= most && g->c % g->groups == 0 && g->out % g->groups == 0;
}

static bool is_depthwise(const fa_conv_geometry *g)
{
    return g->groups > 1 && g->groups == g->c && g->groups == g->out;
}

bool fa_conv_may_filter(const fa_conv_geometry *g)
{
    return g->kh == 3 && g->kw == 3 && g->stride_h == 1 && g->stride_w == 1 && g->dilation_h == 1 && g->dilation_w == 1 && g->groups == 1;
}

/* Measured with AVX2 and AVX-512, images of 4 x 4 to 56 x 56 (bench-kernels): with fewer channels transforms cost more than they spare, with more it is the way of
 * four times as many weights from memory that counts. */
bool fa_conv_should_filter(const fa_conv_geometry *g)
{
    return fa_conv_may_filter(g) && g->c >= 8 && g->out >= 8 && g->c * g->out >= 144 && g->c * g->out <= 256 * 256;
}

static fa_winograd winograd_of(const fa_conv_geometry *g, fa_isa isa, fa_conv_direction direction)
{
    if (direction == FA_CONV_FORWARD) return (fa_winograd){g->c, g->out, g->h, g->w, g->oh, g->ow, g->pad_top, g->pad_left, isa};
    return (fa_winograd){g->out, g->c, g->oh, g->ow, g->h, g->w, 2 - g->pad_top, 2 - g->pad_left, isa};
}

size_t fa_conv_packed_floats(const fa_conv_geometry *g, fa_conv_direction direction)
{
    if (g->winograd) return direction == FA_CONV_FORWARD ? fa_winograd_packed_floats(g->c, g->out) : fa_winograd_packed_floats(g->out, g->c);
    const size_t positions = (size_t)(g->kh * g->kw), groups = (size_t)g->groups;
    if (is_depthwise(g)) return positions * groups;
    const int64_t in = g->c / g->groups, out = g->out / g->groups;
    return direction == FA_CONV_FORWARD ? positions * groups * (size_t)fa_bf16_pixel(g->bf16, in) * (size_t)fa_tile_round(out)
                                        : positions * groups * (size_t)fa_bf16_pixel(g->bf16, out) * (size_t)fa_tile_round(in);
}

/* The kernel positions of phase (py, px), in the order of packed weights. */
typedef struct tap_walk {
    axis y, x;
    int64_t py, px, iy, ix;
} tap_walk;

static bool next_tap(tap_walk *t, int64_t *ky, int64_t *kx, int64_t *dy, int64_t *dx)
{
    for (; t->iy < t->y.k; t->iy++, t->ix = 0) {
        *ky = ordered(&t->y, t->iy);
        if (!tap_of(&t->y, t->py, *ky, dy)) continue;
        while (t->ix < t->x.k) {
            *kx = ordered(&t->x, t->ix++);
            if (tap_of(&t->x, t->px, *kx, dx)) return true;
        }
    }
    return false;
}

/* `depth` rows of a block `width` wide, of which `valid` outputs exist; returns the end. */
static float *pack_rounded(int64_t form, int64_t depth, int64_t valid, int64_t width, const float *at, int64_t step_depth, int64_t step_m, float *to)
{
    const bool pairs = form == FA_BF16_PAIRS;
    for (int64_t d = 0; d < depth; d += 1 + pairs)
        for (int64_t i = 0; i < width; i++) {
            const float first = i < valid ? at[d * step_depth + i * step_m] : 0.0f, second = i < valid && d + 1 < depth ? at[(d + 1) * step_depth + i * step_m] : 0.0f;
            const float made = pairs ? fa_bf16_pair(first, second) : fa_bfloat16_nearest(first);
            memcpy(to++, &made, sizeof made);
        }
    return to;
}

void fa_conv_pack(const fa_conv_geometry *g, fa_conv_direction direction, const float *weights, int64_t stride_out, int64_t stride_in,
                  int64_t stride_position, float *packed)
{
    const bool gradient = direction == FA_CONV_DATA_GRADIENT, depthwise = is_depthwise(g);
    const int64_t in = g->c / g->groups, out = g->out / g->groups;
    const int64_t depth = gradient ? out : in, m = gradient ? in : out;
    if (g->winograd) {
        fa_winograd_pack(depth, m, weights, gradient ? stride_in : stride_out, gradient ? stride_out : stride_in, stride_position, gradient, packed);
        return;
    }
    const int64_t step_depth = gradient ? stride_out : stride_in, step_m = gradient ? stride_in : stride_out;
    axis y = axis_of(g, direction, true), x = axis_of(g, direction, false);
    float *to = packed;
    y.pad = x.pad = 0; /* phase i has weights number i */
    int64_t ky, kx, dy, dx;
    for (int64_t group = 0; group < (depthwise ? 1 : g->groups); group++) {
        const float *from = weights + group * out * stride_out;
        for (int64_t py = 0; py < y.phases; py++)
            for (int64_t px = 0; px < x.phases; px++)
                for (int64_t m0 = 0; m0 < m; m0 += FA_TILE) {
                    const int64_t width = fa_tile_width(m, m0);
                    tap_walk walk = {y, x, py, px, 0, 0};
                    while (next_tap(&walk, &ky, &kx, &dy, &dx)) {
                        const float *at = from + (ky * g->kw + kx) * stride_position;
                        if (depthwise) {
                            for (int64_t o = 0; o < g->groups; o++) *to++ = at[o * stride_out];
                            continue;
                        }
                        if (g->bf16) {
                            to = pack_rounded(g->bf16, depth, m - m0, width, at + m0 * step_m, step_depth, step_m, to);
                            continue;
                        }
                        for (int64_t d = 0; d < depth; d++)
                            for (int64_t i = m0; i < m0 + width; i++) *to++ = i < m ? at[d * step_depth + i * step_m] : 0.0f;
                    }
                }
    }
}

/* Taps of a phase as offsets into the (padded) input. Neighbours in a row of whole pixels join into one tap of greater depth. */
static void set_taps(const fa_conv *c, fa_grid *grid, int64_t *tap, tap_walk walk, bool join)
{
    const int64_t row = c->padded_w * c->in_pixel;
    int64_t n = 0, run = 1, ky, kx, dy, dx;
    while (next_tap(&walk, &ky, &kx, &dy, &dx)) tap[n++] = (dy + c->top) * row + (dx + c->left) * c->in_pixel;
    if (join) {
        while (run < n && tap[run] == tap[0] + run * c->in_pixel) run++;
        bool even = n % run == 0;
        for (int64_t i = 0; even && i < n; i++) even = tap[i] == tap[i / run * run] + i % run * c->in_pixel;
        if (!even) run = 1;
        n /= run;
        for (int64_t i = 0; i < n; i++) tap[i] = tap[i * run];
    }
    grid->tap = tap;
    grid->taps = n;
    grid->depth = (c->depthwise ? 1 : c->in_c) * run;
}

/* The taps of a phase along one axis, in the order of packed weights: their inputs are evenly spaced. */
static fa_depthwise_axis depthwise_axis(const axis *a, int64_t residue)
{
    fa_depthwise_axis d = {.in = a->in, .out = phase_count(a, residue), .step = a->in_step, .gap = 1};
    for (int64_t i = 0, at; i < a->k; i++) {
        if (!tap_of(a, residue, ordered(a, i), &at)) continue;
        if (d.taps == 0) d.first = at;
        if (d.taps == 1) d.gap = at - d.first;
        d.taps++;
    }
    return d;
}

static void set_phase(fa_isa isa, fa_conv *c, fa_conv_phase *p, const axis *y, const axis *x, int64_t py, int64_t px, int64_t **tap)
{
    fa_grid *f = &p->grid;
    f->rows = phase_count(y, py);
    f->cols = phase_count(x, px);
    f->in_col = x->in_step * c->in_pixel;
    f->in_row = y->in_step * c->padded_w * c->in_pixel;
    f->out_col = x->step * c->out_pixel;
    f->out_row = y->step * c->out_w * c->out_pixel;
    f->m = c->out_c;
    f->isa = isa;
    f->depthwise = c->depthwise;
    f->pairs = c->bf16 == FA_BF16_PAIRS;
    p->out = (py * c->out_w + px) * c->out_pixel;
    p->w = c->group_floats;
    if (c->vectors) p->depthwise = (fa_depthwise){c->out_c, depthwise_axis(y, py), depthwise_axis(x, px), f->out_row, f->out_col};
    set_taps(c, f, *tap, (tap_walk){*y, *x, py, px, 0, 0}, !c->depthwise && c->groups == 1);
    *tap += f->taps;
    const int64_t terms = f->taps * f->depth;
    c->group_floats += terms * (c->depthwise ? c->out_c : fa_tile_round(c->out_c));
    c->flops += 2.0 * (double)f->rows * (double)f->cols * (double)terms / (double)c->in_pixel * (double)c->channels * (double)f->m * (double)c->groups;
}

static size_t round_up(size_t bytes)
{
    return (bytes + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static int64_t phase_total(const fa_conv_geometry *g, fa_conv_direction direction)
{
    return direction == FA_CONV_DATA_GRADIENT ? g->stride_h * g->stride_w : 1;
}

size_t fa_conv_bytes(const fa_conv_geometry *g, fa_conv_direction direction)
{
    const size_t phases = (size_t)phase_total(g, direction), taps = (size_t)(g->kh * g->kw);
    return round_up(sizeof(fa_conv) + phases * sizeof(fa_conv_phase)) + round_up(taps * sizeof(int64_t));
}

const fa_conv *fa_conv_new(fa_arena *arena, fa_isa isa, const fa_conv_geometry *g, fa_conv_direction direction)
{
    void *memory = fa_arena_new(arena, fa_conv_bytes(g, direction));
    return memory ? fa_conv_place(memory, isa, g, direction) : NULL;
}

const fa_conv *fa_conv_place(void *memory, fa_isa isa, const fa_conv_geometry *g, fa_conv_direction direction)
{
    const axis y = axis_of(g, direction, true), x = axis_of(g, direction, false);
    const int32_t n_phase = (int32_t)phase_total(g, direction);
    fa_conv *c = memory;
    memset(memory, 0, fa_conv_bytes(g, direction));
    int64_t *tap = (int64_t *)(void *)((char *)memory + round_up(sizeof *c + (size_t)n_phase * sizeof *c->phase)); /* of all phases */
    c->channels = y.gradient ? g->out : g->c;
    c->bf16 = g->bf16;
    c->in_pixel = fa_bf16_pixel(g->bf16, c->channels);
    c->out_pixel = y.gradient ? g->c : g->out;
    c->depthwise = is_depthwise(g);
    c->groups = c->depthwise ? 1 : g->groups;
    c->isa = isa;
    c->vectors = FA_HAVE_AVX2 && c->depthwise && isa != FA_ISA_NONE;
    c->in_c = c->in_pixel / c->groups;
    c->out_c = c->out_pixel / c->groups;
    c->in_h = y.in;
    c->in_w = x.in;
    c->out_h = y.out;
    c->out_w = x.out;
    if (g->winograd) {
        c->filters = true;
        c->winograd = winograd_of(g, isa, direction);
        c->flops = 2.0 * (double)(g->oh * g->ow * 9) * (double)(g->c * g->out);
        return c;
    }
    c->n_phase = n_phase;

    int64_t low_y, high_y, low_x, high_x;
    reach(&y, &low_y, &high_y);
    reach(&x, &low_x, &high_x);
    c->copies = !c->vectors && (c->bf16 || low_y < 0 || low_x < 0 || high_y >= c->in_h || high_x >= c->in_w);
    c->top = low_y < 0 ? -low_y : 0;
    c->left = low_x < 0 ? -low_x : 0;
    c->padded_h = c->top + (high_y >= c->in_h ? high_y + 1 : c->in_h);
    c->padded_w = c->left + (high_x >= c->in_w ? high_x + 1 : c->in_w);

    for (int32_t i = 0; i < n_phase; i++) set_phase(isa, c, &c->phase[i], &y, &x, phase_of(&y, i / x.phases), phase_of(&x, i % x.phases), &tap);
    for (int32_t i = 0; i < n_phase; i++) c->gaps |= c->phase[i].grid.taps == 0;
    const fa_grid *f = &c->phase[0].grid;
    c->rows = c->bf16 && g->kh * g->kw == 1 && c->in_h == c->out_h && c->in_w == c->out_w && c->padded_h == c->in_h && c->padded_w == c->in_w && n_phase == 1;
    c->flat = n_phase == 1 && !c->copies && !c->vectors && f->in_row * f->rows == c->in_h * c->in_w * c->in_pixel && f->out_row * f->rows == c->out_h * c->out_w * c->out_pixel;
    return c;
}

size_t fa_conv_scratch(const fa_conv *c, int32_t threads)
{
    if (c->filters) return (size_t)threads * fa_winograd_scratch(c->winograd.in_c);
    if (c->rows) return fa_bf16_rows_scratch(c->bf16, c->channels);
    return c->copies ? (size_t)(c->padded_h * c->padded_w * c->in_pixel) * sizeof(float) : 0;
}

double fa_conv_flops(const fa_conv *c)
{
    return c->flops;
}
