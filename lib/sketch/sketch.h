/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_SKETCH_H
#define FA_SKETCH_SKETCH_H

#include "base/alloc.h"

#include <fattr/sketch.h>
#include <stdatomic.h>

/* The sketch as data. Filled in by build.c or file.c, then immutable; fa_sketch_recalibrate() makes a second head over the same body. */

typedef struct fa_sketch_layer {
    const char *name, *weight;
    int64_t in, out, groups; /* as in fa_layer */
    int32_t k_in, k_out;     /* 0 for a dropped layer */
    int32_t random_in, random_out;
    int64_t offset;          /* of its block in a row of `blocks` */
    const float *p_in;       /* [in, k_in] */
    const float *p_out;      /* [out, k_out] */
} fa_sketch_layer;

/*
 * References' signatures. Both halves of a `both` signature are the same blocks under different weights, so each block is kept once, at unit
 * length, with its share of the plain signature's length beside it: a coupling is sum_l <block_l(x), block_l(r)> (weight from the shares).
 */
typedef struct fa_sketch_body {
    atomic_int references;
    fa_arena arena;
    fa_sketch_options options; /* as used: defaults filled in, pointers NULL but `layers` */
    char library_version[32];
    uint8_t model_digest[16], references_digest[16];
    int64_t classes;
    int32_t n_layer, n_dropped;   /* layer[0 .. n_layer) have signal, then the dropped ones */
    fa_sketch_layer *layer;
    int64_t n_reference, block_length; /* sum of k_in * k_out */
    float *blocks;                /* [n_reference, block_length] each layer's block at unit length, or zero */
    float *share;                 /* [n_reference, n_layer] |block_l| / |(block_1, ...)|, or zero */
    int64_t *id, *predicted, *label; /* [n_reference]; label -1 when unknown */
    float *gram;                  /* [n_reference, n_reference] couplings among the references, 1 (or 0 without signal) on the diagonal */
} fa_sketch_body;

struct fa_sketch {
    atomic_int references;
    fa_context *context;
    fa_sketch_body *body;
    int64_t n_calibration;
    double *calibration[FA_SCORE_COUNT]; /* [n_calibration] ascending; NULL without calibration */
    float *factor;                       /* lower Cholesky factor of gram + ridge I, row-major; made when the sketch is built or loaded, not stored */
};

/* A context-allocated sketch with a fresh body (or one more reference to `share_body`). */
fa_status fa_sketch_new(fa_context *context, fa_sketch_body *share_body, fa_sketch **out);

/* The name pattern of fa_sketch_options.layers. */
bool fa_layer_selected(const char *patterns, const char *name);

#endif
