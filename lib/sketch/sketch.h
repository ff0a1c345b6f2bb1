/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_SKETCH_H
#define FA_SKETCH_SKETCH_H

#include "base/alloc.h"

#include <fattr/sketch.h>
#include <stdatomic.h>

/* The sketch as data. Filled in by the builder or the file reader, then immutable; fa_sketch_recalibrate() makes a second head over the same body. */

typedef struct fa_sketch_layer {
    const char *name, *weight;
    int32_t index;           /* the program's layer; where several share a weight, the first of them */
    int64_t in, out, groups; /* as in fa_layer */
    int32_t k_in, k_out;     /* 0 for a dropped layer */
    int32_t random_in, random_out;
    const float *p_in;       /* [in, k_in]; NULL for a dropped layer */
    const float *p_out;      /* [out, k_out] */
    const double *moment[2]; /* in, out: sums over the references, lower triangle packed row by row; NULL where none is kept. A dropped layer has them too */
} fa_sketch_layer;

/* One model input without its leading dimension: the pass is planned for it before the first input is seen. */
typedef struct fa_sketch_input {
    int32_t dtype, ndim;
    int64_t dim[FA_MAX_DIMS];
} fa_sketch_input;

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
    int32_t logits_node;          /* node of the graph that makes the logits, -1 for an input: a model has one digest under any choice of them */
    int32_t precision;            /* FA_PRECISION_... of the layers that the signatures are of; those of traces are always in float */
    int64_t classes;
    int32_t n_input;
    fa_sketch_input *input;
    int32_t n_layer, n_dropped;   /* layer[0 .. n_layer) have signal, then the dropped ones */
    fa_sketch_layer *layer;
    int64_t *offset;              /* [n_layer + 1] of each layer's block in a row of `blocks`; the last one is its length */
    int64_t n_reference;
    float *blocks;                /* [n_reference, offset[n_layer]] each layer's block at unit length, or zero */
    float *share;                 /* [n_reference, n_layer] |block_l| / |(block_1, ...)|, or zero */
    float *tau;                   /* [n_reference] 1 / sqrt(nonzero blocks), or 0; from `share`, not stored */
    int64_t *id, *predicted, *label; /* [n_reference]; label -1 when unknown */
    float *gram;                  /* [n_reference, n_reference] couplings among the references, 1 (or 0 without signal) on the diagonal; NULL beyond FA_GRAM_MOST */
    float *factor;                /* lower Cholesky factor of gram + ridge I, row-major; not stored; NULL beyond FA_GRAM_MOST */
    _Atomic(struct fa_fixed *) int16, int8; /* fa_body_fixed() */
    struct fa_sketch_trace *trace; /* sketch/trace.h; NULL in a gradient sketch. With it `layer` is NULL and n_layer counts chains */
} fa_sketch_body;

struct fa_sketch {
    atomic_int references;
    fa_context *context; /* retained by the public functions */
    fa_sketch_body *body;
    int64_t n_calibration;
    double *calibration[FA_SCORE_COUNT]; /* [n_calibration] ascending; NULL without calibration */
    uint8_t calibration_digest[16];      /* of the calibration set of a trace sketch; zeros without one */
    float *calibration_loss;             /* [n_calibration, draws] of a trace sketch, so that chains can be joined later */
};

/* References of which all couplings among themselves are kept: 36 MB of them, and as much for their factor. With more, what a solver needs is made when it is needed, and the
 * score `span`, which needs all, does not exist. */
#define FA_GRAM_MOST 3072

/* The scores that a sketch of this kind has, as bits 1 << FA_SCORE_... */
uint32_t fa_body_scores(const fa_sketch_body *body);

/* A context-allocated sketch with a fresh body, or with one more reference to `share_body`. */
fa_status fa_sketch_new(fa_context *context, fa_sketch_body *share_body, fa_sketch **out);
void fa_sketch_free(fa_sketch *sketch);

/* Room for `n` calibration scores of each kind. */
fa_status fa_sketch_new_calibration(fa_sketch *sketch, int64_t n);

/* Room for the references: blocks, share, tau, ids, classes, labels, Gram matrix and factor (up to FA_GRAM_MOST); n_reference and offset are set. */
fa_status fa_sketch_body_new_references(fa_sketch_body *body);

/* Numbers of the moment that a side (0: in, 1: out) of a layer has when moments are kept: 0 for one with a random projection. */
int64_t fa_layer_moment(const fa_sketch_layer *layer, int side);

/* Bytes of the context that a sketch of these dimensions holds once built, without its layers' names; calibration leaves it with its references in fixed point. */
size_t fa_sketch_bytes(const fa_sketch_body *body, int64_t n_reference, int64_t n_calibration);

#endif
