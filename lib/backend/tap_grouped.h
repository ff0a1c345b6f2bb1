/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_TAP_GROUPED_H
#define FA_BACKEND_TAP_GROUPED_H

#include "backend/pass.h"

/* Grouped convolutions on channels-last images, by fast kernels. Only for taps that it takes. */
bool fa_tap_grouped_takes(const fa_tap *tap);
extern const fa_tap_ops fa_tap_ops_grouped;

#endif
