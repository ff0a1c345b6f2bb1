/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/conv.h"

#include "kernels/tile.h"

bool fa_conv_unpacks(const fa_conv_geometry *g)
{
    return !g->winograd && !g->bf16;
}

/* Packed weights are [group][block of outputs][kernel position][input][output of the block]; depthwise [kernel position][channel]. */
void fa_conv_unpack(const fa_conv_geometry *g, const float *packed, int64_t stride_out, int64_t stride_in, int64_t stride_position, float *weights)
{
    const int64_t in = g->c / g->groups, out = g->out / g->groups, kernel = g->kh * g->kw;
    if (g->groups > 1 && in == 1 && out == 1) {
        for (int64_t t = 0; t < kernel; t++)
            for (int64_t c = 0; c < g->groups; c++) weights[c * stride_out + t * stride_position] = *packed++;
        return;
    }
    for (int64_t group = 0; group < g->groups; group++)
        for (int64_t o0 = 0; o0 < out; o0 += FA_TILE) {
            const int64_t width = fa_tile_width(out, o0), valid = out - o0 < width ? out - o0 : width;
            float *to = weights + (group * out + o0) * stride_out;
            for (int64_t t = 0; t < kernel; t++)
                for (int64_t c = 0; c < in; c++, packed += width)
                    for (int64_t i = 0; i < valid; i++) to[i * stride_out + c * stride_in + t * stride_position] = packed[i];
        }
}
