/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_METADATA_H
#define FA_SKETCH_METADATA_H

#include "sketch/sketch.h"

#include <jansson.h>

/* A sketch's `__metadata__` (docs/sketch-format.md): strings alone, some of them JSON text. */

#define FA_FORMAT_VERSION 1

/* A new object, or NULL when memory ran out. */
json_t *fa_metadata_write(const fa_sketch_body *body);

/* FA_ERR_FORMAT when it is no sketch's, FA_ERR_VERSION when it is a newer one's. */
fa_status fa_metadata_check_version(const json_t *metadata);

/* Everything but the tensors: options, digests, inputs, layers, offsets, number of classes. FA_ERR_FORMAT names the field. */
fa_status fa_metadata_read(const json_t *metadata, fa_sketch_body *body);

#endif
