/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_CONJUGATE_H
#define FA_SCORE_CONJUGATE_H

#include "base/alloc.h"
#include "kernels/dot.h"

/*
 * The cone's problem among a few references, its members, by conjugate gradients: their matrix lies together in cache and in fp32, and starts from weights that are nearly right. Where a
 * weight would become negative its member stays at zero from then on; whether it should is for the caller to see. With a ridge of the size of the couplings a dozen steps do;
 * a small ridge may take too many.
 */
typedef struct fa_conjugate {
    const fa_dot_kernels *kernels;
    int64_t capacity, ld;
    int64_t m;         /* members */
    float *matrix;     /* [capacity, ld] gram + ridge I of them, rows filled up with zeros to whole vectors; borrowed */
    float *c, *weight; /* [capacity] of the members; the caller fills in weights */
    float *residual;   /* [capacity] c - matrix weight, for the caller to fill in where a weight is above 0 */
    float *direction, *product, *held; /* [capacity]; held: 1 where a member may move, else 0 */
} fa_conjugate;

/* Floats of a row of `matrix`, and of each other array. */
int64_t fa_conjugate_ld(int64_t capacity);
uint64_t fa_conjugate_bytes(int64_t capacity); /* without the matrix */
fa_status fa_conjugate_create(fa_arena *arena, const fa_dot_kernels *kernels, int64_t capacity, float *matrix, fa_conjugate *out);

/* Members set[o->m .. m) of a Gram matrix of rows of gram_ld come to those before. */
void fa_conjugate_add(fa_conjugate *o, const float *gram, int64_t gram_ld, float ridge, const int64_t *set, int64_t m, const float *c);

/* Weights at which the residual of those above 0 is less than `least` in length. False when it takes too many steps, of which `steps` counts all. */
bool fa_conjugate_solve(fa_conjugate *o, float least, int64_t *steps);

#endif
