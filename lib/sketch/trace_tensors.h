/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_TRACE_TENSORS_H
#define FA_SKETCH_TRACE_TENSORS_H

#include "sketch/safetensors.h"
#include "sketch/trace.h"

/* What the file of a trace sketch and a checkpoint of one have in common: the first `draws` draws and the losses. At most four tensors are added. */
void fa_list_trace_tensors(const fa_sketch *sketch, int64_t draws, fa_st_tensor *list, int32_t *count);

/* Checks the sizes against body->trace, whose chains wait in trace->chain, makes room (fa_trace_new()) and reads all draws. */
fa_status fa_read_all_draws(fa_st_file *file, fa_sketch_body *body);

/* After fa_trace_new(): rows of draws and the references' losses, checked. */
fa_status fa_read_draws(fa_st_file *file, fa_sketch_body *body, int64_t draws);

/* After fa_sketch_new_calibration(). */
fa_status fa_read_calibration_loss(fa_st_file *file, fa_sketch *sketch);

#endif
