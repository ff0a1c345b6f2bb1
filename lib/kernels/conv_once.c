/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/conv_once.h"

#include "kernels/multiply.h"
#include "kernels/tile.h"
#include "kernels/winograd.h"

/* Bytes of weights that are made at a time, at least those of FA_TILE outputs: beyond it, every input is padded or transformed once more. */
#define MOST ((size_t)15 << 17)

bool fa_conv_once_takes(const fa_conv_geometry *g)
{
    return g->groups == 1 && !g->bf16;
}

static size_t align(size_t bytes)
{
    return (bytes + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

/* A call's blocks of outputs. */
typedef struct blocks {
    int64_t depth, outputs, step;    /* step: outputs of a block, a multiple of FA_TILE */
    size_t block_bytes, turned_bytes; /* of the weights of a block, and of those of FA_TILE outputs that are turned around before they are transformed */
} blocks;

static blocks blocks_of(const fa_conv_geometry *g, fa_conv_direction direction)
{
    const bool gradient = direction == FA_CONV_DATA_GRADIENT;
    blocks b = {.depth = gradient ? g->out : g->c, .outputs = gradient ? g->c : g->out};
    const size_t tile = (g->winograd ? fa_winograd_packed_floats(b.depth, FA_TILE) : (size_t)(g->kh * g->kw * b.depth * FA_TILE)) * sizeof(float);
    const int64_t tiles = (b.outputs + FA_TILE - 1) / FA_TILE, most = tile < MOST ? (int64_t)(MOST / tile) : 1, n = (tiles + most - 1) / most, each = (tiles + n - 1) / n; /* as equal as can be */
    b.step = each * FA_TILE;
    b.block_bytes = align((size_t)each * tile);
    b.turned_bytes = gradient && g->winograd ? align((size_t)(9 * b.depth * FA_TILE) * sizeof(float)) : 0;
    return b;
}

static bool as_packed(const fa_conv_geometry *g, fa_conv_direction direction)
{
    return direction == FA_CONV_FORWARD && !g->winograd;
}

size_t fa_conv_once_scratch(const fa_conv *conv, const fa_conv_geometry *g, fa_conv_direction direction)
{
    if (as_packed(g, direction)) return fa_conv_scratch(conv, 1);
    const blocks b = blocks_of(g, direction);
    return align(fa_conv_scratch(conv, 1)) + b.block_bytes + b.turned_bytes;
}

/* Weights of a kernel element for channels c ... c + n - 1, n <= FA_TILE, as fa_conv_pack() has them for the data-gradient: [out][width]. */
static void turn(const fa_conv_geometry *g, const float *packed, int64_t element, int64_t c, int64_t n, int64_t width, float *to)
{
    for (int64_t o = 0; o < g->out; o += FA_TILE) {
        const int64_t from_width = fa_tile_width(g->out, o), outs = g->out - o < from_width ? g->out - o : from_width;
        fa_multiply_turn(packed + o * g->kh * g->kw * g->c + (element * g->c + c) * from_width, from_width, n, outs, to + o * width, width);
    }
}

/* True for a kernel element along one axis that takes part in a phase of the data-gradient (kernels/conv.c packs them in this order). */
static bool takes_part(int64_t phase, int64_t k, int64_t stride, int64_t dilation)
{
    return (phase - k * dilation) % stride == 0;
}

/* The data-gradient's weights for channels first ... first + some - 1. */
static void turn_block(const fa_conv_geometry *g, const float *packed, int64_t first, int64_t some, float *to)
{
    for (int64_t phase = 0; phase < g->stride_h * g->stride_w; phase++)
        for (int64_t c = first; c < first + some; c += FA_TILE) {
            const int64_t width = fa_tile_width(g->c, c), n = g->c - c < width ? g->c - c : width;
            for (int64_t ky = g->kh - 1; ky >= 0; ky--)
                for (int64_t kx = g->kw - 1; kx >= 0; kx--) {
                    if (!takes_part(phase / g->stride_w, ky, g->stride_h, g->dilation_h) || !takes_part(phase % g->stride_w, kx, g->stride_w, g->dilation_w)) continue;
                    turn(g, packed, ky * g->kw + kx, c, n, width, to);
                    to += g->out * width;
                }
        }
}

/* Transformed kernels of outputs first ... first + some - 1 of a direction. */
static void transform_block(const fa_conv_geometry *g, fa_conv_direction direction, const blocks *b, const float *packed, int64_t first, int64_t some, float *to, float *turned)
{
    for (int64_t o = first; o < first + some; o += FA_TILE, to += fa_winograd_packed_floats(b->depth, FA_TILE)) {
        const int64_t width = fa_tile_width(b->outputs, o), n = b->outputs - o < width ? b->outputs - o : width;
        const float *from = packed + o * 9 * g->c;
        if (direction == FA_CONV_DATA_GRADIENT) {
            turn_block(g, packed, o, n, turned);
            from = turned;
        }
        fa_winograd_pack(b->depth, n, from, 1, width, b->depth * width, false, to);
    }
}

void fa_conv_once_run(const fa_conv *conv, const fa_conv_geometry *g, fa_conv_direction direction, const fa_conv_data *data)
{
    if (as_packed(g, direction)) {
        fa_conv_run(conv, data);
        return;
    }
    const blocks b = blocks_of(g, direction);
    fa_conv_data d = *data;
    float *made = (float *)(void *)((char *)data->scratch + align(fa_conv_scratch(conv, 1))), *turned = (float *)(void *)((char *)made + b.block_bytes);
    const int64_t pixels = direction == FA_CONV_FORWARD ? g->oh * g->ow : g->h * g->w;
    d.packed = made;
    d.slope.n_step = 0; /* behind the last block */
    for (int64_t first = 0; first < b.outputs; first += b.step) {
        d.first = first;
        d.outputs = b.outputs - first < b.step ? b.outputs - first : b.step;
        if (g->winograd) transform_block(g, direction, &b, data->packed, first, d.outputs, made, turned);
        else turn_block(g, data->packed, first, d.outputs, made);
        fa_conv_run(conv, &d);
    }
    fa_slope_apply(&data->slope, 0, data->n * pixels * b.outputs, data->out);
}
