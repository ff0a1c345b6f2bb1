/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_TAP_LOOKUP_H
#define FA_BACKEND_TAP_LOOKUP_H

#include "backend/pass.h"

/* Taps of lookups, for every fa_tap_ops: one side is one-hot, so its product with a projection is a row of that. As fa_tap_ops has them. */
size_t fa_lookup_scratch(const fa_tap *tap, int64_t k_in, int64_t k_out);
void fa_lookup_moments(const fa_tap *tap, float *A, float *G, void *scratch);
size_t fa_lookup_packed_size(const fa_tap *tap, int64_t k_in, int64_t k_out);
void fa_lookup_pack(const fa_tap *tap, const float *p_in, int64_t k_in, const float *p_out, int64_t k_out, void *packed);
void fa_lookup_blocks(const fa_tap *tap, const void *packed, int64_t k_in, int64_t k_out, float *block, int64_t stride, void *scratch);
double fa_lookup_flops(const fa_tap *tap, int64_t k_in, int64_t k_out);

#endif
