/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_NUMBERS_H
#define FA_BACKEND_NUMBERS_H

#include "backend/head.h"

/* Losses of outputs that are numbers, under FA_LOSS_REGRESSION and FA_LOSS_EMBEDDING. Against a network's own output both are 0 and flat at its own weights: a signature starts
 * from the gradient of one projection of the output instead, the same for every input (docs/method.md, "Outputs"). */

/* Regression: mean of (z - own)^2 / 2. Embedding: 1 - cos(z, own); 0 for a vector that is 0. Numbers count as row->weight says. */
double fa_numbers_loss(const fa_head *head, const fa_head_row *row);
void fa_numbers_loss_gradient(const fa_head *head, const fa_head_row *row, float *gradient);

/* At unit length: of the sum of the numbers with fixed signs. */
void fa_numbers_direction(const fa_head *head, const fa_head_row *row, float *gradient);

#endif
