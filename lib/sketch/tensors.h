/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_TENSORS_H
#define FA_SKETCH_TENSORS_H

#include "sketch/safetensors.h"

/* Tensors of our files by name, type and shape. */

/* Puts [rows, columns] at the end of a list; `columns` 0: one dimension. */
void fa_st_add(fa_st_tensor *list, int32_t *n, const char *name, fa_st_type type, int64_t rows, int64_t columns, const void *data);

/* A tensor by name with exactly this type and shape; `columns` 0: one dimension. */
fa_status fa_st_expect(fa_st_file *file, const char *name, fa_st_type type, int64_t rows, int64_t columns, const fa_st_tensor **out);

/* Copies a float tensor whose elements lie in [least, most] to `to`. */
fa_status fa_st_take_floats(fa_st_file *file, const char *name, int64_t rows, int64_t columns, float least, float most, float *to);

#endif
