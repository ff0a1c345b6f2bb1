/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_MOMENT_TENSORS_H
#define FA_SKETCH_MOMENT_TENSORS_H

#include "sketch/sketch.h"
#include "sketch/tensors.h"

/* Second moments in a sketch file: layer.i.moment_in and layer.i.moment_out of every layer, dropped ones too, when the options say that they are kept. */

void fa_list_moments(const fa_sketch_body *body, fa_st_tensor *list, int32_t *count); /* at most two for each layer */

/* Into the body's arena, for layers whose dimensions are set. */
fa_status fa_read_moments(fa_st_file *file, fa_sketch_body *body);

size_t fa_moments_file_bytes(const fa_sketch_body *body);

#endif
