/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_MECHANISM_GROUPS_H
#define FA_MECHANISM_GROUPS_H

#include "base/pool.h"
#include "kernels/dot.h"

/*
 * Groups of fingerprints. A group is the sum S of its n members and n itself: that says everything that average linkage and likeness ask for.
 *
 *     similarity(A, B) = S_A.S_B / (n_A n_B)                    mean over all pairs of a member of A and one of B
 *     within(A)        = ((|S_A|^2 - n_A) / 2 + c w) / (n_A (n_A - 1) / 2 + c)     mean over the pairs in A, drawn towards w as if by c more pairs
 *     likeness(A, B)   = similarity(A, B) / sqrt(within(A) within(B))
 *
 * Members of one mechanism differ from each other, by what they show besides it. Likeness takes that out: it is near 1 for two halves of one
 * group, however wide, and is the cosine between the mechanisms where there are two (the correction for attenuation: Spearman, 1904).
 */
#define FA_WITHIN_PAIRS 3.0 /* c */
#define FA_WITHIN_PRIOR 0.5 /* w */

typedef struct fa_groups {
    fa_context *context;
    int64_t n, room, length;
    float *sum;      /* [room, length] */
    int64_t *count;  /* [room] members; 0: no group any more */
    int64_t *name;   /* [room] 48 bits of the hash of the member that comes first in canonical order when the group is found; it stays */
    double *weight;  /* [room] 1 / (n sqrt(within)): likeness(A, B) = S_A.S_B weight_A weight_B */
} fa_groups;

/* `groups` has context and length set. Room for `more` groups beyond those there are; they are not there yet. */
fa_status fa_groups_reserve(fa_groups *groups, int64_t more);
void fa_groups_clear(fa_groups *groups);
fa_status fa_groups_copy(const fa_groups *from, fa_groups *to); /* `to` zeroed */

double fa_groups_within(const fa_groups *groups, int64_t g);
void fa_groups_weigh(fa_groups *groups, int64_t g); /* after sum or count changed */

/* The weight of a single fingerprint. */
double fa_single_weight(void);

/* The group that is most like the vector x of weight `weight`: of those with members and not `besides`, none below `first`. -1 where there is none.
 * The lowest number among equals. */
int64_t fa_groups_nearest(const fa_groups *groups, const fa_dot_kernels *kernels, const float *x, double weight, int64_t first, int64_t besides,
                          double *likeness);

/* Inner product of two vectors, the same bits as inside fa_groups_nearest(). */
double fa_groups_dot(const fa_dot_kernels *kernels, const float *x, const float *y, int64_t length);

#endif
