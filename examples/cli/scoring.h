/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_SCORING_H
#define FATTR_CLI_SCORING_H

#include "session.h"

/* Every input of a set, scored by several threads over one sketch. */

typedef struct scoring {
    int32_t score, all_scores, batch, threads; /* batch, threads >= 1 */
    int32_t signatures;                        /* FA_SIGNATURES_... */
    double alpha;                              /* 0: the library's default */
    double confidence;                         /* trace sketches; 0: use every draw */
    int32_t top;                               /* references to keep per input, those with the largest weights */
    bool keep_couplings;
    /* NULL, or called with each result, its residual in it, from any of the threads and in any order of `index`; false: out of memory. */
    bool (*take)(void *user, int64_t index, const fa_result *result);
    void *user;
    bool show_progress;
    const char *stage;
} scoring;

typedef struct scored {
    int64_t n, references;
    int32_t top;
    double *score, *p, *confidence; /* [n]; p is NaN without calibration */
    double (*scores)[FA_SCORE_COUNT];
    int32_t *flagged, *no_signal;
    int64_t *predicted;
    int64_t *draws;       /* [n] that were used; 0 for gradient sketches */
    int64_t *explaining;  /* [n, top] index of a reference, or -1 */
    float *explains_with; /* [n, top] its weight, largest first */
    float *couplings, *weights; /* [n, references]; NULL unless kept, `weights` also for scores without weights */
} scored;

int score_all(const session *s, const fa_refset *inputs, const scoring *how, scored *out);
void scored_destroy(scored *r);

/* The `top` largest positive weights, largest first: which references [top], -1 behind them, and how much. `weights` may be NULL. */
void keep_largest(const float *weights, int64_t references, int32_t top, int64_t *which, float *weight);

#endif
