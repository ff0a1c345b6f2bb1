/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_BLIS_H
#define FA_KERNELS_BLIS_H

#include <stdint.h>

/* Lower triangle of c [k, k] += x'x, x [n, k] with leading dimension ldx; on one thread. For building only: BLIS keeps buffers of its own and
 * ends the process when it cannot have them. */
void fa_blis_symmetric(int64_t n, int64_t k, const float *x, int64_t ldx, float *c, int64_t ldc);

#endif
