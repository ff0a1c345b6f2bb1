/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/cubic.h"
#include "ops/walk.h"

#include <math.h>

/*
 * GridSample of images and volumes: the value of input 0 [n, channels, (depth,) height, width] at the points of a grid [n, (layers,) rows, columns, 2 or 3] that holds x, y (and z), from -1
 * to 1 across the image. Along each axis a point has up to four taps with weights, and each weight a slope by the grid's coordinate.
 */
enum { BILINEAR, NEAREST, BICUBIC };
enum { ZEROS, BORDER, REFLECTION };

typedef struct sampler {
    int32_t mode, padding;
    bool align;
    int32_t axes;                         /* 2 or 3 */
    int64_t n, channels, points, pixels;
    int64_t size[3], step[3];             /* along x, y, z; of an image, one z */
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
    const int32_t axes = x->ndim - 2;
    if ((axes != 2 && axes != 3) || grid->ndim != x->ndim || grid->dim[axes + 1] != axes || grid->dim[0] != x->dim[0]) {
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
    if (axes == 3 && p->mode == BICUBIC) return fa_fail(FA_ERR_UNSUPPORTED, "cubic interpolation of volumes");
    int64_t dim[FA_MAX_DIMS] = {x->dim[0], x->dim[1]};
    p->axes = axes;
    p->n = x->dim[0];
    p->channels = x->dim[1];
    p->points = p->pixels = p->size[2] = 1;
    for (int32_t a = 0; a < axes; a++) {
        p->size[a] = x->dim[axes + 1 - a];
        p->step[a] = p->pixels;
        p->pixels *= p->size[a];
        p->points *= dim[2 + a] = grid->dim[1 + a];
    }
    if (!p->pixels) return fa_fail(FA_ERR_SHAPE, "images without pixels");
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim);
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

/* The taps of a point along x, y and z. */
typedef struct place {
    taps along[3];
} place;

static place place_of(const sampler *p, const fa_real *coordinates)
{
    place at;
    for (int32_t a = 0; a < p->axes; a++) at.along[a] = taps_at(p, coordinates[a], p->size[a]);
    if (p->axes == 2) at.along[2] = (taps){.n = 1, .weight = {1}};
    return at;
}

/* `statement` with `pixel` and the three indices of every tap on the image. */
#define EACH_TAP(p, at, statement)                                                                                                                       \
    for (int32_t z = 0; z < (at)->along[2].n; z++)                                                                                                       \
        for (int32_t y = 0; y < (at)->along[1].n; y++)                                                                                                   \
            for (int32_t x = 0; x < (at)->along[0].n; x++) {                                                                                             \
                const int64_t i = (at)->along[0].index[x], j = (at)->along[1].index[y], k = (at)->along[2].index[z];                                     \
                const int64_t pixel = i * (p)->step[0] + j * (p)->step[1] + k * (p)->step[2];                                                            \
                if (i >= 0 && j >= 0 && k >= 0) statement;                                                                                               \
            }

/* The image under the taps; `slope`: the derivative along this axis, -1: the value. */
static double value(const sampler *p, const fa_real *image, const place *at, int32_t slope)
{
    const double *const along[] = {slope == 0 ? at->along[0].slope : at->along[0].weight, slope == 1 ? at->along[1].slope : at->along[1].weight,
                                   slope == 2 ? at->along[2].slope : at->along[2].weight};
    double sum = 0;
    EACH_TAP(p, at, sum += along[2][z] * along[1][y] * along[0][x] * (double)image[pixel])
    return sum;
}

static void spread(const sampler *p, fa_real *image, const place *at, double g)
{
    EACH_TAP(p, at, image[pixel] += (fa_real)(g * at->along[2].weight[z] * at->along[1].weight[y] * at->along[0].weight[x]))
}

static void forward(const fa_op_call *c)
{
    const sampler *p = c->params;
    const fa_real *grid = c->in[1]->data;
    for (int64_t i = 0; i < p->n * p->points; i++) {
        const place at = place_of(p, grid + p->axes * i);
        for (int64_t k = i / p->points * p->channels, end = k + p->channels; k < end; k++)
            ((fa_real *)c->out[0]->data)[k * p->points + i % p->points] = (fa_real)value(p, (const fa_real *)c->in[0]->data + k * p->pixels, &at, -1);
    }
}

static void backward(const fa_op_call *c)
{
    const sampler *p = c->params;
    const fa_real *grid = c->in[1]->data;
    fa_real *gx = c->grad_in[0], *gg = c->grad_in[1];
    for (int64_t i = 0; i < p->n * p->points; i++) {
        const place at = place_of(p, grid + p->axes * i);
        for (int64_t k = i / p->points * p->channels, end = k + p->channels; k < end; k++) {
            double g = (double)((const fa_real *)c->grad_out[0])[k * p->points + i % p->points];
            const fa_real *image = fa_real_at(c->in[0]->data, k * p->pixels);
            if (gx) spread(p, gx + k * p->pixels, &at, g);
            for (int32_t a = 0; gg && a < p->axes; a++) gg[p->axes * i + a] += (fa_real)(g * value(p, image, &at, a));
        }
    }
}

const fa_op FA_R(fa_ops_gridsample)[] = {
    {"GridSample", "", 16, FA_OPSET_ANY, 0, 3, 0, prepare, forward, backward},
    {NULL},
};
