/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_TAP_ORDER_H
#define FA_BACKEND_TAP_ORDER_H

#include <stdbool.h>
#include <stdint.h>

/* The order of a block's products behind the projection of the input, u [positions, k_in]: early, every position of the gradient [positions, out] is projected and summed with u; late, the
 * gradient itself is summed with u and P_out multiplies the sums. In multiplications. */
static inline double fa_tap_early_products(int64_t positions, int64_t out, int64_t k_in, int64_t k_out)
{
    return (double)positions * (double)k_out * (double)(out + k_in);
}

static inline double fa_tap_late_products(int64_t positions, int64_t out, int64_t k_in, int64_t k_out)
{
    return (double)k_in * (double)out * (double)(positions + k_out);
}

/* Whether late is the cheaper order. */
static inline bool fa_tap_is_late(int64_t positions, int64_t out, int64_t k_in, int64_t k_out)
{
    return fa_tap_late_products(positions, out, k_in, k_out) < fa_tap_early_products(positions, out, k_in, k_out);
}

/* What the cheaper order takes. */
static inline double fa_tap_products_behind(int64_t positions, int64_t out, int64_t k_in, int64_t k_out)
{
    return fa_tap_is_late(positions, out, k_in, k_out) ? fa_tap_late_products(positions, out, k_in, k_out) : fa_tap_early_products(positions, out, k_in, k_out);
}

#endif
