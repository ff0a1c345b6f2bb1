/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_SCORES_H
#define FA_SCORE_SCORES_H

#include "score/cone.h"
#include "score/space.h"

#include <fattr/sketch.h>

/*
 * All scores of one input from its couplings with the references: what scoring, calibration and audit have in common. One thread's; everything
 * is allocated at the start.
 */
typedef struct fa_scores fa_scores;

#define FA_WANT(score) (1u << (score)) /* of `want`, by FA_SCORE_... */
#define FA_WANT_COUPLINGS (FA_WANT(FA_SCORE_COMMON_COUNT) - 1) /* what couplings alone give */
#define FA_WANT_CONCORDANCE (FA_WANT(FA_SCORE_MEAN_CCC) | FA_WANT(FA_SCORE_CLASS_CCC))

typedef struct fa_scores_setup {
    const fa_dot_kernels *kernels;
    int64_t n;                /* references */
    const float *gram;        /* [n, n] borrowed; for cone and the audit, unless `wide` */
    const float *factor;      /* [n, n] borrowed, of gram + ridge I by fa_cholesky(); for span */
    fa_space space;           /* the references' signatures, borrowed; for cone and the audit when `wide` */
    fa_rows rows;
    bool wide;                /* there is no Gram matrix */
    const int64_t *predicted; /* [n] the references' classes, read by fa_scores_create() alone */
    bool subset;              /* an input is held against the references of its class alone */
    double ridge;
    int64_t topk;
    uint32_t want;            /* scores that will be asked for; what they do not need is not allocated, and may be NULL above */
} fa_scores_setup;

fa_status fa_scores_create(fa_context *context, const fa_scores_setup *setup, fa_scores **out);
void fa_scores_destroy(fa_scores *scores);
uint64_t fa_scores_bytes(const fa_scores_setup *setup); /* of one fa_scores, for memory estimates */

/* Weights [n] or NULL, for the caller to fill in where it wants them. */
typedef struct fa_scores_result {
    double score[FA_SCORE_COUNT]; /* NaN where not wanted */
    float *cone_weight, *span_weight;
    fa_cone_work cone_work;
} fa_scores_result;

/* With `subset`: the numbers of the references of a class, ascending, and how many there are. */
int64_t fa_scores_part(const fa_scores *scores, int64_t class, const int64_t **pick);

/* An input: couplings c [n], with `subset` those of its class's part alone, and concordance [n], NULL where none of its scores is wanted. `signal` false: the signature is zero, whatever
 * c holds: cone and span 1, the others 0, no weights. The same where the part is empty. */
typedef struct fa_scores_input {
    const float *c, *concordance;
    bool signal;
    int64_t predicted; /* its class; read with `subset` */
} fa_scores_input;

void fa_scores_compute(fa_scores *scores, const fa_scores_input *input, uint32_t want, fa_scores_result *result);

/* Reference j against the others; `concordance` [n] is its own. */
void fa_scores_audit(fa_scores *scores, int64_t j, const float *concordance, uint32_t want, fa_scores_result *result);

#endif
