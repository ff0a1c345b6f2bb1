/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <string.h>

/*
 * Col2Im: columns [n, channels block, places], each a block that was cut out of an image at one place, added up where they came from, [n, channels, image]. Sizes of image and block
 * are inputs known at plan time; images may have any number of axes.
 */
typedef struct col2im {
    int32_t axes;
    int64_t images, block_count, places, pixels; /* images: n channels */
    int64_t image[FA_MAX_DIMS], block[FA_MAX_DIMS], count[FA_MAX_DIMS]; /* count: places along each axis */
    int64_t stride[FA_MAX_DIMS], dilation[FA_MAX_DIMS], pad[FA_MAX_DIMS];
} col2im;

static fa_status read_window(const fa_op_setup *s, col2im *p)
{
    const struct {
        const char *name;
        int64_t *to, fallback, least;
    } attr[] = {{"strides", p->stride, 1, 1}, {"dilations", p->dilation, 1, 1}, {"pads", p->pad, 0, 0}};
    for (size_t i = 0; i < sizeof attr / sizeof attr[0]; i++) {
        int64_t n;
        const int64_t *v = fa_node_ints(s->node, attr[i].name, &n);
        if (v && n != p->axes * (i == 2 ? 2 : 1)) return fa_fail(FA_ERR_FORMAT, "%lld %s for images of %d axes", (long long)n, attr[i].name, p->axes);
        for (int32_t d = 0; d < p->axes; d++) {
            attr[i].to[d] = v ? v[d] : attr[i].fallback;
            if (attr[i].to[d] < attr[i].least || attr[i].to[d] > INT32_MAX) return fa_fail(FA_ERR_FORMAT, "%s: %lld", attr[i].name, (long long)attr[i].to[d]);
        }
    }
    int64_t n;
    const int64_t *pads = fa_node_ints(s->node, "pads", &n);
    p->places = 1;
    for (int32_t d = 0; d < p->axes; d++) {
        const int64_t after = pads ? pads[p->axes + d] : 0;
        if (after < 0 || after > INT32_MAX || p->image[d] < 1 || p->block[d] < 1 || p->image[d] > INT32_MAX || p->block[d] > INT32_MAX)
            return fa_fail(FA_ERR_SHAPE, "a block of %lld in an image of %lld", (long long)p->block[d], (long long)p->image[d]);
        const int64_t room = p->image[d] + p->pad[d] + after - p->dilation[d] * (p->block[d] - 1) - 1;
        p->count[d] = room < 0 ? 0 : room / p->stride[d] + 1;
        if (!fa_mul_i64(p->places, p->count[d], &p->places)) return fa_fail(FA_ERR_LIMIT, "too many places");
    }
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 3, 3, 1));
    const fa_view *x = s->in[0];
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "columns of %s", fa_dtype_name(x->dtype));
    int64_t axes, blocks;
    const int64_t *image, *block;
    FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "the size of the image", &image, &axes));
    FA_TRY(FA_R(fa_op_constant_ints)(s, 2, "the size of the block", &block, &blocks));
    if (x->ndim != 3 || axes < 1 || axes != blocks || axes > FA_MAX_DIMS - 2) return fa_fail(FA_ERR_SHAPE, "columns of %d dimensions, images of %lld axes, blocks of %lld", x->ndim, (long long)axes, (long long)blocks);
    col2im *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->axes = (int32_t)axes;
    memcpy(p->image, image, (size_t)axes * sizeof *image);
    memcpy(p->block, block, (size_t)axes * sizeof *block);
    FA_TRY(read_window(s, p));
    p->block_count = p->pixels = 1;
    for (int64_t d = 0; d < axes; d++)
        if (!fa_mul_i64(p->block_count, block[d], &p->block_count) || !fa_mul_i64(p->pixels, image[d], &p->pixels)) return fa_fail(FA_ERR_LIMIT, "the image is too large");
    if (x->dim[1] % p->block_count || x->dim[2] != p->places) {
        char text[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "columns of shape %s for blocks of %lld at %lld places", fa_shape_text(x->ndim, x->dim, text, sizeof text), (long long)p->block_count,
                       (long long)p->places);
    }
    int64_t dim[FA_MAX_DIMS] = {x->dim[0], x->dim[1] / p->block_count};
    memcpy(dim + 2, image, (size_t)axes * sizeof *image);
    p->images = dim[0] * dim[1];
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, 2 + p->axes, dim);
}

/* The pixel that element `b` of the block at a place comes from, -1 beside the image. */
static int64_t pixel(const col2im *p, int64_t b, int64_t at)
{
    int64_t to = 0, step = 1;
    for (int32_t d = p->axes - 1; d >= 0; d--) {
        const int64_t i = at % p->count[d] * p->stride[d] - p->pad[d] + b % p->block[d] * p->dilation[d];
        if (i < 0 || i >= p->image[d]) return -1;
        to += i * step;
        step *= p->image[d];
        at /= p->count[d];
        b /= p->block[d];
    }
    return to;
}

#define EACH(p)                                                                                                                                          \
    for (int64_t b = 0; b < (p)->block_count; b++)                                                                                                       \
        for (int64_t at = 0, to; at < (p)->places; at++)                                                                                                 \
            if ((to = pixel(p, b, at)) >= 0)                                                                                                             \
                for (int64_t i = 0, from = b * (p)->places + at; i < (p)->images; i++, from += (p)->block_count * (p)->places)

static void forward(const fa_op_call *c)
{
    const col2im *p = c->params;
    const fa_real *columns = c->in[0]->data;
    fa_real *images = c->out[0]->data;
    memset(images, 0, (size_t)c->out[0]->count * sizeof *images);
    EACH(p) images[i * p->pixels + to] += columns[from];
}

static void backward(const fa_op_call *c)
{
    const col2im *p = c->params;
    const fa_real *images = c->grad_out[0];
    fa_real *columns = c->grad_in[0];
    EACH(p) columns[from] += images[i * p->pixels + to];
}

const fa_op FA_R(fa_ops_col2im)[] = {
    {"Col2Im", "", 18, FA_OPSET_ANY, 0, 0, 0, prepare, forward, backward},
    {NULL},
};
