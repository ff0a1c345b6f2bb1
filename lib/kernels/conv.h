/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_CONV_H
#define FA_KERNELS_CONV_H

#include "base/pool.h"
#include "kernels/chain.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Convolution and its data-gradient on channels-last images ([n, h, w, c]), by direct sums over kernel positions: no im2col. A fully connected
 * layer is a 1 x 1 convolution of 1 x 1 images.
 */
typedef struct fa_conv_geometry {
    int64_t c, h, w, out, oh, ow; /* channels of all groups */
    int64_t groups, kh, kw, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t winograd; /* 1: by minimal filtering (winograd.h), for which fa_conv_may_filter(); 0: direct sums */
    int64_t bf16;     /* FA_BF16_...: whether weights and what they multiply, inputs or their gradient, are rounded. Of one group and without minimal filtering */
} fa_conv_geometry;

typedef enum fa_conv_direction {
    FA_CONV_FORWARD,      /* [h, w, c] -> [oh, ow, out] */
    FA_CONV_DATA_GRADIENT /* gradient [oh, ow, out] -> gradient [h, w, c] */
} fa_conv_direction;

/* False for sizes that these kernels leave to others: very large strides, dilations or kernels (a scratch image could not be bounded). */
bool fa_conv_supported(const fa_conv_geometry *geometry);

/* True for 3 x 3, stride 1, dilation 1, one group; and where minimal filtering is the faster way, too, which channels alone decide: packed weights do not know
 * the sizes of images. */
bool fa_conv_may_filter(const fa_conv_geometry *geometry);
bool fa_conv_should_filter(const fa_conv_geometry *geometry);

/* Floats (words, FA_BF16_PAIRS) of the weights as fa_conv_pack() writes them. */
size_t fa_conv_packed_floats(const fa_conv_geometry *geometry, fa_conv_direction direction);

/* Element (o, c of o's group, kernel position t) of `weights` is at o * stride_out + c * stride_in + t * stride_position: [out, c, kh, kw] has
 * strides (c / groups * kh * kw, kh * kw, 1). */
void fa_conv_pack(const fa_conv_geometry *geometry, fa_conv_direction direction, const float *weights, int64_t stride_out, int64_t stride_in,
                  int64_t stride_position, float *packed);

/* The weights again, from what fa_conv_pack() made of them for FA_CONV_FORWARD: bit by bit, where they were neither transformed nor rounded (fa_conv_unpacks()). */
bool fa_conv_unpacks(const fa_conv_geometry *geometry);
void fa_conv_unpack(const fa_conv_geometry *geometry, const float *packed, int64_t stride_out, int64_t stride_in, int64_t stride_position, float *weights);

typedef struct fa_conv fa_conv;

/* Lives in the arena, or in `memory` of fa_conv_bytes(), aligned to FA_ALIGN, which must stay where it is. NULL: out of memory. */
const fa_conv *fa_conv_new(fa_arena *arena, fa_isa isa, const fa_conv_geometry *geometry, fa_conv_direction direction);
size_t fa_conv_bytes(const fa_conv_geometry *geometry, fa_conv_direction direction);
const fa_conv *fa_conv_place(void *memory, fa_isa isa, const fa_conv_geometry *geometry, fa_conv_direction direction);
size_t fa_conv_scratch(const fa_conv *conv, int32_t threads); /* bytes, whatever the number of images; threads: of fa_conv_data.pool, 1 without */
double fa_conv_flops(const fa_conv *conv);   /* of one image */

typedef struct fa_conv_data {
    int64_t n; /* images */
    const float *in, *packed;
    const float *bias;     /* one number per output channel, or NULL */
    const float *residual; /* added before `relu`, laid out as `out`, which it may be; or NULL */
    float *out;
    bool relu;
    void *scratch;  /* FA_ALIGN-aligned */
    fa_slope slope; /* `out` is multiplied by it, behind everything else */
    int64_t first, outputs; /* outputs 0: all; else channels first ... first + outputs - 1 of the output alone, of which `packed` has the weights, as of a convolution of so many. first and
                               (but for the last channels) outputs are multiples of FA_TILE; of one group, in float, without a slope or a pool */
    fa_pool *pool; /* whose threads share it, by rows, positions or channels of the output, or NULL (base/pool.h); the same bits */
} fa_conv_data;

void fa_conv_run(const fa_conv *conv, const fa_conv_data *data);

#endif
