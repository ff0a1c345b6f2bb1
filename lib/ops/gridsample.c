/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/cubic.h"
#include "ops/walk.h"

#include <math.h>

/*
 * GridSample of images: the value of input 0 [n, channels, height, width] at the points of a grid [n, rows, columns, 2] that holds x and y, from -1
 * to 1 across the image. Along each axis a point has up to four taps with weights, and each weight a slope by the grid's coordinate.
 */
enum { BILINEAR, NEAREST, BICUBIC };
enum { ZEROS, BORDER, REFLECTION };

typedef struct sampler {
    int32_t mode, padding;
    bool align;
    int64_t n, channels, height, width, points;
} sampler;

typedef struct taps {
    int32_t n;
    int64_t index[4]; /* -1: a zero beside the image */
    double weight[4], slope[4];
} taps;

static fa_status prepare(fa_op_setup *s)
{
    static const char *const modes[] = {"bilinear", "nearest", "bicubic", "linear", "nearest", "cubic"}, *const paddings[] = {"zeros", "border", "reflection"};
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    FA_TRY(FA_R(fa_op_need_real)(s));
    const fa_view *x = s->in[0], *grid = s->in[1];
    if (x->ndim == 5) return fa_fail(FA_ERR_UNSUPPORTED, "a grid over volumes");
    if (x->ndim != 4 || grid->ndim != 4 || grid->dim[3] != 2 || grid->dim[0] != x->dim[0]) {
        char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "a grid of shape %s on images of shape %s", fa_shape_text(grid->ndim, grid->dim, a, sizeof a),
                       fa_shape_text(x->ndim, x->dim, b, sizeof b));
    }
    sampler *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    FA_TRY(FA_R(fa_op_choice)(s, "mode", modes[0], modes, 6, &p->mode));
    FA_TRY(FA_R(fa_op_choice)(s, "padding_mode", paddings[0], paddings, 3, &p->padding));
    p->mode %= 3; /* the names before operator set 20, and since */
    p->align = fa_node_int(s->node, "align_corners", 0) != 0;
    p->n = x->dim[0];
    p->channels = x->dim[1];
    p->height = x->dim[2];
    p->width = x->dim[3];
    p->points = grid->dim[1] * grid->dim[2];
    if (!p->height || !p->width) return fa_fail(FA_ERR_SHAPE, "images without pixels");
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 4, (int64_t[]){x->dim[0], x->dim[1], grid->dim[1], grid->dim[2]});
}

/* A place reflected at the outermost pixels' centres (align) or outer edges until it lies between them; `turn` changes sign with each. */
static double reflect(const sampler *p, double at, int64_t size, double *turn)
{
    double low = p->align ? 0 : -0.5, span = p->align ? (double)(size - 1) : (double)size;
    if (span == 0) {
        *turn = 0;
        return 0;
    }
    if (at < low) {
        at = 2 * low - at;
        *turn = -*turn;
    }
    double rest = fmod(at - low, span);
    if (fmod(floor((at - low) / span), 2) != 0) {
        rest = span - rest;
        *turn = -*turn;
    }
    return low + rest;
}

/* A place brought onto the image as the padding says; `slope` becomes 0 where that holds it fast. */
static double onto(const sampler *p, double at, int64_t size, double *slope)
{
    if (p->padding == ZEROS) return at;
    if (p->padding == REFLECTION) at = reflect(p, at, size, slope);
    double last = (double)(size - 1);
    if (at < 0 || at > last) *slope = 0;
    return at < 0 ? 0 : at > last ? last : at;
}

