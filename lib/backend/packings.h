/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_PACKINGS_H
#define FA_BACKEND_PACKINGS_H

#include "graph/edit.h"
#include "kernels/conv.h"

/*
 * The weights of a program's layers as its kernels read them: packed for the forward direction when the program is made, for data-gradients when they are first wanted. Of what the
 * forward order holds bit by bit (fa_conv_unpacks()) nothing else needs to be kept: the file's order is made from it again.
 */
typedef struct fa_packing {
    fa_conv_geometry geometry;
    int64_t stride_out, stride_in; /* of the weights; kernel positions are beside each other */
    int32_t weights;               /* value of the graph on kernels: what was packed */
    int32_t source;                /* the initialiser of the model's graph that has these very elements; -1: none has */
    int32_t forward, gradient;     /* initialisers of the graph on kernels; the same where one order serves both directions */
    bool late;                     /* `gradient` has no elements yet */
    bool taken;                    /* fa_program_take_weights(): the model's graph has no elements for `source` any more */
} fa_packing;

typedef struct fa_packings {
    fa_packing *packing; /* room for one for each node of the graph that is rewritten */
    int32_t count;
} fa_packings;

/* Elements of the weights. */
int64_t fa_packing_count(const fa_packing *packing);

/* A graph over `fast`, the one on kernels, in which no packing is late; NULL where none is. `source`: the model's graph, for weights that cannot be unpacked. Changes nothing but *out. */
fa_status fa_packings_gradients(const fa_packings *packings, const fa_graph *fast, const fa_graph *source, fa_graph **out);

/* The weights of a packing that can be unpacked, in the arena. */
fa_status fa_packing_unpack(const fa_packing *packing, const fa_graph *fast, fa_arena *arena, float **out);

#endif
