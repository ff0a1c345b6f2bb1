/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SAMPLER_DRAWS_H
#define FA_SAMPLER_DRAWS_H

#include <fattr/trace.h>
#include <stddef.h>
#include <stdint.h>

/* Draws that last: made again from the seed, or kept as differences from the trained weights. The same bits on every CPU; no allocation. */

/* How they are kept: FA_DRAWS_F32; FA_DRAWS_BF16, rounded to nearest, ties to even; FA_DRAWS_INT8, with a float scale per row, largest difference / 127; */
#define FA_DRAWS_REPLAY FA_DRAWS_DEFAULT /* or, FA_SAMPLER_GAUSSIAN only, not at all */

/* The rows of the flat vector of weights: of parameter p, rows[p] rows of row_length[p] elements. */
typedef struct fa_draw_layout {
    int32_t n_parameter;
    const int64_t *rows, *row_length; /* [n_parameter] */
    int64_t n_weight, n_row;          /* sums */
} fa_draw_layout;

/* Bytes of one draw; a multiple of 4, and 0 for FA_DRAWS_REPLAY. For FA_DRAWS_INT8: n_row floats, then n_weight bytes, then padding of zeros. */
size_t fa_draw_bytes(const fa_draw_layout *layout, int32_t storage);

/* draw [fa_draw_bytes], aligned to 4, in the machine's byte order. NaN and infinite differences are stored as 0. Not for FA_DRAWS_REPLAY. */
void fa_draw_encode(const fa_draw_layout *layout, int32_t storage, const float *trained, const float *weights, void *draw);

/* weights [n_weight] = trained + the difference. Any bytes decode without harm: NaN and infinite differences count as 0. Not for FA_DRAWS_REPLAY. */
void fa_draw_decode(const fa_draw_layout *layout, int32_t storage, const float *trained, const void *draw, float *weights);

/* Draw `t` of chain `chain`: trained + deviation * standard normal numbers of (seed, chain, t), one for each element. */
void fa_draw_replay(const float *trained, int64_t n_weight, uint64_t seed, uint64_t chain, int64_t t, float deviation, float *weights);

#endif
