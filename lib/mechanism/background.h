/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_MECHANISM_BACKGROUND_H
#define FA_MECHANISM_BACKGROUND_H

#include "sketch/sketch.h"

/*
 * From a cone residual to a fingerprint.
 *
 * A layer's part of the residual is a matrix M [k_in, k_out]: what the input did on the layer's input side, times what it was pulled towards on the
 * output side. The output side depends on the class at stake; the input side is the mechanism. So a layer's feature is M M' [k_in, k_in] at unit
 * length, its upper triangle, off-diagonal elements times sqrt 2 so that inner products stay those of matrices. All layers side by side, folded to
 * at most FA_FINGERPRINT_MOST numbers when there are more (signed hashing: Weinberger et al., arXiv 0902.2206).
 *
 * Trusted inputs have residuals too. Each reference's against all others (leave one out, as the audit does) gives mean m and covariance C of what is
 * ordinary, and the fingerprint is the unit vector along L^-1 (features - m), L L' = C + mean eigenvalue * I. Two residuals that share only what
 * residuals of trusted inputs share have fingerprints at right angles.
 */
#define FA_FINGERPRINT_MOST 2048
#define FA_BACKGROUND_REFERENCES 512 /* references that C is taken from; of more, so many evenly spaced */

typedef struct fa_background {
    atomic_int references;
    fa_context *context;  /* borrowed: mechanisms hold it */
    fa_arena arena;
    uint8_t digest[16];   /* of the sketch */
    int32_t n_layer;
    int32_t *k_in, *k_out; /* [n_layer] */
    int64_t start;        /* where in a residual the half that is used begins: of `both`, layer-unit */
    int64_t residual_length, length;
    bool folded;
    float *mean;          /* [length] */
    float *factor;        /* [length, length] L, row-major */
} fa_background;

/* FA_ERR_UNSUPPORTED for a trace sketch: its signatures have no layers. */
fa_status fa_background_create(const fa_sketch *sketch, fa_background **out);
fa_background *fa_background_retain(fa_background *background);
void fa_background_release(fa_background *background);

/* XXH3-128 over all that couplings and residuals depend on; calibration is no part of it. */
void fa_sketch_body_digest(const fa_sketch_body *body, uint8_t digest[16]);

/* out [length]; false when an element is not finite. Allocates nothing. */
bool fa_fingerprint(const fa_background *background, const float *residual, float *out);

#endif
