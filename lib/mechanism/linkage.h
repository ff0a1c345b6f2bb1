/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_MECHANISM_LINKAGE_H
#define FA_MECHANISM_LINKAGE_H

#include "base/pool.h"
#include "kernels/dot.h"

#define FA_LINKAGE_MOST 2048 /* vectors that are linked together: their similarities take 16 MiB */

/*
 * Average linkage (UPGMA) of n <= FA_LINKAGE_MOST unit vectors x[0] ... x[n - 1] of `length` elements: the two clusters of the highest mean similarity
 * become one, as long as it is at least `cut`. label[i] = the lowest index in i's cluster. By chains of nearest neighbours (Murtagh 1983), in
 * n^2 steps whatever the vectors are; the same for any number of threads.
 */
fa_status fa_linkage(fa_context *context, const fa_dot_kernels *kernels, fa_pool *pool, const float *const *x, int64_t n, int64_t length, double cut,
                     int64_t *label);

#endif
