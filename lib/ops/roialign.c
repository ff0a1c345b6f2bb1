/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * RoiAlign (He et al., arXiv 1703.06870) with mean pooling: each region of an image is cut into bins, and a bin is the mean of the image at points
 * spread evenly over it. As everywhere, no gradient goes to the regions.
 */
#define MOST_POINTS 1024 /* along an axis of a bin: what a region of any size gets at most */

typedef struct align {
    int64_t images, channels, height, width, regions, rows, columns, points;
    double scale, shift;
    bool at_least_one; /* pixel, before operator set 16 and on demand */
} align;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    const fa_view *x = s->in[0], *regions = s->in[1], *image = s->in[2];
    const char *mode = fa_node_string(s->node, "mode", "avg"), *half = s->node->opset < 16 ? "output_half_pixel" : "half_pixel";
    const char *coordinates = fa_node_string(s->node, "coordinate_transformation_mode", half);
    if (!fa_dtype_is_real(x->dtype) || !fa_dtype_is_real(regions->dtype) || fa_dtype_is_real(image->dtype))
        return fa_fail(FA_ERR_DTYPE, "%s, regions of %s, images of %s", fa_dtype_name(x->dtype), fa_dtype_name(regions->dtype), fa_dtype_name(image->dtype));
    if (strcmp(mode, "avg") != 0) return fa_fail(FA_ERR_UNSUPPORTED, "mode '%.40s', on whose meaning implementations differ", mode);
    bool shifted = strcmp(coordinates, "half_pixel") == 0;
    if (!shifted && strcmp(coordinates, "output_half_pixel") != 0) return fa_fail(FA_ERR_FORMAT, "coordinate_transformation_mode is '%.40s'", coordinates);
    if (x->ndim != 4 || regions->ndim != 2 || regions->dim[1] != 4) return fa_fail(FA_ERR_SHAPE, "inputs 0 and 1 are not images and their regions");
    FA_TRY(FA_R(fa_op_need_count)(s, 2, regions->dim[0]));
    align *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (align){.images = x->dim[0], .channels = x->dim[1], .height = x->dim[2], .width = x->dim[3], .regions = regions->dim[0]};
    p->rows = fa_node_int(s->node, "output_height", 1);
    p->columns = fa_node_int(s->node, "output_width", 1);
    p->points = fa_node_int(s->node, "sampling_ratio", 0);
    p->scale = (double)fa_node_float(s->node, "spatial_scale", 1);
    p->shift = shifted ? 0.5 : 0;
    p->at_least_one = !shifted;
    if (p->rows < 1 || p->columns < 1 || p->points < 0 || p->points > MOST_POINTS)
        return fa_fail(FA_ERR_FORMAT, "%lld x %lld bins of %lld points", (long long)p->rows, (long long)p->columns, (long long)p->points);
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 4, (int64_t[]){p->regions, p->channels, p->rows, p->columns});
}

/* Along one axis of a region: where it begins, a bin's length and how many points a bin has. */
typedef struct span {
    double start, bin;
    int64_t points;
} span;

static span span_of(const align *p, fa_real from, fa_real to, int64_t bins)
{
    double start = (double)from * p->scale - p->shift, length = (double)to * p->scale - p->shift - start;
    if (p->at_least_one && !(length > 1)) length = 1;
    span s = {start, length / (double)bins, p->points};
    if (!s.points) s.points = s.bin > 1 ? s.bin < MOST_POINTS ? (int64_t)ceil(s.bin) : MOST_POINTS : 1;
    return s;
}

/* A point between two pixels: `part` of the way from `low` to `high`. False beside the image. */
static bool between(double at, int64_t size, int64_t *low, int64_t *high, double *part)
{
    if (!(at >= -1 && at <= (double)size)) return false;
    if (at < 0) at = 0;
    *low = (int64_t)at < size - 1 ? (int64_t)at : size - 1;
    *high = *low < size - 1 ? *low + 1 : *low;
    *part = *low < size - 1 ? at - (double)*low : 0;
    return true;
}

/* The mean over bin (row, column) of a plane; with `to` instead `g` is given to the pixels that make it. */
static double bin(const align *p, const span *down, const span *across, int64_t row, int64_t column, const fa_real *plane, fa_real *to, double g)
{
    double sum = 0, count = (double)(down->points * across->points);
    for (int64_t k = 0; k < down->points * across->points; k++) {
        double y = down->start + down->bin * ((double)row + ((double)(k / across->points) + 0.5) / (double)down->points);
        double x = across->start + across->bin * ((double)column + ((double)(k % across->points) + 0.5) / (double)across->points);
        int64_t yl, yh, xl, xh;
        double v, u;
        if (!between(y, p->height, &yl, &yh, &v) || !between(x, p->width, &xl, &xh, &u)) continue;
        const int64_t at[] = {yl * p->width + xl, yl * p->width + xh, yh * p->width + xl, yh * p->width + xh};
        const double weight[] = {(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u};
        for (int32_t i = 0; i < 4; i++) {
            if (to) to[at[i]] += (fa_real)(g * weight[i] / count);
            else sum += weight[i] * (double)plane[at[i]];
        }
    }
    return sum / count;
}

/* Every bin of every region and channel. An image that is not there has no pixels. */
static void each_bin(const fa_op_call *c, const fa_real *x, fa_real *y, fa_real *gx, const fa_real *g)
{
    const align *p = c->params;
    for (int64_t i = 0; i < c->out[0]->count; i++) {
        int64_t column = i % p->columns, row = i / p->columns % p->rows, channel = i / p->columns / p->rows % p->channels, r = i / p->columns / p->rows / p->channels;
        int64_t image = ((const int64_t *)c->in[2]->data)[r], plane = (image * p->channels + channel) * p->height * p->width;
        const fa_real *region = (const fa_real *)c->in[1]->data + 4 * r;
        bool there = image >= 0 && image < p->images && p->height && p->width;
        if (y && !there) y[i] = NAN;
        if (!there) continue;
        span across = span_of(p, region[0], region[2], p->columns), down = span_of(p, region[1], region[3], p->rows);
        if (y) y[i] = (fa_real)bin(p, &down, &across, row, column, x + plane, NULL, 0);
        else bin(p, &down, &across, row, column, NULL, gx + plane, (double)g[i]);
    }
}

static void forward(const fa_op_call *c)
{
    each_bin(c, c->in[0]->data, c->out[0]->data, NULL, NULL);
}

static void backward(const fa_op_call *c)
{
    if (c->grad_in[0]) each_bin(c, NULL, NULL, c->grad_in[0], c->grad_out[0]);
}

const fa_op FA_R(fa_ops_roialign)[] = {
    {"RoiAlign", "", 10, FA_OPSET_ANY, 0, 6, 0, prepare, forward, backward},
    {NULL},
};