static taps taps_at(const sampler *p, fa_real coordinate, int64_t size)
{
    double v = (double)coordinate, slope = (double)(p->align ? size - 1 : size) / 2, unused = 1;
    taps t = {.n = p->mode == NEAREST ? 1 : p->mode == BILINEAR ? 2 : 4};
    v = v > 1e9 ? 1e9 : v < -1e9 ? -1e9 : v;
    double at = (v + 1) * slope - (p->align ? 0 : 0.5);
    if (p->mode != BICUBIC) at = onto(p, at, size, &slope);
    double low = floor(at), part = at - low;
    for (int32_t k = 0; k < t.n; k++) {
        double place = p->mode == NEAREST ? nearbyint(at) : low + k - (p->mode == BICUBIC);
        if (p->mode == BICUBIC) place = nearbyint(onto(p, place, size, &unused));
        t.index[k] = place >= 0 && place <= (double)(size - 1) ? (int64_t)place : -1;
    }
    t.weight[0] = 1;
    if (p->mode == BILINEAR) {
        t.weight[0] = 1 - part, t.slope[0] = -slope;
        t.weight[1] = part, t.slope[1] = slope;
    } else if (p->mode == BICUBIC) {
        fa_cubic_weights(part, -0.75, t.weight);
        fa_cubic_slopes(part, -0.75, t.slope);
        for (int32_t k = 0; k < 4; k++) t.slope[k] *= slope;
    }
    if (v != v) /* nowhere: the result is NaN */
        for (int32_t k = 0; k < t.n; k++) t.index[k] = 0, t.weight[k] = v;
    return t;
}

/* The image under the taps, weighted along x and y by these. */
static double value(const sampler *p, const fa_real *image, const taps *x, const taps *y, const double *along_x, const double *along_y)
{
    double sum = 0;
    for (int32_t j = 0; j < y->n; j++)
        for (int32_t i = 0; i < x->n; i++)
            if (y->index[j] >= 0 && x->index[i] >= 0) sum += along_y[j] * along_x[i] * (double)image[y->index[j] * p->width + x->index[i]];
    return sum;
}

static void spread(const sampler *p, fa_real *image, const taps *x, const taps *y, double g)
{
    for (int32_t j = 0; j < y->n; j++)
        for (int32_t i = 0; i < x->n; i++)
            if (y->index[j] >= 0 && x->index[i] >= 0) image[y->index[j] * p->width + x->index[i]] += (fa_real)(g * y->weight[j] * x->weight[i]);
}

static void forward(const fa_op_call *c)
{
    const sampler *p = c->params;
    const fa_real *grid = c->in[1]->data;
    int64_t pixels = p->height * p->width;
    for (int64_t i = 0; i < p->n * p->points; i++) {
        taps x = taps_at(p, grid[2 * i], p->width), y = taps_at(p, grid[2 * i + 1], p->height);
        for (int64_t k = i / p->points * p->channels, end = k + p->channels; k < end; k++)
            ((fa_real *)c->out[0]->data)[k * p->points + i % p->points] =
                (fa_real)value(p, (const fa_real *)c->in[0]->data + k * pixels, &x, &y, x.weight, y.weight);
    }
}

static void backward(const fa_op_call *c)
{
    const sampler *p = c->params;
    const fa_real *grid = c->in[1]->data;
    fa_real *gx = c->grad_in[0], *gg = c->grad_in[1];
    int64_t pixels = p->height * p->width;
    for (int64_t i = 0; i < p->n * p->points; i++) {
        taps x = taps_at(p, grid[2 * i], p->width), y = taps_at(p, grid[2 * i + 1], p->height);
        for (int64_t k = i / p->points * p->channels, end = k + p->channels; k < end; k++) {
            double g = (double)((const fa_real *)c->grad_out[0])[k * p->points + i % p->points];
            const fa_real *image = fa_real_at(c->in[0]->data, k * pixels);
            if (gx) spread(p, gx + k * pixels, &x, &y, g);
            if (!gg) continue;
            gg[2 * i] += (fa_real)(g * value(p, image, &x, &y, x.slope, y.weight));
            gg[2 * i + 1] += (fa_real)(g * value(p, image, &x, &y, x.weight, y.slope));
        }
    }
}

const fa_op FA_R(fa_ops_gridsample)[] = {
    {"GridSample", "", 16, FA_OPSET_ANY, 0, 3, 0, prepare, forward, backward},
    {NULL},
};
