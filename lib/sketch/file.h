/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_FILE_H
#define FA_SKETCH_FILE_H

#include "sketch/sketch.h"

/* docs/sketch-format.md. */

fa_status fa_sketch_write(const fa_sketch *sketch, const char *path);

/* A sketch without `tau` and `factor`, which follow from the rest. FA_ERR_FORMAT, FA_ERR_CHECKSUM, FA_ERR_VERSION, FA_ERR_MEMORY. */
fa_status fa_sketch_read(fa_context *context, const void *data, size_t size, fa_sketch **out);

/* Size of the file, up to the length of names; `body` needs its layers' dimensions and offsets alone. */
size_t fa_sketch_file_bytes(const fa_sketch_body *body, int64_t n_reference, int64_t n_calibration);

#endif
