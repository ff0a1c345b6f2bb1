/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_LEVELS_H
#define FA_SCORE_LEVELS_H

#include "score/judge.h"

/*
 * Stopping early (docs/method.md). The draws of a trace sketch are visited in a fixed order, level by level: the first eighth of every chain, the first
 * quarter, half, all. A level is a small sketch of its own, made of the first draws of each chain. Over the calibration inputs it is known how far the score of all draws
 * lies from that of a level; when the distance that is passed with small probability alone cannot carry a score across the threshold, the verdict is settled. Inputs unlike those, whose traces
 * hardly correlate with any reference's, scatter more: to let one pass, scores that are means of correlations are also given the sampling error of one.
 */
typedef struct fa_level {
    const fa_sketch *sketch;
    fa_sketch *own;   /* the same where it is a part of the whole; NULL for the last level */
    fa_judge *judge;
    double low, high; /* the score of all draws is taken to lie in [score + low, score + high]; infinite where too few calibration inputs say so */
    double error;     /* of a correlation near 0 over the level's draws, against that over all; 0 for scores that are no mean of correlations */
} fa_level;

#define FA_LEVELS 4

typedef struct fa_levels {
    fa_context *context;
    int32_t n;         /* at least 1; the last level is the whole sketch */
    fa_level level[FA_LEVELS];
    double threshold;  /* flagged when the score of all draws is larger */
} fa_levels;

/* Of a gradient sketch, or with confidence 0, there is one level. `levels` is zeroed; fa_levels_end() in any case. */
fa_status fa_levels_begin(fa_levels *levels, const fa_sketch *sketch, int64_t batch, uint32_t want, int32_t score, double alpha, double confidence);
void fa_levels_end(fa_levels *levels);

/* What is settled at a level: 1 flagged, 0 not, -1 nothing yet. Not for the last level. */
int32_t fa_level_verdict(const fa_levels *levels, int32_t level, double score);

/* Draws of chain `chain` that are visited up to a level (0 for level -1). */
int64_t fa_level_draws(const fa_levels *levels, int32_t level, int32_t chain);

#endif
