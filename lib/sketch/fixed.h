/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_FIXED_H
#define FA_SKETCH_FIXED_H

#include "base/alloc.h"

#include <stdint.h>

struct fa_sketch_body;

/* Layers' blocks are cut into pieces of so many elements, each with a scale of its own: a piece is rounded by its own length. */
#define FA_FIXED_PIECE 256

typedef struct fa_fixed_piece {
    int32_t layer, length;
    int64_t from; /* element of a row of blocks */
} fa_fixed_piece;

/* Copies of references' unit blocks in fixed point (kernels/fixed.h), for couplings. */
typedef struct fa_fixed {
    fa_context *context;
    int32_t format; /* FA_SIGNATURES_INT16 or FA_SIGNATURES_INT8 */
    int32_t pieces;
    fa_fixed_piece *piece; /* [pieces] */
    int64_t *offset;       /* [pieces + 1] of a row, in elements; each piece's length is rounded up to FA_FIXED_UNIT */
    int16_t *i16;          /* [n, offset[pieces]] */
    int8_t *i8;            /* [n, offset[pieces]] */
    float *plain, *unit;   /* [n, pieces] what a piece's sums count under plain and layer-unit weights: share and tau over the scale of the integers */
} fa_fixed;

fa_status fa_fixed_create(fa_context *context, int32_t n_layer, const int64_t *offset, int64_t n, const float *block, const float *share, const float *tau, int32_t format, fa_fixed **out);
void fa_fixed_destroy(fa_fixed *fixed);
size_t fa_fixed_bytes(int32_t n_layer, const int64_t *offset, int64_t n, int32_t format); /* what one of them holds */

/* How many pieces, and elements of a row. */
void fa_fixed_sizes(int32_t n_layer, const int64_t *offset, int64_t *pieces, int64_t *length);

/* Those of a body, made by the first who asks and shared by all who do, on any thread; they live as long as the body. */
fa_status fa_body_fixed(struct fa_sketch_body *body, int32_t format, const fa_fixed **out);

#endif
