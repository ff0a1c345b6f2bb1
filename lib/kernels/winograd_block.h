/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_WINOGRAD_BLOCK_H
#define FA_KERNELS_WINOGRAD_BLOCK_H

#include "kernels/tile.h"
#include "kernels/winograd.h"

/* Between the files of winograd. Tiles are worked on FA_WINOGRAD_TILES at a time, as many as the registers of AVX-512 have sums for, channels FA_TILE at a time. */
#define FA_WINOGRAD_TILES 28
#define FA_WINOGRAD_OUT 4  /* side of a tile of outputs */
#define FA_WINOGRAD_SIDE 6 /* of the inputs under it, and of a transformed tile */
#define FA_WINOGRAD_POSITIONS (FA_WINOGRAD_SIDE * FA_WINOGRAD_SIDE)

/* Points of interpolation beside 0 and infinity, with both signs; their powers are exact in float. */
#define FA_WINOGRAD_P 0.625f
#define FA_WINOGRAD_Q 1.5f

/* A tile where it lies. What it reads begins at row y and column x of its image and is 0 outside; of its outputs, rows x cols exist. */
typedef struct fa_winograd_tile {
    const float *image;
    int64_t y, x;
    int64_t out, rows, cols; /* out: its first output, in floats */
} fa_winograd_tile;

/* Floats from a position to the next one, of `n` runs of FA_TILE: an odd number of cache lines, since a transform writes to all positions and lines a power of two apart would
 * share few sets of the first-level cache. */
static inline int64_t fa_winograd_step(int64_t n)
{
    return (n | 1) * FA_TILE;
}

static inline int64_t fa_winograd_pixel(const fa_winograd *w)
{
    return w->out_pixel ? w->out_pixel : w->out_c;
}

typedef struct fa_winograd_block {
    const fa_winograd *w;
    int64_t n;
    fa_winograd_tile tile[FA_WINOGRAD_TILES];
    float *in;      /* transformed, [position][block of channels][tile][FA_TILE] */
    float *product; /* of FA_TILE outputs, [position][tile][FA_TILE] */
    int64_t in_step, product_step; /* from one position to the next: fa_winograd_step() */
} fa_winograd_block;

/* Transforms the inputs of tiles first ... end - 1; then, of all tiles, the outputs of blocks first ... end - 1 of FA_TILE. */
void fa_winograd_in_plain(const fa_winograd_block *block, int64_t first, int64_t end);
void fa_winograd_in_avx2(const fa_winograd_block *block, int64_t first, int64_t end);
void fa_winograd_in_avx512(const fa_winograd_block *block, int64_t first, int64_t end);
void fa_winograd_out_plain(const fa_winograd_block *block, const fa_conv_data *data, int64_t first, int64_t end);
void fa_winograd_out_avx2(const fa_winograd_block *block, const fa_conv_data *data, int64_t first, int64_t end);
void fa_winograd_out_avx512(const fa_winograd_block *block, const fa_conv_data *data, int64_t first, int64_t end);

/* Adds the products of a block's inputs and gradients `d`, transformed, to sums [block of outputs][position][in_c][FA_TILE]. */
void fa_winograd_sums_plain(const fa_winograd_block *block, const float *d, float *sums);
void fa_winograd_sums_avx2(const fa_winograd_block *block, const float *d, float *sums);
void fa_winograd_sums_avx512(const fa_winograd_block *block, const float *d, float *sums);

/* Adds G' s G of each of them to the gradient of a kernel; strides as in fa_winograd_pack(). */
void fa_winograd_unpack(int64_t in_c, int64_t out_c, const float *sums, int64_t stride_out, int64_t stride_in, int64_t stride_position, float *gradient);

#endif
