/* SPDX-License-Identifier: Apache-2.0 */
/* Body of patches.c, included once per instruction set behind vectors_avx2.h or vectors_avx512.h. */

#define vf NAME(vf)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
#define LOAD_F(p) (*(const vf *)(p))

static TARGET float NAME(dots)(const dots *d)
{
    vf sum[4] = {{0}, {0}, {0}, {0}};
    const vf ones = SPLAT_F(1.f);
    const int64_t left = d->length % FLOATS;
    const MASK mask = MASK_OF(left);
    for (int64_t image = 0; image < d->images; image++)
        for (int64_t row = 0; row < d->rows; row++)
            for (int64_t col = 0; col < d->cols; col++) {
                const int64_t at = image * d->image + row * d->row + col * d->col;
                const float *x = d->x + at, *y = d->y ? d->y + at : NULL;
                int64_t i = 0;
                for (; i + 4 * FLOATS <= d->length; i += 4 * FLOATS)
                    FA_UNROLL
                    for (int k = 0; k < 4; k++) sum[k] = FMA_F(LOAD_F(x + i + k * FLOATS), y ? LOAD_F(y + i + k * FLOATS) : ones, sum[k]);
                for (; i + FLOATS <= d->length; i += FLOATS) sum[0] = FMA_F(LOAD_F(x + i), y ? LOAD_F(y + i) : ones, sum[0]);
                if (left) sum[1] = FMA_F(MASK_LOAD(x + i, mask), y ? MASK_LOAD(y + i, mask) : ones, sum[1]);
            }
    const vf all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    float total = 0;
    for (int k = 0; k < FLOATS; k++) total += all[k];
    return total;
}

#undef vf
#undef LOAD_F
#include "kernels/vectors_end.h"
