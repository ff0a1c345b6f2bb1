/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_MOMENTS_H
#define FA_SKETCH_MOMENTS_H

#include "sketch/crew.h"

/* The first pass over the references: second moments A = mean sum_p a a' and G = mean sum_p d d' of every tapped block. */

/* A side longer than this gets a random projection in place of eigenvectors, and no moment. So does the index of a lookup: its second moment is diagonal, its eigenvectors
 * are the k most frequent rows, and no other row would leave a trace. */
#define FA_SIDE_MAX 8192

typedef struct fa_side {
    int64_t n;         /* inputs of the layer with the bias, or outputs */
    int32_t k;         /* what is kept of it */
    bool random;
    size_t partial_at; /* in a thread's partial sums, [n, n], lower triangle; floats */
    size_t total_at;   /* in the totals, the lower triangle packed row by row; doubles */
} fa_side;

typedef struct fa_block {
    int32_t layer;   /* of the program: the first of those that share the weight */
    fa_side side[2]; /* in, out */
} fa_block;

/* What is tapped, and the sizes that follow. All in `arena`. */
typedef struct fa_blocks {
    int32_t count;
    fa_block *block;
    int32_t *of_layer; /* [layers of the program] its block, or -1 */
    bool *tapped;      /* [layers of the program] */
    size_t partial_floats, total_doubles;
    int64_t longest;   /* longest side with a moment, 0 when there is none */
} fa_blocks;

/* What the patterns select of the layers `allowed` [layers of the program] (NULL: of all). FA_ERR_ARGUMENT with the layers' names when they select none; FA_ERR_NO_SIGNAL for a model
 * without layers. */
fa_status fa_blocks_choose(const fa_program *program, const fa_sketch_options *options, const bool *allowed, fa_arena *arena, fa_blocks *out);

/* And of those what fa_sketch_options.max_forwards affords, for which passes are planned in `context` for `inputs` (graph order). */
fa_status fa_blocks_afford(const fa_network *network, fa_context *context, const fa_sketch_options *options, const fa_array *inputs, fa_arena *arena, fa_blocks *out);

/* Kernel scratch of the moments for any block. */
size_t fa_moments_scratch(const fa_program *program, const fa_blocks *blocks, const fa_pass *pass);

/* `total` [blocks->total_doubles], zeroed: sums over the inputs of the set, in chunk order. */
fa_status fa_moments_sum(fa_crew *crew, const fa_blocks *blocks, const fa_array *inputs, int64_t n, double *total);

#endif
