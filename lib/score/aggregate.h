/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_AGGREGATE_H
#define FA_SCORE_AGGREGATE_H

#include <stdint.h>

/* Scores that are averages of couplings c [n]; higher = more anomalous. `without` >= 0: that reference is left out. Never -0; 0 where nothing is left. */
double fa_score_mean(const float *c, int64_t n, int64_t without);

/* Minus the mean of the k largest (of all, when there are fewer). `heap` [k]. */
/* heap [k] = the k largest of x [n], x[without] left out, the smallest of them at [0]; -infinity fills up. */
void fa_largest(const float *x, int64_t n, int64_t without, int64_t k, float *heap);

double fa_score_topk(const float *c, int64_t n, int64_t without, int64_t k, float *heap);

/* Minus the largest of the class means. `group` [n] numbers the classes present 0 ... groups - 1; `sum`, `count` [groups] are overwritten. */
double fa_score_class(const float *c, int64_t n, int64_t without, const int32_t *group, int32_t groups, double *sum, int64_t *count);

/* group[j] of each reference from its class, in the order of first appearance; returns how many there are. `classes` [n] takes their names. */
int32_t fa_score_groups(const int64_t *predicted, int64_t n, int32_t *group, int64_t *classes);

#endif
