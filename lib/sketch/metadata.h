/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_METADATA_H
#define FA_SKETCH_METADATA_H

#include "sketch/json.h"
#include "sketch/sketch.h"

/* A sketch's `__metadata__` (docs/sketch-format.md): strings alone, some of them JSON text. */

#define FA_FORMAT_VERSION 1

/* The members, into an object that is open. */
void fa_metadata_write(const fa_sketch *sketch, fa_json_writer *writer);

/* FA_ERR_FORMAT when it is no sketch's, FA_ERR_VERSION when it is a newer one's. */
fa_status fa_metadata_check_version(const fa_json *metadata);

/* Everything but the tensors: options, digests, inputs, layers, offsets, number of classes. FA_ERR_FORMAT names the field. */
fa_status fa_metadata_read(const fa_json *metadata, fa_sketch *sketch);

#endif
