/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_TAP_GRADIENT_H
#define FA_BACKEND_TAP_GRADIENT_H

#include "backend/pass.h"

/* Convolutions on channels-last images by way of the weight gradient. Only for taps that it takes. */
bool fa_tap_gradient_takes(const fa_tap *tap);
extern const fa_tap_ops fa_tap_ops_gradient;

#endif
