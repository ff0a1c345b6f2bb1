/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_MECHANISM_GROUPING_H
#define FA_MECHANISM_GROUPING_H

#include "mechanism/groups.h"

typedef struct fa_grouping {
    fa_context *context;
    double cut, like; /* fa_mechanisms_options.linkage and .likeness */
} fa_grouping;

/*
 * Puts `n` fingerprints x [n, length] into groups: those of `groups`, which grow and keep their numbers, and new ones behind them, the largest
 * first. label[i] = the group of x's row i. On failure `groups` is as good as lost.
 *
 * In batches of FA_LINKAGE_MOST, in an order that the fingerprints alone decide: so the result depends on neither their order nor the number of
 * threads, and memory is a fixed amount and what the groups take. A batch is linked (linkage.h) down to the cut; then the most alike two clusters or
 * groups become one as long as they are alike, but two groups that were there from the start do not. Clusters are judged, and not their members one by
 * one: a likeness between means is much surer than one of a single input.
 */
fa_status fa_group(const fa_grouping *grouping, const float *x, int64_t n, fa_groups *groups, int64_t *label);

#endif
