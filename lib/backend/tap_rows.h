/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_TAP_ROWS_H
#define FA_BACKEND_TAP_ROWS_H

#include "backend/pass.h"

/* Fully connected layers, and convolutions by one pixel without a stride: rows of numbers, however the inputs of a batch share them out. Only for taps that it takes. */
bool fa_tap_rows_takes(const fa_tap *tap);
extern const fa_tap_ops fa_tap_ops_rows;

#endif
