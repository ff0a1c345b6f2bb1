/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_JUDGE_H
#define FA_SCORE_JUDGE_H

#include "kernels/fixed.h"
#include "score/finish.h"

/* From raw blocks of a batch (of a trace sketch: from losses) to couplings and scores: what scoring and calibration share. One thread's; allocates when
 * created. */
typedef struct fa_judge {
    fa_context *context;
    const fa_sketch_body *body;
    const fa_dot_kernels *kernels;
    fa_space space;
    fa_rows references;
    fa_scores *scores;
    int64_t batch;
    float *blocks;    /* [batch, length] raw blocks in, unit blocks after fa_judge_couple() */
    float *share;     /* [batch, n_layer] */
    float *tau;       /* [batch] 0 for an input without signal */
    float *couplings; /* [batch, n_reference]; with a subset 0 outside it */
    float *scratch;
    const fa_fixed_kernels *fixed; /* with references in fixed point, and */
    void *fixed_scratch;           /*   their scratch memory */
    float *mean, *deviation; /* [batch, n_layer] of traces */
    float *concordance;      /* [batch, n_reference]; NULL unless one of its scores is wanted */
    float *part;             /* [n_reference] with a subset: the couplings of its members */
    int64_t *predicted;      /* [batch] the inputs' classes, the caller's to fill in before couplings: a subset goes by them */
} fa_judge;

/* `want`: scores that will be asked for. */
fa_status fa_judge_create(fa_context *context, const fa_sketch_body *body, int32_t kernels, int64_t batch, uint32_t want, fa_judge **out);
void fa_judge_destroy(fa_judge *judge);
size_t fa_judge_bytes(const fa_sketch_body *body, int64_t n_reference, int64_t batch, uint32_t want); /* beside its fa_scores */

/* From now on couplings read the references as `signatures` says, FA_SIGNATURES_... of a gradient sketch; the sketch's own floats until then. */
fa_status fa_judge_read(fa_judge *judge, int32_t signatures);

/* Trace sketches: the first `n` rows of `blocks` hold losses [n, draws]; makes raw blocks of them. */
void fa_judge_sign_losses(fa_judge *judge, int64_t n);

/* Normalises the first `n` rows and couples them with the references. FA_ERR_NOT_FINITE says which input, counted from `first`. */
fa_status fa_judge_couple(fa_judge *judge, int64_t first, int64_t n);

/* Scores of row `i` after fa_judge_couple(). */
void fa_judge_score(fa_judge *judge, int64_t i, uint32_t want, fa_scores_result *result);

#endif
